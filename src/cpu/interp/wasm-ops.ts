// The interpreter's back end of the abstract builder: one instruction variant becomes WebAssembly over a predecoded record. It stands in
// layers, each with what the next needs: values, accesses, operands, control, and here vectors.
import { Op, Type } from '../../wasm/opcodes.ts';
import { TLB_WRITE_OFFSET } from '../layout.ts';
import type { Bool, Operand, Ops, Value, Vector } from '../semantics/ops.ts';
import { localNode, unary } from './emitter.ts';
import { HINT_RECORD } from './record.ts';
import type { BoundOperand } from './variant.ts';
import { vectorOpcode } from './vector-opcodes.ts';
import { WasmControl } from './wasm-control.ts';
import { node, value, vector } from './wasm-values.ts';

export class WasmOps extends WasmControl implements Ops {
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
}
