// The Internet checksum. Source: RFC 1071; the pseudo header: RFC 9293 section 3.1, RFC 8200 section 8.1.
import type { Ipv4Address } from './addresses.ts';

/** Adds the bytes [from, to) as big-endian 16-bit words, an odd last one padded with zero. Sums may be added to each other. */
export function sum(bytes: Uint8Array, from: number, to: number): number {
  let total = 0;
  const even = to - ((to - from) & 1);
  for (let at = from; at < even; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  if (even < to) total += bytes[even]! << 8;
  return total;
}

/** Folds a sum into 16 bits, without inverting it. */
export function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

/** What stands in a header: the inverse of the sum. */
export const checksumOf = (total: number): number => fold(total) ^ 0xffff;

/** The sum of IPv4's pseudo header for `length` bytes of TCP or UDP. */
export function pseudoSum(source: Ipv4Address, destination: Ipv4Address, protocol: number, length: number): number {
  return (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + length;
}
