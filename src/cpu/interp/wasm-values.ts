// Opaque values of the builder as WebAssembly expressions: pure operations, names for values, control within an instruction.
import { Op, Type } from '../../wasm/opcodes.ts';
import type { BinaryOp, Bool, CompareOp, UnaryOp, Value, Vector, Width } from '../semantics/ops.ts';
import { binary, constI64, type Emitter, load, localNode, type Node, unary } from './emitter.ts';
import { HINT_GENERAL } from './record.ts';
import type { Frame, FunctionIndex, Variant } from './variant.ts';

export const BINARY: Record<BinaryOp, number> = {
  add: Op.i64Add,
  sub: Op.i64Sub,
  mul: Op.i64Mul,
  and: Op.i64And,
  or: Op.i64Or,
  xor: Op.i64Xor,
  shl: Op.i64Shl,
  shr_u: Op.i64ShrU,
  shr_s: Op.i64ShrS,
  rotl: Op.i64Rotl,
  rotr: Op.i64Rotr,
  div_u: Op.i64DivU,
  div_s: Op.i64DivS,
  rem_u: Op.i64RemU,
  rem_s: Op.i64RemS,
};
export const COMPARE: Record<CompareOp, number> = {
  eq: Op.i64Eq,
  ne: Op.i64Ne,
  lt_u: Op.i64LtU,
  lt_s: Op.i64LtS,
  le_u: Op.i64LeU,
  le_s: Op.i64LeS,
  gt_u: Op.i64GtU,
  gt_s: Op.i64GtS,
  ge_u: Op.i64GeU,
  ge_s: Op.i64GeS,
};
const UNARY: Record<UnaryOp, number> = { clz: Op.i64Clz, ctz: Op.i64Ctz, popcnt: Op.i64Popcnt };

export const node = (v: Value | Bool | Vector) => v as unknown as Node;
export const value = (n: Node) => n as unknown as Value;
export const bool = (n: Node) => n as unknown as Bool;
export const vector = (n: Node) => n as unknown as Vector;
/** The node as a linear address whose segment is known. */
export const hinted = (n: Node, hint: number | undefined): Node => (hint === undefined ? n : { ...n, hint });
export const hintOf = (linear: Value): number => node(linear).hint ?? HINT_GENERAL;

export abstract class WasmValues {
  readonly addressWidth: 16 | 32 | 64;
  readonly stackWidth: 16 | 32 | 64;
  readonly long64: boolean;
  readonly repeat: 'none' | 'rep' | 'repne';
  protected readonly e: Emitter;
  protected readonly variant: Variant;
  protected readonly frame: Frame;
  protected readonly fn: FunctionIndex;
  protected readonly restartable: boolean;
  protected readonly ends: boolean;
  /** The memory operand's linear address, once computed. */
  protected linearLocal: number | null = null;
  protected committed = false;
  /** True where control cannot reach the end of the instruction's code. */
  left = false;

  constructor(
    e: Emitter,
    variant: Variant,
    frame: Frame,
    fn: FunctionIndex,
    row: { restartable?: boolean; ends?: boolean },
  ) {
    this.e = e;
    this.variant = variant;
    this.frame = frame;
    this.fn = fn;
    this.restartable = row.restartable ?? false;
    this.ends = row.ends ?? false;
    this.addressWidth = variant.addressWidth;
    this.stackWidth = variant.stackWidth;
    this.long64 = variant.long64;
    this.repeat = variant.repeat;
  }

  const(v: number | bigint): Value {
    return value(constI64(BigInt(v)));
  }

  bin(op: BinaryOp, a: Value, b: Value): Value {
    const x = node(a);
    const y = node(b);
    let bits = 64;
    if (op === 'and') bits = Math.min(x.bits, y.bits);
    else if (op === 'or' || op === 'xor') bits = Math.max(x.bits, y.bits);
    else if (op === 'shr_u') bits = x.bits;
    else if (op === 'div_u' || op === 'rem_u') bits = x.bits;
    else if (op === 'add') bits = Math.min(64, Math.max(x.bits, y.bits) + 1);
    const sum = binary(BINARY[op], x, y, Type.i64, bits);
    // an offset into the operand at an address keeps the address's segment
    return value(op === 'add' ? hinted(sum, x.hint ?? y.hint) : sum);
  }

  un(op: UnaryOp, a: Value): Value {
    return value(unary(UNARY[op], node(a), Type.i64, 7));
  }

  cmp(op: CompareOp, a: Value, b: Value): Bool {
    const y = node(b);
    if (op === 'eq' && y.constant === 0n) return bool(unary(Op.i64Eqz, node(a), Type.i32, 1));
    return bool(binary(COMPARE[op], node(a), y, Type.i32, 1));
  }

  not(a: Bool): Bool {
    return bool(unary(Op.i32Eqz, node(a), Type.i32, 1));
  }
  and(a: Bool, b: Bool): Bool {
    return bool(binary(Op.i32And, node(a), node(b), Type.i32, 1));
  }
  or(a: Bool, b: Bool): Bool {
    return bool(binary(Op.i32Or, node(a), node(b), Type.i32, 1));
  }
  xor(a: Bool, b: Bool): Bool {
    return bool(binary(Op.i32Xor, node(a), node(b), Type.i32, 1));
  }

  select(c: Bool, a: Value, b: Value): Value {
    const x = node(a);
    const y = node(b);
    const code = [...x.code, ...y.code, ...node(c).code, Op.select];
    return value({ code, type: Type.i64, bits: Math.max(x.bits, y.bits) });
  }

  fromBool(a: Bool): Value {
    return value(unary(Op.i64ExtendI32U, node(a), Type.i64, 1));
  }

  zext(w: Width, a: Value): Value {
    const x = node(a);
    if (x.bits <= w) return a;
    if (x.constant !== undefined) return value(constI64(BigInt.asUintN(w, x.constant)));
    if (w === 32) return value(unary([Op.i32WrapI64, Op.i64ExtendI32U], x, Type.i64, 32));
    return value(binary(Op.i64And, x, constI64((1n << BigInt(w)) - 1n), Type.i64, w));
  }

  sext(w: Width, a: Value): Value {
    const x = node(a);
    if (w === 64 || x.bits < w) return a;
    const op = w === 8 ? Op.i64Extend8S : w === 16 ? Op.i64Extend16S : Op.i64Extend32S;
    return value(unary(op, x, Type.i64));
  }

  let(a: Value): Value {
    const x = node(a);
    if (x.constant !== undefined) return a;
    return value(this.bind(x));
  }

  letBool(a: Bool): Bool {
    return bool(this.bind(node(a)));
  }

  letVector(a: Vector): Vector {
    return vector(this.bind(node(a)));
  }

  protected bind(x: Node): Node {
    const local = this.e.local(x.type);
    this.e.push(x);
    this.e.set(local);
    return hinted(localNode(local, x.type, x.bits), x.hint);
  }

  variable(initial: Value): Value {
    const x = node(initial);
    const local = this.e.local(Type.i64);
    this.e.push(x);
    this.e.set(local);
    return value({ ...localNode(local, Type.i64), local } as Node);
  }

  assign(variable: Value, v: Value): void {
    const { local } = node(variable) as Node & { local: number };
    this.e.push(node(v));
    this.e.set(local);
  }

  // ---- control

  if(condition: Bool, then: () => void, otherwise?: () => void): void {
    this.e.push(node(condition));
    this.e.open(Op.if);
    const before = this.committed;
    then();
    const afterThen = this.committed;
    this.left = false;
    if (otherwise) {
      this.committed = before;
      this.e.else();
      otherwise();
      this.left = false;
    }
    this.committed ||= afterThen;
    this.e.end();
  }

  while(condition: () => Bool, body: () => void): void {
    this.e.open(Op.block);
    const exit = this.e.depth;
    this.e.open(Op.loop);
    const again = this.e.depth;
    this.e.push(node(condition()));
    this.e.op(Op.i32Eqz);
    this.e.br(exit, Op.brIf);
    body();
    this.e.br(again);
    this.e.end();
    this.e.end();
  }

  // ---- the current record

  protected field(offset: number, op: number = Op.i32Load16U): Node {
    return load(op, localNode(this.frame.pc, Type.i32), offset, Type.i32, 16);
  }
}
