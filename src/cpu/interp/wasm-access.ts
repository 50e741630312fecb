// Accesses at linear addresses: the TLB's current bank is probed inline, a slow function of the core does the rest and may fault.
//
// A fault leaves the handler at once; nothing was written before it, which is guarded here, when code is generated.
import { Op, Type } from '../../wasm/opcodes.ts';
import { S, STATE, TLB_READ_ENTRIES, TLB_WRITE_OFFSET } from '../layout.ts';
import type { Value, Width } from '../semantics/ops.ts';
import { constI64, localNode } from './emitter.ts';
import { node, value, WasmValues } from './wasm-values.ts';

export const LOADS: Record<Width, number> = { 8: Op.i64Load8U, 16: Op.i64Load16U, 32: Op.i64Load32U, 64: Op.i64Load };
export const STORES: Record<Width, number> = { 8: Op.i64Store8, 16: Op.i64Store16, 32: Op.i64Store32, 64: Op.i64Store };
/** Of a linear page shifted to a TLB entry's offset; read and write tables have as many entries. */
const INDEX_MASK = (TLB_READ_ENTRIES - 1) << 4;
const PAGE_MASK = 0xfffffffffffff000n;

/** Where an operand that was read for update stands: a local with its engine-memory address (0: a slow function writes), and the linear one. */
export interface OpenUpdate {
  host: number;
  linear: number;
}

export abstract class WasmAccess extends WasmValues {
  /** What update() left for write(): keyed by operand, or by the linear address's node. */
  protected readonly updates = new Map<unknown, OpenUpdate>();

  protected refuseAfterCommit(what: string): void {
    if (this.committed && !this.restartable) throw new Error(`${what} that may fault comes after a write`);
  }

  /** Pushes (tag matches) for an access of `bytes` at the linear address in a local; leaves the entry's address in a new local. */
  protected probe(linear: number, bytes: number, table: number): number {
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
  protected pushHost(linear: number, entry: number, table: number): void {
    this.e.get(linear);
    this.e.op(Op.i32WrapI64);
    this.e.get(entry);
    this.e.memory(Op.i32Load, table + 8);
    this.e.op(Op.i32Add);
  }

  protected setRecord(): void {
    this.e.i32(0);
    this.e.get(this.frame.pc);
    this.e.memory(Op.i32Store, STATE + S.record);
  }

  protected leaveIfPending(): void {
    this.e.i32(0);
    this.e.memory(Op.i32Load, STATE + S.pending);
    this.e.open(Op.if);
    this.frame.leave(this.e);
    this.e.end();
  }

  protected loadAt(linear: number, w: Width, hint: number): Value {
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

  protected loadUpdate(key: unknown, linear: number, w: Width, hint: number): Value {
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

  protected finishUpdate(open: OpenUpdate, w: Width, v: Value, hint: number): void {
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

  protected slowStore(linear: number, w: Width, v: Value, hint: number): void {
    const e = this.e;
    this.setRecord();
    e.get(linear);
    e.push(node(v));
    e.i32(hint);
    e.call(this.fn(`store${w}`, [Type.i64, Type.i64, Type.i32], []));
    this.leaveIfPending();
  }

  protected storeAt(linear: number, w: Width, v: Value, hint: number): void {
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
}
