// The quick way of the x87: ordinary numbers, whose 64-bit significands are i64 values, rounded to nearest at full precision with inexact
// results masked, as programs use it (SDM Vol. 1, 4.8 and 8.1.5). Results, C1 and PE are exact. Everything else (zeros as summands, NaNs,
// infinities, denormals, empty registers, other rounding) is the exact way of float/.
import { S } from '../layout.ts';
import type { Bool, Ops, Value } from './ops.ts';

const C1 = 0x200;
const PE = 0x20;
const TOP_SHIFT = 11;
const TOP_MASK = 7 << TOP_SHIFT;
const FPR_SHIFT = 4;
/** FCW: precision, rounding and the mask of inexact results. */
const PRECISION = 0x300;
const ROUNDING = 0xc00;
const INEXACT_MASKED = 0x20;
const SIGN = 0x8000;
const MOST = 0x7fff;
const BIAS = 16383;
const TOP_BIT = 1n << 63n;
const LOW32 = 0xffffffffn;

/** A register's contents, or what is to go into one. */
export interface Real {
  /** Sign in bit 15, exponent below. */
  signExp: Value;
  significand: Value;
}

/** A result that counts where `holds`. */
export interface Quick extends Real {
  holds: Bool;
  /** It was rounded; and away from zero. */
  inexact: Bool;
  up: Bool;
}

const b = (o: Ops, op: Parameters<Ops['bin']>[0], x: Value, y: Value | number | bigint): Value =>
  o.bin(op, x, typeof y === 'object' ? y : o.const(y));
const is = (o: Ops, op: Parameters<Ops['cmp']>[0], x: Value, y: Value | number | bigint): Bool =>
  o.cmp(op, x, typeof y === 'object' ? y : o.const(y));
const all = (o: Ops, ...conditions: Bool[]): Bool => conditions.reduce((x, y) => o.and(x, y));

export const exponentOf = (o: Ops, x: Real): Value => b(o, 'and', x.signExp, MOST);
const signOf = (o: Ops, x: Real): Value => b(o, 'and', x.signExp, SIGN);

/** Exponent neither least nor greatest, integer bit set. */
export function isNormal(o: Ops, x: Real): Bool {
  const exponent = b(o, 'sub', exponentOf(o, x), 1);
  return o.and(is(o, 'lt_u', exponent, MOST - 1), is(o, 'lt_s', x.significand, 0));
}
const isZero = (o: Ops, x: Real): Bool => is(o, 'eq', b(o, 'or', exponentOf(o, x), x.significand), 0);

/** Rounds to nearest, inexact results being masked; at full precision where the operation heeds that. */
export function roundsOrdinarily(o: Ops, heedsPrecision: boolean): Bool {
  const mask = ROUNDING | INEXACT_MASKED | (heedsPrecision ? PRECISION : 0);
  const controls = b(o, 'and', o.state(S.fcw, 16), mask);
  return is(o, 'eq', controls, INEXACT_MASKED | (heedsPrecision ? PRECISION : 0));
}

// ---- the stack

/** The stack as an instruction finds it. */
export class QuickStack {
  private readonly o: Ops;
  private readonly fsw: Value;
  private readonly top: Value;
  private readonly tags: Value;

  constructor(o: Ops) {
    this.o = o;
    this.fsw = o.let(o.state(S.fsw, 16));
    this.top = o.let(b(o, 'shr_u', this.fsw, TOP_SHIFT));
    this.tags = o.let(o.state(S.ftw, 8));
  }

  /** Number of the physical register that ST(i) is. */
  register(i: Value): Value {
    return this.o.let(b(this.o, 'and', b(this.o, 'add', this.top, i), 7));
  }

  isFull(register: Value): Bool {
    const { o } = this;
    return is(o, 'ne', b(o, 'and', b(o, 'shr_u', this.tags, register), 1), 0);
  }

  read(register: Value): Real {
    const { o } = this;
    const at = o.let(b(o, 'shl', register, FPR_SHIFT));
    return { significand: o.let(o.stateAt(S.fpr, at, 64)), signExp: o.let(o.stateAt(S.fpr + 8, at, 16)) };
  }

  /** Sets a register that is in use. */
  write(register: Value, x: Real): void {
    const { o } = this;
    const at = o.let(b(o, 'shl', register, FPR_SHIFT));
    o.setStateAt(S.fpr, at, 64, x.significand);
    o.setStateAt(S.fpr + 8, at, 16, x.signExp);
  }

  /** Sets registers free or in use, and the status word: C1 and PE as an operation leaves them, TOP where it moved. */
  private settle(
    move: number,
    tags: Value | null,
    rounding: { inexact: Bool; up: Bool } | null,
    keepC1: boolean,
  ): void {
    const { o } = this;
    let fsw = b(o, 'and', this.fsw, 0xffff & ~((move ? TOP_MASK : 0) | (keepC1 ? 0 : C1)));
    if (move) fsw = b(o, 'or', fsw, b(o, 'shl', this.register(o.const(move & 7)), TOP_SHIFT));
    if (rounding) {
      const { inexact, up } = rounding;
      fsw = b(o, 'or', fsw, o.select(inexact, o.select(up, o.const(PE | C1), o.const(PE)), o.const(0)));
    }
    o.setState(S.fsw, 16, fsw);
    if (tags !== null) o.setState(S.ftw, 8, tags);
  }

  private bit(register: Value): Value {
    return b(this.o, 'shl', this.o.const(1), register);
  }

  /** Ends an instruction that leaves the stack as deep as it was. */
  stay(rounding: { inexact: Bool; up: Bool } | null = null): void {
    this.settle(0, null, rounding, false);
  }

  /** Ends an instruction that pops. @param filled a register that it has put something into */
  pop(filled: Value | null, rounding: { inexact: Bool; up: Bool } | null = null, keepC1 = false): void {
    const { o } = this;
    const tags = filled !== null ? b(o, 'or', this.tags, this.bit(filled)) : this.tags;
    const freed = b(o, 'xor', this.bit(this.register(o.const(0))), 0xff);
    this.settle(1, b(o, 'and', tags, freed), rounding, keepC1);
  }

  /** Fills a register besides. */
  fill(register: Value): void {
    this.settle(0, b(this.o, 'or', this.tags, this.bit(register)), null, false);
  }

  /** There is room for a push. */
  get hasRoom(): Bool {
    return this.o.not(this.isFull(this.register(this.o.const(7))));
  }

  push(x: Real): void {
    const register = this.register(this.o.const(7));
    this.write(register, x);
    this.settle(-1, b(this.o, 'or', this.tags, this.bit(register)), null, false);
  }
}

// ---- arithmetic

/** The operation field of the opcode: bits 5-3 of ModRM in D8, DC and DE. */
const FMUL = 1;
const FSUB = 4;
const FSUBR = 5;
const FDIV = 6;
const FDIVR = 7;

/** ST(0) op y, or exchanged, by the operation field. */
export function quickArithmetic(o: Ops, op: number, st0: Real, y: Real): Quick {
  const [first, second] = op === FSUBR || op === FDIVR ? [y, st0] : [st0, y];
  if (op === FMUL) return product(o, first, second);
  if (op === FDIV || op === FDIVR) return quotient(o, first, second);
  return sum(o, first, second, op === FSUB || op === FSUBR);
}

/**
 * Rounds a significand with its top bit set.
 * @param sign in bit 15
 */
function rounded(o: Ops, sign: Value, exponent: Value, kept: Value, up: Bool, inexact: Bool, fits: Bool): Quick {
  const more = o.let(b(o, 'add', kept, o.fromBool(up)));
  const carried = o.letBool(is(o, 'eq', more, 0));
  const exp = o.let(b(o, 'add', exponent, o.fromBool(carried)));
  return {
    signExp: o.let(b(o, 'or', sign, exp)),
    significand: o.let(o.select(carried, o.const(TOP_BIT), more)),
    inexact,
    up,
    holds: all(o, fits, is(o, 'gt_s', exponent, 0), is(o, 'lt_s', exp, MOST)),
  };
}

/** Rounds 128 bits, the top one set, to their upper half. */
function roundedPair(o: Ops, sign: Value, exponent: Value, high: Value, low: Value, fits: Bool): Quick {
  const tie = o.and(is(o, 'eq', low, TOP_BIT), is(o, 'ne', b(o, 'and', high, 1), 0));
  const up = o.letBool(o.or(is(o, 'gt_u', low, TOP_BIT), tie));
  return rounded(o, sign, exponent, high, up, o.letBool(is(o, 'ne', low, 0)), fits);
}

const bothNormal = (o: Ops, x: Real, y: Real): Bool => o.and(isNormal(o, x), isNormal(o, y));
const productSign = (o: Ops, x: Real, y: Real): Value => b(o, 'and', b(o, 'xor', x.signExp, y.signExp), SIGN);

function product(o: Ops, x: Real, y: Real): Quick {
  const [xl, xh, yl, yh] = [x.significand, y.significand].flatMap(v => [
    o.let(b(o, 'and', v, LOW32)),
    o.let(b(o, 'shr_u', v, 32)),
  ]);
  const middle = o.let(b(o, 'add', b(o, 'mul', xh, yl), b(o, 'shr_u', b(o, 'mul', xl, yl), 32)));
  const other = o.let(b(o, 'add', b(o, 'mul', xl, yh), b(o, 'and', middle, LOW32)));
  const carries = b(o, 'add', b(o, 'shr_u', middle, 32), b(o, 'shr_u', other, 32));
  const high = o.let(b(o, 'add', b(o, 'mul', xh, yh), carries));
  const low = o.let(b(o, 'mul', x.significand, y.significand));
  // between 1 and 4: one place to the left where it is below 2
  const small = o.let(o.fromBool(is(o, 'ge_s', high, 0)));
  const moved = o.let(b(o, 'or', b(o, 'shl', high, small), b(o, 'and', b(o, 'shr_u', low, 63), small)));
  const exponents = b(o, 'add', exponentOf(o, x), exponentOf(o, y));
  const exponent = o.let(b(o, 'sub', b(o, 'sub', exponents, BIAS - 1), small));
  const sign = productSign(o, x, y);
  return roundedPair(o, sign, exponent, moved, o.let(b(o, 'shl', low, small)), bothNormal(o, x, y));
}

function sum(o: Ops, x: Real, y: Real, subtract: boolean): Quick {
  const ySign = subtract ? b(o, 'xor', y.signExp, SIGN) : y.signExp;
  const [ex, ey] = [o.let(exponentOf(o, x)), o.let(exponentOf(o, y))];
  const xGreater = o.letBool(
    o.or(is(o, 'gt_u', ex, ey), o.and(is(o, 'eq', ex, ey), is(o, 'ge_u', x.significand, y.significand))),
  );
  const pick = (whenX: Value, whenY: Value): Value => o.let(o.select(xGreater, whenX, whenY));
  const exponent = pick(ex, ey);
  const distance = o.let(b(o, 'sub', exponent, pick(ey, ex)));
  const big = pick(x.significand, y.significand);
  const small = pick(y.significand, x.significand);
  const sign = b(o, 'and', pick(x.signExp, ySign), SIGN);
  // the smaller one, moved down: 64 bits at the greater one's places and 64 below; farther down only "not nothing" counts
  const near = o.letBool(is(o, 'lt_u', distance, 64));
  const far = o.select(
    is(o, 'eq', distance, 64),
    small,
    o.select(is(o, 'eq', distance, 65), b(o, 'or', b(o, 'shr_u', small, 1), b(o, 'and', small, 1)), o.const(1)),
  );
  const high = o.let(o.select(near, b(o, 'shr_u', small, distance), o.const(0)));
  const below = b(o, 'shl', b(o, 'shl', small, b(o, 'sub', o.const(63), distance)), 1);
  const low = o.let(o.select(near, below, far));
  // added: one place to the right where it carries
  const added = o.let(b(o, 'add', big, high));
  const carry = o.let(o.fromBool(is(o, 'lt_u', added, big)));
  const addedHigh = b(o, 'or', b(o, 'shr_u', added, carry), b(o, 'shl', carry, 63));
  const lost = b(o, 'or', b(o, 'shr_u', low, 1), b(o, 'or', b(o, 'and', low, 1), b(o, 'shl', added, 63)));
  const addedLow = o.select(is(o, 'ne', carry, 0), lost, low);
  // subtracted: as many places to the left as there are zeros
  const left = o.let(b(o, 'sub', b(o, 'sub', big, high), o.fromBool(is(o, 'ne', low, 0))));
  const rest = o.let(o.bin('sub', o.const(0), low));
  const zeros = o.let(o.un('clz', left));
  const moved = b(o, 'shr_u', b(o, 'shr_u', rest, 1), b(o, 'sub', o.const(63), zeros));
  const leftHigh = b(o, 'or', b(o, 'shl', left, zeros), moved);
  const leftLow = b(o, 'shl', rest, zeros);
  const same = o.letBool(is(o, 'eq', b(o, 'and', b(o, 'xor', x.signExp, ySign), SIGN), 0));
  return roundedPair(
    o,
    sign,
    o.let(o.select(same, b(o, 'add', exponent, carry), b(o, 'sub', exponent, zeros))),
    o.let(o.select(same, addedHigh, leftHigh)),
    o.let(o.select(same, addedLow, leftLow)),
    o.and(bothNormal(o, x, y), o.or(same, is(o, 'ne', left, 0))),
  );
}

/** Long division with digits of 32 bits (Knuth's algorithm D; the divisor's top bit is set). */
function quotient(o: Ops, x: Real, y: Real): Quick {
  // 0 would be a division that WebAssembly refuses, before `holds` is looked at
  const divisor = o.let(b(o, 'or', y.significand, TOP_BIT));
  const upper = o.let(b(o, 'shr_u', divisor, 32));
  const lower = o.let(b(o, 'and', divisor, LOW32));
  const large = o.letBool(is(o, 'ge_u', x.significand, divisor));
  const dividend = o.let(o.select(large, b(o, 'shr_u', x.significand, 1), x.significand));
  const next = o.let(o.select(large, b(o, 'shl', b(o, 'and', x.significand, 1), 31), o.const(0)));
  const digit = (above: Value, below: Value): [Value, Value] => {
    let q = o.let(b(o, 'div_u', above, upper));
    let left = o.let(b(o, 'sub', above, b(o, 'mul', q, upper)));
    for (let i = 0; i < 2; i++) {
      const tooMuch = is(o, 'gt_u', b(o, 'mul', q, lower), b(o, 'or', b(o, 'shl', left, 32), below));
      const over = o.or(is(o, 'gt_u', q, LOW32), tooMuch);
      const less = o.let(o.fromBool(o.and(is(o, 'le_u', left, LOW32), over)));
      const [q1, left1] = [q, left];
      q = o.let(b(o, 'sub', q1, less));
      left = o.let(b(o, 'add', left1, b(o, 'mul', less, upper)));
    }
    const remainder = o.let(b(o, 'sub', b(o, 'or', b(o, 'shl', above, 32), below), b(o, 'mul', q, divisor)));
    return [q, remainder];
  };
  const [q1, r1] = digit(dividend, next);
  const [q0, remainder] = digit(r1, o.const(0));
  const kept = o.let(b(o, 'or', b(o, 'shl', q1, 32), q0));
  const half = o.let(b(o, 'sub', divisor, remainder));
  const tie = o.and(is(o, 'eq', remainder, half), is(o, 'ne', b(o, 'and', kept, 1), 0));
  const up = o.letBool(o.or(is(o, 'gt_u', remainder, half), tie));
  const exponents = b(o, 'sub', exponentOf(o, x), exponentOf(o, y));
  const exponent = o.let(b(o, 'add', exponents, b(o, 'add', o.fromBool(large), BIAS - 1)));
  const inexact = o.letBool(is(o, 'ne', remainder, 0));
  return rounded(o, productSign(o, x, y), exponent, kept, up, inexact, bothNormal(o, x, y));
}

/** ZF and CF of x compared with y as in RFLAGS, of zeros and ordinary numbers. */
export function quickCompare(o: Ops, x: Real, y: Real): { holds: Bool; bits: Value } {
  const zeros = o.and(isZero(o, x), isZero(o, y));
  const [ex, ey] = [o.let(exponentOf(o, x)), o.let(exponentOf(o, y))];
  const sameExponent = o.letBool(is(o, 'eq', ex, ey));
  const below = (p: Value, q: Value, mp: Value, mq: Value): Bool =>
    o.or(is(o, 'lt_u', p, q), o.and(sameExponent, is(o, 'lt_u', mp, mq)));
  const smaller = o.fromBool(below(ex, ey, x.significand, y.significand));
  const greater = o.fromBool(below(ey, ex, y.significand, x.significand));
  const xNegative = is(o, 'ne', signOf(o, x), 0);
  const yNegative = o.letBool(is(o, 'ne', signOf(o, y), 0));
  const less = o.select(xNegative, o.select(yNegative, greater, o.const(1)), o.select(yNegative, o.const(0), smaller));
  const equal = o.and(is(o, 'eq', x.signExp, y.signExp), is(o, 'eq', x.significand, y.significand));
  const counts = (v: Real): Bool => o.or(isNormal(o, v), isZero(o, v));
  return { holds: o.and(counts(x), counts(y)), bits: o.select(o.or(zeros, equal), o.const(0x40), less) };
}

// ---- conversions

/** Significand bits and bias of the narrower formats. */
const FORMATS = { 4: { bits: 24, bias: 127 }, 8: { bits: 53, bias: 1023 } } as const;

/** A float or double, zero or ordinary. @param bytes 4 or 8 */
export function fromReal(o: Ops, bytes: 4 | 8, v: Value): { holds: Bool; real: Real } {
  const { bits, bias } = FORMATS[bytes];
  const most = 2 * bias + 1;
  const exponent = o.let(b(o, 'and', b(o, 'shr_u', v, bits - 1), most));
  const fraction = b(o, 'shl', v, 64 - bits);
  const sign = b(o, 'shl', b(o, 'shr_u', v, bytes * 8 - 1), 15);
  const zero = o.letBool(is(o, 'eq', b(o, 'shl', v, 65 - bytes * 8), 0));
  const normal = is(o, 'lt_u', b(o, 'sub', exponent, 1), most - 1);
  return {
    holds: o.letBool(o.or(zero, normal)),
    real: {
      signExp: o.let(b(o, 'or', sign, o.select(zero, o.const(0), b(o, 'add', exponent, BIAS - bias)))),
      significand: o.let(o.select(zero, o.const(0), b(o, 'or', fraction, TOP_BIT))),
    },
  };
}

/** Zero, or a number whose rounded value is ordinary in the narrower format. @param bytes 4 or 8 */
export function toReal(o: Ops, bytes: 4 | 8, x: Real): { holds: Bool; bits: Value; inexact: Bool; up: Bool } {
  const { bits, bias } = FORMATS[bytes];
  const dropped = 64 - bits;
  const half = 1n << BigInt(dropped - 1);
  const kept = o.let(b(o, 'shr_u', x.significand, dropped));
  const rest = o.let(b(o, 'and', x.significand, 2n * half - 1n));
  const tie = o.and(is(o, 'eq', rest, half), is(o, 'ne', b(o, 'and', kept, 1), 0));
  const up = o.letBool(o.or(is(o, 'gt_u', rest, half), tie));
  const exponent = o.let(b(o, 'sub', exponentOf(o, x), BIAS - bias));
  // the integer bit adds one to the exponent, and so does a carry
  const magnitude = b(o, 'add', b(o, 'shl', b(o, 'sub', exponent, 1), bits - 1), b(o, 'add', kept, o.fromBool(up)));
  const zero = o.letBool(isZero(o, x));
  const sign = b(o, 'shl', b(o, 'shr_u', signOf(o, x), 15), bytes * 8 - 1);
  const ordinary = o.and(isNormal(o, x), is(o, 'lt_u', b(o, 'sub', exponent, 1), 2 * bias - 1));
  return {
    holds: o.or(zero, ordinary),
    bits: o.let(b(o, 'or', sign, o.select(zero, o.const(0), magnitude))),
    inexact: o.letBool(is(o, 'ne', rest, 0)),
    up,
  };
}

/** @param v sign-extended */
export function fromInteger(o: Ops, v: Value): Real {
  const negative = o.letBool(is(o, 'lt_s', v, 0));
  const magnitude = o.let(o.select(negative, o.bin('sub', o.const(0), v), v));
  const zeros = o.let(o.un('clz', magnitude));
  const sign = o.select(negative, o.const(SIGN), o.const(0));
  const exponent = o.select(is(o, 'eq', magnitude, 0), o.const(0), b(o, 'sub', o.const(BIAS + 63), zeros));
  return { signExp: o.let(b(o, 'or', sign, exponent)), significand: o.let(b(o, 'shl', magnitude, zeros)) };
}
