// The evaluating back end of the abstract builder: every operation is done at once, on BigInts, for one decoded instruction.
//
// Slow and plain, it is what the interpreter's generated code is compared with. Operands are static, as a translator of blocks has them:
// register numbers, displacements and immediates come from the instruction. Values are wrapped, so that they stay opaque to semantics.
import type { DecodedOperand, Instruction } from '../decode/decoder.ts';
import { Vector as Exception, GuestFault } from '../exits.ts';
import { Flag, readArithmeticFlags } from '../flags.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../layout.ts';
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
import type { CpuState } from '../state.ts';
import { evaluateScalar, evaluateVector } from './vector-ops.ts';

/** What an evaluated instruction acts on. Everything may throw GuestFault. */
export interface EvalMachine {
  readonly state: CpuState;
  /** 1, 2, 4 or 8 bytes at a linear address. @param stack addresses that are not canonical are #SS, else #GP */
  load(linear: bigint, bytes: number, stack: boolean): bigint;
  /** As load, checked for writing. */
  loadForUpdate(linear: bigint, bytes: number, stack: boolean): bigint;
  store(linear: bigint, bytes: number, value: bigint, stack: boolean): void;
  /** A helper by its name; throws for an unknown one. */
  call(helper: string, args: readonly bigint[]): bigint;
}

/** Where an instruction stands, and what of the mode its semantics depend on. */
export interface EvalContext {
  rip: bigint;
  nextRip: bigint;
  long64: boolean;
  stackWidth: 16 | 32 | 64;
}

/** Thrown where an instruction is left before its semantic function returns: S.rip is set, or an exit is recorded (S.pending). */
export class InstructionEnd {}

/** A semantic function broke the builder's rules. */
export class SemanticError extends Error {}

/** A value, bool, vector or variable at run time. */
class Wrapped<T> {
  v: T;
  /** Of a linear address: the SEG index it was formed with. */
  readonly segment: number | null;
  constructor(v: T, segment: number | null = null) {
    this.v = v;
    this.segment = segment;
  }
}

export interface EvalOperand extends Operand {
  decoded: DecodedOperand;
}

const MASK64 = (1n << 64n) - 1n;
const u64 = (v: bigint): bigint => v & MASK64;
const s64 = (v: bigint): bigint => BigInt.asIntN(64, v);
const FIRST_HIGH_BYTE = 16;

const BINARY: Record<BinaryOp, (a: bigint, b: bigint) => bigint> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << (b & 63n),
  shr_u: (a, b) => a >> (b & 63n),
  shr_s: (a, b) => s64(a) >> (b & 63n),
  rotl: (a, b) => (a << (b & 63n)) | (a >> (64n - (b & 63n))),
  rotr: (a, b) => (a >> (b & 63n)) | (a << (64n - (b & 63n))),
  div_u: (a, b) => a / b,
  rem_u: (a, b) => a % b,
  div_s: (a, b) => {
    if (s64(a) === -(1n << 63n) && s64(b) === -1n) throw new SemanticError('a quotient beyond 64 bits');
    return s64(a) / s64(b);
  },
  rem_s: (a, b) => s64(a) % s64(b),
};

const COMPARE: Record<CompareOp, (a: bigint, b: bigint) => boolean> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt_u: (a, b) => a < b,
  lt_s: (a, b) => s64(a) < s64(b),
  le_u: (a, b) => a <= b,
  le_s: (a, b) => s64(a) <= s64(b),
  gt_u: (a, b) => a > b,
  gt_s: (a, b) => s64(a) > s64(b),
  ge_u: (a, b) => a >= b,
  ge_s: (a, b) => s64(a) >= s64(b),
};

function bitLength(v: bigint): number {
  return v === 0n ? 0 : v.toString(2).length;
}

const UNARY: Record<UnaryOp, (a: bigint) => number> = {
  clz: a => 64 - bitLength(a),
  ctz: a => (a === 0n ? 64 : bitLength(a & -a) - 1),
  popcnt: a => a.toString(2).replaceAll('0', '').length,
};

const raw = (v: Value | Bool | Vector) => v as unknown as Wrapped<bigint>;
const truth = (v: Bool) => (v as unknown as Wrapped<boolean>).v;
const value = (v: bigint, segment: number | null = null) => new Wrapped(u64(v), segment) as unknown as Value;
const bool = (v: boolean) => new Wrapped(v) as unknown as Bool;
const vector = (v: bigint) => new Wrapped(v) as unknown as Vector;

/** Evaluates one instruction's semantic function. */
export class EvalOps implements Ops {
  readonly addressWidth: 16 | 32 | 64;
  readonly stackWidth: 16 | 32 | 64;
  readonly long64: boolean;
  readonly repeat: 'none' | 'rep' | 'repne';
  private readonly i: Instruction;
  private readonly m: EvalMachine;
  private readonly at: EvalContext;
  private readonly state_: CpuState;
  /** The memory operand's linear address, once computed. */
  private memory: Value | null = null;
  /** What update() and loadForUpdate() have opened for writing: operands and addresses. */
  private readonly open = new Set<unknown>();
  /** Something was written, so that no faultable access may follow (unless the row is restartable). */
  private committed = false;
  /** Something that a guest can see was written: a fault now would leave a trace. */
  private visible = false;

  constructor(instruction: Instruction, machine: EvalMachine, context: EvalContext) {
    this.i = instruction;
    this.m = machine;
    this.at = context;
    this.state_ = machine.state;
    this.addressWidth = instruction.addressWidth;
    this.stackWidth = context.stackWidth;
    this.long64 = context.long64;
    this.repeat = instruction.repeat;
  }

  /** The instruction's operands, to be given to its semantic function. */
  operands(): EvalOperand[] {
    return this.i.operands.map(decoded => ({ kind: decoded.kind, file: decoded.spec.file, decoded }));
  }

  // ---- constants and pure operations

  const(v: number | bigint): Value {
    return value(BigInt(v));
  }
  bin(op: BinaryOp, a: Value, b: Value): Value {
    const [x, y] = [raw(a), raw(b)];
    // an offset into the operand at an address keeps the address's segment
    return value(BINARY[op](x.v, y.v), op === 'add' ? (x.segment ?? y.segment) : null);
  }
  un(op: UnaryOp, a: Value): Value {
    return value(BigInt(UNARY[op](raw(a).v)));
  }
  cmp(op: CompareOp, a: Value, b: Value): Bool {
    return bool(COMPARE[op](raw(a).v, raw(b).v));
  }
  not(a: Bool): Bool {
    return bool(!truth(a));
  }
  and(a: Bool, b: Bool): Bool {
    return bool(truth(a) && truth(b));
  }
  or(a: Bool, b: Bool): Bool {
    return bool(truth(a) || truth(b));
  }
  xor(a: Bool, b: Bool): Bool {
    return bool(truth(a) !== truth(b));
  }
  select(c: Bool, a: Value, b: Value): Value {
    return value(raw(truth(c) ? a : b).v);
  }
  fromBool(a: Bool): Value {
    return value(truth(a) ? 1n : 0n);
  }
  zext(w: Width, a: Value): Value {
    return value(BigInt.asUintN(w, raw(a).v));
  }
  sext(w: Width, a: Value): Value {
    return value(BigInt.asIntN(w, raw(a).v));
  }
  let(a: Value): Value {
    return a;
  }
  letBool(a: Bool): Bool {
    return a;
  }
  letVector(a: Vector): Vector {
    return a;
  }
  variable(initial: Value): Value {
    return value(raw(initial).v);
  }
  assign(variable: Value, v: Value): void {
    raw(variable).v = raw(v).v;
  }

  // ---- control

  if(condition: Bool, then: () => void, otherwise?: () => void): void {
    if (truth(condition)) then();
    else otherwise?.();
  }
  while(condition: () => Bool, body: () => void): void {
    while (truth(condition())) body();
  }

  // ---- the state block

  private getBytes(offset: number, w: Width): bigint {
    const { view } = this.state_;
    if (w === 64) return view.getBigUint64(offset, true);
    if (w === 32) return BigInt(view.getUint32(offset, true));
    return BigInt(w === 16 ? view.getUint16(offset, true) : view.getUint8(offset));
  }

  private setBytes(offset: number, w: Width, v: bigint): void {
    const { view } = this.state_;
    const low = Number(BigInt.asUintN(32, v));
    if (w === 64) view.setBigUint64(offset, v, true);
    else if (w === 32) view.setUint32(offset, low, true);
    else if (w === 16) view.setUint16(offset, low & 0xffff, true);
    else view.setUint8(offset, low & 0xff);
    this.committed = true;
    if (offset < S.scratch) this.visible = true;
  }

  /** Offset of a register operand in the state block. */
  private registerOffset({ decoded }: EvalOperand): number {
    const n = decoded.register;
    switch (decoded.spec.file) {
      case 'gpr':
        return n >= FIRST_HIGH_BYTE ? S.gpr + (n - FIRST_HIGH_BYTE) * 8 + 1 : S.gpr + n * 8;
      case 'xmm':
        return S.xmm + n * 32;
      case 'mmx':
      case 'x87':
        return S.fpr + n * 16;
      case 'seg':
        return S.segments + n * SEGMENT_SIZE + SEG_FIELD.selector;
      default:
        throw new SemanticError('control and debug registers are moved by helpers');
    }
  }

  reg(n: number, w: Width): Value {
    return value(this.getBytes(S.gpr + n * 8, w));
  }
  setReg(n: number, w: Width, v: Value): void {
    this.setRegisterBytes(S.gpr + n * 8, w, raw(v).v);
  }
  /** 32-bit writes clear the upper half. */
  private setRegisterBytes(offset: number, w: Width, v: bigint): void {
    this.setBytes(offset, w === 32 ? 64 : w, BigInt.asUintN(w, v));
  }
  state(offset: number, w: Width): Value {
    return value(this.getBytes(offset, w));
  }
  setState(offset: number, w: Width, v: Value): void {
    this.setBytes(offset, w, raw(v).v);
  }
  stateAt(offset: number, bytes: Value, w: Width): Value {
    return value(this.getBytes(offset + Number(raw(bytes).v), w));
  }
  setStateAt(offset: number, bytes: Value, w: Width, v: Value): void {
    this.setBytes(offset + Number(raw(bytes).v), w, raw(v).v);
  }
  registerNumber(operand: Operand): Value {
    return this.const((operand as EvalOperand).decoded.register);
  }

  // ---- operands

  read(operand: Operand, w: Width): Value {
    const x = operand as EvalOperand;
    if (x.kind === 'imm') return value(BigInt.asUintN(w, x.decoded.immediate));
    if (x.kind === 'reg') return value(this.getBytes(this.registerOffset(x), w));
    return this.load(this.linear(operand, w / 8, false), w);
  }

  update(operand: Operand, w: Width): Value {
    if (operand.kind !== 'mem') return this.read(operand, w);
    const v = this.loadForUpdate(this.linear(operand, w / 8, true), w);
    this.open.add(operand);
    return v;
  }

  write(operand: Operand, w: Width, v: Value): void {
    const x = operand as EvalOperand;
    if (x.kind === 'imm') throw new SemanticError('a write to an immediate');
    if (x.kind === 'reg') this.setRegisterBytes(this.registerOffset(x), w, raw(v).v);
    else this.storeChecked(this.linear(operand, w / 8, true), w, v, this.open.has(operand));
  }

  offset(operand: Operand): Value {
    const { decoded } = operand as EvalOperand;
    if (decoded.spec.source === 'moffs') return value(decoded.immediate);
    const m = this.i.memory;
    if (!m) throw new SemanticError('no memory operand');
    let sum = BigInt(m.displacement);
    if (m.base >= 0) sum += this.state_.gpr[m.base];
    if (m.index >= 0) sum += this.state_.gpr[m.index] << BigInt(m.scale);
    if (m.ripRelative) sum += this.at.nextRip;
    return value(BigInt.asUintN(this.addressWidth, sum));
  }

  linear(operand: Operand, size: number, write: boolean): Value {
    if (operand.kind !== 'mem') throw new SemanticError('the address of something that is not in memory');
    this.memory ??= this.segmentAddress(this.i.memory!.segment, this.offset(operand), size, write);
    return this.memory;
  }

  segmentBase(): Value {
    const { segment } = this.i.memory!;
    const isBased = !this.long64 || segment === SEG.fs || segment === SEG.gs;
    return value(isBased ? this.state_.readSegment(segment).base : 0n);
  }

  bitAddress(_operand: Operand, offset: Value, size: number, write: boolean): Value {
    return this.segmentAddress(this.i.memory!.segment, offset, size, write);
  }

  segmentAddress(segment: number, offset: Value, size: number, write: boolean): Value {
    const at = raw(offset).v;
    if (this.long64) {
      const based = segment === SEG.fs || segment === SEG.gs;
      const base = based ? this.state_.readSegment(segment).base : 0n;
      return value(base + at, segment);
    }
    this.refuseAfterCommit('a segment check');
    const sizeAndWrite = BigInt((size << 1) | (write ? 1 : 0));
    return value(
      this.faultable(() => this.m.call('segment', [BigInt(segment), at, sizeAndWrite])),
      segment,
    );
  }

  // ---- memory

  private refuseAfterCommit(what: string): void {
    if (this.committed && !this.i.row.restartable)
      throw new SemanticError(`${what} that may fault comes after a write`);
  }

  /** Runs something that may throw GuestFault; where a guest could see that the instruction had begun, that is an error of ours. */
  private faultable<T>(body: () => T): T {
    try {
      return body();
    } catch (error) {
      if (error instanceof GuestFault && this.visible && !this.i.row.restartable) {
        throw new SemanticError(`a fault (${error.vector}) comes after a write`);
      }
      throw error;
    }
  }

  load(linear: Value, w: Width): Value {
    this.refuseAfterCommit('a load');
    const { v, segment } = raw(linear);
    return value(this.faultable(() => this.m.load(v, w / 8, segment === SEG.ss)));
  }

  loadForUpdate(linear: Value, w: Width): Value {
    this.refuseAfterCommit('a load');
    const { v, segment } = raw(linear);
    const loaded = this.faultable(() => this.m.loadForUpdate(v, w / 8, segment === SEG.ss));
    this.open.add(linear);
    return value(loaded);
  }

  store(linear: Value, w: Width, v: Value): void {
    this.storeChecked(linear, w, v, this.open.has(linear));
  }

  /** @param opened the bytes were checked for writing */
  private storeChecked(linear: Value, w: Width, v: Value, opened: boolean): void {
    if (!opened) this.refuseAfterCommit('a store');
    const { v: at, segment } = raw(linear);
    this.faultable(() => this.m.store(at, w / 8, BigInt.asUintN(w, raw(v).v), segment === SEG.ss));
    this.committed = true;
    this.visible = true;
  }

  /** May do nothing: the elements' loop does it all. */
  bulkMove(): void {}
  bulkFill(): void {}

  // ---- flags

  setFlags(update: FlagUpdate): void {
    this.setBytes(S.ccResult, 64, raw(update.result).v);
    this.setBytes(S.ccAux, 64, raw(update.aux).v);
  }
  private flag(mask: number): Bool {
    return bool((readArithmeticFlags(this.state_.get(S.ccResult), this.state_.get(S.ccAux)) & mask) !== 0);
  }
  cf(): Bool {
    return this.flag(Flag.CF);
  }
  zf(): Bool {
    return this.flag(Flag.ZF);
  }
  sf(): Bool {
    return this.flag(Flag.SF);
  }
  of(): Bool {
    return this.flag(Flag.OF);
  }
  pf(): Bool {
    return this.flag(Flag.PF);
  }
  af(): Bool {
    return this.flag(Flag.AF);
  }

  // ---- vectors

  readVector(operand: Operand, bits: 128 | 64 | 32 | 16): Vector {
    if (bits < 128) return vector(raw(this.read(operand, bits as Width)).v);
    const x = operand as EvalOperand;
    if (x.kind === 'reg') {
      const at = this.registerOffset(x);
      return vector(this.getBytes(at, 64) | (this.getBytes(at + 8, 64) << 64n));
    }
    const linear = this.linear(operand, 16, false);
    const low = raw(this.load(linear, 64)).v;
    return vector(low | (raw(this.load(this.bin('add', linear, this.const(8)), 64)).v << 64n));
  }

  writeVector(operand: Operand, bits: 128 | 64 | 32, v: Vector): void {
    const x = operand as EvalOperand;
    const low = BigInt.asUintN(64, raw(v).v);
    const high = raw(v).v >> 64n;
    if (x.kind === 'reg') {
      const at = this.registerOffset(x);
      this.setBytes(at, bits === 32 ? 32 : 64, low);
      if (bits === 128) this.setBytes(at + 8, 64, high);
      return;
    }
    if (bits < 128) {
      this.write(operand, bits as Width, value(low));
      return;
    }
    // both halves are checked before either is written
    const first = this.linear(operand, 16, true);
    const second = this.bin('add', first, this.const(8));
    this.loadForUpdate(first, 64);
    this.loadForUpdate(second, 64);
    this.store(first, 64, value(low));
    this.store(second, 64, value(high));
  }

  vec(op: string, args: readonly (Vector | Value)[], immediates: readonly number[] = []): Vector {
    return vector(evaluateVector(op, args.map(a => raw(a).v), immediates)); // biome-ignore format: one line
  }
  vecToValue(op: string, args: readonly Vector[], lane?: number): Value {
    return value(evaluateScalar(op, args.map(a => raw(a).v), lane)); // biome-ignore format: one line
  }
  vectorFrom(low: Value, high: Value): Vector {
    return vector(raw(low).v | (raw(high).v << 64n));
  }
  vectorLow(a: Vector): Value {
    return value(raw(a).v);
  }
  vectorHigh(a: Vector): Value {
    return value(raw(a).v >> 64n);
  }
  constVector(low: bigint, high: bigint): Vector {
    return vector(u64(low) | (u64(high) << 64n));
  }
  selectVector(c: Bool, a: Vector, b: Vector): Vector {
    return truth(c) ? a : b;
  }

  checkAligned(operand: Operand, bytes: number): void {
    if (operand.kind !== 'mem') return;
    const at = raw(this.linear(operand, bytes, false)).v;
    this.faultIf(bool(at % BigInt(bytes) !== 0n), Exception.GP, 0);
  }

  // ---- leaving the instruction

  nextRip(): Value {
    return value(this.at.nextRip);
  }
  rip(): Value {
    return value(this.at.rip);
  }
  jump(target: Value): void {
    this.leaveAt(raw(target).v);
  }
  jumpRelative(operand: Operand, w: Width, condition: Bool | null): void {
    if (condition === null) this.leaveAt(raw(this.relativeTarget(operand, w)).v);
    else if (truth(condition)) {
      this.state_.rip = raw(this.relativeTarget(operand, w)).v;
      throw new InstructionEnd();
    }
  }
  again(condition: Bool): void {
    if (!truth(condition)) return;
    this.state_.rip = this.at.rip;
    throw new InstructionEnd();
  }
  relativeTarget(operand: Operand, w: Width): Value {
    const { immediate } = (operand as EvalOperand).decoded;
    return value(BigInt.asUintN(w, this.at.nextRip + immediate));
  }
  fault(number: number, code?: number): void {
    this.faultable(() => {
      throw new GuestFault(number, code ?? null);
    });
  }
  faultIf(condition: Bool, number: number, code?: number): void {
    this.refuseAfterCommit('a fault');
    if (truth(condition)) this.fault(number, code);
  }
  endBlock(): void {
    this.leaveAt(this.at.nextRip);
  }
  transfer(): void {
    this.requireEnds();
    throw new InstructionEnd();
  }
  private leaveAt(rip: bigint): void {
    this.requireEnds();
    this.state_.rip = rip;
    throw new InstructionEnd();
  }
  private requireEnds(): void {
    if (!this.i.row.ends) throw new SemanticError('an instruction that moves RIP must be declared to end its block');
  }

  call(helper: string, ...args: readonly Value[]): void {
    this.callValue(helper, ...args);
  }
  callValue(helper: string, ...args: readonly Value[]): Value {
    // biome-ignore format: one line
    const result = this.faultable(() => this.m.call(helper, args.map(a => raw(a).v)));
    if (this.state_.get32(S.pending)) throw new InstructionEnd();
    return value(result);
  }
}
