// From RIP to decoded records: what run() asks for where the jump cache and the links between blocks do not answer.
//
// Decoded code and write entries of the TLB exclude each other: a frame has no write entry once a block on it was looked up, so that every
// store to it is seen (wrote()).

import type { CurrentInstruction } from '../current-instruction.ts';
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { jumpSalt, NO_SALT, putJump } from '../jump-cache.ts';
import { FRAME_FLAGS, FRAME_SIZE, FrameFlag, ModeBit, S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import type { Mmu } from '../mmu/mmu.ts';
import { AccessKind } from '../mmu/paging.ts';
import { codeBaseOf } from '../mode.ts';
import { NOT_RAM } from '../physical-map.ts';
import type { CpuState } from '../state.ts';
import type { BlockCache } from './blocks.ts';
import { HEAD_SIZE, Head, Rec } from './record.ts';

const CS_AT = S.segments + SEG.cs * SEGMENT_SIZE;

export class CodeLookup {
  /** See Processor.interruptPending and nmiPending. */
  interruptPending = false;
  nmiPending = false;
  /** See Processor.stop. */
  stopping = false;
  /** Only blocks made for one use, of exactly as many instructions as fuel is left. */
  exact = false;
  /** run() is to execute one instruction, whatever wants attention. */
  single = false;

  private readonly state: CpuState;
  private readonly memory: EngineMemory;
  private readonly mmu: Mmu;
  private readonly blocks: BlockCache;
  private readonly instruction: CurrentInstruction;
  /** Linear address of the block that is looked up. */
  private low = 0;
  private high = 0;
  private readonly source = { mfn: 0, nextPage: () => this.nextPage() };

  constructor(state: CpuState, memory: EngineMemory, mmu: Mmu, blocks: BlockCache, instruction: CurrentInstruction) {
    this.state = state;
    this.memory = memory;
    this.mmu = mmu;
    this.blocks = blocks;
    this.instruction = instruction;
  }

  /** Header of the block at S.rip; 0 with S.pending where the fetch faults, 0 without where run() has to be left first. */
  lookup(): number {
    if (!this.single && this.wantsAttention()) return 0;
    try {
      const ripLow = this.state.get32(S.rip) | 0;
      const ripHigh = this.state.get32(S.rip + 4) | 0;
      return this.find(ripLow, ripHigh);
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      this.instruction.raise(error);
      return 0;
    }
  }

  /** Throws GuestFault. */
  private find(ripLow: number, ripHigh: number): number {
    const { state, source, mmu } = this;
    const mode = state.get32(S.mode);
    if (mode & ModeBit.long64) {
      this.low = ripLow;
      this.high = ripHigh;
    } else {
      if (ripLow >>> 0 > state.get32(CS_AT + SEG_FIELD.limit)) throw new GuestFault(Vector.GP, 0);
      this.low = this.inCodeSegment(ripLow);
      this.high = 0;
    }
    const offset = this.low & 0xfff;
    source.mfn = this.frameAt(this.low, this.high);
    const fuel = state.get32(S.fuel) | 0;
    let header: number;
    if (this.exact && fuel > 0) header = this.blocks.scratch(source, offset, mode, fuel);
    else header = this.blocks.find(source, offset, mode);
    const salt = state.get32(S.jumpSalt);
    if (salt !== NO_SALT) {
      putJump(this.memory, ripLow, ripHigh, header, salt);
      mmu.tlb.noteJumpInto(this.low);
    }
    mmu.tlb.dropWrites(source.mfn);
    return header;
  }

  private nextPage(): Mfn {
    const lo = ((this.low & ~0xfff) + FRAME_SIZE) | 0;
    const mfn = this.frameAt(lo, lo === 0 ? (this.high + 1) | 0 : this.high);
    this.mmu.tlb.dropWrites(mfn);
    return mfn;
  }

  /** Linear address of an offset into the code segment, outside 64-bit mode. */
  private inCodeSegment(offset: number): number {
    return (offset + this.state.get32(CS_AT + SEG_FIELD.base)) | 0;
  }

  /** Frame that code at a linear address is fetched from. Throws GuestFault. */
  private frameAt(lo: number, hi: number): Mfn {
    const { mmu, memory } = this;
    const host = mmu.tlb.probe(AccessKind.execute, lo, hi);
    if (host) return (host - memory.ramBase) >>> 12;
    mmu.requireCanonical(hi, Vector.GP);
    mmu.walk(lo, hi, AccessKind.execute);
    const { mfn } = mmu.paging;
    if (mfn === NOT_RAM) throw new GuestFault(Vector.GP, 0);
    mmu.tlb.fill(AccessKind.execute, lo, hi, memory.frameOffset(mfn), mfn, mmu.paging.global);
    return mfn;
  }

  /** Resolves the link of a branch record, unless its target faults. */
  link(record: number): void {
    if (this.exact) return;
    const { state, memory, blocks } = this;
    const from = state.rip;
    const { resets } = blocks.statistics;
    state.rip = BigInt.asUintN(64, state.get(S.ripBase) + memory.view.getBigUint64(record + Rec.immediate, true));
    const header = this.lookup();
    state.rip = from;
    if (header === 0) state.set32(S.pending, 0);
    else if (blocks.statistics.resets === resets) memory.view.setUint32(record + Rec.link, header, true);
  }

  /** A HANDLER_CHECK_PAGE record: 1 if the next page is still the frame it was decoded from, else 0 with its block dropped. */
  checkPage(record: number): number {
    const { state, memory } = this;
    let lo = (state.get32(S.ripBase) + FRAME_SIZE) | 0;
    let hi = state.get32(S.ripBase + 4) | 0;
    if (state.get32(S.mode) & ModeBit.long64) {
      if (lo === 0) hi = (hi + 1) | 0;
    } else {
      lo = this.inCodeSegment(lo);
      hi = 0;
    }
    try {
      if (this.frameAt(lo, hi) === memory.view.getUint32(record + Rec.immediate, true)) return 1;
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
    }
    // Decoded afresh it meets the page that is there now, or the fault. The record is the first behind its block's header.
    this.drop(memory.view.getUint32(record - HEAD_SIZE + Head.page, true));
    return 0;
  }

  /** To be called whenever the TLB bank, its generation, the mode, CS or what wants attention may be another. */
  syncSalt(): void {
    const { state } = this;
    const { current } = this.mmu.tlb;
    // the jump cache goes by RIP: it is left out where CS adds to it
    const uncached = this.exact || this.wantsAttention() || codeBaseOf(state) !== 0n;
    state.set32(S.jumpSalt, uncached ? NO_SALT : jumpSalt(current.generation, state.get32(S.mode)));
    state.set32(S.tlb, current.address);
  }

  /** No block may be entered without the run loop having a look first: RFLAGS.TF, stop(), or an interrupt that can be taken now. */
  private wantsAttention(): boolean {
    const { state } = this;
    const flags = state.get32(S.rflags);
    if (flags & Flag.TF || this.stopping) return true;
    if (state.get32(S.pv)) return false;
    return (this.interruptPending && (flags & Flag.IF) !== 0) || (this.nmiPending && !state.get32(S.nmiBlocked));
  }

  /** Bytes of a frame were written to: drops what was decoded from them. */
  wrote(mfn: Mfn, offset: number, length: number): void {
    if (this.blocks.isCode(mfn, offset, length)) this.drop(mfn);
  }

  /** Drops all code of a frame. */
  drop(mfn: Mfn): void {
    if (!(this.memory.u8[FRAME_FLAGS + mfn] & FrameFlag.code)) return;
    this.blocks.dropFrame(mfn);
    this.mmu.tlb.voidJumps();
    this.syncSalt();
  }
}
