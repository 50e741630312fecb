// Linear memory as the processor's TypeScript parts and the hypervisor see it: translated addresses and copies, page by page.
import type { Breakpoints } from '../breakpoints.ts';
import { GuestFault, Vector } from '../exits.ts';
import { FRAME_SIZE } from '../layout.ts';
import type { EngineMemory } from '../memory.ts';
import { NOT_RAM } from '../physical-map.ts';
import type { Access } from '../types.ts';
import type { Surroundings } from './data-access.ts';
import { highHalf, inOnePage, lowHalf } from './linear.ts';
import type { Mmu } from './mmu.ts';
import { AccessKind } from './paging.ts';

/** What bytes read as where there is no RAM. */
const OPEN_BUS = 0xff;
/** Fewer bytes are copied one by one: that is cheaper than a view. */
const FEW = 16;

export class LinearMemory {
  private readonly memory: EngineMemory;
  private readonly mmu: Mmu;
  private readonly breakpoints: Breakpoints;
  private readonly surroundings: Surroundings;

  constructor(memory: EngineMemory, mmu: Mmu, breakpoints: Breakpoints, surroundings: Surroundings) {
    this.memory = memory;
    this.mmu = mmu;
    this.breakpoints = breakpoints;
    this.surroundings = surroundings;
  }

  /** See Processor.translate. */
  translate(linear: bigint, access: Access): number {
    const { tlb, paging, user } = this.mmu;
    const lo = lowHalf(linear);
    const hi = highHalf(linear);
    this.mmu.requireCanonical(hi, access.operand ? this.surroundings.instruction.operandVector() : Vector.GP);
    const kind = access.write ? AccessKind.write : access.execute ? AccessKind.execute : AccessKind.read;
    if (access.user === user) {
      const cached = tlb.probe(kind, lo, hi);
      if (cached) return cached;
    }
    if (!paging.walk(lo, hi, kind, access.user)) throw new GuestFault(Vector.PF, paging.errorCode, linear);
    if (access.user === user) this.mmu.keep(lo, hi, kind);
    return paging.mfn === NOT_RAM ? -1 : this.memory.frameOffset(paging.mfn) + (lo & 0xfff);
  }

  /** See Processor.readLinear. */
  read(linear: bigint, into: Uint8Array, access: Access = { write: false, user: this.mmu.user, operand: true }): void {
    if (this.breakpoints.watching) this.breakpoints.note(linear, into.length, false);
    if (into.length === 0) return;
    if (inOnePage(linear, into.length)) this.copyOut(this.translate(linear, access), into, 0, into.length);
    else this.eachPage(linear, into.length, access, (host, at, length) => this.copyOut(host, into, at, length));
  }

  /** See Processor.writeLinear. */
  write(linear: bigint, from: Uint8Array, access: Access = { write: true, user: this.mmu.user, operand: true }): void {
    if (this.breakpoints.watching) this.breakpoints.note(linear, from.length, true);
    if (from.length === 0) return;
    const writing = access.write ? access : { ...access, write: true };
    if (inOnePage(linear, from.length)) this.copyIn(this.translate(linear, writing), from, 0, from.length);
    else this.eachPage(linear, from.length, writing, (host, at, length) => this.copyIn(host, from, at, length));
  }

  /** Bytes [at, at + length) of the buffer from engine memory; host < 0: there is no RAM. */
  private copyOut(host: number, into: Uint8Array, at: number, length: number): void {
    const { u8 } = this.memory;
    if (host < 0) into.fill(OPEN_BUS, at, at + length);
    else if (length > FEW) into.set(u8.subarray(host, host + length), at);
    else for (let i = 0; i < length; i++) into[at + i] = u8[host + i];
  }

  private copyIn(host: number, from: Uint8Array, at: number, length: number): void {
    if (host < 0) return;
    const { u8, ramBase } = this.memory;
    this.surroundings.wroteFrame((host - ramBase) >>> 12, (host - ramBase) & 0xfff, length);
    if (length > FEW) u8.set(from.subarray(at, at + length), host);
    else for (let i = 0; i < length; i++) u8[host + i] = from[at + i];
  }

  /** See Processor.fetch. */
  fetch(linear: bigint, max: number): Uint8Array {
    const access: Access = { write: false, user: this.mmu.user, execute: true };
    const out = new Uint8Array(max);
    const first = Math.min(max, FRAME_SIZE - Number(linear & 0xfffn));
    this.read(linear, out.subarray(0, first), access);
    if (first === max) return out;
    try {
      this.read(linear + BigInt(first), out.subarray(first), access);
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      return out.subarray(0, first);
    }
    return out;
  }

  private eachPage(
    linear: bigint,
    length: number,
    access: Access,
    visit: (host: number, at: number, length: number) => void,
  ): void {
    for (let done = 0; done < length; ) {
      const address = this.mmu.wrap(linear + BigInt(done));
      const size = Math.min(length - done, FRAME_SIZE - Number(address & 0xfffn));
      visit(this.translate(address, access), done, size);
      done += size;
    }
  }
}
