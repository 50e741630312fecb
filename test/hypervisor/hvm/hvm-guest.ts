// An HVM guest without paging that makes hypercalls: tests call what a kernel would. Its RAM is guest frames 0 to pages - 1.
import type { Type } from '../../../src/abi/struct.ts';
import { HYPERCALL } from '../../../src/abi/xen/xen.ts';
import { ModeBit, R, S } from '../../../src/cpu/layout.ts';
import type { Domain, DomainConfig } from '../../../src/hypervisor/domain.ts';
import { errnoName } from '../../../src/hypervisor/errors.ts';
import type { HvmDomain } from '../../../src/hypervisor/hvm/hvm-domain.ts';
import { argumentsOf, dispatch } from '../../../src/hypervisor/hypercalls/dispatch.ts';
import { setUpSharedInfo } from '../../../src/hypervisor/shared-info.ts';
import type { Vcpu } from '../../../src/hypervisor/vcpu.ts';
import type { HypercallName, TestHost } from '../harness.ts';

/** The page that arguments are put in. */
const ARGUMENTS = 1;

export class HvmGuest {
  readonly host: TestHost;
  readonly domain: Domain;
  readonly hvm: HvmDomain;
  readonly vcpu: Vcpu;

  constructor(host: TestHost, config: Partial<DomainConfig> & { pages?: number } = {}) {
    const { pages = 16, ...rest } = config;
    const id = rest.id ?? host.hypervisor.domains.size + 1;
    this.host = host;
    this.domain = host.hypervisor.createDomain({
      name: `hvm${id}`,
      abi: 'hvm',
      vcpus: 1,
      maxPages: pages + 16,
      ...rest,
      id,
    });
    this.hvm = this.domain.hvm!;
    [this.vcpu] = this.domain.vcpus;
    setUpSharedInfo(this.domain);
    for (let gfn = 0; gfn < pages; gfn++) this.hvm.physmap.add(gfn, host.hypervisor.frames.allocate(this.domain));
    this.setMode(64);
  }

  /** 64: 64-bit code; 32: protected mode. */
  setMode(width: 32 | 64): void {
    this.run();
    this.vcpu.cpu.set32(S.mode, width === 64 ? ModeBit.long64 | ModeBit.protected : ModeBit.protected);
  }

  run(): void {
    const { hypervisor, processor } = this.host;
    processor.physical = this.hvm.physmap.map;
    if (hypervisor.loaded === this.vcpu) return;
    if (hypervisor.loaded) processor.store(hypervisor.loaded.stored);
    processor.load(this.vcpu.stored);
    hypervisor.loaded = this.vcpu;
  }

  private get width(): 32 | 64 {
    return this.vcpu.abiWidth;
  }

  /** Machine frame of a guest frame. */
  mfn(gfn: number): number {
    return this.hvm.physmap.mfnOf(gfn);
  }

  /** Puts values of a type into the argument page; returns their address. */
  put<T>(type: Type<T>, values: readonly T[], offset = 0): bigint {
    const at = this.host.memory.frameOffset(this.mfn(ARGUMENTS)) + offset;
    const view = new DataView(this.host.memory.memory.buffer, at, 4096 - offset);
    values.forEach((value, i) => {
      type.write(view, i * type.size(this.width), value, this.width);
    });
    return BigInt(ARGUMENTS * 4096 + offset);
  }

  got<T>(type: Type<T>, offset = 0, index = 0): T {
    const at = this.host.memory.frameOffset(this.mfn(ARGUMENTS)) + offset;
    return type.read(this.host.memory.view, at + index * type.size(this.width), this.width);
  }

  /** Makes a hypercall to its end: the result, signed. */
  call(name: HypercallName, ...args: (number | bigint)[]): number {
    this.run();
    let six = Array.from({ length: 6 }, (_, i) => BigInt.asUintN(this.width, BigInt(args[i] ?? 0)));
    for (;;) {
      const result = dispatch(this.vcpu, HYPERCALL[name], six);
      if (!this.vcpu.contextReplaced) return Number(BigInt.asIntN(64, result));
      this.vcpu.contextReplaced = false;
      six = argumentsOf(this.vcpu);
    }
  }

  try(name: HypercallName, ...args: (number | bigint)[]): string {
    return errnoName(this.call(name, ...args));
  }

  /** A hypercall (cmd, pointer to one struct): the result as the error's name. */
  op<T>(name: HypercallName, command: number, type: Type<T>, value: T, ...more: number[]): string {
    return this.try(name, command, this.put(type, [value]), ...more);
  }

  /** First byte of a guest frame. */
  byte(gfn: number): number {
    return this.host.memory.u8[this.host.memory.frameOffset(this.mfn(gfn))];
  }
  setByte(gfn: number, value: number): void {
    this.host.memory.u8[this.host.memory.frameOffset(this.mfn(gfn))] = value;
  }

  get rax(): bigint {
    return this.vcpu.cpu.gpr[R.rax];
  }
}
