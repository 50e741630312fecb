// Shifts and rotates (SDM Vol. 2: SAL/SAR/SHL/SHR, ROL/ROR/RCL/RCR, SHLD, SHRD). A count of 0 changes no flag.
import { S } from '../layout.ts';
import { auxOf, replaceCarry, signBit } from './flag-updates.ts';
import type { Bool, Operand, Ops, Value, Width } from './ops.ts';

/** The masked count: 6 bits for 64-bit operands, 5 else. */
function countOf(o: Ops, w: Width, count: Operand): Value {
  return o.let(o.bin('and', o.read(count, 8), o.const(w === 64 ? 63 : 31)));
}

function bit(o: Ops, v: Value, n: Value): Bool {
  return o.cmp('ne', o.bin('and', o.bin('shr_u', v, n), o.const(1)), o.const(0));
}

/** v >> n for n up to 64, where n = 64 gives 0. */
function shiftOut(o: Ops, op: 'shl' | 'shr_u', v: Value, n: Value): Value {
  return o.select(o.cmp('lt_u', n, o.const(64)), o.bin(op, v, n), o.const(0));
}

export function shl(o: Ops, w: Width, dst: Operand, count: Operand): void {
  const n = countOf(o, w, count);
  const x = o.update(dst, w);
  const z = o.let(o.zext(w, o.bin('shl', x, n)));
  o.write(dst, w, z);
  o.if(o.cmp('ne', n, o.const(0)), () => {
    // CF: the last bit shifted out, bit w - n of x (none where n > w)
    const at = o.let(o.bin('sub', o.const(w), n));
    const cf = o.letBool(o.and(o.cmp('le_u', n, o.const(w)), bit(o, x, at)));
    o.setFlags({ result: o.sext(w, z), aux: auxOf(o, cf, o.xor(cf, signBit(o, w, z))) });
  });
}

export function shr(o: Ops, w: Width, dst: Operand, count: Operand): void {
  const n = countOf(o, w, count);
  const x = o.update(dst, w);
  const z = o.let(o.bin('shr_u', x, n));
  o.write(dst, w, z);
  o.if(o.cmp('ne', n, o.const(0)), () => {
    const cf = o.letBool(bit(o, x, o.bin('sub', n, o.const(1))));
    // OF is defined for a count of 1 (the old sign); processors give the same rule applied to the last step
    const before = o.let(o.bin('shr_u', x, o.bin('sub', n, o.const(1))));
    o.setFlags({ result: o.sext(w, z), aux: auxOf(o, cf, signBit(o, w, before)) });
  });
}

export function sar(o: Ops, w: Width, dst: Operand, count: Operand): void {
  const n = countOf(o, w, count);
  const x = o.let(o.sext(w, o.update(dst, w)));
  const z = o.let(o.bin('shr_s', x, n));
  o.write(dst, w, z);
  o.if(o.cmp('ne', n, o.const(0)), () => {
    const last = o.bin('shr_s', x, o.bin('sub', n, o.const(1)));
    const cf = o.letBool(o.cmp('ne', o.bin('and', last, o.const(1)), o.const(0)));
    o.setFlags({ result: o.sext(w, z), aux: auxOf(o, cf, o.cmp('ne', o.const(0), o.const(0))) });
  });
}

function storeRotate(o: Ops, cf: Bool, of: Bool): void {
  o.setFlags(replaceCarry(o, o.state(S.ccResult, 64), o.state(S.ccAux, 64), cf, of));
}

function rotateLeft(o: Ops, w: Width, x: Value, n: Value): Value {
  if (w === 64) return o.bin('rotl', x, n);
  const high = o.bin('shl', x, n);
  return o.bin('or', high, o.bin('shr_u', x, o.bin('sub', o.const(w), n)));
}

export function rol(o: Ops, w: Width, dst: Operand, count: Operand): void {
  const n = countOf(o, w, count);
  const x = o.update(dst, w);
  const z = o.let(o.zext(w, rotateLeft(o, w, x, o.let(o.bin('and', n, o.const(w - 1))))));
  o.write(dst, w, z);
  o.if(o.cmp('ne', n, o.const(0)), () => {
    const cf = o.letBool(o.cmp('ne', o.bin('and', z, o.const(1)), o.const(0)));
    storeRotate(o, cf, o.xor(cf, signBit(o, w, z)));
  });
}

export function ror(o: Ops, w: Width, dst: Operand, count: Operand): void {
  const n = countOf(o, w, count);
  const x = o.update(dst, w);
  const left = o.let(o.bin('and', o.bin('sub', o.const(w), n), o.const(w - 1)));
  const z = o.let(o.zext(w, rotateLeft(o, w, x, left)));
  o.write(dst, w, z);
  o.if(o.cmp('ne', n, o.const(0)), () => {
    const cf = o.letBool(signBit(o, w, z));
    const next = o.cmp('ne', o.bin('and', z, o.const(1n << BigInt(w - 2))), o.const(0));
    storeRotate(o, cf, o.xor(cf, next));
  });
}

/** Rotates through carry turn w + 1 bits; 8 and 16 bits take the count modulo 9 and 17. */
function rotateThroughCarry(o: Ops, w: Width, dst: Operand, count: Operand, left: boolean): void {
  const masked = countOf(o, w, count);
  const n = w < 32 ? o.let(o.bin('rem_u', masked, o.const(w + 1))) : masked;
  const cfIn = o.let(o.fromBool(o.cf()));
  const x = o.update(dst, w);
  const inverse = o.let(o.bin('sub', o.const(w + 1), n));
  // one of the two directions gives the bits that stay, the other those that come around; the carry stands between them
  const near = left ? o.bin('shl', x, n) : shiftOut(o, 'shr_u', x, n);
  const around = left ? shiftOut(o, 'shr_u', x, inverse) : shiftOut(o, 'shl', x, inverse);
  const carryAt = left ? o.bin('sub', n, o.const(1)) : o.bin('sub', o.const(w), n);
  const turned = o.bin('or', o.bin('or', near, around), o.bin('shl', cfIn, carryAt));
  const zero = o.letBool(o.cmp('eq', n, o.const(0)));
  const z = o.let(o.zext(w, o.select(zero, x, turned)));
  o.write(dst, w, z);
  o.if(o.not(zero), () => {
    const out = left ? bit(o, x, o.bin('sub', o.const(w), n)) : bit(o, x, o.bin('sub', n, o.const(1)));
    const cf = o.letBool(out);
    const of = left
      ? o.xor(cf, signBit(o, w, z))
      : o.xor(signBit(o, w, z), o.cmp('ne', o.bin('and', z, o.const(1n << BigInt(w - 2))), o.const(0)));
    storeRotate(o, cf, of);
  });
}

export function rcl(o: Ops, w: Width, dst: Operand, count: Operand): void {
  rotateThroughCarry(o, w, dst, count, true);
}
export function rcr(o: Ops, w: Width, dst: Operand, count: Operand): void {
  rotateThroughCarry(o, w, dst, count, false);
}

/** SHLD and SHRD. For 16-bit operands a count above 16 is undefined; processors shift the pair dst:src:dst. */
function doubleShift(o: Ops, w: Width, dst: Operand, src: Operand, count: Operand, left: boolean): void {
  const n = countOf(o, w, count);
  const y = o.read(src, w);
  const x = o.update(dst, w);
  const back = o.let(o.bin('sub', o.const(w), n));
  let shifted: Value;
  if (w === 16) {
    // 48 bits: the count reaches 31
    const wide = left
      ? o.bin('or', o.bin('or', o.bin('shl', x, o.const(32)), o.bin('shl', y, o.const(16))), x)
      : o.bin('or', o.bin('or', x, o.bin('shl', y, o.const(16))), o.bin('shl', x, o.const(32)));
    shifted = left ? o.bin('shr_u', o.bin('shl', wide, n), o.const(32)) : o.bin('shr_u', wide, n);
  } else {
    shifted = left
      ? o.bin('or', o.bin('shl', x, n), shiftOut(o, 'shr_u', y, back))
      : o.bin('or', o.bin('shr_u', x, n), shiftOut(o, 'shl', y, back));
  }
  const z = o.let(o.zext(w, shifted));
  o.write(dst, w, z);
  o.if(o.cmp('ne', n, o.const(0)), () => {
    const out = left ? bit(o, x, back) : bit(o, x, o.bin('sub', n, o.const(1)));
    const cf = o.letBool(out);
    o.setFlags({ result: o.sext(w, z), aux: auxOf(o, cf, o.xor(signBit(o, w, x), signBit(o, w, z))) });
  });
}

export function shld(o: Ops, w: Width, dst: Operand, src: Operand, count: Operand): void {
  doubleShift(o, w, dst, src, count, true);
}
export function shrd(o: Ops, w: Width, dst: Operand, src: Operand, count: Operand): void {
  doubleShift(o, w, dst, src, count, false);
}
