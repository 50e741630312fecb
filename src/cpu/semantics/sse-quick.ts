// The quick way of SSE floating point: where MXCSR rounds to nearest and shows an inexact result already, and operands and results are
// ordinary numbers, WebAssembly's operations give the same bits and no flag changes (SDM Vol. 1, 4.8 and 11.5). Everything else (NaNs,
// infinities made, denormals, exceptions to be raised) is the exact way of helpers/sse-float.ts.
import { S } from '../layout.ts';
import type { Bool, Ops, Value, Vector } from './ops.ts';

/** Bit 0 double precision, bit 1 scalar. */
export type Form = 0 | 1 | 2 | 3;
const SCALAR = 2;

const PRECISION_MASKED = 0x1000;
const PRECISION_SEEN = 0x20;
const ROUNDING = 0x6000;

const double = (form: Form): boolean => (form & 1) === 1;
export const shapeOf = (form: Form): 'f64x2' | 'f32x4' => (double(form) ? 'f64x2' : 'f32x4');
const lanesOf = (form: Form): 'i64x2' | 'i32x4' => (double(form) ? 'i64x2' : 'i32x4');

function lanes(o: Ops, form: Form, double64: bigint, single32: bigint): Vector {
  const half = double(form) ? double64 : single32 | (single32 << 32n);
  return o.constVector(half, half);
}
const ones = (o: Ops, form: Form) => lanes(o, form, 0x3ff0000000000000n, 0x3f800000n);
const leastNormal = (o: Ops, form: Form) => lanes(o, form, 0x0010000000000000n, 0x00800000n);
/** Twice the least normal number: nothing above it was tiny before it was rounded. */
const leastSafe = (o: Ops, form: Form) => lanes(o, form, 0x0020000000000000n, 0x01000000n);
const largest = (o: Ops, form: Form) => lanes(o, form, 0x7fefffffffffffffn, 0x7f7fffffn);
const zero = (o: Ops) => o.constVector(0n, 0n);

/** The lanes that count, with 1 in the others. */
export function counting(o: Ops, form: Form, v: Vector): Vector {
  if (!(form & SCALAR)) return v;
  const mask = o.constVector(double(form) ? 0xffffffffffffffffn : 0xffffffffn, 0n);
  return o.letVector(o.vec('v128.bitselect', [v, ones(o, form), mask]));
}

const f = (o: Ops, form: Form, op: string, ...args: Vector[]): Vector => o.vec(`${shapeOf(form)}.${op}`, args);
const or = (o: Ops, a: Vector, b: Vector): Vector => o.vec('v128.or', [a, b]);
const and = (o: Ops, a: Vector, b: Vector): Vector => o.vec('v128.and', [a, b]);
const any = (o: Ops, v: Vector): Bool => o.cmp('ne', o.vecToValue('v128.any_true', [v]), o.const(0));
const all = (o: Ops, form: Form, v: Vector): Bool =>
  o.cmp('ne', o.vecToValue(`${lanesOf(form)}.all_true`, [v]), o.const(0));

const isZero = (o: Ops, form: Form, v: Vector): Vector => f(o, form, 'eq', v, zero(o));

/** An inexact result changes nothing, and is the nearest. */
export function inexactUnseen(o: Ops): Bool {
  const controls = o.bin('and', o.state(S.mxcsr, 32), o.const(ROUNDING | PRECISION_MASKED | PRECISION_SEEN));
  return o.cmp('eq', controls, o.const(PRECISION_MASKED | PRECISION_SEEN));
}

/** No lane is a denormal number. */
export function noDenormals(o: Ops, form: Form, ...vectors: Vector[]): Bool {
  const denormal = (v: Vector): Vector => {
    const tiny = f(o, form, 'lt', f(o, form, 'abs', v), leastNormal(o, form));
    return and(o, tiny, f(o, form, 'ne', v, zero(o)));
  };
  return o.not(
    any(
      o,
      vectors.map(denormal).reduce((a, b) => or(o, a, b)),
    ),
  );
}

/** Every lane is a number, infinite or not. */
export function ordered(o: Ops, form: Form, x: Vector, y: Vector): Bool {
  return all(o, form, and(o, f(o, form, 'eq', x, x), f(o, form, 'eq', y, y)));
}

function inRange(o: Ops, form: Form, v: Vector): Vector {
  const magnitude = o.letVector(f(o, form, 'abs', v));
  return and(o, f(o, form, 'ge', magnitude, leastSafe(o, form)), f(o, form, 'le', magnitude, largest(o, form)));
}

/** Every lane is far from being denormal or infinite. */
export function ordinary(o: Ops, form: Form, v: Vector): Bool {
  return all(o, form, inRange(o, form, v));
}

/** The same, or 0 where 0 was converted. */
export function ordinaryOrZero(o: Ops, form: Form, v: Vector, wasZero: Vector): Bool {
  return all(o, form, or(o, inRange(o, form, v), wasZero));
}

type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt' | 'min' | 'max';
/** By the last opcode byte. */
const OPERATIONS: Readonly<Record<number, Operation | undefined>> = {
  81: 'sqrt',
  88: 'add',
  89: 'mul',
  92: 'sub',
  93: 'min',
  94: 'div',
  95: 'max',
};

export interface Quick {
  result: Vector;
  /** The result counts. */
  holds: Bool;
}

/** x op y by the last opcode byte, for lanes that count; null where there is no quick way. */
export function quickArithmetic(o: Ops, opcode: number, form: Form, x: Vector, y: Vector): Quick | null {
  const operation = OPERATIONS[opcode];
  if (!operation) return null;
  if (operation === 'min' || operation === 'max') {
    // the source where both are 0: pmin and pmax keep their first operand unless the other is beyond it
    const result = o.letVector(f(o, form, `p${operation}`, y, x));
    return { result, holds: o.and(ordered(o, form, x, y), noDenormals(o, form, x, y)) };
  }
  const unary = operation === 'sqrt';
  const result = o.letVector(unary ? f(o, form, 'sqrt', y) : f(o, form, operation, x, y));
  const nothing = isZero(o, form, result);
  // a product or quotient is 0 without having been tiny where an operand was
  const exactZero =
    operation === 'mul'
      ? and(o, nothing, or(o, isZero(o, form, x), isZero(o, form, y)))
      : operation === 'div'
        ? and(o, nothing, isZero(o, form, x))
        : nothing;
  const good = all(o, form, or(o, inRange(o, form, result), exactZero));
  const operands = unary ? noDenormals(o, form, y) : noDenormals(o, form, x, y);
  return { result, holds: o.and(o.and(good, operands), inexactUnseen(o)) };
}

/** ZF, PF and CF of COMISS and its family as in RFLAGS, of operands in order. */
export function quickComparison(o: Ops, form: Form, x: Vector, y: Vector): Value {
  const lane = (op: string): Bool =>
    o.cmp('ne', o.vecToValue(`${lanesOf(form)}.extract_lane`, [f(o, form, op, x, y)], 0), o.const(0));
  return o.select(lane('eq'), o.const(0x40), o.fromBool(lane('lt')));
}
