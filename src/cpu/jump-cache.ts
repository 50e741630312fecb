// The jump cache: linear address of a block to its records, across pages and address spaces. run() looks into it by itself; an entry
// counts where its salt is S.jumpSalt, which is the TLB bank's generation and the mode. The salt also chooses the place, so that address
// spaces that have code at the same addresses (every guest's kernel) do not put out each other's entries.
import { JUMP_CACHE, JUMP_CACHE_ENTRIES, JUMP_ENTRY_SIZE } from './layout.ts';
import type { EngineMemory } from './memory.ts';

/** Generations are below this: salts have 32 bits. */
export const GENERATIONS = 1 << 22;
const MODE_BITS = 10;
/** S.jumpSalt that no entry has: every block is looked up. */
export const NO_SALT = 0xffffffff;

/** Odd, so that different generations stay different; their order is scattered over the upper bits. */
const SCATTER = 0x9e3779b1;
/** The bits of a salt that take part in an entry's place are those above these. */
export const SALT_PLACE_SHIFT = 32 - Math.log2(JUMP_CACHE_ENTRIES);

/** @param mode of S.mode */
export function jumpSalt(generation: number, mode: number): number {
  return ((Math.imul(generation, SCATTER) << MODE_BITS) | (mode & ((1 << MODE_BITS) - 1))) >>> 0;
}

/** Makes an entry. @param lo, hi halves of RIP; header address of the block */
export function putJump(memory: EngineMemory, lo: number, hi: number, header: number, salt: number): void {
  // run() computes the same index
  const folded = lo ^ ((lo >>> 12) | (hi << 20)) ^ (salt >>> SALT_PLACE_SHIFT);
  const at = (JUMP_CACHE + (folded & (JUMP_CACHE_ENTRIES - 1)) * JUMP_ENTRY_SIZE) >> 2;
  const { i32 } = memory;
  i32[at] = lo;
  i32[at + 1] = hi;
  i32[at + 2] = header;
  i32[at + 3] = salt;
}

export function clearJumps(memory: EngineMemory): void {
  memory.u8.fill(0, JUMP_CACHE, JUMP_CACHE + JUMP_CACHE_ENTRIES * JUMP_ENTRY_SIZE);
}
