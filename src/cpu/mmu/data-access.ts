// Data accesses that generated code does not do itself: those that the TLB does not answer, and those that it must not answer.
//
// fill() walks the tables for the TLB. What it refuses comes to load() and store(): accesses that cross a page, device space, frames with
// decoded code, watched pages, read-only pages whose stores the hypervisor may take, and everything that faults.
import type { Breakpoints } from '../breakpoints.ts';
import type { CurrentInstruction } from '../current-instruction.ts';
import { GuestFault, Vector } from '../exits.ts';
import { HINT_GENERAL, HINT_STACK } from '../interp/record.ts';
import { FRAME_SIZE, S } from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { NOT_RAM } from '../physical-map.ts';
import type { CpuState } from '../state.ts';
import type { Bus, ProtectedStore } from '../types.ts';
import { highHalf, inOnePage, isCanonicalHalf, lowHalf } from './linear.ts';
import type { Mmu } from './mmu.ts';
import { AccessKind, PageFault } from './paging.ts';

/** What accesses reach beside RAM; a part of Processor. */
export interface Surroundings {
  readonly bus: Bus;
  readonly instruction: CurrentInstruction;
  readonly onProtectedStore: ProtectedStore | null;
  wroteFrame(mfn: Mfn, offset: number, length: number): void;
  /** Throws RunAlone where the instruction that runs now is one of several. */
  requireAlone(): void;
}

export class DataAccess {
  private readonly state: CpuState;
  private readonly memory: EngineMemory;
  private readonly mmu: Mmu;
  private readonly breakpoints: Breakpoints;
  private readonly surroundings: Surroundings;
  /** Guest-physical address of the byte that locate() found beyond RAM. */
  private deviceAddress = 0n;

  constructor(state: CpuState, memory: EngineMemory, mmu: Mmu, breakpoints: Breakpoints, surroundings: Surroundings) {
    this.state = state;
    this.memory = memory;
    this.mmu = mmu;
    this.breakpoints = breakpoints;
    this.surroundings = surroundings;
  }

  /** Fills the TLB for an access of one page; gives its engine-memory address, or 0 for everything special. Never throws. */
  fill(lo: number, hi: number, bytes: number, kind: number): number {
    const { paging, user } = this.mmu;
    if (!isCanonicalHalf(hi) || (lo & 0xfff) + bytes > FRAME_SIZE || this.mmu.alignment) return 0;
    if (!paging.walk(lo, hi, kind, user)) return 0;
    return this.mmu.keep(lo, hi, kind) ? (this.memory.frameOffset(paging.mfn) + (lo & 0xfff)) | 0 : 0;
  }

  /**
   * 1, 2, 4 or 8 bytes as an instruction reads them. Throws GuestFault.
   * @param hint which segment the address belongs to: HINT_STACK, HINT_GENERAL, or HINT_RECORD for the current record's
   * @param update the bytes are going to be written: checked for that
   */
  load(linear: bigint, bytes: number, hint: number, update: boolean): bigint {
    if (this.breakpoints.watching) this.breakpoints.note(linear, bytes, false);
    if (!inOnePage(linear, bytes)) return this.loadCrossing(linear, bytes, hint, update);
    const offered = update && this.refusalOf(linear, hint) !== 0;
    const host = this.locate(linear, update && !offered ? AccessKind.write : AccessKind.read, hint);
    this.requireAligned(linear, bytes);
    return host < 0 ? this.surroundings.bus.read(this.deviceAddress, bytes) : this.read(host, bytes);
  }

  /** 1, 2, 4 or 8 bytes as an instruction writes them; bits of the value beyond them do not count. Throws GuestFault. */
  store(linear: bigint, value: bigint, bytes: number, hint: number): void {
    if (this.breakpoints.watching) this.breakpoints.note(linear, bytes, true);
    const stored = BigInt.asUintN(bytes * 8, value);
    if (!inOnePage(linear, bytes)) {
      this.storeCrossing(linear, stored, bytes, hint);
      return;
    }
    const refusal = this.refusalOf(linear, hint);
    if (refusal !== 0) {
      const taken = this.surroundings.onProtectedStore?.(linear, bytes as 1 | 2 | 4 | 8, stored);
      if (!taken) throw new GuestFault(Vector.PF, refusal, linear);
      return;
    }
    const host = this.locate(linear, AccessKind.write, hint);
    this.requireAligned(linear, bytes);
    this.put(host, stored, bytes);
  }

  /** 16 bytes, of which none is written before all may be. Throws GuestFault. */
  store128(linear: bigint, low: bigint, high: bigint, hint: number): void {
    const second = this.mmu.wrap(linear + 8n);
    const last = this.mmu.wrap(linear + 15n);
    this.mmu.requireCanonical(highHalf(last), this.vectorOf(hint));
    this.requireWritable(linear, hint);
    if (!inOnePage(linear, 16)) this.requireWritable(last & ~0xfffn, hint);
    this.store(linear, low, 8, hint);
    this.store(second, high, 8, hint);
  }

  /** Throws GuestFault where the byte may not be written, nor offered as a protected store. */
  private requireWritable(linear: bigint, hint: number): void {
    if (this.refusalOf(linear, hint) === 0) this.locate(linear, AccessKind.write, hint);
  }

  /** Both pages are checked before the first byte is taken. */
  private loadCrossing(linear: bigint, bytes: number, hint: number, update: boolean): bigint {
    const kind = update ? AccessKind.write : AccessKind.read;
    this.requireBoth(linear, bytes, kind, hint);
    let value = 0n;
    for (let i = 0; i < bytes; i++) {
      const host = this.locate(this.mmu.wrap(linear + BigInt(i)), kind, hint);
      const byte = host < 0 ? this.surroundings.bus.read(this.deviceAddress, 1) : this.read(host, 1);
      value |= byte << BigInt(8 * i);
    }
    return value;
  }

  private storeCrossing(linear: bigint, value: bigint, bytes: number, hint: number): void {
    this.requireBoth(linear, bytes, AccessKind.write, hint);
    for (let i = 0; i < bytes; i++) {
      const host = this.locate(this.mmu.wrap(linear + BigInt(i)), AccessKind.write, hint);
      this.put(host, (value >> BigInt(8 * i)) & 0xffn, 1);
    }
  }

  private requireBoth(linear: bigint, bytes: number, kind: number, hint: number): void {
    const second = BigInt.asUintN(64, linear + BigInt(bytes - 1)) & ~0xfffn;
    this.mmu.requireCanonical(highHalf(second), this.vectorOf(hint));
    this.locate(linear, kind, hint);
    this.locate(second, kind, hint);
    this.requireAligned(linear, bytes);
  }

  /** Throws #AC. A page fault comes first. */
  private requireAligned(linear: bigint, bytes: number): void {
    if (this.mmu.alignment && linear & BigInt(bytes - 1)) throw new GuestFault(Vector.AC, 0);
  }

  /**
   * 0 where a page may be written. Where it is only read, but the hypervisor may take stores to it: the #PF error code that the store has
   * if it does not (which shows when it comes with its value). Throws GuestFault else.
   */
  private refusalOf(linear: bigint, hint: number): number {
    const { paging, user } = this.mmu;
    const lo = lowHalf(linear);
    const hi = highHalf(linear);
    this.mmu.requireCanonical(hi, this.vectorOf(hint));
    if (paging.walk(lo, hi, AccessKind.write, user)) return 0;
    const code = paging.errorCode;
    const readOnly = (code & (PageFault.present | PageFault.reserved)) === PageFault.present;
    const takes = this.state.get32(S.pv) && this.surroundings.onProtectedStore;
    const offered = takes && readOnly && paging.walk(lo, hi, AccessKind.read, user);
    if (!offered) throw new GuestFault(Vector.PF, code, linear);
    return code;
  }

  /** Engine-memory address of a byte, valid to the end of its page; -1 beyond RAM: deviceAddress has it. Throws GuestFault, RunAlone. */
  private locate(linear: bigint, kind: number, hint: number): number {
    const lo = lowHalf(linear);
    const hi = highHalf(linear);
    this.mmu.requireCanonical(hi, this.vectorOf(hint));
    const cached = this.mmu.tlb.probe(kind, lo, hi);
    if (cached) return cached;
    this.mmu.walk(lo, hi, kind);
    const { gfn, mfn } = this.mmu.paging;
    if (mfn === NOT_RAM) {
      this.surroundings.requireAlone();
      this.deviceAddress = BigInt(gfn) * 4096n + (linear & 0xfffn);
      return -1;
    }
    this.mmu.keep(lo, hi, kind);
    return this.memory.frameOffset(mfn) + (lo & 0xfff);
  }

  /** The vector for addresses that are not canonical: #SS for the stack segment. */
  private vectorOf(hint: number): number {
    if (hint === HINT_STACK) return Vector.SS;
    if (hint === HINT_GENERAL) return Vector.GP;
    return this.surroundings.instruction.operandVector();
  }

  private read(host: number, bytes: number): bigint {
    const { view } = this.memory;
    if (bytes === 8) return view.getBigUint64(host, true);
    return BigInt(
      bytes === 1 ? view.getUint8(host) : bytes === 2 ? view.getUint16(host, true) : view.getUint32(host, true),
    );
  }

  /** Writes where locate() found the byte. */
  private put(host: number, value: bigint, bytes: number): void {
    if (host < 0) {
      this.surroundings.bus.write(this.deviceAddress, bytes, value);
      return;
    }
    const { view, ramBase } = this.memory;
    this.surroundings.wroteFrame((host - ramBase) >>> 12, (host - ramBase) & 0xfff, bytes);
    if (bytes === 8) view.setBigUint64(host, value, true);
    else if (bytes === 4) view.setUint32(host, Number(value), true);
    else if (bytes === 2) view.setUint16(host, Number(value), true);
    else view.setUint8(host, Number(value));
  }
}
