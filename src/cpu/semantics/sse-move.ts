// Moves of MMX and SSE (SDM Vol. 2: MOVAPS to MOVNTQ), masked stores, PTEST. Non-temporal hints mean nothing here.
import { S } from '../layout.ts';
import type { Operand, Ops, Vector, Width } from './ops.ts';
import { enterMmx, mmxSource, source, writeAligned, writeMmx } from './sse-operands.ts';
import { setComparisonFlags, waitForPending } from './x87-instructions.ts';

const RDI = 7;

/** MOVAPS, MOVDQA and others: 16 bytes, aligned in memory. */
export function movAligned(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  writeAligned(o, dst, source(o, src));
}

/** MOVUPS, MOVDQU, LDDQU. */
export function movUnaligned(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  o.writeVector(dst, 128, o.readVector(src, 128));
}

/** MOVSS and MOVSD: from memory the rest becomes 0, between registers it stays. */
export function movScalar(bits: 32 | 64) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand): void => {
    const v = o.readVector(src, bits);
    o.writeVector(dst, src.kind === 'mem' ? 128 : bits, v);
  };
}

/** MOVLPS and MOVLPD, either way. */
export function movLow(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  o.writeVector(dst, 64, o.readVector(src, 64));
}
/** MOVHPS and MOVHPD from memory, MOVLHPS. */
export function movToHigh(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  const high = o.read(src, 64);
  o.writeVector(dst, 128, o.vectorFrom(o.read(dst, 64), high));
}
/** MOVHPS and MOVHPD to memory, MOVHLPS. */
export function movFromHigh(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  o.write(dst, 64, o.let(o.vectorHigh(o.readVector(src, 128))));
}
/** MOVDDUP: the low 64 bits twice. */
export function movddup(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  const v = o.read(src, 64);
  o.writeVector(dst, 128, o.vectorFrom(v, v));
}

/** MOVD and MOVQ into an XMM register, whose upper part is cleared. */
export function movIntoVector(o: Ops, w: Width, dst: Operand, src: Operand): void {
  o.writeVector(dst, 128, o.vectorFrom(o.read(src, w), o.const(0)));
}
/** MOVD and MOVQ from an XMM register to a general one or memory. */
export function movFromVector(o: Ops, w: Width, dst: Operand, src: Operand): void {
  o.write(dst, w, o.read(src, w));
}
/** MOVQ between XMM registers, and from memory: the upper half is cleared. */
export function movqIntoVector(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  o.writeVector(dst, 128, o.readVector(src, 64));
}
/** MOVQ xmm/m64, xmm. */
export function movqFromVector(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  o.writeVector(dst, dst.kind === 'mem' ? 64 : 128, o.readVector(src, 64));
}

/** PTEST: ZF where dst & src is 0, CF where ~dst & src is 0. */
export function ptest(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  const y = source(o, src);
  const x = o.readVector(dst, 128);
  const none = (v: Vector) => o.cmp('eq', o.vecToValue('v128.any_true', [v]), o.const(0));
  const zf = o.select(none(o.vec('v128.and', [x, y])), o.const(0x40), o.const(0));
  const cf = o.select(none(o.vec('v128.andnot', [y, x])), o.const(1), o.const(0));
  setComparisonFlags(o, o.bin('or', zf, cf));
}

/** MASKMOVDQU: the bytes of the first operand whose mask byte has its top bit set go to [segment:rDI]. */
export function maskMove(o: Ops, _w: Width, src: Operand, mask: Operand, memory: Operand): void {
  maskedStore(o, o.readVector(src, 128), o.readVector(mask, 128), memory, 16);
}
/** MASKMOVQ. */
export function maskMoveMmx(o: Ops, _w: Width, src: Operand, mask: Operand, memory: Operand): void {
  waitForPending(o);
  maskedStore(o, mmxSource(o, src), mmxSource(o, mask), memory, 8);
  enterMmx(o);
}
function maskedStore(o: Ops, data: Vector, mask: Vector, memory: Operand, bytes: number): void {
  const address = o.bitAddress(memory, o.reg(RDI, o.addressWidth), bytes, true);
  // all of it must be writable, whatever the mask
  o.loadForUpdate(address, 64);
  if (bytes === 16) o.loadForUpdate(o.let(o.bin('add', address, o.const(8))), 64);
  [o.vectorLow(data), o.vectorHigh(data), o.vectorLow(mask), o.vectorHigh(mask)].forEach((v, i) => {
    o.setState(S.scratch + 8 * i, 64, v);
  });
  o.call('maskedStore', address, o.const(bytes));
}

// ---- MMX

/** MOVD and MOVQ into an MMX register. */
export function movIntoMmx(o: Ops, w: Width, dst: Operand, src: Operand): void {
  waitForPending(o);
  const v = o.read(src, w);
  enterMmx(o);
  writeMmx(o, dst, v);
}
/** MOVD and MOVQ from an MMX register to a general one or memory. */
export function movFromMmx(o: Ops, w: Width, dst: Operand, src: Operand): void {
  waitForPending(o);
  o.write(dst, w, o.read(src, w));
  enterMmx(o);
}
/** MOVQ mm, mm/m64. */
export function movqMmx(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  movIntoMmx(o, 64, dst, src);
}
/** MOVQ mm/m64, mm and MOVNTQ. */
export function movqMmxStore(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  if (dst.kind === 'mem') movFromMmx(o, 64, dst, src);
  else movIntoMmx(o, 64, dst, src);
}
export function movq2dq(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  waitForPending(o);
  const v = mmxSource(o, src);
  enterMmx(o);
  o.writeVector(dst, 128, v);
}
export function movdq2q(o: Ops, _w: Width, dst: Operand, src: Operand): void {
  movIntoMmx(o, 64, dst, src);
}
export function emms(o: Ops): void {
  waitForPending(o);
  enterMmx(o);
  o.setState(S.ftw, 8, o.const(0));
}
