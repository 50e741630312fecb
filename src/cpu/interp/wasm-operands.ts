// Operands, registers and memory as semantic functions name them. Register operands are addresses read from the record, so one handler serves
// all registers.
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import { Attr } from '../helpers/descriptors.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE, STATE } from '../layout.ts';
import type { Operand, Value, Width } from '../semantics/ops.ts';
import { binary, constI32, constI64, load, localNode, type Node, unary } from './emitter.ts';
import { HINT_GENERAL, HINT_RECORD, HINT_STACK, Rec } from './record.ts';
import { type BoundOperand, REGISTER_FILES } from './variant.ts';
import { LOADS, STORES, WasmAccess } from './wasm-access.ts';
import { hinted, hintOf, node, value } from './wasm-values.ts';

export const ZERO = constI32(0);
const SEGMENT_SHIFT = Math.log2(SEGMENT_SIZE);
/** Linear addresses outside 64-bit mode have 32 bits. */
const LINEAR_MASK = 0xffffffffn;
/** Of a segment's attributes: present, code, expand-down, writable; and how they are where reads and writes are allowed up to the limit. */
const ACCESS_RULES = Attr.present | Attr.code | Attr.conforming | Attr.writable;
const WRITABLE_DATA = Attr.present | Attr.writable;

export abstract class WasmOperands extends WasmAccess {
  // ---- operands

  /** Address of a register operand in the engine memory. */
  protected registerAddress(operand: BoundOperand): Node {
    return operand.field === null ? constI32(operand.address) : this.field(operand.field);
  }

  protected immediate(operand: BoundOperand, w: Width): Value {
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
  protected storeRegister(w: Width, v: Value): void {
    this.e.push(node(w === 32 ? this.zext(32, v) : v));
    this.e.memory(w === 32 ? Op.i64Store : STORES[w], 0);
    this.committed = true;
  }

  protected base64(field: number): Node {
    return load(Op.i64Load, this.field(field), 0, Type.i64);
  }

  protected displacement(): Node {
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
  protected memoryLinear(operand: BoundOperand, size: number, write: boolean): number {
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

  /** Outside 64-bit mode: within the limit of writable data is checked inline, everything else by a function of the core. */
  protected checkedSegment(segment: Node, offset: Value, size: number, write: boolean): Value {
    this.refuseAfterCommit('a segment check');
    const e = this.e;
    const from = localNode(this.asLocal(offset), Type.i64);
    const at = this.bind(binary(Op.i32Shl, segment, constI32(SEGMENT_SHIFT), Type.i32));
    const field = (op: number, f: number, type: ValueType): Node => load(op, at, STATE + S.segments + f, type);
    const low = binary(Op.i64And, from, constI64(LINEAR_MASK), Type.i64);
    const last = binary(Op.i64Add, low, constI64(BigInt(size - 1)), Type.i64);
    const kind = binary(Op.i32And, field(Op.i32Load, SEG_FIELD.attributes, Type.i32), constI32(ACCESS_RULES), Type.i32);
    const local = e.local(Type.i64);
    e.push(binary(Op.i64LeU, last, field(Op.i64Load32U, SEG_FIELD.limit, Type.i64), Type.i32));
    e.push(binary(Op.i32Eq, kind, constI32(WRITABLE_DATA), Type.i32));
    e.op(Op.i32And);
    e.open(Op.if);
    const sum = binary(Op.i64Add, from, field(Op.i64Load, SEG_FIELD.base, Type.i64), Type.i64);
    e.push(binary(Op.i64And, sum, constI64(LINEAR_MASK), Type.i64));
    e.set(local);
    e.else();
    this.setRecord();
    e.push(segment);
    e.push(from);
    e.i32((size << 1) | (write ? 1 : 0));
    e.call(this.fn('segment', [Type.i32, Type.i64, Type.i32], [Type.i64]));
    e.set(local);
    this.leaveIfPending();
    e.end();
    return value(localNode(local, Type.i64, 32));
  }

  segmentBase(): Value {
    return value(this.base64(Rec.segmentBase));
  }

  bitAddress(_operand: Operand, offset: Value, size: number, write: boolean): Value {
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

  protected gprAddress(n: number): number {
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

  stateAt(offset: number, bytes: Value, w: Width): Value {
    return value(this.bind(load(LOADS[w], unary([Op.i32WrapI64], node(bytes), Type.i32), STATE + offset, Type.i64, w)));
  }

  setStateAt(offset: number, bytes: Value, w: Width, v: Value): void {
    this.e.push(unary([Op.i32WrapI64], node(bytes), Type.i32));
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

  protected asLocal(linear: Value): number {
    const local = this.e.local(Type.i64);
    this.e.push(node(linear));
    this.e.set(local);
    return local;
  }
}
