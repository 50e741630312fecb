// A number of any format taken apart: sign, integer significand, exponent of its lowest bit; and back into bits.
// Encodings: SDM Vol. 1, 4.2 (real numbers) and 8.2.2 (the x87's unsupported encodings).
import type { FloatEnv } from './float-env.ts';
import type { Ext80 } from './format.ts';

/** Kinds in an order that makes "is a NaN or worse" one comparison. */
export const ZERO = 0;
export const FINITE = 1;
export const INFINITE = 2;
export const QNAN = 3;
export const SNAN = 4;
/** Encodings that the x87 refuses: unnormals, pseudo-infinity, pseudo-NaN. */
export const UNSUPPORTED = 5;

export interface Unpacked {
  readonly kind: number;
  /** 0 or 1. */
  readonly sign: number;
  /** Finite: the value is sig * 2^exp. Otherwise 0. */
  readonly exp: number;
  /** Finite: a positive integer. NaN: the 64-bit significand that an x87 register would hold. */
  readonly sig: bigint;
  /** Was encoded with the exponent field 0. */
  readonly denormal: boolean;
}

const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;

export const ZEROS: readonly Unpacked[] = [0, 1].map(sign => ({ kind: ZERO, sign, exp: 0, sig: 0n, denormal: false }));
export const INFINITIES: readonly Unpacked[] = [0, 1].map(sign => ({
  kind: INFINITE,
  sign,
  exp: 0,
  sig: INTEGER_BIT,
  denormal: false,
}));
/** "QNaN floating-point indefinite", the masked response to an invalid operation. */
export const DEFAULT_NAN: Unpacked = { kind: QNAN, sign: 1, exp: 0, sig: INTEGER_BIT | QUIET_BIT, denormal: false };
export const ONE: Unpacked = { kind: FINITE, sign: 0, exp: 0, sig: 1n, denormal: false };

export function finite(sign: number, exp: number, sig: bigint): Unpacked {
  return sig === 0n ? ZEROS[sign] : { kind: FINITE, sign, exp, sig, denormal: false };
}

export function quieted(u: Unpacked): Unpacked {
  return { kind: QNAN, sign: u.sign, exp: 0, sig: u.sig | INTEGER_BIT | QUIET_BIT, denormal: false };
}

export function withSign(u: Unpacked, sign: number): Unpacked {
  return u.sign === sign ? u : { kind: u.kind, sign, exp: u.exp, sig: u.sig, denormal: u.denormal };
}

const float64 = new Float64Array(1);
const words = new Uint32Array(float64.buffer);

/** Number of bits up to the leading one; 0 for 0. Goes through a double's exponent, which is far cheaper than a string. */
export function bitLength(x: bigint): number {
  if (x === 0n) return 0;
  const n = Number(x);
  if (n === Infinity) return x.toString(2).length;
  float64[0] = n;
  const length = (words[1] >>> 20) - 1022;
  // A long integer may have been rounded up to the next power of two.
  if (n > Number.MAX_SAFE_INTEGER && (words[1] & 0xfffff) === 0 && words[0] === 0 && x >> BigInt(length - 1) === 0n) {
    return length - 1;
  }
  return length;
}

function nan(sign: number, sig: bigint): Unpacked {
  return { kind: sig & QUIET_BIT ? QNAN : SNAN, sign, exp: 0, sig, denormal: false };
}

/** @param bits binary32 as an unsigned 32-bit number */
export function unpack32(env: FloatEnv, bits: number): Unpacked {
  const sign = bits >>> 31;
  const field = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (field === 0xff) return fraction === 0 ? INFINITIES[sign] : nan(sign, INTEGER_BIT | (BigInt(fraction) << 40n));
  if (field !== 0) return { kind: FINITE, sign, exp: field - 150, sig: BigInt(fraction | 0x800000), denormal: false };
  if (fraction === 0 || env.daz) return ZEROS[sign];
  return { kind: FINITE, sign, exp: -149, sig: BigInt(fraction), denormal: true };
}

/** @param bits binary64 as an unsigned 64-bit BigInt */
export function unpack64(env: FloatEnv, bits: bigint): Unpacked {
  const high = Number(bits >> 52n);
  const sign = (high >>> 11) & 1;
  const field = high & 0x7ff;
  const fraction = bits & 0xfffffffffffffn;
  if (field === 0x7ff) return fraction === 0n ? INFINITIES[sign] : nan(sign, INTEGER_BIT | (fraction << 11n));
  if (field !== 0) return { kind: FINITE, sign, exp: field - 1075, sig: fraction | 0x10000000000000n, denormal: false };
  if (fraction === 0n || env.daz) return ZEROS[sign];
  return { kind: FINITE, sign, exp: -1074, sig: fraction, denormal: true };
}

export function unpackExt(signExp: number, mantissa: bigint): Unpacked {
  const sign = (signExp >>> 15) & 1;
  const field = signExp & 0x7fff;
  if (field === 0) {
    if (mantissa === 0n) return ZEROS[sign];
    // A pseudo-denormal (leading bit set) counts with the exponent of the smallest normal number, as denormals do.
    return { kind: FINITE, sign, exp: -16445, sig: mantissa, denormal: true };
  }
  if ((mantissa & INTEGER_BIT) === 0n) return { kind: UNSUPPORTED, sign, exp: 0, sig: mantissa, denormal: false };
  if (field !== 0x7fff) return { kind: FINITE, sign, exp: field - 16446, sig: mantissa, denormal: false };
  return mantissa === INTEGER_BIT ? INFINITIES[sign] : nan(sign, mantissa);
}

/** Moves the significand so that its lowest bit is worth 2^exp; the value must be a multiple of that. */
function aligned(u: Unpacked, exp: number): bigint {
  const shift = u.exp - exp;
  return shift >= 0 ? u.sig << BigInt(shift) : u.sig >> BigInt(-shift);
}

/** Encodes a value that already fits binary32 (see `roundTo`). */
export function pack32(u: Unpacked): number {
  const top = u.sign ? 0x80000000 : 0;
  if (u.kind === ZERO) return top;
  if (u.kind === INFINITE) return top + 0x7f800000;
  if (u.kind !== FINITE) return top + 0x7f800000 + Number((u.sig >> 40n) & 0x7fffffn);
  const exp = Math.max(u.exp + bitLength(u.sig) - 24, -149);
  const sig = Number(aligned(u, exp));
  return top + (sig < 0x800000 ? sig : (exp + 149) * 0x800000 + sig);
}

/** Encodes a value that already fits binary64. */
export function pack64(u: Unpacked): bigint {
  const top = u.sign ? 0x8000000000000000n : 0n;
  if (u.kind === ZERO) return top;
  if (u.kind === INFINITE) return top | 0x7ff0000000000000n;
  if (u.kind !== FINITE) return top | 0x7ff0000000000000n | ((u.sig >> 11n) & 0xfffffffffffffn);
  const exp = Math.max(u.exp + bitLength(u.sig) - 53, -1074);
  const sig = aligned(u, exp);
  return top + (sig < 0x10000000000000n ? sig : (BigInt(exp + 1074) << 52n) + sig);
}

/** Encodes a value that already fits the 80-bit register format. */
export function packExt(u: Unpacked): Ext80 {
  const top = u.sign << 15;
  if (u.kind === ZERO) return { signExp: top, mantissa: 0n };
  if (u.kind !== FINITE) return { signExp: top | 0x7fff, mantissa: u.sig };
  const exp = Math.max(u.exp + bitLength(u.sig) - 64, -16445);
  const mantissa = aligned(u, exp);
  return { signExp: top | (mantissa & INTEGER_BIT ? exp + 16446 : 0), mantissa };
}
