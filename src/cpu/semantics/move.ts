// Data movement (SDM Vol. 2: MOV MOVZX MOVSX MOVSXD LEA XCHG CMOVcc SETcc CBW/CWDE/CDQE CWD/CDQ/CQO XLAT LAHF SAHF BSWAP elsewhere).
import { condition } from './flag-updates.ts';
import type { Operand, Ops, Width } from './ops.ts';

const RAX = 0;
const RDX = 2;

/** NOP, PAUSE, hints and ENDBR without CET. */
export function nop(): void {}

export function mov(o: Ops, w: Width, dst: Operand, src: Operand): void {
  o.write(dst, w, o.read(src, w));
}

export function movzx(from: Width) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => o.write(dst, w, o.read(src, from));
}

export function movsx(from: Width) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    // MOVSXD with a 16-bit operand moves 16 bits
    const width = from > w ? w : from;
    o.write(dst, w, o.zext(w, o.sext(width, o.read(src, width))));
  };
}

export function lea(o: Ops, w: Width, dst: Operand, src: Operand): void {
  o.write(dst, w, o.zext(w, o.offset(src)));
}

export function xchg(o: Ops, w: Width, a: Operand, b: Operand): void {
  const y = o.read(b, w);
  const x = o.update(a, w);
  o.write(a, w, y);
  o.write(b, w, x);
}

/** The source is read (and may fault) whatever the condition; a 32-bit move clears the upper half even when it does not happen. */
export function cmov(cc: number) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const y = o.read(src, w);
    const x = o.read(dst, w);
    o.write(dst, w, o.select(condition(o, cc), y, x));
  };
}

export function setcc(cc: number) {
  return (o: Ops, _w: Width, dst: Operand): void => o.write(dst, 8, o.fromBool(condition(o, cc)));
}

/** CBW, CWDE, CDQE. */
export function extendAccumulator(o: Ops, w: Width): void {
  const half = (w / 2) as Width;
  o.setReg(RAX, w, o.zext(w, o.sext(half, o.reg(RAX, half))));
}

/** CWD, CDQ, CQO. */
export function extendToPair(o: Ops, w: Width): void {
  const sign = o.bin('shr_s', o.sext(w, o.reg(RAX, w)), o.const(63));
  o.setReg(RDX, w, o.zext(w, sign));
}

/** XLAT: AL = [segment:rBX + AL]. The memory operand is implied, its segment may be overridden: bound as base rBX by the decoder. */
export function xlat(o: Ops, _w: Width, table: Operand): void {
  const width = o.addressWidth;
  const offset = o.zext(width, o.bin('add', o.reg(3, width), o.reg(RAX, 8)));
  o.setReg(RAX, 8, o.load(o.bitAddress(table, o.let(offset), 1, false), 8));
}
