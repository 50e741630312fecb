// The JIT's back end of the abstract builder: an instruction with all its operands known becomes code within a region. What it does not do
// (helpers, repetition, faults, accesses that the TLB must not answer) it leaves to the interpreter, before anything was written.
import { pushI64 } from '../../wasm/encode.ts';
import { Op, Type } from '../../wasm/opcodes.ts';
import type { Instruction, MemoryOperand } from '../decode/decoder.ts';
import { registerAddress } from '../interp/handlers.ts';
import type { BoundOperand } from '../interp/variant.ts';
import { vectorOpcode } from '../interp/vector-opcodes.ts';
import { LOADS, STORES } from '../interp/wasm-access.ts';
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
import * as x from './expressions.ts';
import { type Code, Constant, type Difference, type Expr, Let, Local, Operation } from './expressions.ts';
import { CC_AUX, CC_RESULT, type RegisterFile } from './registers.ts';

/** Thrown where an instruction cannot be part of a region's code: its out-of-line handler is called, or the region ends before it. */
export class OutOfLine {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** The flags as the last instruction that set them left them, not computed yet. */
export interface PendingFlags {
  result: Expr;
  aux: Expr;
  difference: Difference | null;
}

/** Where control goes behind an instruction that ends a block; targets are offsets from the instruction's page. */
export type Ending =
  | { kind: 'jump'; target: number }
  | { kind: 'branch'; target: number; condition: Expr }
  | { kind: 'indirect'; target: Expr };

/** What instructions need of the region that they are translated into. */
export interface Surroundings {
  readonly code: Code;
  readonly registers: RegisterFile;
  /** i64 local: RIP of the page of the region's entry. */
  readonly ripBase: number;
  /** i32 local: address of the TLB bank. */
  readonly tlb: number;
  pending: PendingFlags | null;
  /** Leaves for the interpreter at the current instruction. */
  leave(): void;
}

/** What an instruction turned out to do. */
export interface Effects {
  readsFlags: boolean;
  setsFlags: boolean;
  mayLeave: boolean;
}

const expr = (v: Value | Bool | Vector) => v as unknown as Expr;
const value = (e: Expr) => e as unknown as Value;
const bool = (e: Expr) => e as unknown as Bool;
const vector = (e: Expr) => e as unknown as Vector;
const { i32, i64, v128 } = Type;
const INDEX_MASK = (TLB_READ_ENTRIES - 1) << 4;
const TO_PAGE: number[] = [Op.i64Const];
pushI64(TO_PAGE, 0xfffffffffffff000n);
const FIRST_HIGH_BYTE = 16;
const READ = 0;
const WRITE = 1;

export class JitOps implements Ops {
  readonly addressWidth: 16 | 32 | 64;
  readonly stackWidth = 64;
  readonly long64 = true;
  readonly repeat: 'none' | 'rep' | 'repne';
  readonly effects: Effects = { readsFlags: false, setsFlags: false, mayLeave: false };
  ending: Ending | null = null;

  private readonly s: Surroundings;
  private readonly code: Code;
  private readonly registers: RegisterFile;
  private readonly instruction: Instruction;
  /** Offset of the instruction from the page of the region's entry. */
  private readonly position: number;
  private committed = false;
  /** Depth of o.if and o.while. */
  private depth = 0;
  private memoryAddress: Expr | null = null;
  /** Engine-memory addresses of operands that were read for update. */
  private readonly updates = new Map<unknown, number>();

  /** @param position offset of the instruction from the first byte of the page of the region's entry */
  constructor(s: Surroundings, instruction: Instruction, position: number) {
    this.s = s;
    this.code = s.code;
    this.registers = s.registers;
    this.instruction = instruction;
    this.position = position;
    this.addressWidth = instruction.addressWidth;
    this.repeat = instruction.repeat;
  }

  // ---- pure operations

  const(v: number | bigint): Value {
    return value(x.constant(v));
  }
  bin(op: BinaryOp, a: Value, b: Value): Value {
    return value(x.binary(op, expr(a), expr(b)));
  }
  un(op: UnaryOp, a: Value): Value {
    return value(x.unary(op, expr(a)));
  }
  cmp(op: CompareOp, a: Value, b: Value): Bool {
    return bool(x.compare(op, expr(a), expr(b)));
  }
  not(a: Bool): Bool {
    return bool(x.not(expr(a)));
  }
  and(a: Bool, b: Bool): Bool {
    return bool(x.logic('and', expr(a), expr(b)));
  }
  or(a: Bool, b: Bool): Bool {
    return bool(x.logic('or', expr(a), expr(b)));
  }
  xor(a: Bool, b: Bool): Bool {
    return bool(x.logic('xor', expr(a), expr(b)));
  }
  select(c: Bool, a: Value, b: Value): Value {
    return value(x.select(expr(c), expr(a), expr(b)));
  }
  fromBool(a: Bool): Value {
    return value(x.fromBool(expr(a)));
  }
  zext(w: Width, a: Value): Value {
    return value(x.zeroExtend(w, expr(a)));
  }
  sext(w: Width, a: Value): Value {
    return value(x.signExtend(w, expr(a)));
  }
  let(a: Value): Value {
    return value(named(expr(a)));
  }
  letBool(a: Bool): Bool {
    return bool(named(expr(a)));
  }
  letVector(a: Vector): Vector {
    return vector(this.now(expr(a)));
  }
  variable(initial: Value): Value {
    const local = this.code.local(i64);
    expr(initial).emit(this.code);
    this.code.set(local);
    return value(new Local(local));
  }
  assign(variable: Value, v: Value): void {
    expr(v).emit(this.code);
    this.code.set((expr(variable) as Local).index);
  }

  /** Computes now, into a local of its own. */
  private now(e: Expr): Expr {
    const local = this.code.local(e.type);
    e.emit(this.code);
    this.code.set(local);
    return new Local(local, e.type, e.bits);
  }

  // ---- control within the instruction

  if(condition: Bool, then: () => void, otherwise?: () => void): void {
    const c = expr(condition);
    if (x.isConstant(c)) {
      if (c.value) then();
      else otherwise?.();
      return;
    }
    this.settleFlags();
    this.registers.freezeAll();
    c.emit(this.code);
    this.code.open(Op.if);
    this.depth++;
    const before = this.committed;
    this.code.scoped(then);
    const afterThen = this.committed;
    if (otherwise) {
      this.committed = before;
      this.code.else();
      this.code.scoped(otherwise);
    }
    this.committed ||= afterThen;
    this.depth--;
    this.code.end();
    this.registers.forgetBits();
  }

  while(condition: () => Bool, body: () => void): void {
    const { code } = this;
    this.settleFlags();
    this.registers.freezeAll();
    this.depth++;
    code.open(Op.block);
    const exit = code.depth;
    code.open(Op.loop);
    const again = code.depth;
    code.scoped(() => {
      x.not(expr(condition())).emit(code);
      code.br(exit, Op.brIf);
      body();
      code.br(again);
    });
    code.end();
    code.end();
    this.depth--;
    this.registers.forgetBits();
  }

  /** The flags' words into their locals, before paths part that may set them. */
  private settleFlags(): void {
    const { pending } = this.s;
    if (!pending) return;
    this.registers.writeFlags(pending.result, pending.aux);
    this.s.pending = null;
  }

  // ---- registers

  private readRegister(n: number, w: Width): Expr {
    if (n >= FIRST_HIGH_BYTE) {
      const whole = this.registers.read(n - FIRST_HIGH_BYTE);
      return x.zeroExtend(8, x.binary('shr_u', whole, x.constant(8)));
    }
    return x.zeroExtend(w, this.registers.read(n));
  }

  private writeRegister(n: number, w: Width, v: Expr): void {
    this.committed = true;
    if (n < FIRST_HIGH_BYTE && w >= 32) {
      this.registers.write(n, x.zeroExtend(w, v));
      return;
    }
    const high = n >= FIRST_HIGH_BYTE;
    const register = high ? n - FIRST_HIGH_BYTE : n;
    const mask = (1n << BigInt(w)) - 1n;
    const kept = x.binary(
      'and',
      this.registers.read(register),
      x.constant(BigInt.asUintN(64, ~(high ? mask << 8n : mask))),
    );
    const part = x.zeroExtend(w, v);
    this.registers.write(register, x.binary('or', kept, high ? x.binary('shl', part, x.constant(8)) : part));
  }

  reg(n: number, w: Width): Value {
    return value(this.readRegister(n, w));
  }
  setReg(n: number, w: Width, v: Value): void {
    this.writeRegister(n, w, expr(v));
  }

  state(offset: number, w: Width): Value {
    if (offset === S.ccResult || offset === S.ccAux) {
      this.effects.readsFlags = true;
      return value(offset === S.ccResult ? this.flagResult() : this.flagAux());
    }
    return value(this.loadState(STATE + offset, w));
  }
  setState(offset: number, w: Width, v: Value): void {
    if (offset === S.ccResult || offset === S.ccAux || offset === S.rip) throw new OutOfLine('flags or RIP as such');
    const before = this.committed;
    this.storeState(STATE + offset, w, expr(v));
    // what stands in the scratch area means nothing to a guest
    if (offset >= S.scratch) this.committed = before;
  }

  stateAt(offset: number, bytes: Value, w: Width): Value {
    const local = this.code.local(i64);
    x.wrap(expr(bytes)).emit(this.code);
    this.code.memory(LOADS[w], STATE + offset);
    this.code.set(local);
    return value(new Local(local, i64, w));
  }
  setStateAt(offset: number, bytes: Value, w: Width, v: Value): void {
    x.wrap(expr(bytes)).emit(this.code);
    expr(v).emit(this.code);
    this.code.memory(STORES[w], STATE + offset);
    this.committed = true;
  }

  private loadState(address: number, w: Width): Expr {
    const local = this.code.local(i64);
    this.code.i32(0);
    this.code.memory(LOADS[w], address);
    this.code.set(local);
    return new Local(local, i64, w);
  }
  private storeState(address: number, w: Width, v: Expr): void {
    this.code.i32(0);
    v.emit(this.code);
    this.code.memory(STORES[w], address);
    this.committed = true;
  }

  registerNumber(operand: Operand): Value {
    return this.const(this.decoded(operand).register);
  }

  // ---- operands

  private decoded(operand: Operand) {
    const { spec } = operand as BoundOperand;
    return this.instruction.operands[this.instruction.row.operands.indexOf(spec)];
  }

  private get memory(): MemoryOperand {
    return this.instruction.memory!;
  }

  /** Address of a register that is no general one. */
  private addressOf(operand: Operand): number {
    const { spec, register } = this.decoded(operand);
    if (operand.file === 'cr' || operand.file === 'dr') throw new OutOfLine('a system register');
    return spec.source === 'fixed' ? registerAddress(spec, spec.fixed) : registerAddress(spec, register);
  }

  /** Number of a general register, 16-19 for AH CH DH BH. */
  private generalNumber(operand: Operand): number {
    const { spec, register } = this.decoded(operand);
    return spec.source === 'fixed' ? spec.fixed : register;
  }

  read(operand: Operand, w: Width): Value {
    const { kind, file } = operand;
    if (kind === 'imm') {
      const { spec, immediate } = this.decoded(operand);
      return this.const(spec.source === 'one' ? 1n : BigInt.asUintN(w, immediate));
    }
    if (kind === 'mem') return value(this.loadAt(this.operandAddress(operand), w, READ));
    if (file === 'gpr') return value(this.readRegister(this.generalNumber(operand), w));
    return value(this.loadState(this.addressOf(operand), w));
  }

  update(operand: Operand, w: Width): Value {
    if (operand.kind !== 'mem') return this.read(operand, w);
    return value(this.loadForUpdateAt(operand, this.operandAddress(operand), w));
  }

  write(operand: Operand, w: Width, v: Value): void {
    const { kind, file } = operand;
    if (kind === 'mem') this.storeAt(operand, this.operandAddress(operand), w, expr(v));
    else if (file === 'gpr') this.writeRegister(this.generalNumber(operand), w, expr(v));
    // as the interpreter: 32 bits clear the upper half
    else if (w === 32) this.storeState(this.addressOf(operand), 64, x.zeroExtend(32, expr(v)));
    else this.storeState(this.addressOf(operand), w, expr(v));
  }

  offset(operand: Operand): Value {
    if ((operand as BoundOperand).spec.source === 'moffs') return this.const(this.decoded(operand).immediate);
    const m = this.memory;
    let sum: Expr = x.constant(m.displacement);
    if (m.ripRelative) sum = this.fromBase(this.position + this.instruction.length + m.displacement);
    else if (m.base >= 0) sum = x.binary('add', this.registers.read(m.base), sum);
    if (m.index >= 0) {
      const scaled = x.binary('shl', this.registers.read(m.index), x.constant(m.scale));
      sum = x.binary('add', scaled, sum);
    }
    return value(x.zeroExtend(this.addressWidth, sum));
  }

  private fromBase(offset: number): Expr {
    return x.binary('add', new Local(this.s.ripBase), x.constant(offset));
  }

  segmentBase(): Value {
    const { segment } = this.memory;
    return segment === SEG.fs || segment === SEG.gs ? value(this.baseOf(segment)) : this.const(0);
  }

  private baseOf(segment: number): Expr {
    return this.loadState(STATE + S.segments + segment * SEGMENT_SIZE + SEG_FIELD.base, 64);
  }

  private inSegment(segment: number, offset: Expr): Expr {
    if (segment !== SEG.fs && segment !== SEG.gs) return offset;
    return x.binary('add', offset, this.baseOf(segment));
  }

  private operandAddress(operand: Operand): Expr {
    this.memoryAddress ??= this.now(this.inSegment(this.memory.segment, expr(this.offset(operand))));
    return this.memoryAddress;
  }

  linear(operand: Operand, _size: number, _write: boolean): Value {
    return value(this.operandAddress(operand));
  }
  bitAddress(_operand: Operand, offset: Value, _size: number, _write: boolean): Value {
    return value(named(this.inSegment(this.memory.segment, expr(offset))));
  }
  segmentAddress(segment: number, offset: Value, _size: number, _write: boolean): Value {
    return value(named(this.inSegment(segment, expr(offset))));
  }

  // ---- memory

  /** Leaves the engine-memory address of an access in a local; what the TLB cannot or must not answer is the interpreter's. */
  private host(linear: Expr, bytes: number, kind: number): number {
    if (this.committed) throw new OutOfLine('an access after a write');
    const { code } = this;
    const table = kind === WRITE ? TLB_WRITE_OFFSET : 0;
    const address = linear instanceof Local ? linear : this.now(linear);
    const entry = code.local(i32);
    const host = code.local(i32);
    address.emit(code);
    code.op(Op.i64Const, 8, Op.i64ShrU, Op.i32WrapI64);
    code.i32(INDEX_MASK);
    code.op(Op.i32And);
    code.get(this.s.tlb);
    code.op(Op.i32Add);
    code.tee(entry);
    code.memory(Op.i64Load, table);
    x.binary('add', address, x.constant(bytes - 1)).emit(code);
    code.op(...TO_PAGE, Op.i64And, Op.i64Ne);
    code.open(Op.if);
    this.leave();
    code.end();
    x.wrap(address).emit(code);
    code.get(entry);
    code.memory(Op.i32Load, table + 8);
    code.op(Op.i32Add);
    code.set(host);
    return host;
  }

  private loadAt(linear: Expr, w: Width, kind: number): Expr {
    const host = this.host(linear, w / 8, kind);
    const result = this.code.local(i64);
    this.code.get(host);
    this.code.memory(LOADS[w], 0);
    this.code.set(result);
    return new Local(result, i64, w);
  }

  private loadForUpdateAt(key: unknown, linear: Expr, w: Width): Expr {
    const host = this.host(linear, w / 8, WRITE);
    this.updates.set(key, host);
    const result = this.code.local(i64);
    this.code.get(host);
    this.code.memory(LOADS[w], 0);
    this.code.set(result);
    return new Local(result, i64, w);
  }

  private storeAt(key: unknown, linear: Expr, w: Width, v: Expr): void {
    const host = this.updates.get(key) ?? this.host(linear, w / 8, WRITE);
    this.code.get(host);
    v.emit(this.code);
    this.code.memory(STORES[w], 0);
    this.committed = true;
  }

  load(linear: Value, w: Width): Value {
    return value(this.loadAt(expr(linear), w, READ));
  }
  store(linear: Value, w: Width, v: Value): void {
    this.storeAt(linear, expr(linear), w, expr(v));
  }
  loadForUpdate(linear: Value, w: Width): Value {
    return value(this.loadForUpdateAt(linear, expr(linear), w));
  }

  bulkMove(): void {
    throw new OutOfLine('repetition');
  }
  bulkFill(): void {
    throw new OutOfLine('repetition');
  }

  // ---- flags

  setFlags(update: FlagUpdate): void {
    const result = expr(update.result);
    const aux = expr(update.aux);
    if (this.depth > 0) {
      this.registers.writeFlags(result, aux);
      return;
    }
    this.effects.setsFlags = true;
    const { difference } = update;
    this.s.pending = {
      result,
      aux,
      difference: difference ? { w: difference.w, x: expr(difference.x), y: expr(difference.y) } : null,
    };
  }

  private flagResult(): Expr {
    return this.s.pending?.result ?? this.registers.read(CC_RESULT);
  }
  private flagAux(): Expr {
    return this.s.pending?.aux ?? this.registers.read(CC_AUX);
  }

  private flag(flag: 'cf' | 'zf' | 'sf' | 'of', plain: () => Expr): Bool {
    this.effects.readsFlags = true;
    const difference = this.s.pending?.difference;
    return bool(difference ? x.flagOfDifference(flag, plain(), difference) : plain());
  }

  cf(): Bool {
    return this.flag('cf', () => x.compare('lt_s', this.flagAux(), x.constant(0)));
  }
  zf(): Bool {
    return this.flag('zf', () => x.compare('eq', this.flagResult(), x.constant(0)));
  }
  sf(): Bool {
    return this.flag('sf', () => {
      const aux = this.flagAux();
      // bit 0 of ccAux inverts
      const turned =
        aux.low16 & 1 ? x.binary('xor', this.flagResult(), x.binary('shl', aux, x.constant(63))) : this.flagResult();
      return x.compare('lt_s', turned, x.constant(0));
    });
  }
  of(): Bool {
    return this.flag('of', () => {
      const aux = this.flagAux();
      return x.compare('lt_s', x.binary('xor', aux, x.binary('shl', aux, x.constant(1))), x.constant(0));
    });
  }
  pf(): Bool {
    this.effects.readsFlags = true;
    const aux = this.flagAux();
    const delta = x.binary('shr_u', aux, x.constant(8));
    const turned = aux.low16 & 0xff00 ? x.binary('xor', this.flagResult(), delta) : this.flagResult();
    const ones = x.unary('popcnt', x.binary('and', turned, x.constant(0xff)));
    return bool(x.compare('eq', x.binary('and', ones, x.constant(1)), x.constant(0)));
  }
  af(): Bool {
    this.effects.readsFlags = true;
    return bool(x.compare('ne', x.binary('and', this.flagAux(), x.constant(8)), x.constant(0)));
  }

  // ---- vectors: they stay in the state block

  readVector(operand: Operand, bits: 128 | 64 | 32 | 16): Vector {
    if (bits < 128) return this.vectorFrom(this.read(operand, bits as Width), this.const(0));
    const { code } = this;
    if (operand.kind === 'mem') code.get(this.host(this.operandAddress(operand), 16, READ));
    else code.i32(this.addressOf(operand));
    code.op(Op.prefixFD, 0, 0, 0);
    const local = code.local(v128);
    code.set(local);
    return vector(new Local(local, v128));
  }

  writeVector(operand: Operand, bits: 128 | 64 | 32, v: Vector): void {
    const { code } = this;
    if (operand.kind === 'reg' && bits === 32) {
      this.storeState(this.addressOf(operand), 32, expr(this.vectorLow(v)));
      return;
    }
    if (bits < 128) {
      this.write(operand, bits as Width, this.zext(bits as Width, this.vectorLow(v)));
      return;
    }
    if (operand.kind === 'mem') code.get(this.host(this.operandAddress(operand), 16, WRITE));
    else code.i32(this.addressOf(operand));
    expr(v).emit(code);
    code.op(Op.prefixFD, 11, 0, 0);
    this.committed = true;
  }

  vec(op: string, args: readonly (Vector | Value)[], immediates: readonly number[] = []): Vector {
    const { code, wrap } = vectorOpcode(op);
    const inputs = args.map((a, i) => {
      const e = expr(a);
      return wrap && i === args.length - 1 && e.type === i64 ? x.wrap(e) : e;
    });
    return vector(new Operation([...code, ...immediates], inputs, v128));
  }

  vecToValue(op: string, args: readonly Vector[], lane?: number): Value {
    const { code, result } = vectorOpcode(op);
    const lanes = lane === undefined ? code : [...code, lane];
    if (result !== i32) return value(new Operation(lanes, args.map(expr), i64));
    return value(new Operation([...lanes, Op.i64ExtendI32U], args.map(expr), i64, 32));
  }

  vectorFrom(low: Value, high: Value): Vector {
    const splat = new Operation([Op.prefixFD, 18], [expr(low)], v128);
    return vector(new Operation([Op.prefixFD, 30, 1], [splat, expr(high)], v128));
  }
  vectorLow(a: Vector): Value {
    return value(new Operation([Op.prefixFD, 29, 0], [expr(a)], i64));
  }
  vectorHigh(a: Vector): Value {
    return value(new Operation([Op.prefixFD, 29, 1], [expr(a)], i64));
  }
  constVector(low: bigint, high: bigint): Vector {
    const code: number[] = [Op.prefixFD, 12];
    for (const half of [low, high]) for (let i = 0n; i < 8n; i++) code.push(Number((half >> (8n * i)) & 0xffn));
    return vector(new Operation(code, [], v128));
  }
  selectVector(c: Bool, a: Vector, b: Vector): Vector {
    return vector(x.select(expr(c), expr(a), expr(b)));
  }
  checkAligned(operand: Operand, bytes: number): void {
    if (operand.kind !== 'mem') return;
    const low = x.binary('and', this.operandAddress(operand), x.constant(bytes - 1));
    this.leaveIf(x.compare('ne', low, x.constant(0)));
  }

  // ---- leaving the instruction

  nextRip(): Value {
    return value(this.fromBase(this.position + this.instruction.length));
  }
  rip(): Value {
    return value(this.fromBase(this.position));
  }

  jump(target: Value): void {
    this.ending = { kind: 'indirect', target: expr(target) };
  }

  /** Offset of a J operand's target from the first byte of the region's page. */
  private targetOffset(operand: Operand, w: Width): number {
    if (w !== 64) throw new OutOfLine('a truncated target');
    const displacement = Number(BigInt.asIntN(64, this.decoded(operand).immediate));
    return this.position + this.instruction.length + displacement;
  }

  relativeTarget(operand: Operand, w: Width): Value {
    return value(this.fromBase(this.targetOffset(operand, w)));
  }

  jumpRelative(operand: Operand, w: Width, condition: Bool | null): void {
    const target = this.targetOffset(operand, w);
    if (condition === null) this.ending = { kind: 'jump', target };
    else this.ending = { kind: 'branch', target, condition: expr(condition) };
  }

  private leave(): void {
    if (this.committed) throw new OutOfLine('leaving after a write');
    this.effects.mayLeave = true;
    this.code.scoped(() => this.s.leave());
  }

  /** Leaves for the interpreter, which will find that the condition holds, and do what follows from it. */
  leaveIf(condition: Expr): void {
    if (x.isConstant(condition) && !condition.value) return;
    condition.emit(this.code);
    this.code.open(Op.if);
    this.leave();
    this.code.end();
  }

  again(): void {
    throw new OutOfLine('repetition');
  }
  fault(): void {
    this.leave();
  }
  faultIf(condition: Bool): void {
    this.leaveIf(expr(condition));
  }
  endBlock(): void {
    throw new OutOfLine('the end of a block');
  }
  transfer(): void {
    throw new OutOfLine('the end of a block');
  }

  /** The rare path of an instruction: the interpreter does the whole of it. */
  call(): void {
    if (this.depth === 0) throw new OutOfLine('a helper');
    this.leave();
  }
  callValue(): Value {
    this.call();
    return value(x.constant(0));
  }
}

function named(e: Expr): Expr {
  return e instanceof Constant || e instanceof Local || e instanceof Let ? e : new Let(e);
}
