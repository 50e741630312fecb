// Stores of register images that leave memory alone where any page of the image can't be written.
import { FRAME_SIZE } from '../layout.ts';
import type { HelperCore } from './core.ts';

const OFFSET_MASK = BigInt(FRAME_SIZE - 1);

/** Raises the fault that a write to any page of a range would raise, by reading a byte of each as a write would. */
export function requireWritable(core: HelperCore, linear: bigint, length: number): void {
  const end = linear + BigInt(length);
  const byte = new Uint8Array(1);
  const access = { write: true, user: core.state.cpl === 3, operand: true };
  for (let at = linear; at < end; at = (at | OFFSET_MASK) + 1n) {
    core.readLinear(BigInt.asUintN(64, at), byte, access);
  }
}

/** Writes all or nothing. */
export function writeWhole(core: HelperCore, linear: bigint, bytes: Uint8Array): void {
  const crosses = (linear & OFFSET_MASK) + BigInt(bytes.length) > BigInt(FRAME_SIZE);
  if (crosses) requireWritable(core, linear, bytes.length);
  core.writeLinear(linear, bytes);
}
