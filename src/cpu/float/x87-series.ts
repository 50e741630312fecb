// What the transcendental instructions share: missing operands, the order of operands, and the rounding of series.
import { EXTENDED, PE } from './format.ts';
import { propagate2 } from './nan.ts';
import { roundTo } from './rounding.ts';
import { bitLength, DEFAULT_NAN, type Unpacked } from './unpacked.ts';
import { FRACTION_BITS } from './wide-functions.ts';
import { begin, commit, env, isEmpty, pop, push, readSt, stackFault, writeSt, type X87State } from './x87-state.ts';

/** Exponent of the leading bit. */
export function topOf(a: Unpacked): number {
  return a.exp + bitLength(a.sig) - 1;
}

/** Below this exponent a function is its first term, give or take less than any rounding sees. */
export const LINEAR = -70;
const JAM_BITS = 80;

/** sig * 2^exp, moved by less than a rounding can see: `direction` 1 away from zero, -1 toward it. */
export function nudged(sign: number, exp: number, sig: bigint, direction: number): Unpacked {
  return roundTo(env, EXTENDED, sign, exp - JAM_BITS, (sig << BigInt(JAM_BITS)) + BigInt(direction));
}

/** Rounds a fixed-point value that is irrational, or cut off. */
export function roundFixed(sign: number, value: bigint): Unpacked {
  const magnitude = value < 0n ? -value : value;
  return roundTo(env, EXTENDED, value < 0n ? sign ^ 1 : sign, -FRACTION_BITS, magnitude | 1n);
}

/** Processors flag PE also for the few results that are exact. */
export function inexactly(value: Unpacked): Unpacked {
  env.flags |= PE;
  return value;
}

/** Books a stack underflow if ST(0) is empty. */
export function missingSt0(s: X87State): boolean {
  if (!isEmpty(s, 0)) return false;
  if (stackFault(s, false)) writeSt(s, 0, DEFAULT_NAN);
  return true;
}

/** An instruction that replaces ST(0) and pushes found no operand or no room. */
export function cannotPush(s: X87State): boolean {
  const underflow = isEmpty(s, 0);
  if (!underflow && isEmpty(s, 7)) return false;
  if (stackFault(s, !underflow)) {
    writeSt(s, 0, DEFAULT_NAN);
    push(s, DEFAULT_NAN);
  }
  return true;
}

/** Runs a function of ST(1) and ST(0) that leaves its result in ST(1) and pops. */
export function binary(s: X87State, f: (y: Unpacked, x: Unpacked) => Unpacked): void {
  begin(s);
  if (isEmpty(s, 0) || isEmpty(s, 1)) {
    if (!stackFault(s, false)) return;
    writeSt(s, 1, DEFAULT_NAN);
  } else {
    const y = readSt(s, 1);
    const x = readSt(s, 0);
    const result = propagate2(env, y, x) ?? f(y, x);
    if (!commit(s)) return;
    writeSt(s, 1, result);
  }
  pop(s);
}
