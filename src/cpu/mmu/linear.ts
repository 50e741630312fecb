// Linear addresses in the two forms that they come in: unsigned 64-bit, and two signed 32-bit halves where that spares a BigInt.
import { FRAME_SIZE } from '../layout.ts';

/** The low half, signed. */
export const lowHalf = (linear: bigint): number => Number(BigInt.asIntN(32, linear));
/** The high half, signed. */
export const highHalf = (linear: bigint): number => Number(BigInt.asIntN(32, linear >> 32n));
/** An unsigned address from its halves. */
export const joinHalves = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);

/** Bits 47-63 are alike, as 4-level paging wants them. @param hi high half, signed */
export function isCanonicalHalf(hi: number): boolean {
  const top = hi >> 15;
  return top === 0 || top === -1;
}

/** The bytes from a linear address on do not reach into the next page. */
export const inOnePage = (linear: bigint, bytes: number): boolean => Number(linear & 0xfffn) + bytes <= FRAME_SIZE;
