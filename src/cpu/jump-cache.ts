// The jump cache: linear address of a block to its records, across pages and address spaces. run() looks into it by itself; an entry
// counts where its salt is S.jumpSalt, which is the TLB bank's generation and the mode.
import { JUMP_CACHE, JUMP_CACHE_ENTRIES, JUMP_ENTRY_SIZE } from './layout.ts';
import type { EngineMemory } from './memory.ts';

/** Generations are below this: salts have 32 bits. */
export const GENERATIONS = 1 << 22;
const MODE_BITS = 10;
/** S.jumpSalt that no entry has: every block is looked up. */
export const NO_SALT = 0xffffffff;

/** @param mode of S.mode */
export function jumpSalt(generation: number, mode: number): number {
  return ((generation << MODE_BITS) | (mode & ((1 << MODE_BITS) - 1))) >>> 0;
}

/** Makes an entry. @param lo, hi halves of RIP; header address of the block */
export function putJump(memory: EngineMemory, lo: number, hi: number, header: number, salt: number): void {
  // run() computes the same index
  const folded = lo ^ ((lo >>> 12) | (hi << 20));
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
