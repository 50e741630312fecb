// The interpreter's back end of the abstract builder: one instruction variant becomes WebAssembly over a predecoded record.
//
// Register operands are addresses read from the record, so one handler serves all registers. Memory is reached through the TLB inline, by
// slow functions else. A fault leaves the handler at once; nothing was written before it (guarded here, when code is generated).
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import type { OperandSpec, RegisterFile } from '../decode/row.ts';
import { Exit } from '../exits.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE, STATE, TLB_READ_ENTRIES, TLB_WRITE_OFFSET } from '../layout.ts';
import type {
  BinaryOp,
  Bool,
  CompareOp,
  FlagUpdate,
  Operand,
  Ops,
  UnaryOp,
  Value,
  Vector,
  Width,
} from '../semantics/ops.ts';
import { binary, constI32, constI64, type Emitter, load, localNode, type Node, unary } from './emitter.ts';
import { HINT_GENERAL, HINT_RECORD, HINT_STACK, LINK_NEVER, Rec } from './record.ts';
import { vectorOpcode } from './vector-opcodes.ts';

/** How a variant's memory operand is addressed. simple: base + displacement; indexed: also index and segment base; full: every rule. */
export type MemoryForm = 'none' | 'simple' | 'indexed' | 'full' | 'moffs';

/** What a handler is specialised for. */
export interface Variant {
  width: Width;
  memory: MemoryForm;
  addressWidth: 16 | 32 | 64;
  stackWidth: 16 | 32 | 64;
  long64: boolean;
  repeat: 'none' | 'rep' | 'repne';
}

/** An operand bound to where its record field is. */
export interface BoundOperand extends Operand {
  spec: OperandSpec;
  /** Record field that holds the register's address; null for fixed registers and other kinds. */
  field: number | null;
  /** Address of a fixed register in the state block. */
  address: number;
}

/** How a handler leaves: differs between the interpreter's main function and out-of-line functions. */
export interface Frame {
  /** Local that holds the record's address. */
  readonly pc: number;
  /** Leaves with S.pending set: emits a branch or return. */
  leave(e: Emitter): void;
  /** Goes on at S.rip. */
  transfer(e: Emitter): void;
  /** Follows a block link held in an i32 local (main function only). */
  follow: ((e: Emitter, link: number) => void) | null;
  /** Resolves the link of the current record. */
  link: ((e: Emitter) => void) | null;
}

/** Functions that handlers call, by name; resolves to an index in the module under construction. */
export type FunctionIndex = (name: string, params: ValueType[], results: ValueType[]) => number;

const LOADS: Record<Width, number> = { 8: Op.i64Load8U, 16: Op.i64Load16U, 32: Op.i64Load32U, 64: Op.i64Load };
const STORES: Record<Width, number> = { 8: Op.i64Store8, 16: Op.i64Store16, 32: Op.i64Store32, 64: Op.i64Store };
const BINARY: Record<BinaryOp, number> = {
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
const COMPARE: Record<CompareOp, number> = {
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
/** Of a linear page shifted to a TLB entry's offset; read and write tables have as many entries. */
const INDEX_MASK = (TLB_READ_ENTRIES - 1) << 4;
const PAGE_MASK = 0xfffffffffffff000n;

/** Where each register file starts in the engine memory, and log2 of a register's room. */
export const REGISTER_FILES: Record<RegisterFile, readonly [base: number, shift: number]> = {
  gpr: [STATE + S.gpr, 3],
  xmm: [STATE + S.xmm, 5],
  mmx: [STATE + S.fpr, 4],
  x87: [STATE + S.fpr, 4],
  // selectors stand in 32-byte segment registers; control and debug registers are moved by helpers, which want only the number
  seg: [STATE + S.segments + SEG_FIELD.selector, 5],
  cr: [0, 3],
  dr: [0, 3],
};

const node = (v: Value | Bool | Vector) => v as unknown as Node;
const value = (n: Node) => n as unknown as Value;
const bool = (n: Node) => n as unknown as Bool;
const vector = (n: Node) => n as unknown as Vector;
/** The node as a linear address whose segment is known. */
const hinted = (n: Node, hint: number | undefined): Node => (hint === undefined ? n : { ...n, hint });
const hintOf = (linear: Value): number => node(linear).hint ?? HINT_GENERAL;
const ZERO = constI32(0);

interface OpenUpdate {
  host: number;
  linear: number;
}

export class WasmOps implements Ops {
  readonly addressWidth: 16 | 32 | 64;
  readonly stackWidth: 16 | 32 | 64;
  readonly long64: boolean;
  readonly repeat: 'none' | 'rep' | 'repne';
  private readonly e: Emitter;
  private readonly variant: Variant;
  private readonly frame: Frame;
  private readonly fn: FunctionIndex;
  private readonly restartable: boolean;
  private readonly ends: boolean;
  /** The memory operand's linear address, once computed. */
  private linearLocal: number | null = null;
  /** What update() left for write(): keyed by operand, or by the linear address's node. */
  private readonly updates = new Map<unknown, OpenUpdate>();
  private committed = false;
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

  // ---- pure

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

  private bind(x: Node): Node {
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

  // ---- operands

  private field(offset: number, op: number = Op.i32Load16U): Node {
    return load(op, localNode(this.frame.pc, Type.i32), offset, Type.i32, 16);
  }

  /** Address of a register operand in the engine memory. */
  private registerAddress(operand: BoundOperand): Node {
    return operand.field === null ? constI32(operand.address) : this.field(operand.field);
  }

  private immediate(operand: BoundOperand, w: Width): Value {
    const { spec } = operand;
    if (spec.source === 'one') return this.const(1);
    if (operand.field === Rec.c) return value(unary(Op.i64ExtendI32U, this.field(Rec.c), Type.i64, 16));
    const bits = spec.signed ? 64 : spec.size === 8 ? 8 : spec.size === 16 ? 16 : 64;
    const imm = load(Op.i64Load, localNode(this.frame.pc, Type.i32), Rec.immediate, Type.i64, bits);
    return this.let(this.zext(w, value(imm)));
  }

  read(operand: Operand, w: Width): Value {
    const x = operand as BoundOperand;
    if (x.kind === 'imm') return this.immediate(x, w);
    if (x.kind === 'reg') return value(this.bind(load(LOADS[w], this.registerAddress(x), 0, Type.i64, w)));
    return this.loadAt(this.memoryLinear(x, w / 8, false), w, HINT_RECORD);
  }

  update(operand: Operand, w: Width): Value {
    const x = operand as BoundOperand;
    if (x.kind !== 'mem') return this.read(operand, w);
    return this.loadUpdate(x, this.memoryLinear(x, w / 8, true), w, HINT_RECORD);
  }

  write(operand: Operand, w: Width, v: Value): void {
    const x = operand as BoundOperand;
    if (x.kind === 'reg') {
      this.e.push(this.registerAddress(x));
      this.storeRegister(w, v);
      return;
    }
    const open = this.updates.get(x);
    if (open) {
      this.finishUpdate(open, w, v, HINT_RECORD);
      return;
    }
    this.storeAt(this.memoryLinear(x, w / 8, true), w, v, HINT_RECORD);
  }

  /** The register's address is on the stack. */
  private storeRegister(w: Width, v: Value): void {
    this.e.push(node(w === 32 ? this.zext(32, v) : v));
    this.e.memory(w === 32 ? Op.i64Store : STORES[w], 0);
    this.committed = true;
  }

  private base64(field: number): Node {
    return load(Op.i64Load, this.field(field), 0, Type.i64);
  }

  private displacement(): Node {
    return load(Op.i64Load32S, localNode(this.frame.pc, Type.i32), Rec.displacement, Type.i64);
  }

  offset(operand: Operand): Value {
    const x = operand as BoundOperand;
    if (x.spec.source === 'moffs') {
      return value(load(Op.i64Load, localNode(this.frame.pc, Type.i32), Rec.immediate, Type.i64));
    }
    let sum = binary(Op.i64Add, this.base64(Rec.base), this.displacement(), Type.i64);
    if (this.variant.memory !== 'simple') {
      const scaled = binary(
        Op.i64Shl,
        this.base64(Rec.index),
        load(Op.i64Load8U, localNode(this.frame.pc, Type.i32), Rec.scale, Type.i64),
        Type.i64,
      );
      sum = binary(Op.i64Add, sum, scaled, Type.i64);
    }
    const full = value(sum);
    return this.addressWidth === 64 ? full : this.zext(this.addressWidth, full);
  }

  linear(operand: Operand, size: number, write: boolean): Value {
    return value(hinted(localNode(this.memoryLinear(operand as BoundOperand, size, write), Type.i64), HINT_RECORD));
  }

  /** The memory operand's linear address in a local, computed once for an instruction. */
  private memoryLinear(operand: BoundOperand, size: number, write: boolean): number {
    if (this.linearLocal !== null) return this.linearLocal;
    const local = this.e.local(Type.i64);
    const offset = this.offset(operand);
    if (!this.long64) {
      const dynamicSegment = load(Op.i32Load8U, localNode(this.frame.pc, Type.i32), Rec.segment, Type.i32);
      this.e.push(node(this.checkedSegment(dynamicSegment, offset, size, write)));
    } else if (this.variant.memory === 'simple') {
      this.e.push(node(offset));
    } else {
      this.e.push(node(offset));
      this.e.push(this.base64(Rec.segmentBase));
      this.e.op(Op.i64Add);
    }
    this.e.set(local);
    this.linearLocal = local;
    return local;
  }

  /** Outside 64-bit mode: limit, type and wrap checks by a function of the core. */
  private checkedSegment(segment: Node, offset: Value, size: number, write: boolean): Value {
    this.refuseAfterCommit('a segment check');
    const index = this.fn('segment', [Type.i32, Type.i64, Type.i32], [Type.i64]);
    this.setRecord();
    this.e.push(segment);
    this.e.push(node(offset));
    this.e.i32((size << 1) | (write ? 1 : 0));
    this.e.call(index);
    const local = this.e.local(Type.i64);
    this.e.set(local);
    this.leaveIfPending();
    return value(localNode(local, Type.i64));
  }

  bitAddress(operand: Operand, offset: Value, size: number, write: boolean): Value {
    void operand;
    if (!this.long64) {
      const dynamicSegment = load(Op.i32Load8U, localNode(this.frame.pc, Type.i32), Rec.segment, Type.i32);
      return this.checkedSegment(dynamicSegment, offset, size, write);
    }
    const linear = this.bin('add', offset, value(this.base64(Rec.segmentBase)));
    return value(hinted(this.bind(node(linear)), HINT_RECORD));
  }

  segmentAddress(segment: number, offset: Value, size: number, write: boolean): Value {
    if (!this.long64) return this.checkedSegment(constI32(segment), offset, size, write);
    const hint = segment === SEG.ss ? HINT_STACK : HINT_GENERAL;
    if (segment !== SEG.fs && segment !== SEG.gs) return value(hinted(this.bind(node(offset)), hint));
    const base = STATE + S.segments + segment * SEGMENT_SIZE + SEG_FIELD.base;
    const linear = this.bin('add', offset, value(load(Op.i64Load, ZERO, base, Type.i64)));
    return value(hinted(this.bind(node(linear)), hint));
  }

  // ---- state

  private gprAddress(n: number): number {
    return STATE + S.gpr + n * 8;
  }

  reg(n: number, w: Width): Value {
    return value(this.bind(load(LOADS[w], ZERO, this.gprAddress(n), Type.i64, w)));
  }

  setReg(n: number, w: Width, v: Value): void {
    this.e.i32(0);
    this.e.push(node(w === 32 ? this.zext(32, v) : v));
    this.e.memory(w === 32 ? Op.i64Store : STORES[w], this.gprAddress(n));
    this.committed = true;
  }

  state(offset: number, w: Width): Value {
    return value(this.bind(load(LOADS[w], ZERO, STATE + offset, Type.i64, w)));
  }

  setState(offset: number, w: Width, v: Value): void {
    this.e.i32(0);
    this.e.push(node(v));
    this.e.memory(STORES[w], STATE + offset);
    this.committed = true;
  }

  /** From the register's address: files stand apart, so the address tells the number within the operand's file. */
  registerNumber(operand: Operand): Value {
    const x = operand as BoundOperand;
    const [base, shift] = REGISTER_FILES[x.file];
    const index = binary(Op.i32Sub, this.registerAddress(x), constI32(base), Type.i32);
    return this.let(value(unary(Op.i64ExtendI32U, binary(Op.i32ShrU, index, constI32(shift), Type.i32), Type.i64, 32)));
  }

  // ---- memory

  load(linear: Value, w: Width): Value {
    return this.loadAt(this.asLocal(linear), w, hintOf(linear));
  }

  store(linear: Value, w: Width, v: Value): void {
    const open = this.updates.get(linear);
    if (open) this.finishUpdate(open, w, v, hintOf(linear));
    else this.storeAt(this.asLocal(linear), w, v, hintOf(linear));
  }

  loadForUpdate(linear: Value, w: Width): Value {
    return this.loadUpdate(linear, this.asLocal(linear), w, hintOf(linear));
  }

  private asLocal(linear: Value): number {
    const local = this.e.local(Type.i64);
    this.e.push(node(linear));
    this.e.set(local);
    return local;
  }

  private refuseAfterCommit(what: string): void {
    if (this.committed && !this.restartable) throw new Error(`${what} that may fault comes after a write`);
  }

  /** Pushes (tag matches) for an access of `bytes` at the linear address in a local; leaves the entry's address in a new local. */
  private probe(linear: number, bytes: number, table: number): number {
    const e = this.e;
    const entry = e.local(Type.i32);
    e.get(linear);
    e.op(Op.i64Const, 8, Op.i64ShrU, Op.i32WrapI64);
    e.i32(INDEX_MASK);
    e.op(Op.i32And);
    e.i32(0);
    e.memory(Op.i32Load, STATE + S.tlb);
    e.op(Op.i32Add);
    e.tee(entry);
    e.memory(Op.i64Load, table);
    e.get(linear);
    if (bytes > 1) {
      e.push(constI64(BigInt(bytes - 1)));
      e.op(Op.i64Add);
    }
    e.push(constI64(PAGE_MASK));
    e.op(Op.i64And, Op.i64Eq);
    return entry;
  }

  /** Pushes the engine-memory address for the linear address in a local, given its TLB entry. */
  private pushHost(linear: number, entry: number, table: number): void {
    this.e.get(linear);
    this.e.op(Op.i32WrapI64);
    this.e.get(entry);
    this.e.memory(Op.i32Load, table + 8);
    this.e.op(Op.i32Add);
  }

  private setRecord(): void {
    this.e.i32(0);
    this.e.get(this.frame.pc);
    this.e.memory(Op.i32Store, STATE + S.record);
  }

  private leaveIfPending(): void {
    this.e.i32(0);
    this.e.memory(Op.i32Load, STATE + S.pending);
    this.e.open(Op.if);
    this.frame.leave(this.e);
    this.e.end();
  }

  private loadAt(linear: number, w: Width, hint: number): Value {
    this.refuseAfterCommit('a load');
    const e = this.e;
    const entry = this.probe(linear, w / 8, 0);
    const result = e.local(Type.i64);
    e.open(Op.if);
    this.pushHost(linear, entry, 0);
    e.memory(LOADS[w], 0);
    e.set(result);
    e.else();
    this.setRecord();
    e.get(linear);
    e.i32(hint);
    e.call(this.fn(`load${w}`, [Type.i64, Type.i32], [Type.i64]));
    e.set(result);
    this.leaveIfPending();
    e.end();
    return value(localNode(result, Type.i64, w));
  }

  private loadUpdate(key: unknown, linear: number, w: Width, hint: number): Value {
    this.refuseAfterCommit('a load');
    const e = this.e;
    const host = e.local(Type.i32);
    const entry = this.probe(linear, w / 8, TLB_WRITE_OFFSET);
    const result = e.local(Type.i64);
    e.open(Op.if);
    this.pushHost(linear, entry, TLB_WRITE_OFFSET);
    e.tee(host);
    e.memory(LOADS[w], 0);
    e.set(result);
    e.else();
    this.setRecord();
    e.get(linear);
    e.i32(hint);
    e.call(this.fn(`update${w}`, [Type.i64, Type.i32], [Type.i64]));
    e.set(result);
    e.i32(0);
    e.set(host);
    this.leaveIfPending();
    e.end();
    this.updates.set(key, { host, linear });
    return value(localNode(result, Type.i64, w));
  }

  private finishUpdate(open: OpenUpdate, w: Width, v: Value, hint: number): void {
    const e = this.e;
    e.get(open.host);
    e.open(Op.if);
    e.get(open.host);
    e.push(node(v));
    e.memory(STORES[w], 0);
    e.else();
    this.slowStore(open.linear, w, v, hint);
    e.end();
    this.committed = true;
  }

  private slowStore(linear: number, w: Width, v: Value, hint: number): void {
    const e = this.e;
    this.setRecord();
    e.get(linear);
    e.push(node(v));
    e.i32(hint);
    e.call(this.fn(`store${w}`, [Type.i64, Type.i64, Type.i32], []));
    this.leaveIfPending();
  }

  private storeAt(linear: number, w: Width, v: Value, hint: number): void {
    this.refuseAfterCommit('a store');
    const e = this.e;
    const entry = this.probe(linear, w / 8, TLB_WRITE_OFFSET);
    e.open(Op.if);
    this.pushHost(linear, entry, TLB_WRITE_OFFSET);
    e.push(node(v));
    e.memory(STORES[w], 0);
    e.else();
    this.slowStore(linear, w, v, hint);
    e.end();
    this.committed = true;
  }

  bulkMove(w: Width, source: Operand, step: Value, most: Value): void {
    void source;
    if (!this.long64 || this.addressWidth !== 64) return;
    this.call('bulkMove', this.const(w / 8), step, most, value(this.base64(Rec.segmentBase)));
  }

  bulkFill(w: Width, v: Value, step: Value, most: Value): void {
    if (!this.long64 || this.addressWidth !== 64) return;
    this.call('bulkFill', this.const(w / 8), step, most, v);
  }

  // ---- flags

  setFlags(update: FlagUpdate): void {
    this.setState(S.ccResult, 64, update.result);
    this.setState(S.ccAux, 64, update.aux);
  }

  private ccResult(): Node {
    return load(Op.i64Load, ZERO, STATE + S.ccResult, Type.i64);
  }
  private ccAux(): Node {
    return load(Op.i64Load, ZERO, STATE + S.ccAux, Type.i64);
  }

  cf(): Bool {
    return bool(binary(Op.i64LtS, this.ccAux(), constI64(0n), Type.i32, 1));
  }
  zf(): Bool {
    return bool(unary(Op.i64Eqz, this.ccResult(), Type.i32, 1));
  }
  sf(): Bool {
    const invert = binary(Op.i64Shl, this.ccAux(), constI64(63n), Type.i64);
    return bool(binary(Op.i64LtS, binary(Op.i64Xor, this.ccResult(), invert, Type.i64), constI64(0n), Type.i32, 1));
  }
  /** CF xor (CF xor OF): the two top bits differ where OF is set. */
  of(): Bool {
    const aux = this.ccAux();
    const shifted = binary(Op.i64Shl, aux, constI64(1n), Type.i64);
    return bool(binary(Op.i64LtS, binary(Op.i64Xor, aux, shifted, Type.i64), constI64(0n), Type.i32, 1));
  }
  pf(): Bool {
    const delta = binary(Op.i64ShrU, this.ccAux(), constI64(8n), Type.i64);
    const low = binary(Op.i64And, binary(Op.i64Xor, this.ccResult(), delta, Type.i64), constI64(0xffn), Type.i64);
    const ones = unary(Op.i64Popcnt, low, Type.i64);
    return bool(unary(Op.i64Eqz, binary(Op.i64And, ones, constI64(1n), Type.i64), Type.i32, 1));
  }
  af(): Bool {
    const bit = binary(Op.i64And, this.ccAux(), constI64(8n), Type.i64);
    return bool(binary(Op.i64Ne, bit, constI64(0n), Type.i32, 1));
  }

  // ---- vectors

  readVector(operand: Operand, bits: 128 | 64 | 32 | 16): Vector {
    const x = operand as BoundOperand;
    if (bits === 128) {
      if (x.kind === 'reg') {
        const code = [...this.registerAddress(x).code, Op.prefixFD, 0, 0, 0];
        return vector(this.bind({ code, type: Type.v128, bits: 64 }));
      }
      return this.loadVector(this.memoryLinear(x, 16, false));
    }
    return this.vectorFrom(this.read(operand, bits), this.const(0));
  }

  private loadVector(linear: number): Vector {
    this.refuseAfterCommit('a load');
    const e = this.e;
    const entry = this.probe(linear, 16, 0);
    const result = e.local(Type.v128);
    e.open(Op.if);
    this.pushHost(linear, entry, 0);
    e.op(Op.prefixFD, 0, 0, 0);
    e.set(result);
    e.else();
    this.setRecord();
    const load64 = this.fn('load64', [Type.i64, Type.i32], [Type.i64]);
    e.get(linear);
    e.i32(HINT_RECORD);
    e.call(load64);
    this.splatI64();
    e.set(result);
    this.leaveIfPending();
    e.get(result);
    e.get(linear);
    e.op(Op.i64Const, 8, Op.i64Add);
    e.i32(HINT_RECORD);
    e.call(load64);
    e.op(Op.prefixFD, 30, 1); // i64x2.replace_lane 1
    e.set(result);
    this.leaveIfPending();
    e.end();
    return vector(localNode(result, Type.v128));
  }

  private splatI64(): void {
    this.e.op(Op.prefixFD, 18);
  }

  writeVector(operand: Operand, bits: 128 | 64 | 32, v: Vector): void {
    const x = operand as BoundOperand;
    const e = this.e;
    if (bits === 32 && x.kind === 'reg') {
      // unlike a general register's, a vector register's other bits stay
      e.push(this.registerAddress(x));
      e.push(node(this.vectorLow(v)));
      e.memory(Op.i64Store32, 0);
      this.committed = true;
      return;
    }
    if (bits < 128) {
      this.write(operand, bits as 64 | 32, this.zext(bits as 64 | 32, this.vectorLow(v)));
      return;
    }
    if (x.kind === 'reg') {
      e.push(this.registerAddress(x));
      e.push(node(v));
      e.op(Op.prefixFD, 11, 0, 0);
      this.committed = true;
      return;
    }
    this.refuseAfterCommit('a store');
    const linear = this.memoryLinear(x, 16, true);
    const entry = this.probe(linear, 16, TLB_WRITE_OFFSET);
    e.open(Op.if);
    this.pushHost(linear, entry, TLB_WRITE_OFFSET);
    e.push(node(v));
    e.op(Op.prefixFD, 11, 0, 0);
    e.else();
    this.setRecord();
    e.get(linear);
    e.push(node(this.vectorLow(v)));
    e.push(node(this.vectorHigh(v)));
    e.i32(HINT_RECORD);
    e.call(this.fn('store128', [Type.i64, Type.i64, Type.i64, Type.i32], []));
    this.leaveIfPending();
    e.end();
    this.committed = true;
  }

  vec(op: string, args: readonly (Vector | Value)[], immediates: readonly number[] = []): Vector {
    const { code, wrap } = vectorOpcode(op);
    const out: number[] = [];
    args.forEach((a, i) => {
      out.push(...node(a).code);
      if (wrap && i === args.length - 1 && node(a).type === Type.i64) out.push(Op.i32WrapI64);
    });
    return vector({ code: [...out, ...code, ...immediates], type: Type.v128, bits: 64 });
  }

  vecToValue(op: string, args: readonly Vector[], lane?: number): Value {
    const { code, result } = vectorOpcode(op);
    const out = args.flatMap(a => [...node(a).code]);
    out.push(...code);
    if (lane !== undefined) out.push(lane);
    if (result === Type.i32) out.push(Op.i64ExtendI32U);
    return value({ code: out, type: Type.i64, bits: result === Type.i32 ? 32 : 64 });
  }

  vectorFrom(low: Value, high: Value): Vector {
    const code = [...node(low).code, Op.prefixFD, 18, ...node(high).code, Op.prefixFD, 30, 1];
    return vector({ code, type: Type.v128, bits: 64 });
  }
  vectorLow(a: Vector): Value {
    return value(unary([Op.prefixFD, 29, 0], node(a), Type.i64));
  }
  vectorHigh(a: Vector): Value {
    return value(unary([Op.prefixFD, 29, 1], node(a), Type.i64));
  }

  constVector(low: bigint, high: bigint): Vector {
    const code: number[] = [Op.prefixFD, 12];
    for (const half of [low, high]) for (let i = 0n; i < 8n; i++) code.push(Number((half >> (8n * i)) & 0xffn));
    return vector({ code, type: Type.v128, bits: 64 });
  }

  selectVector(c: Bool, a: Vector, b: Vector): Vector {
    const code = [...node(a).code, ...node(b).code, ...node(c).code, Op.select];
    return vector({ code, type: Type.v128, bits: 64 });
  }

  checkAligned(operand: Operand, bytes: number): void {
    const x = operand as BoundOperand;
    if (x.kind !== 'mem') return;
    const linear = value(localNode(this.memoryLinear(x, bytes, false), Type.i64));
    const low = this.bin('and', linear, this.const(bytes - 1));
    this.faultIf(this.cmp('ne', low, this.const(0)), 13, 0);
  }

  // ---- leaving

  private pageOffset(extra: number): Value {
    const sum = binary(
      Op.i32Add,
      this.field(Rec.offset),
      extra === 0 ? ZERO : load(Op.i32Load8U, localNode(this.frame.pc, Type.i32), Rec.length, Type.i32),
      Type.i32,
    );
    return value(unary(Op.i64ExtendI32U, sum, Type.i64, 32));
  }

  private fromPage(offset: Value): Value {
    return this.bin('add', value(load(Op.i64Load, ZERO, STATE + S.ripBase, Type.i64)), offset);
  }

  nextRip(): Value {
    const full = this.fromPage(this.pageOffset(1));
    return this.let(this.long64 ? full : this.zext(32, full));
  }

  rip(): Value {
    return this.let(this.fromPage(this.pageOffset(0)));
  }

  jump(target: Value): void {
    this.requireEnds();
    this.setState(S.rip, 64, target);
    this.frame.transfer(this.e);
    this.left = true;
  }

  relativeTarget(operand: Operand, w: Width): Value {
    void operand;
    const relative = value(load(Op.i64Load, localNode(this.frame.pc, Type.i32), Rec.immediate, Type.i64));
    return this.let(this.zext(w, this.fromPage(relative)));
  }

  jumpRelative(operand: Operand, w: Width, condition: Bool | null): void {
    const e = this.e;
    if (condition) {
      e.push(node(condition));
      e.open(Op.if);
    } else this.requireEnds();
    const { follow, link } = this.frame;
    if (follow && link && this.long64) {
      const local = e.local(Type.i32);
      e.get(this.frame.pc);
      e.memory(Op.i32Load, Rec.link);
      e.tee(local);
      e.i32(LINK_NEVER);
      e.op(Op.i32GtU);
      e.open(Op.if);
      follow(e, local);
      e.end();
      e.get(local);
      e.op(Op.i32Eqz);
      e.open(Op.if);
      link(e);
      e.end();
    }
    this.setState(S.rip, 64, this.relativeTarget(operand, w));
    this.frame.transfer(e);
    if (condition) e.end();
    else this.left = true;
  }

  again(condition: Bool): void {
    this.e.push(node(condition));
    this.e.open(Op.if);
    this.setState(S.rip, 64, this.rip());
    this.frame.transfer(this.e);
    this.e.end();
  }

  private requireEnds(): void {
    if (!this.ends) throw new Error('an instruction that moves RIP must be declared to end its block');
  }

  fault(vector: number, code?: number): void {
    const e = this.e;
    const put = (offset: number, v: number) => {
      e.i32(0);
      e.i32(v);
      e.memory(Op.i32Store, STATE + offset);
    };
    put(S.pending, 1);
    put(S.exit, Exit.exception);
    put(S.faultVector, vector);
    put(S.faultCode, code ?? 0);
    put(S.faultHasCode, code === undefined ? 0 : 1);
    this.setRecord();
    this.frame.leave(e);
    this.left = true;
  }

  faultIf(condition: Bool, vector: number, code?: number): void {
    this.refuseAfterCommit('a fault');
    this.e.push(node(condition));
    this.e.open(Op.if);
    this.fault(vector, code);
    this.e.end();
    this.left = false;
  }

  endBlock(): void {
    this.requireEnds();
    this.setState(S.rip, 64, this.nextRip());
    this.frame.transfer(this.e);
    this.left = true;
  }

  call(helper: string, ...args: readonly Value[]): void {
    this.callHelper(helper, args, false);
  }

  callValue(helper: string, ...args: readonly Value[]): Value {
    return value(this.callHelper(helper, args, true)!);
  }

  private callHelper(helper: string, args: readonly Value[], result: boolean): Node | null {
    const e = this.e;
    const index = this.fn(
      `helper:${helper}`,
      args.map(() => Type.i64),
      result ? [Type.i64] : [],
    );
    this.setRecord();
    for (const a of args) e.push(node(a));
    e.call(index);
    const local = result ? e.local(Type.i64) : 0;
    if (result) e.set(local);
    this.leaveIfPending();
    return result ? localNode(local, Type.i64) : null;
  }

  transfer(): void {
    this.requireEnds();
    this.frame.transfer(this.e);
    this.left = true;
  }
}
