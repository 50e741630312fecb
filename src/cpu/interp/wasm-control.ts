// Flags, and how an instruction is left: jumps, faults, helpers, the end of its block.
import { Op, Type } from '../../wasm/opcodes.ts';
import { Exit } from '../exits.ts';
import { S, STATE } from '../layout.ts';
import type { Bool, FlagUpdate, Operand, Value, Width } from '../semantics/ops.ts';
import { binary, constI64, load, localNode, type Node, unary } from './emitter.ts';
import { LINK_NEVER, Rec } from './record.ts';
import { WasmOperands, ZERO } from './wasm-operands.ts';
import { bool, node, value } from './wasm-values.ts';

export abstract class WasmControl extends WasmOperands {
  // ---- flags

  setFlags(update: FlagUpdate): void {
    this.setState(S.ccResult, 64, update.result);
    this.setState(S.ccAux, 64, update.aux);
  }

  protected ccResult(): Node {
    return load(Op.i64Load, ZERO, STATE + S.ccResult, Type.i64);
  }
  protected ccAux(): Node {
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

  // ---- leaving

  protected pageOffset(extra: number): Value {
    const sum = binary(
      Op.i32Add,
      this.field(Rec.offset),
      extra === 0 ? ZERO : load(Op.i32Load8U, localNode(this.frame.pc, Type.i32), Rec.length, Type.i32),
      Type.i32,
    );
    return value(unary(Op.i64ExtendI32U, sum, Type.i64, 32));
  }

  protected fromPage(offset: Value): Value {
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

  relativeTarget(_operand: Operand, w: Width): Value {
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

  protected requireEnds(): void {
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

  protected callHelper(helper: string, args: readonly Value[], result: boolean): Node | null {
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

  // ---- repetition

  bulkMove(w: Width, _source: Operand, step: Value, most: Value): void {
    if (!this.long64 || this.addressWidth !== 64) return;
    this.call('bulkMove', this.const(w / 8), step, most, value(this.base64(Rec.segmentBase)));
  }

  bulkFill(w: Width, v: Value, step: Value, most: Value): void {
    if (!this.long64 || this.addressWidth !== 64) return;
    this.call('bulkFill', this.const(w / 8), step, most, v);
  }
}
