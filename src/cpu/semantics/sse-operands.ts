// How SSE and MMX instructions reach their operands: alignment, register pairs of 64 bits, the x87 state that MMX leaves behind
// (SDM Vol. 1, 4.1.1, 9.5 and 11.6). MMX operations are done on 128 bits of which the lower half counts.
import { S } from '../layout.ts';
import type { Operand, Ops, Value, Vector, Width } from './ops.ts';
import { waitForPending } from './x87-instructions.ts';

const VECTOR_BYTES = 16;
const TOP_MASK = 0x3800;
/** Sign and exponent of a register that an MMX instruction wrote. */
const MMX_EXPONENT = 0xffff;

/** A pure operation: destination and source in, result out. */
export type Lanes = (o: Ops, x: Vector, y: Vector) => Vector;
/** An operation with an immediate byte. */
export type LanesImmediate = (o: Ops, x: Vector, y: Vector, imm: Value) => Vector;

type Semantic = (o: Ops, w: Width, ...operands: Operand[]) => void;

/** A 128-bit source; in memory it must be aligned. */
export function source(o: Ops, src: Operand): Vector {
  o.checkAligned(src, VECTOR_BYTES);
  return o.readVector(src, 128);
}

/** Writes a 128-bit destination that must be aligned in memory. */
export function writeAligned(o: Ops, dst: Operand, v: Vector): void {
  if (dst.kind === 'mem') o.linear(dst, VECTOR_BYTES, true);
  o.checkAligned(dst, VECTOR_BYTES);
  o.writeVector(dst, 128, v);
}

/** A 64-bit MMX register or memory in the lower half of a vector. */
export function mmxSource(o: Ops, src: Operand, w: 64 | 32 = 64): Vector {
  return o.readVector(src, w);
}

/** Every MMX instruction makes TOP 0, all but EMMS mark all registers as in use. Comes after what may fault. */
export function enterMmx(o: Ops): void {
  o.setState(S.fsw, 16, o.bin('and', o.state(S.fsw, 16), o.const(0xffff & ~TOP_MASK)));
  o.setState(S.ftw, 8, o.const(0xff));
}

/** Writes an MMX register; sign and exponent of the x87 register become ones. */
export function writeMmx(o: Ops, dst: Operand, low: Value): void {
  o.writeVector(dst, 128, o.vectorFrom(low, o.const(MMX_EXPONENT)));
}

/** dst = f(dst, src) on XMM. */
export function sse(f: Lanes): Semantic {
  return (o, _w, dst, src) => {
    const y = source(o, src);
    o.writeVector(dst, 128, f(o, o.readVector(dst, 128), y));
  };
}

/** As sse, with an immediate byte. */
export function sseImmediate(f: LanesImmediate): Semantic {
  return (o, _w, dst, src, imm) => {
    const y = source(o, src);
    const i = o.let(o.read(imm, 8));
    o.writeVector(dst, 128, f(o, o.readVector(dst, 128), y, i));
  };
}

/**
 * dst = f(dst, src) on MMX.
 * @param memory bits that a memory source has
 */
export function mmx(f: Lanes, memory: 64 | 32 = 64): Semantic {
  return (o, _w, dst, src) => {
    waitForPending(o);
    const y = mmxSource(o, src, src.kind === 'mem' ? memory : 64);
    const x = mmxSource(o, dst);
    const z = o.let(o.vectorLow(f(o, x, y)));
    enterMmx(o);
    writeMmx(o, dst, z);
  };
}

export function mmxImmediate(f: LanesImmediate): Semantic {
  return (o, _w, dst, src, imm) => {
    waitForPending(o);
    const y = mmxSource(o, src);
    const i = o.let(o.read(imm, 8));
    const z = o.let(o.vectorLow(f(o, mmxSource(o, dst), y, i)));
    enterMmx(o);
    writeMmx(o, dst, z);
  };
}

/**
 * The MMX form of an operation that halves lanes (packs, horizontal additions): on both operands side by side its lower half is what
 * the 64-bit operation gives.
 */
export function paired(f: Lanes): Lanes {
  return (o, x, y) => {
    const both = o.letVector(o.vectorFrom(o.vectorLow(x), o.vectorLow(y)));
    return f(o, both, both);
  };
}

/** The upper half of a 128-bit result: the MMX form of "unpack high" from "unpack low". */
export function upperHalf(f: Lanes): Lanes {
  return (o, x, y) => o.vectorFrom(o.vectorHigh(f(o, x, y)), o.const(0));
}

/** A vector of equal lanes. */
export function repeat(o: Ops, laneBits: 8 | 16 | 32 | 64, value: bigint): Vector {
  let half = 0n;
  for (let at = 0n; at < 64n; at += BigInt(laneBits)) half |= BigInt.asUintN(laneBits, value) << at;
  return o.constVector(half, half);
}

export function zero(o: Ops): Vector {
  return o.constVector(0n, 0n);
}
