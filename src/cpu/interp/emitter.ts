// A WebAssembly function in the making: code bytes, locals, and expressions as byte strings.
import { pushI32, pushI64, pushU32 } from '../../wasm/encode.ts';
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';

/** An expression: code that leaves one value. `bits`: its upper 64-bits bits are known to be 0. */
export interface Node {
  readonly code: readonly number[];
  readonly type: ValueType;
  readonly bits: number;
  /** The value where it is a constant. */
  readonly constant?: bigint;
  /** A linear address: what its segment was (see HINT_RECORD in record.ts). */
  readonly hint?: number;
}

/** Builds one function body. Statements are appended to `code`; expressions are passed around as Nodes. */
export class Emitter {
  readonly code: number[] = [];
  readonly locals: ValueType[] = [];
  private readonly free: Map<ValueType, number[]> = new Map();
  private readonly paramCount: number;
  /** Structured blocks open around the next instruction. */
  depth = 0;

  constructor(paramCount: number) {
    this.paramCount = paramCount;
  }

  /** A new (or released) local of a type. */
  local(type: ValueType): number {
    const released = this.free.get(type)?.pop();
    return released ?? this.paramCount + this.locals.push(type) - 1;
  }

  /** Locals from `since` on, but those to keep, are free for the next user: what they served is over. */
  releaseAll(since: number, keep?: ReadonlySet<number>): void {
    this.free.clear();
    for (let i = since; i < this.locals.length; i++) {
      if (keep?.has(this.paramCount + i)) continue;
      const type = this.locals[i];
      const list = this.free.get(type);
      if (list) list.push(this.paramCount + i);
      else this.free.set(type, [this.paramCount + i]);
    }
  }

  op(...bytes: number[]): void {
    for (const b of bytes) this.code.push(b);
  }

  push(node: Node): void {
    for (const b of node.code) this.code.push(b);
  }

  i32(value: number): void {
    this.code.push(Op.i32Const);
    pushI32(this.code, value);
  }

  get(local: number): void {
    this.code.push(Op.localGet);
    pushU32(this.code, local);
  }

  set(local: number): void {
    this.code.push(Op.localSet);
    pushU32(this.code, local);
  }

  tee(local: number): void {
    this.code.push(Op.localTee);
    pushU32(this.code, local);
  }

  /** A load or store with a static offset; alignment hint 0. */
  memory(op: number, offset: number): void {
    this.code.push(op, 0);
    pushU32(this.code, offset);
  }

  call(index: number): void {
    this.code.push(Op.call);
    pushU32(this.code, index);
  }

  open(op: number, type: number = Type.void): void {
    this.code.push(op, type);
    this.depth++;
  }

  else(): void {
    this.code.push(Op.else);
  }

  end(): void {
    this.code.push(Op.end);
    this.depth--;
  }

  /** Branches to the block that was open at `depth` (as `depth` counted just after opening it). */
  br(depth: number, op: number = Op.br): void {
    this.code.push(op);
    pushU32(this.code, this.depth - depth);
  }
}

/** Expression constructors. */
export function constI32(value: number): Node {
  const code: number[] = [Op.i32Const];
  pushI32(code, value);
  return { code, type: Type.i32, bits: 32, constant: BigInt(value) };
}

export function constI64(value: bigint): Node {
  const unsigned = BigInt.asUintN(64, value);
  const code: number[] = [Op.i64Const];
  pushI64(code, unsigned);
  return { code, type: Type.i64, bits: unsigned.toString(2).length, constant: unsigned };
}

export function localNode(index: number, type: ValueType, bits = 64): Node {
  const code: number[] = [Op.localGet];
  pushU32(code, index);
  return { code, type, bits };
}

export function unary(op: number | readonly number[], a: Node, type: ValueType, bits = 64): Node {
  return { code: typeof op === 'number' ? [...a.code, op] : [...a.code, ...op], type, bits };
}

export function binary(op: number | readonly number[], a: Node, b: Node, type: ValueType, bits = 64): Node {
  return { code: typeof op === 'number' ? [...a.code, ...b.code, op] : [...a.code, ...b.code, ...op], type, bits };
}

/** A load from the address that `address` (i32) plus a static offset gives. */
export function load(op: number, address: Node, offset: number, type: ValueType, bits = 64): Node {
  const code = [...address.code, op, 0];
  pushU32(code, offset);
  return { code, type, bits };
}
