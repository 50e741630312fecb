// A host with a fake processor and PV guests in it that make hypercalls: tests call what a kernel would.

import { member, type Type } from '../../src/abi/struct.ts';
import { HYPERCALL, MMUEXT, mmuextOp, mmuUpdate } from '../../src/abi/xen/xen.ts';
import { GuestFault } from '../../src/cpu/exits.ts';
import { EngineMemory } from '../../src/cpu/memory.ts';
import type { Domain, DomainConfig } from '../../src/hypervisor/domain.ts';
import { DOMID_SELF } from '../../src/hypervisor/domain-ids.ts';
import { errnoName } from '../../src/hypervisor/errors.ts';
import type { Machine } from '../../src/hypervisor/hardware/hardware.ts';
import { dispatch } from '../../src/hypervisor/hypercalls/dispatch.ts';
import { Hypervisor } from '../../src/hypervisor/hypervisor.ts';
import { setKernelBase } from '../../src/hypervisor/memory/base-pointers.ts';
import { PageType } from '../../src/hypervisor/memory/frame-table.ts';
import type { Vcpu } from '../../src/hypervisor/vcpu.ts';
import { Clock, VirtualTicks } from '../../src/machine/time/clock.ts';
import { FakeProcessor } from './fake-processor.ts';

/** Linear address of a guest's first page; page n follows n * 4096 above. */
export const BASE = 0xffff_ffff_8000_0000n;
/** The first four pages of a guest are its page tables. */
export const PAGE = { l4: 0, l3: 1, l2: 2, l1: 3, arguments: 4, firstData: 5 } as const;
export const RW = 0x63n; // present, writable, accessed, dirty
export const RO = 0x21n;
/** Entry of a table above L1. */
export const TABLE = 0x67n;

export type HypercallName = keyof typeof HYPERCALL;

export class TestHost {
  readonly memory: EngineMemory;
  readonly processor: FakeProcessor;
  readonly hypervisor: Hypervisor;
  readonly log: string[] = [];

  constructor(frames = 2048, machine?: Machine) {
    this.memory = new EngineMemory(frames * 4096);
    this.processor = new FakeProcessor(this.memory);
    this.hypervisor = new Hypervisor({
      processor: this.processor,
      clock: new Clock(new VirtualTicks(() => 0n)),
      log: line => this.log.push(line),
      machine,
    });
    // A mistake of ours fails the test instead of stopping a domain.
    this.hypervisor.bug = (_, error) => {
      throw error;
    };
  }

  /** A PV domain of `pages` pages that runs on page tables of its own; see PAGE. */
  guest(config: Partial<DomainConfig> & { pages?: number } = {}): Guest {
    const { pages = 64, ...rest } = config;
    const id = rest.id ?? this.hypervisor.domains.size + 1;
    const domain = this.hypervisor.createDomain({
      name: `guest${id}`,
      abi: 'pv64',
      vcpus: 1,
      maxPages: pages + 64,
      ...rest,
      id,
    });
    return new Guest(this, domain, pages);
  }
}

export class Guest {
  readonly host: TestHost;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  /** Machine frame of each page. */
  readonly mfns: number[] = [];

  constructor(host: TestHost, domain: Domain, pages: number) {
    this.host = host;
    this.domain = domain;
    this.vcpu = domain.vcpus[0];
    const { frames, m2p } = host.hypervisor;
    for (let pfn = 0; pfn < pages; pfn++) {
      const mfn = frames.allocate(domain);
      m2p.set(mfn, BigInt(pfn));
      this.mfns.push(mfn);
    }
    this.poke(PAGE.l4, 511, this.entry(PAGE.l3, TABLE));
    this.poke(PAGE.l3, 510, this.entry(PAGE.l2, TABLE));
    this.poke(PAGE.l2, 0, this.entry(PAGE.l1, TABLE));
    for (let pfn = 0; pfn < Math.min(pages, 512); pfn++) {
      this.poke(PAGE.l1, pfn, this.entry(pfn, pfn <= PAGE.l1 ? RO : RW));
    }
    this.run();
    if (setKernelBase(this.vcpu, this.mfns[PAGE.l4]) !== 0) throw new Error('no base pointer');
    if (this.mmuext({ cmd: MMUEXT.pin_l4_table, mfn: this.mfns[PAGE.l4] }) !== 0) throw new Error('no pin');
  }

  get frames() {
    return this.host.hypervisor.frames;
  }

  /** Puts the guest's vCPU on the processor. */
  run(): void {
    const { hypervisor, processor } = this.host;
    processor.physical = null;
    if (hypervisor.loaded === this.vcpu) return;
    if (hypervisor.loaded) processor.store(hypervisor.loaded.stored);
    processor.load(this.vcpu.stored);
    hypervisor.loaded = this.vcpu;
    processor.selectAddressSpace(BigInt(this.vcpu.pv.guestTable) << 12n);
  }

  va(page: number, offset = 0): bigint {
    return BASE + BigInt(page * 4096 + offset);
  }

  /** An entry for one of the guest's pages. */
  entry(page: number, flags: bigint): bigint {
    return pte(this.mfns[page], flags);
  }

  /** Machine address of an entry of a table page. */
  entryAddress(page: number, slot: number): bigint {
    return (BigInt(this.mfns[page]) << 12n) + BigInt(slot * 8);
  }

  /** Reads and writes 8 bytes of a page behind the hypervisor's back. */
  peek(page: number, slot: number): bigint {
    return this.host.memory.view.getBigUint64(this.host.memory.frameOffset(this.mfns[page]) + slot * 8, true);
  }
  poke(page: number, slot: number, value: bigint): void {
    this.host.memory.view.setBigUint64(this.host.memory.frameOffset(this.mfns[page]) + slot * 8, value, true);
  }

  /** Makes a hypercall to its end: the result, signed. */
  call(name: HypercallName, ...args: (number | bigint)[]): number {
    this.run();
    let six = Array.from({ length: 6 }, (_, i) => BigInt.asUintN(64, BigInt(args[i] ?? 0)));
    for (;;) {
      const result = dispatch(this.vcpu, HYPERCALL[name], six);
      if (!this.vcpu.contextReplaced) return Number(BigInt.asIntN(64, result));
      this.vcpu.contextReplaced = false;
      const { gpr } = this.vcpu.cpu;
      six = [gpr[7], gpr[6], gpr[2], gpr[10], gpr[8], gpr[9]];
    }
  }

  /** The same, with the error's name. */
  try(name: HypercallName, ...args: (number | bigint)[]): string {
    return errnoName(this.call(name, ...args));
  }

  /**
   * Puts values of a type into the argument page at a byte offset; returns their address. Throws GuestFault where the guest could not: it
   * has given the page away or made a table of it.
   */
  put<T>(type: Type<T>, values: readonly T[], offset = 0): bigint {
    const mfn = this.mfns[PAGE.arguments];
    const { owner, type: types, typeCount } = this.frames;
    if (owner[mfn] !== this.domain.id || (typeCount[mfn] > 0 && types[mfn] !== PageType.writable))
      throw new GuestFault(14, 7, this.va(PAGE.arguments, offset));
    const at = this.host.memory.frameOffset(mfn) + offset;
    const view = new DataView(this.host.memory.memory.buffer, at, 4096 - offset);
    values.forEach((value, i) => {
      type.write(view, i * type.size(64), value, 64);
    });
    return this.va(PAGE.arguments, offset);
  }

  /** Reads a value back from the argument page. */
  got<T>(type: Type<T>, offset = 0, index = 0): T {
    const at = this.host.memory.frameOffset(this.mfns[PAGE.arguments]) + offset;
    return type.read(this.host.memory.view, at + index * type.size(64), 64);
  }

  mmuUpdate(updates: Updates, domain: number = DOMID_SELF): number {
    return this.mmuUpdateAt(0, updates, domain);
  }
  /** With the requests at an offset of the argument page. */
  mmuUpdateAt(offset: number, updates: Updates, domain: number = DOMID_SELF): number {
    const pointer = this.put(
      mmuUpdate,
      updates.map(([ptr, val]) => ({ ptr, val })),
      offset,
    );
    return this.call('mmu_update', pointer, updates.length, 0, domain);
  }

  mmuext(op: MmuextOp, domain: number = DOMID_SELF): number {
    const arg1 = op.linear ?? BigInt(op.mfn ?? 0);
    const pointer = this.put(mmuextOp, [
      {
        cmd: op.cmd,
        arg1: member({ linearAddr: arg1 }),
        arg2:
          op.mask === undefined
            ? member({ srcMfn: BigInt(op.source ?? op.entries ?? 0) })
            : member({ vcpumask: op.mask }),
      },
    ]);
    return this.call('mmuext_op', pointer, 1, 0, domain);
  }

  pin(level: 1 | 2 | 3 | 4, page: number): number {
    return this.mmuext({ cmd: level - 1, mfn: this.mfns[page] });
  }
  unpin(page: number): number {
    return this.mmuext({ cmd: MMUEXT.unpin_table, mfn: this.mfns[page] });
  }

  /** update_va_mapping of one of the guest's own addresses, with an INVLPG. */
  updateVa(page: number, entry: bigint, flags = 2): number {
    return this.call('update_va_mapping', this.va(page), entry, flags);
  }

  /** Makes a page unwritable everywhere, as a kernel does before it becomes a table. */
  protect(page: number): void {
    const rc = this.updateVa(page, this.entry(page, RO));
    if (rc !== 0) throw new Error(`protect: ${errnoName(rc)}`);
  }
}

type Updates = readonly (readonly [ptr: bigint, val: bigint])[];

interface MmuextOp {
  cmd: number;
  mfn?: number;
  linear?: bigint;
  entries?: number;
  source?: number;
  mask?: bigint;
}

export function pte(mfn: number, flags: bigint): bigint {
  return (BigInt(mfn) << 12n) | flags;
}
