// FADD, FSUB, FMUL, FDIV in all their forms, FSQRT, FPREM, FRNDINT, FSCALE, FXTRACT, FABS, FCHS (SDM Vol. 2A).
import { add, div, mul, sqrt, sub } from './arithmetic.ts';
import { fromInteger, roundToIntegral } from './convert.ts';
import { EXTENDED, type Format, ZE } from './format.ts';
import { invalid, noteDenormal1, noteDenormals, propagate1, propagate2 } from './nan.ts';
import { partialRemainder } from './remainder.ts';
import { roundTo } from './rounding.ts';
import {
  bitLength,
  DEFAULT_NAN,
  FINITE,
  finite,
  INFINITE,
  INFINITIES,
  type Unpacked,
  unpack32,
  unpack64,
  withSign,
  ZERO,
  ZEROS,
} from './unpacked.ts';
import { missingSt0 } from './x87-series.ts';
import {
  begin,
  C0,
  C1,
  C2,
  C3,
  commit,
  denied,
  env,
  isEmpty,
  pop,
  precision,
  push,
  readSt,
  stackFault,
  top,
  writeRaw,
  writeSt,
  type X87State,
} from './x87-state.ts';

/** The operation field of the opcode: bits 5-3 of ModRM in D8, DC, DE, DA. 2 and 3 compare. */
export const FADD = 0;
export const FMUL = 1;
export const FSUB = 4;
export const FSUBR = 5;
export const FDIV = 6;
export const FDIVR = 7;

function calculate(op: number, fmt: Format, a: Unpacked, b: Unpacked): Unpacked {
  switch (op) {
    case FADD:
      return add(env, fmt, a, b);
    case FMUL:
      return mul(env, fmt, a, b);
    case FSUB:
      return sub(env, fmt, a, b);
    case FSUBR:
      return sub(env, fmt, b, a);
    case FDIV:
      return div(env, fmt, a, b);
    default:
      return div(env, fmt, b, a);
  }
}

/**
 * ST(dst) = ST(0) op ST(i), with FSUBR and FDIVR exchanging the operands; `dst` is 0 or `i`.
 * In the DC and DE encodings the operation field means the same in these terms, whatever the mnemonic.
 */
export function arithmeticSt(s: X87State, op: number, i: number, dst: number, popAfter: boolean): void {
  begin(s);
  if (isEmpty(s, 0) || isEmpty(s, i)) {
    if (!stackFault(s, false)) return;
    writeSt(s, dst, DEFAULT_NAN);
  } else {
    const result = calculate(op, precision(s), readSt(s, 0), readSt(s, i));
    if (!commit(s)) return;
    writeSt(s, dst, result);
  }
  if (popAfter) pop(s);
}

function withOperand(s: X87State, op: number, operand: Unpacked): void {
  if (isEmpty(s, 0)) {
    if (stackFault(s, false)) writeSt(s, 0, DEFAULT_NAN);
    return;
  }
  const result = calculate(op, precision(s), readSt(s, 0), operand);
  if (commit(s)) writeSt(s, 0, result);
}

/** @param bits unsigned 32-bit number */
export function arithmeticM32(s: X87State, op: number, bits: number): void {
  begin(s);
  withOperand(s, op, unpack32(env, bits));
}

/** @param bits unsigned 64-bit BigInt */
export function arithmeticM64(s: X87State, op: number, bits: bigint): void {
  begin(s);
  withOperand(s, op, unpack64(env, bits));
}

/** FIADD and its family. @param value signed, from m16 or m32 */
export function arithmeticInt(s: X87State, op: number, value: number): void {
  begin(s);
  withOperand(s, op, fromInteger(BigInt(value)));
}

function finish(s: X87State, result: Unpacked): void {
  if (commit(s)) writeSt(s, 0, result);
}

export function fsqrt(s: X87State): void {
  begin(s);
  if (!missingSt0(s)) finish(s, sqrt(env, precision(s), readSt(s, 0)));
}

export function frndint(s: X87State): void {
  begin(s);
  if (missingSt0(s)) return;
  const a = readSt(s, 0);
  noteDenormal1(env, a);
  finish(s, denied() ? a : roundToIntegral(env, a, env.rounding, false));
}

/** FABS and FCHS touch the sign bit of whatever the register holds. */
function changeSign(s: X87State, and: number, xor: number): void {
  begin(s);
  if (missingSt0(s)) return;
  const register = top(s);
  writeRaw(s, 0, (s.signExp(register) & and) ^ xor, s.mantissa(register));
}

export function fabs(s: X87State): void {
  changeSign(s, 0x7fff, 0);
}

export function fchs(s: X87State): void {
  changeSign(s, 0xffff, 0x8000);
}

/** FPREM, or FPREM1 with `nearest`. */
export function fprem(s: X87State, nearest: boolean): void {
  begin(s);
  s.fsw &= ~C2;
  if (isEmpty(s, 0) || isEmpty(s, 1)) {
    if (stackFault(s, false)) writeSt(s, 0, DEFAULT_NAN);
    return;
  }
  const { value, quotient, complete } = partialRemainder(env, readSt(s, 0), readSt(s, 1), nearest);
  env.roundedUp = false;
  if (!commit(s)) return;
  if (!complete) s.fsw |= C2;
  if (quotient >= 0) {
    s.fsw &= ~(C0 | C3);
    s.fsw |= (quotient & 4 ? C0 : 0) | (quotient & 2 ? C3 : 0) | (quotient & 1 ? C1 : 0);
  }
  writeSt(s, 0, value);
}

/** Any larger power of two overflows or underflows every operand, bias adjustment included. */
const SCALE_LIMIT = 0x10000;

/** FSCALE: ST(0) * 2^trunc(ST(1)), SDM Vol. 2A table of results. */
export function fscale(s: X87State): void {
  begin(s);
  if (isEmpty(s, 0) || isEmpty(s, 1)) {
    if (stackFault(s, false)) writeSt(s, 0, DEFAULT_NAN);
    return;
  }
  finish(s, scaled(readSt(s, 0), readSt(s, 1)));
}

function scaled(a: Unpacked, b: Unpacked): Unpacked {
  const nan = propagate2(env, a, b);
  if (nan) return nan;
  if (b.kind === INFINITE && a.kind === (b.sign ? INFINITE : ZERO)) return invalid(env);
  noteDenormals(env, a, b);
  if (denied()) return DEFAULT_NAN;
  if (b.kind === INFINITE) return b.sign ? ZEROS[a.sign] : INFINITIES[a.sign];
  if (a.kind !== FINITE) return a;
  return roundTo(env, EXTENDED, a.sign, a.exp + scaleOf(b), a.sig);
}

function scaleOf(b: Unpacked): number {
  if (b.kind === ZERO || b.exp + bitLength(b.sig) <= 0) return 0;
  const magnitude =
    b.exp + bitLength(b.sig) > 17
      ? SCALE_LIMIT
      : Math.min(Number(b.exp < 0 ? b.sig >> BigInt(-b.exp) : b.sig << BigInt(b.exp)), SCALE_LIMIT);
  return b.sign ? -magnitude : magnitude;
}

/** FXTRACT: exponent into ST(0), then push the significand. */
export function fxtract(s: X87State): void {
  begin(s);
  const underflow = isEmpty(s, 0);
  if (underflow || !isEmpty(s, 7)) {
    if (!stackFault(s, !underflow)) return;
    writeSt(s, 0, DEFAULT_NAN);
    push(s, DEFAULT_NAN);
    return;
  }
  const a = readSt(s, 0);
  const [exponent, significand] = extracted(a);
  if (!commit(s)) return;
  writeSt(s, 0, exponent);
  push(s, significand);
}

function extracted(a: Unpacked): [Unpacked, Unpacked] {
  const nan = propagate1(env, a);
  if (nan) return [nan, nan];
  if (a.kind === INFINITE) return [INFINITIES[0], a];
  if (a.kind === ZERO) {
    env.flags |= ZE;
    return [INFINITIES[1], a];
  }
  noteDenormal1(env, a);
  const length = bitLength(a.sig);
  return [fromInteger(BigInt(a.exp + length - 1)), withSign(finite(0, 1 - length, a.sig), a.sign)];
}
