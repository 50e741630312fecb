// Every vector operation by lanes against the same operation of WebAssembly, on random vectors and on lanes at the edges.
import { expect, test } from 'vitest';
import { evaluateScalar, evaluateVector } from '../../../src/cpu/eval/vector-ops.ts';
import { VECTOR_OPERATIONS, vectorOpcode } from '../../../src/cpu/interp/vector-opcodes.ts';
import { ModuleBuilder, signature } from '../../../src/wasm/module.ts';
import { Op, Type } from '../../../src/wasm/opcodes.ts';
import { Prng } from '../../oracle/prng.ts';

const ROUNDS = 200;
const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
const view = new DataView(memory.buffer);

/** Vectors that an operation takes. */
function arity(op: string): number {
  if (op === 'v128.bitselect') return 3;
  if (/splat$/.test(op)) return 0;
  if (
    /\.(not|abs|neg|sqrt|nearest|promote\w*|demote\w*|convert\w*|trunc\w*|popcnt|any_true|all_true|bitmask|sh[lr]\w*|extract_lane\w*|replace_lane)$/.test(
      op,
    )
  )
    return 1;
  return /\.(extend|extadd)_/.test(op) ? 1 : 2;
}
const takesValue = (op: string) => /\.(splat|replace_lane|sh[lr]\w*)$/.test(op) && op !== 'i8x16.shuffle';
const givesValue = (op: string) => /\.(any_true|all_true|bitmask|extract_lane\w*)$/.test(op);
const lanesOf = (op: string) => Number(/x(\d+)\./.exec(op)?.[1] ?? 16);

/** The operation on vectors at 0, 16 and 32 and a value at 48; the result goes to 64. */
function compile(op: string, immediates: readonly number[]): () => void {
  const { code, wrap, result } = vectorOpcode(op);
  const load = (at: number) => [Op.i32Const, 0, Op.prefixFD, 0, 0, at];
  const body: number[] = [Op.i32Const, 0];
  for (let i = 0; i < arity(op); i++) body.push(...load(16 * i));
  if (takesValue(op)) body.push(Op.i32Const, 0, Op.i64Load, 0, 48, ...(wrap ? [Op.i32WrapI64] : []));
  body.push(...code, ...immediates);
  if (givesValue(op)) {
    if (result === Type.i32) body.push(Op.i64ExtendI32U);
    body.push(Op.i64Store, 0, 0xc0, 0);
  } else body.push(Op.prefixFD, 11, 0, 0xc0, 0);
  const m = new ModuleBuilder();
  m.importMemory('e', 'memory', 1, 1);
  m.export('f', m.define({ signature: signature([], []), locals: [], code: body }));
  const module = new WebAssembly.Module(m.build());
  return new WebAssembly.Instance(module, { e: { memory } }).exports.f as () => void;
}

/** A vector of floating-point lanes with one NaN for all: JavaScript does not keep what else stands in them. */
function oneNan(op: string, v: bigint): bigint {
  const bits = /^f32/.test(op) ? 32n : /^f64/.test(op) ? 64n : 0n;
  if (bits === 0n || /\.(eq|ne|lt|gt|le|ge)$/.test(op)) return v;
  const infinity = bits === 32n ? 0x7f800000n : 0x7ff0000000000000n;
  const magnitude = (1n << (bits - 1n)) - 1n;
  let out = 0n;
  for (let at = 0n; at < 128n; at += bits) {
    const lane = BigInt.asUintN(Number(bits), v >> at);
    out |= ((lane & magnitude) > infinity ? infinity + 1n : lane) << at;
  }
  return out;
}

const EDGES = [
  0n,
  1n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fffffffn,
  0x80000000n,
  (1n << 64n) - 1n,
  1n << 63n,
];

function random64(prng: Prng): bigint {
  const r = prng.u32();
  const wide = (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());
  if (r & 3) return wide;
  // equal lanes of an edge value
  const edge = EDGES[(r >>> 2) % EDGES.length];
  const lane = 8 << ((r >>> 8) & 3);
  let v = 0n;
  for (let at = 0; at < 64; at += lane) v |= BigInt.asUintN(lane, edge) << BigInt(at);
  return v;
}

test.each(VECTOR_OPERATIONS)('%s', op => {
  const prng = new Prng(0x51d);
  const shuffle = op === 'i8x16.shuffle';
  const lane = /_lane/.test(op);
  const variants = shuffle ? 20 : lane ? lanesOf(op) : 1;
  for (let variant = 0; variant < variants; variant++) {
    const immediates = shuffle ? Array.from({ length: 16 }, () => prng.below(32)) : lane ? [variant] : [];
    const run = compile(op, immediates);
    for (let round = 0; round < ROUNDS / variants; round++) {
      for (let at = 0; at < 56; at += 8) view.setBigUint64(at, random64(prng), true);
      if (/swizzle/.test(op))
        for (let at = 16; at < 32; at++) view.setUint8(at, view.getUint8(at) & (prng.oneIn(4) ? 0xff : 31));
      if (/\.sh[lr]/.test(op) && prng.oneIn(2)) view.setBigUint64(48, BigInt(prng.below(70)), true);
      const args = [0, 16, 32]
        .slice(0, arity(op))
        .map(at => view.getBigUint64(at, true) | (view.getBigUint64(at + 8, true) << 64n));
      if (takesValue(op)) args.push(view.getBigUint64(48, true));
      run();
      const got = givesValue(op) ? evaluateScalar(op, args, immediates[0]) : evaluateVector(op, args, immediates);
      const high = givesValue(op) ? 0n : view.getBigUint64(72, true) << 64n;
      const want = high | view.getBigUint64(64, true);
      if (oneNan(op, got) !== oneNan(op, want))
        expect({ args: args.map(a => a.toString(16)), immediates, is: got.toString(16) }).toEqual(want.toString(16));
    }
  }
});

test('an unknown operation is refused', () => {
  for (const op of ['i8x16.nothing', 'v128.nothing', 'nothing', 'i16x8.nothing_i8x16_s']) {
    expect(() => evaluateVector(op, [0n, 0n])).toThrow('no such vector operation');
    expect(() => evaluateScalar(op, [0n])).toThrow('no such vector operation');
  }
});
