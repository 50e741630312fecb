// The memory management unit: the address space that is current, walks of its tables, and the TLB bank that keeps what they found.
import { GuestFault, Vector } from '../exits.ts';
import type { EngineMemory } from '../memory.ts';
import { highHalf, isCanonicalHalf, joinHalves, lowHalf } from './linear.ts';
import { Paging } from './paging.ts';
import { SMAP_LIFTED, TlbBanks } from './tlb.ts';

/** Bits that a physical address can have. */
const PHYSICAL = (1n << 52n) - 1n;

export class Mmu {
  readonly tlb: TlbBanks;
  readonly paging: Paging;
  /** The running code is at CPL 3. */
  user = true;

  constructor(memory: EngineMemory) {
    this.tlb = new TlbBanks(memory);
    this.paging = new Paging(memory);
  }

  /** Walks for an access of the running code. Throws GuestFault where it may not be; paging.mfn is the frame. */
  walk(lo: number, hi: number, kind: number): void {
    if (!this.paging.walk(lo, hi, kind, this.user)) {
      throw new GuestFault(Vector.PF, this.paging.errorCode, joinHalves(lo, hi));
    }
  }

  /** Throws GuestFault (the vector, with error code 0) where the paging mode wants canonical addresses and this is none. */
  requireCanonical(hi: number, vector: number): void {
    if (this.paging.controls.mode === 'long' && !isCanonicalHalf(hi)) throw new GuestFault(vector, 0);
  }

  /** An address that may have run past the end of the linear space, within it. */
  wrap(linear: bigint): bigint {
    return BigInt.asUintN(this.paging.controls.mode === 'long' ? 64 : 32, linear);
  }

  /**
   * Chooses the address space and its TLB bank.
   * @param root machine address of the top table
   * @param smapLifted a kernel has lifted SMAP: the rights of user pages are others in its bank
   */
  select(root: bigint, user: boolean, smapLifted = false): void {
    this.paging.controls.root = Number(root & PHYSICAL);
    this.tlb.select(smapLifted ? root | SMAP_LIFTED : root, user);
  }

  invalidatePage(linear: bigint): void {
    this.tlb.invalidatePage(lowHalf(linear), highHalf(linear));
  }
}
