// One lane of the SSE arithmetic: binary32 as unsigned numbers, binary64 as unsigned BigInt (SDM Vol. 2, each instruction).
// Flags gather in `env.flags`; `packed32` and its kin in sse-packed.ts end the lanes.
import { add, div, fma, mul, sqrt, sub } from './arithmetic.ts';
import { compare, LESS, order, UNORDERED } from './compare.ts';
import { roundToIntegral } from './convert.ts';
import type { FloatEnv } from './float-env.ts';
import { BINARY32, BINARY64, type Format, IE, TOWARD_ZERO } from './format.ts';
import { noteDenormals } from './nan.ts';
import { pack32, pack64, QNAN, type Unpacked, unpack32, unpack64, ZERO } from './unpacked.ts';

export type Lane32 = (env: FloatEnv, a: number, b: number) => number;
export type Lane64 = (env: FloatEnv, a: bigint, b: bigint) => bigint;
type Operation = (env: FloatEnv, fmt: Format, a: Unpacked, b: Unpacked) => Unpacked;

function binary32(env: FloatEnv, operation: Operation, a: number, b: number): number {
  return pack32(operation(env, BINARY32, unpack32(env, a), unpack32(env, b)));
}

function binary64(env: FloatEnv, operation: Operation, a: bigint, b: bigint): bigint {
  return pack64(operation(env, BINARY64, unpack64(env, a), unpack64(env, b)));
}

export const add32: Lane32 = (env, a, b) => binary32(env, add, a, b);
export const sub32: Lane32 = (env, a, b) => binary32(env, sub, a, b);
export const mul32: Lane32 = (env, a, b) => binary32(env, mul, a, b);
export const div32: Lane32 = (env, a, b) => binary32(env, div, a, b);
export const add64: Lane64 = (env, a, b) => binary64(env, add, a, b);
export const sub64: Lane64 = (env, a, b) => binary64(env, sub, a, b);
export const mul64: Lane64 = (env, a, b) => binary64(env, mul, a, b);
export const div64: Lane64 = (env, a, b) => binary64(env, div, a, b);

/** SQRT has one operand, the source. */
export const sqrt32: Lane32 = (env, _, b) => pack32(sqrt(env, BINARY32, unpack32(env, b)));
export const sqrt64: Lane64 = (env, _, b) => pack64(sqrt(env, BINARY64, unpack64(env, b)));

/**
 * VFMADD: a * b + c. The order matters to NaNs alone: for the 213 form a is the second operand and b the destination.
 */
export function fma32(env: FloatEnv, a: number, b: number, c: number): number {
  return pack32(fma(env, BINARY32, unpack32(env, a), unpack32(env, b), unpack32(env, c)));
}

export function fma64(env: FloatEnv, a: bigint, b: bigint, c: bigint): bigint {
  return pack64(fma(env, BINARY64, unpack64(env, a), unpack64(env, b), unpack64(env, c)));
}

/** MIN and MAX return the source, bit for bit, if either is a NaN (IE, quiet ones too) or both are zero. */
function takesFirst(env: FloatEnv, a: Unpacked, b: Unpacked, wanted: number): boolean {
  if (a.kind >= QNAN || b.kind >= QNAN) {
    env.flags |= IE;
    return false;
  }
  noteDenormals(env, a, b);
  return order(a, b) === wanted;
}

function extreme32(env: FloatEnv, a: number, b: number, wanted: number): number {
  const x = unpack32(env, a);
  const y = unpack32(env, b);
  // Packing again makes a zero of a denormal under DAZ.
  return takesFirst(env, x, y, wanted) ? pack32(x) : y.kind === ZERO ? pack32(y) : b;
}

function extreme64(env: FloatEnv, a: bigint, b: bigint, wanted: number): bigint {
  const x = unpack64(env, a);
  const y = unpack64(env, b);
  return takesFirst(env, x, y, wanted) ? pack64(x) : y.kind === ZERO ? pack64(y) : b;
}

export const min32: Lane32 = (env, a, b) => extreme32(env, a, b, LESS);
export const max32: Lane32 = (env, a, b) => extreme32(env, a, b, -LESS);
export const min64: Lane64 = (env, a, b) => extreme64(env, a, b, LESS);
export const max64: Lane64 = (env, a, b) => extreme64(env, a, b, -LESS);

/** The relations for which each of the eight predicates holds, bits: 1 less, 2 equal, 4 greater, 8 unordered. */
const PREDICATES = [2, 1, 3, 8, 13, 14, 12, 7];
/** LT, LE, NLT, NLE: a quiet NaN is invalid too. */
const SIGNALING = 0b01100110;

function predicateHolds(env: FloatEnv, a: Unpacked, b: Unpacked, predicate: number): boolean {
  const relation = compare(env, a, b, ((SIGNALING >> predicate) & 1) === 1);
  return ((PREDICATES[predicate] >> (relation + 1)) & 1) === 1;
}

/** CMPccPS, CMPccSS. @param predicate imm8, 0-7 @returns all ones or 0 */
export function cmp32(env: FloatEnv, a: number, b: number, predicate: number): number {
  return predicateHolds(env, unpack32(env, a), unpack32(env, b), predicate) ? 0xffffffff : 0;
}

/** CMPccPD, CMPccSD. */
export function cmp64(env: FloatEnv, a: bigint, b: bigint, predicate: number): bigint {
  return predicateHolds(env, unpack64(env, a), unpack64(env, b), predicate) ? 0xffffffffffffffffn : 0n;
}

function comparisonFlags(relation: number): number {
  return relation === UNORDERED ? 0x45 : relation === LESS ? 0x01 : relation === 0 ? 0x40 : 0;
}

/** COMISS (signaling), UCOMISS: ZF, PF and CF at their places in EFLAGS; the other arithmetic flags become 0. */
export function comis32(env: FloatEnv, a: number, b: number, signaling: boolean): number {
  return comparisonFlags(compare(env, unpack32(env, a), unpack32(env, b), signaling));
}

/** COMISD (signaling), UCOMISD. */
export function comis64(env: FloatEnv, a: bigint, b: bigint, signaling: boolean): number {
  return comparisonFlags(compare(env, unpack64(env, a), unpack64(env, b), signaling));
}

/** ROUNDPS and ROUNDSS: imm8 bits 1-0 the mode, bit 2 MXCSR's instead, bit 3 no PE. A denormal raises no DE. */
export function round32(env: FloatEnv, a: number, imm: number): number {
  const mode = imm & 4 ? env.rounding : imm & TOWARD_ZERO;
  return pack32(roundToIntegral(env, unpack32(env, a), mode, (imm & 8) !== 0));
}

/** ROUNDPD and ROUNDSD. */
export function round64(env: FloatEnv, a: bigint, imm: number): bigint {
  const mode = imm & 4 ? env.rounding : imm & TOWARD_ZERO;
  return pack64(roundToIntegral(env, unpack64(env, a), mode, (imm & 8) !== 0));
}
