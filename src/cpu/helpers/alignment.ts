// #AC of the images that instructions store and load as a whole (SDM Vol. 3A, 6.15, table 6-7); other operands are checked where they are accessed.
import { GuestFault, Vector } from '../exits.ts';
import { checksAlignment } from '../mode.ts';
import type { HelperCore } from './core.ts';

/**
 * Raises #AC where software asked for it and the image is not aligned.
 * @param unit a power of two, in bytes
 * @param touch raises the page fault of the access, which comes first
 */
export function requireAlignment(core: HelperCore, linear: bigint, unit: bigint, touch: () => void): void {
  if (!checksAlignment(core.state) || !(linear & (unit - 1n))) return;
  touch();
  throw new GuestFault(Vector.AC, 0);
}
