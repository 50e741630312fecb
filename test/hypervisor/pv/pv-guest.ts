// A PV guest whose vCPU is in a known state, for tests of how it enters and leaves the hypervisor: no instruction is executed, the test
// says what the processor stopped for.
import { Exit } from '../../../src/cpu/exits.ts';
import { R, S, SEG } from '../../../src/cpu/layout.ts';
import { CPU_MODELS, cpuModel } from '../../../src/cpu/models/index.ts';
import type { CpuState } from '../../../src/cpu/state.ts';
import { setUserBase } from '../../../src/hypervisor/memory/base-pointers.ts';
import { resetPvRegisters } from '../../../src/hypervisor/pv/context.ts';
import { enterGuest, handleExit } from '../../../src/hypervisor/pv/entry.ts';
import { setReturnSegments } from '../../../src/hypervisor/pv/segments.ts';
import type { Vcpu } from '../../../src/hypervisor/vcpu.ts';
import { BASE, type Guest, PAGE, RO, TABLE, TestHost } from '../harness.ts';

const CODE_PAGE = 6;
const KERNEL_STACK_PAGE = 8;
const USER_STACK_PAGE = 9;
const USER_L4_PAGE = 10;

export const CODE = BASE + BigInt(CODE_PAGE * 4096);
/** Tops of two stacks, each with a page below it. */
export const KERNEL_STACK = BASE + BigInt((KERNEL_STACK_PAGE + 1) * 4096);
export const USER_STACK = BASE + BigInt((USER_STACK_PAGE + 1) * 4096);
export const HANDLER = BASE + 0x123450n;
export const KERNEL_GS = 0xffff888000001000n;
export const USER_GS = 0x7f0000002000n;

export class PvGuest {
  readonly host = new TestHost();
  readonly guest: Guest;
  readonly vcpu: Vcpu;

  constructor(model: string = CPU_MODELS[0].name) {
    Object.assign(this.host.processor, { model: cpuModel(model) });
    this.guest = this.host.guest();
    const { hypervisor } = this.host;
    const { domain, vcpu } = this.guest;
    this.vcpu = vcpu;
    domain.sharedInfoMfn = hypervisor.frames.allocateXen(domain.id, true);
    vcpu.info.at = hypervisor.memory.frameOffset(domain.sharedInfoMfn);
    hypervisor.loaded = null;
    resetPvRegisters(vcpu);
    vcpu.isInitialised = true;
    vcpu.isUp = true;
    this.guest.run();
    vcpu.pv.kernelSp = KERNEL_STACK;
    this.cpu.rip = CODE;
    this.cpu.gpr[R.rsp] = KERNEL_STACK;
    this.cpu.set(S.segments + SEG.gs * 32, KERNEL_GS);
    this.cpu.set(S.kernelGsBase, USER_GS);
  }

  get cpu(): CpuState {
    return this.vcpu.cpu;
  }
  get pv() {
    return this.vcpu.pv;
  }
  get domain() {
    return this.guest.domain;
  }
  get gsBase(): bigint {
    return this.cpu.get(S.segments + SEG.gs * 32);
  }
  get cs(): number {
    return this.cpu.readSegment(SEG.cs).selector;
  }
  get ss(): number {
    return this.cpu.readSegment(SEG.ss).selector;
  }

  /** A second page-table root with the same mappings, and the vCPU in its user mode. */
  enterUser(): this {
    this.giveUserTable();
    const { pv, cpu } = this;
    pv.inKernel = false;
    cpu.gpr[R.rsp] = USER_STACK;
    cpu.set(S.segments + SEG.gs * 32, USER_GS);
    cpu.set(S.kernelGsBase, KERNEL_GS);
    setReturnSegments(this.vcpu, 0xe033);
    this.host.processor.selectAddressSpace(BigInt(pv.guestTableUser) << 12n);
    return this;
  }

  giveUserTable(): void {
    if (this.pv.guestTableUser !== 0) return;
    this.guest.protect(USER_L4_PAGE);
    this.guest.poke(USER_L4_PAGE, 511, this.guest.entry(PAGE.l3, TABLE));
    const rc = setUserBase(this.vcpu, this.guest.mfns[USER_L4_PAGE]);
    if (rc !== 0) throw new Error(`no user table: ${rc}`);
  }

  handler(vector: number, flags = 0, address: bigint = HANDLER): void {
    this.pv.traps[vector] = { cs: 0xe033, flags, address };
  }

  /** The processor stops for an exception. */
  exception(vector: number, code: number | null = null, address = 0n): void {
    const { cpu } = this;
    cpu.set32(S.faultVector, vector);
    cpu.set32(S.faultHasCode, code === null ? 0 : 1);
    cpu.set32(S.faultCode, code ?? 0);
    cpu.set(S.faultAddress, address);
    this.exit(Exit.exception);
  }

  softwareInterrupt(vector: number, length = 2): void {
    this.cpu.set(S.exitInfo, BigInt(vector));
    this.cpu.set(S.nextRip, this.cpu.rip + BigInt(length));
    this.exit(Exit.softwareInterrupt);
  }

  syscall(): void {
    this.cpu.set(S.nextRip, this.cpu.rip + 2n);
    this.exit(Exit.syscall);
  }

  /** Handles an exit and goes back to the guest. */
  exit(kind: number): boolean {
    handleExit(this.vcpu, kind);
    return this.domain.shutdown ? false : enterGuest(this.vcpu);
  }

  /** Words at the guest's stack pointer. */
  frame(count: number): bigint[] {
    return this.words(this.cpu.gpr[R.rsp], count);
  }

  words(address: bigint, count: number): bigint[] {
    const raw = new Uint8Array(count * 8);
    this.host.processor.readLinear(address, raw, { write: false, user: true });
    return [...new BigUint64Array(raw.buffer)];
  }

  store(address: bigint, words: readonly bigint[]): void {
    const raw = new Uint8Array(BigUint64Array.from(words).buffer);
    this.host.processor.writeLinear(address, raw, { write: true, user: true });
  }

  /** Puts code at RIP. */
  code(...bytes: number[]): void {
    this.host.processor.writeLinear(this.cpu.rip, Uint8Array.from(bytes), { write: true, user: true });
  }

  /** Takes a page of the guest away from it. */
  unmap(address: bigint): void {
    const page = Number((address - BASE) >> 12n);
    this.guest.updateVa(page, 0n);
  }

  get crash(): string | null {
    return this.domain.crashReason;
  }
}

export const READ_ONLY = RO;
