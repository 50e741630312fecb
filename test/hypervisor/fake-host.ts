// A hypervisor without a processor for tests of hypercalls: linear addresses are machine addresses, time stands still until told.
import type { Struct, Type } from '../../src/abi/struct.ts';
import { GuestFault } from '../../src/cpu/exits.ts';
import { EngineMemory } from '../../src/cpu/memory.ts';
import { CpuState } from '../../src/cpu/state.ts';
import type { Access, Processor } from '../../src/cpu/types.ts';
import type { Domain, DomainConfig } from '../../src/hypervisor/domain.ts';
import { invoke } from '../../src/hypervisor/hypercalls/dispatch.ts';
import { Hypervisor } from '../../src/hypervisor/hypervisor.ts';
import type { Vcpu } from '../../src/hypervisor/vcpu.ts';
import { Clock, VirtualTicks } from '../../src/machine/time/clock.ts';

const FRAMES = 2048;

export class FakeHost {
  readonly memory = new EngineMemory(FRAMES * 4096);
  readonly ticks = new VirtualTicks(() => 0n);
  readonly clock: Clock;
  readonly hypervisor: Hypervisor;
  readonly log: string[] = [];
  /** Frames whose translations were dropped. */
  readonly dropped: number[] = [];
  /** Addresses that fault. */
  readonly faulting = new Set<bigint>();

  constructor(tscHz?: bigint) {
    this.clock = new Clock(this.ticks, tscHz === undefined ? {} : { tscHz });
    this.hypervisor = new Hypervisor({
      processor: this.processor(),
      clock: this.clock,
      log: line => this.log.push(line),
    });
  }

  /** A PV domain with shared_info and vCPU 0 running. */
  domain(config: Partial<DomainConfig> = {}): Domain {
    const { hypervisor } = this;
    const id = config.id ?? hypervisor.domains.size + 1;
    const domain = hypervisor.createDomain({ id, name: `test${id}`, abi: 'pv64', vcpus: 1, maxPages: 512, ...config });
    domain.sharedInfoMfn = hypervisor.frames.allocateXen(domain.id, true);
    const page = this.memory.frameOffset(domain.sharedInfoMfn);
    for (const vcpu of domain.vcpus.slice(0, 32)) {
      vcpu.info.at = page + vcpu.id * 64;
      vcpu.info.upcallMask = true;
    }
    domain.vcpus[0].isInitialised = true;
    domain.vcpus[0].isUp = true;
    return domain;
  }

  /** Puts a vCPU on the processor. */
  load(vcpu: Vcpu): Vcpu {
    this.hypervisor.loaded = vcpu;
    return vcpu;
  }

  /** A frame of the domain's own: its number. */
  frame(domain: Domain): number {
    return this.hypervisor.frames.allocate(domain);
  }

  /** Where a frame is in linear memory. */
  address(mfn: number, offset = 0): bigint {
    return BigInt(mfn) * 4096n + BigInt(offset);
  }

  bytes(mfn: number): Uint8Array {
    return this.memory.frame(mfn);
  }

  /** Makes a hypercall; the result as a signed number. */
  call(vcpu: Vcpu, number: number, ...args: (number | bigint)[]): number {
    this.load(vcpu);
    const six = Array.from({ length: 6 }, (_, i) => BigInt.asUintN(64, BigInt(args[i] ?? 0)));
    return Number(BigInt.asIntN(64, invoke(vcpu, number, six)));
  }

  /** Makes a hypercall (cmd, pointer to a struct): its result and the struct afterwards. */
  op<T>(vcpu: Vcpu, number: number, cmd: number, type: Type<T>, value: Partial<T>, count?: number): [number, T] {
    const page = this.argumentPage(vcpu.domain);
    const at = this.memory.frameOffset(page);
    this.bytes(page).fill(0);
    const struct = type as unknown as Struct<Record<string, Type<unknown>>>;
    struct.update(this.memory.view, at, value as Record<string, unknown>, vcpu.abiWidth);
    const args = count === undefined ? [this.address(page)] : [this.address(page), count];
    const result = this.call(vcpu, number, cmd, ...args);
    return [result, type.read(this.memory.view, at, vcpu.abiWidth)];
  }

  private readonly pages = new Map<Domain, number>();
  private argumentPage(domain: Domain): number {
    let page = this.pages.get(domain);
    if (page === undefined) this.pages.set(domain, (page = this.frame(domain)));
    return page;
  }

  /** Lets ns pass and fires timers. */
  pass(ns: number | bigint): void {
    this.clock.advance(BigInt(ns));
    this.clock.fireDue();
  }

  private offset(linear: bigint, access: Access): number {
    if (linear >= BigInt(FRAMES) * 4096n || this.faulting.has(linear & ~0xfffn)) {
      throw new GuestFault(14, access.write ? 6 : 4, linear);
    }
    return this.memory.ramBase + Number(linear);
  }

  private processor(): Processor {
    const { memory, dropped } = this;
    const never = (): never => {
      throw new Error('the fake processor does not run');
    };
    return {
      memory,
      model: { name: 'none', vendor: 'AuthenticAMD', frequencyKHz: 1_000_000, physicalAddressBits: 40, leaves: [] },
      live: new CpuState(),
      registers: { rdmsr: never, wrmsr: never, cpuid: never },
      bus: { read: never, write: never, portRead: never, portWrite: never },
      cycles: () => 0n,
      onProtectedStore: null,
      interruptPending: false,
      nmiPending: false,
      onSystemCall: null,
      onTaskPriority: null,
      onTscMove: null,
      stop: () => {},
      load: () => {},
      store: () => {},
      modeChanged: () => {},
      flagsChanged: () => {},
      cachedAddress: () => 0,
      run: never,
      selectPhysicalMap: () => {},
      selectAddressSpace: () => {},
      flushAddressSpace: () => {},
      mappingChanged: () => {},
      flushChanged: () => {},
      flushAll: () => {},
      invalidatePage: () => {},
      dropWriteAccess: () => {},
      dropFrame: mfn => dropped.push(mfn),
      wroteFrame: () => {},
      translate: (linear, access) => this.offset(linear, access),
      readLinear: (linear, into, access = { write: false, user: true }) => {
        for (let i = 0; i < into.length; i++) into[i] = memory.u8[this.offset(linear + BigInt(i), access)];
      },
      writeLinear: (linear, from, access = { write: true, user: true }) => {
        for (let i = 0; i < from.length; i++) this.offset(linear + BigInt(i), access);
        for (let i = 0; i < from.length; i++) memory.u8[this.offset(linear + BigInt(i), access)] = from[i];
      },
      loadSegment: never,
      deliver: never,
      readOwnMsr: never,
      writeOwnMsr: never,
      fetch: never,
    } as Processor;
  }
}
