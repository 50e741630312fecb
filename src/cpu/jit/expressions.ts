// Expressions of the JIT as trees: nothing is emitted before a value is needed, so that flags nobody reads cost nothing, and constants fold.
//
// Leaves are constants, locals that change no more, and guest registers. Where a register is written while trees still refer to it, its
// leaves are frozen: they get a copy of the old value (see RegisterFile).

import { pushI32, pushI64 } from '../../wasm/encode.ts';
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import { Emitter } from '../interp/emitter.ts';
import { BINARY, COMPARE } from '../interp/wasm-values.ts';
import type { BinaryOp, CompareOp, UnaryOp, Width } from '../semantics/ops.ts';

/** A function body in the making, with the names that are bound in it. */
export class Code extends Emitter {
  private readonly bound: Let[] = [];

  /** Emits code that other paths do not run through: what is named in it is unknown behind it. */
  scoped(body: () => void): void {
    const mark = this.bound.length;
    body();
    while (this.bound.length > mark) this.bound.pop()!.local = NONE;
  }

  noteBound(name: Let): void {
    this.bound.push(name);
  }
}

const NONE = -1;
const ALL_BITS = 64;

function bitsOf(unsigned: bigint): number {
  if (unsigned < 0x100000000n) return 32 - Math.clz32(Number(unsigned));
  return 64 - Math.clz32(Number(unsigned >> 32n));
}

// Fields are declared only: expressions are made by the hundred thousand, and V8 defines fields of classes slowly.

/** Is told the locals and the register leaves of a tree. */
export interface Visitor {
  local(index: number): void;
  leaf(leaf: Leaf): void;
}

export abstract class Expr {
  declare readonly type: ValueType;
  /** Bits from here up are known to be 0. */
  declare readonly bits: number;
  /** Which of the low 16 bits may be set. */
  declare readonly low16: number;

  constructor(type: ValueType, bits = ALL_BITS, low16 = 0xffff) {
    this.type = type;
    this.bits = bits;
    this.low16 = bits < 16 ? low16 & ((1 << bits) - 1) : low16;
  }

  /** Appends code that leaves the value on the stack. */
  abstract emit(code: Code): void;
  /** Tells what the tree refers to. */
  abstract visit(visitor: Visitor): void;
}

export class Constant extends Expr {
  declare readonly value: bigint;
  constructor(value: bigint, type: ValueType = Type.i64) {
    const unsigned = BigInt.asUintN(64, value);
    super(type, bitsOf(unsigned), Number(unsigned & 0xffffn));
    this.value = unsigned;
  }
  emit(code: Code): void {
    code.code.push(this.type === Type.i32 ? Op.i32Const : Op.i64Const);
    if (this.type === Type.i32) pushI32(code.code, Number(BigInt.asIntN(32, this.value)));
    else pushI64(code.code, this.value);
  }
  visit(): void {}
}

/** A local that keeps its value for as long as the tree lives, or a variable that is read at once. */
export class Local extends Expr {
  declare readonly index: number;
  constructor(index: number, type: ValueType = Type.i64, bits = ALL_BITS) {
    super(type, bits);
    this.index = index;
  }
  emit(code: Code): void {
    code.get(this.index);
  }
  visit(visitor: Visitor): void {
    visitor.local(this.index);
  }
}

/** A guest register as it is now: in its own local, until that is written. */
export class Leaf extends Expr {
  declare readonly register: number;
  declare private readonly home: number;
  declare private frozen: number;
  constructor(register: number, home: number, bits: number) {
    super(Type.i64, bits);
    this.register = register;
    this.home = home;
    this.frozen = NONE;
  }
  freeze(copy: number): void {
    this.frozen = copy;
  }
  emit(code: Code): void {
    code.get(this.frozen === NONE ? this.home : this.frozen);
  }
  visit(visitor: Visitor): void {
    visitor.leaf(this);
    if (this.frozen !== NONE) visitor.local(this.frozen);
  }
}

export class Operation extends Expr {
  declare readonly op: readonly number[];
  declare readonly args: readonly Expr[];
  /** An i64 expression with the same low 32 bits. */
  declare readonly low32: Expr | null;
  constructor(
    op: readonly number[],
    args: readonly Expr[],
    type: ValueType,
    bits?: number,
    low16?: number,
    low32: Expr | null = null,
  ) {
    super(type, bits, low16);
    this.op = op;
    this.args = args;
    this.low32 = low32;
  }
  emit(code: Code): void {
    for (const a of this.args) a.emit(code);
    for (const b of this.op) code.code.push(b);
  }
  visit(visitor: Visitor): void {
    for (const a of this.args) a.visit(visitor);
  }
}

/** A value with a name: computed where it is needed first. */
export class Let extends Expr {
  declare readonly inner: Expr;
  declare local: number;
  constructor(inner: Expr) {
    super(inner.type, inner.bits, inner.low16);
    this.inner = inner;
    this.local = NONE;
  }
  emit(code: Code): void {
    if (this.local !== NONE) {
      code.get(this.local);
      return;
    }
    this.inner.emit(code);
    this.local = code.local(this.type);
    code.tee(this.local);
    code.noteBound(this);
  }
  visit(visitor: Visitor): void {
    if (this.local !== NONE) visitor.local(this.local);
    // also the inner tree: a name bound on one path is computed again on another
    this.inner.visit(visitor);
  }
}

/** A truth value whose origin in a difference is known: CF, ZF, SF^OF and their unions become comparisons. */
export class FlagOf extends Expr {
  declare readonly plain: Expr;
  declare readonly flag: 'cf' | 'zf' | 'sf' | 'of' | 'less';
  declare readonly difference: Difference;
  constructor(plain: Expr, flag: FlagOf['flag'], difference: Difference) {
    super(Type.i32, 1);
    this.plain = plain;
    this.flag = flag;
    this.difference = difference;
  }
  emit(code: Code): void {
    this.plain.emit(code);
  }
  visit(visitor: Visitor): void {
    this.plain.visit(visitor);
    this.difference.x.visit(visitor);
    this.difference.y.visit(visitor);
  }
}

/** Zero-extended operands of a subtraction at a width. */
export interface Difference {
  w: Width;
  x: Expr;
  y: Expr;
}

const { i32, i64 } = Type;
const COMPARE32: Partial<Record<CompareOp, number>> = {
  eq: Op.i32Eq,
  lt_s: Op.i32LtS,
  lt_u: Op.i32LtU,
  le_s: Op.i32LeS,
  le_u: Op.i32LeU,
};
const UNARY: Record<UnaryOp, number> = { clz: Op.i64Clz, ctz: Op.i64Ctz, popcnt: Op.i64Popcnt };

export const constant = (value: number | bigint): Constant => new Constant(BigInt(value));
const truth = (value: boolean): Constant => new Constant(value ? 1n : 0n, i32);
export const isConstant = (e: Expr): e is Constant => e instanceof Constant;
const isZero = (e: Expr): boolean => isConstant(e) && e.value === 0n;
const signed = (v: bigint): bigint => BigInt.asIntN(64, v);

const FOLD: Partial<Record<BinaryOp, (a: bigint, b: bigint) => bigint>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << (b & 63n),
  shr_u: (a, b) => a >> (b & 63n),
  shr_s: (a, b) => signed(a) >> (b & 63n),
};
const ONES = (1n << 64n) - 1n;
/** x op 0 = x */
const KEEPS_ON_ZERO: ReadonlySet<BinaryOp> = new Set([
  'add',
  'sub',
  'or',
  'xor',
  'shl',
  'shr_u',
  'shr_s',
  'rotl',
  'rotr',
]);
const COMMUTES: ReadonlySet<BinaryOp> = new Set(['add', 'mul', 'and', 'or', 'xor']);

export function binary(op: BinaryOp, a: Expr, b: Expr): Expr {
  if (isConstant(a) && !isConstant(b) && COMMUTES.has(op)) return binary(op, b, a);
  if (isConstant(b)) {
    if (isConstant(a) && FOLD[op]) return constant(FOLD[op](a.value, b.value));
    if (b.value === 0n && KEEPS_ON_ZERO.has(op)) return a;
    if (op === 'and') {
      if (b.value === 0n) return b;
      if (b.value === ONES) return a;
      // a mask of low ones that covers everything
      if ((b.value & (b.value + 1n)) === 0n && a.bits <= b.bits) return a;
    }
    // sums of constants: addresses
    if (op === 'add' && a instanceof Operation && a.op[0] === Op.i64Add && isConstant(a.args[1])) {
      return binary('add', a.args[0], constant(a.args[1].value + b.value));
    }
  }
  const { bits, low16 } = rangeOf(op, a, b);
  const low32 = op === 'and' && isConstant(b) && b.value === 0xffffffffn ? a : null;
  return new Operation([BINARY[op]], [a, b], i64, bits, low16, low32);
}

function rangeOf(op: BinaryOp, a: Expr, b: Expr): { bits: number; low16: number } {
  let bits = ALL_BITS;
  let low16 = 0xffff;
  if (op === 'and') {
    bits = Math.min(a.bits, b.bits);
    low16 = a.low16 & b.low16;
  } else if (op === 'or' || op === 'xor') {
    bits = Math.max(a.bits, b.bits);
    low16 = a.low16 | b.low16;
  } else if (op === 'shr_u' || op === 'div_u' || op === 'rem_u') {
    bits = op === 'shr_u' && isConstant(b) ? Math.max(0, a.bits - Number(b.value & 63n)) : a.bits;
  } else if (op === 'add') bits = Math.min(ALL_BITS, Math.max(a.bits, b.bits) + 1);
  else if (op === 'shl' && isConstant(b)) {
    const n = Number(b.value & 63n);
    bits = Math.min(ALL_BITS, a.bits + n);
    low16 = n < 16 ? (a.low16 << n) & 0xffff : 0;
  }
  return { bits, low16 };
}

export function unary(op: UnaryOp, a: Expr): Expr {
  return new Operation([UNARY[op]], [a], i64, 7);
}

/** The low 32 bits as an i32. */
export function wrap(a: Expr): Expr {
  if (isConstant(a)) return new Constant(BigInt.asUintN(32, a.value), i32);
  if (a instanceof Operation && a.low32) return wrap(a.low32);
  if (a instanceof Operation && a.op.length === 1 && a.op[0] === Op.i64ExtendI32U) return a.args[0];
  return new Operation([Op.i32WrapI64], [a], i32);
}

export function zeroExtend(w: Width, a: Expr): Expr {
  if (a.bits <= w) return a;
  if (isConstant(a)) return constant(BigInt.asUintN(w, a.value));
  if (w === 32) {
    const from = a instanceof Operation && a.low32 ? a.low32 : a;
    return new Operation([Op.i32WrapI64, Op.i64ExtendI32U], [from], i64, 32, from.low16, from);
  }
  return binary('and', a, constant((1n << BigInt(w)) - 1n));
}

export function signExtend(w: Width, a: Expr): Expr {
  if (w === 64 || a.bits < w) return a;
  if (isConstant(a)) return constant(BigInt.asIntN(w, a.value));
  const op = w === 8 ? Op.i64Extend8S : w === 16 ? Op.i64Extend16S : Op.i64Extend32S;
  const from = w === 32 && a instanceof Operation && a.low32 ? a.low32 : a;
  return new SignExtended(w, op, from);
}

/** Known as such, so that a comparison with 0 can look at the value itself. */
class SignExtended extends Operation {
  declare readonly w: Width;
  declare readonly value: Expr;
  constructor(w: Width, op: number, value: Expr) {
    super([op], [value], i64, ALL_BITS, w === 8 ? 0xffff : value.low16, w === 32 ? value : null);
    this.w = w;
    this.value = value;
  }
}

export function compare(op: CompareOp, a: Expr, b: Expr): Expr {
  if (isConstant(a) && isConstant(b)) return truth(compareConstants(op, a.value, b.value));
  if (isZero(b)) {
    if (op === 'eq' || op === 'ne') {
      const zero = equalsZero(a);
      return op === 'eq' ? zero : not(zero);
    }
    if (op === 'lt_s' && a.bits < ALL_BITS) return truth(false);
    if (op === 'lt_s' && a instanceof SignExtended && a.w === 32) {
      return new Operation([Op.i32LtS], [wrap(a.value), new Constant(0n, i32)], i32, 1);
    }
  }
  return new Operation([COMPARE[op]], [a, b], i32, 1);
}

function equalsZero(a: Expr): Expr {
  if (a instanceof SignExtended && a.w === 32) return new Operation([Op.i32Eqz], [wrap(a.value)], i32, 1);
  if (a instanceof SignExtended) return new Operation([Op.i64Eqz], [zeroExtend(a.w, a.value)], i32, 1);
  if (a instanceof Operation && a.op.length === 1 && a.op[0] === Op.i64ExtendI32U && a.bits === 1)
    return not(a.args[0]);
  return new Operation([Op.i64Eqz], [a], i32, 1);
}

function compareConstants(op: CompareOp, a: bigint, b: bigint): boolean {
  const [x, y] = op.endsWith('_s') ? [signed(a), signed(b)] : [a, b];
  switch (op.slice(0, 2)) {
    case 'eq':
      return x === y;
    case 'ne':
      return x !== y;
    case 'lt':
      return x < y;
    case 'le':
      return x <= y;
    case 'gt':
      return x > y;
    default:
      return x >= y;
  }
}

export function not(a: Expr): Expr {
  if (isConstant(a)) return truth(a.value === 0n);
  return new Operation([Op.i32Eqz], [a], i32, 1);
}

/** x op y of a difference's operands. */
function compareOperands(op: 'eq' | 'lt_s' | 'lt_u' | 'le_s' | 'le_u', { w, x, y }: Difference): Expr {
  if (w === 32) return new Operation([COMPARE32[op]!], [wrap(x), wrap(y)], i32, 1);
  const extend = op.endsWith('_s') ? signExtend : zeroExtend;
  return compare(op, extend(w, x), extend(w, y));
}

export function flagOfDifference(flag: 'cf' | 'zf' | 'sf' | 'of', plain: Expr, difference: Difference): Expr {
  const direct =
    flag === 'cf' ? compareOperands('lt_u', difference) : flag === 'zf' ? compareOperands('eq', difference) : plain;
  return new FlagOf(direct, flag, difference);
}

export function logic(op: 'and' | 'or' | 'xor', a: Expr, b: Expr): Expr {
  if (isConstant(a) && !isConstant(b)) return logic(op, b, a);
  if (isConstant(b)) {
    if (b.value === 0n) return op === 'and' ? b : a;
    if (op === 'and') return a;
    if (op === 'or') return b;
    return not(a);
  }
  if (a instanceof FlagOf && b instanceof FlagOf && a.difference === b.difference) {
    const pair = `${op} ${a.flag} ${b.flag}`;
    if (pair === 'xor sf of') return new FlagOf(compareOperands('lt_s', a.difference), 'less', a.difference);
    if (pair === 'or cf zf') return compareOperands('le_u', a.difference);
    if (pair === 'or zf less') return compareOperands('le_s', a.difference);
  }
  const code = op === 'and' ? Op.i32And : op === 'or' ? Op.i32Or : Op.i32Xor;
  return new Operation([code], [a, b], i32, 1);
}

export function select(c: Expr, a: Expr, b: Expr): Expr {
  if (isConstant(c)) return c.value ? a : b;
  return new Operation([Op.select], [a, b, c], a.type, Math.max(a.bits, b.bits), a.low16 | b.low16);
}

export function fromBool(a: Expr): Expr {
  if (isConstant(a)) return constant(a.value);
  return new Operation([Op.i64ExtendI32U], [a], i64, 1);
}
