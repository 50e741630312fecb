// The memory management unit: the address space that is current, walks of its tables, and the TLB bank that keeps what they found.
import type { Breakpoints } from '../breakpoints.ts';
import { GuestFault, Vector } from '../exits.ts';
import { FRAME_FLAGS, FrameFlag } from '../layout.ts';
import type { EngineMemory } from '../memory.ts';
import { NOT_RAM, type PhysicalMap } from '../physical-map.ts';
import { highHalf, isCanonicalHalf, joinHalves, lowHalf } from './linear.ts';
import { AccessKind, Paging } from './paging.ts';
import { TlbBanks } from './tlb.ts';

/** Bits that a physical address can have. */
const PHYSICAL = (1n << 52n) - 1n;

export class Mmu {
  readonly tlb: TlbBanks;
  readonly paging: Paging;
  /** The running code is at CPL 3. */
  user = true;
  /** User code asked for alignment faults (CR0.AM, RFLAGS.AC): nothing goes into the TLB, so that every access is looked at. */
  alignment = false;

  private readonly memory: EngineMemory;
  private readonly breakpoints: Breakpoints;

  constructor(memory: EngineMemory, breakpoints: Breakpoints) {
    this.memory = memory;
    this.breakpoints = breakpoints;
    this.tlb = new TlbBanks(memory);
    this.paging = new Paging(memory);
  }

  /** Walks for an access of the running code. Throws GuestFault where it may not be; paging.mfn is the frame. */
  walk(lo: number, hi: number, kind: number): void {
    if (!this.paging.walk(lo, hi, kind, this.user)) {
      throw new GuestFault(Vector.PF, this.paging.errorCode, joinHalves(lo, hi));
    }
  }

  /** Puts what the last walk found, for the running code, into the TLB, if every access through it may go unseen. */
  keep(lo: number, hi: number, kind: number): boolean {
    const { memory, breakpoints } = this;
    const { mfn, global } = this.paging;
    if (this.alignment || mfn === NOT_RAM) return false;
    if (kind === AccessKind.write && memory.u8[FRAME_FLAGS + mfn] & FrameFlag.code) return false;
    if (breakpoints.watching && breakpoints.watchesPage(joinHalves(lo, hi))) return false;
    this.tlb.fill(kind, lo, hi, memory.frameOffset(mfn), mfn, global);
    return true;
  }

  /** Throws GuestFault (the vector, with error code 0) where the paging mode wants canonical addresses and this is none. */
  requireCanonical(hi: number, vector: number): void {
    if (this.paging.controls.mode === 'long' && !isCanonicalHalf(hi)) throw new GuestFault(vector, 0);
  }

  /** An address that may have run past the end of the linear space, within it. */
  wrap(linear: bigint): bigint {
    return BigInt.asUintN(this.paging.controls.mode === 'long' ? 64 : 32, linear);
  }

  /** Another guest's physical memory from now on; null: frame numbers are machine frames. select() has to follow. */
  selectMap(map: PhysicalMap | null): void {
    this.paging.controls.map = map;
    this.tlb.map = map ? map.id : 0;
  }

  /**
   * Chooses the address space and its TLB bank.
   * @param root physical address of the top table
   * @param rules what the processor's controls add to the tables' rights: see accessRules() in mode.ts
   */
  select(root: bigint, pcid: number, rules: number): void {
    const address = Number(root & PHYSICAL);
    this.paging.controls.root = address;
    this.tlb.select(address, pcid, rules);
  }

  invalidatePage(linear: bigint): void {
    this.tlb.invalidatePage(lowHalf(linear), highHalf(linear));
  }
}
