// Multiplication and division (SDM Vol. 2: MUL IMUL DIV IDIV).
import { Vector as Exception } from '../exits.ts';
import { auxOf } from './flag-updates.ts';
import type { Bool, Operand, Ops, Value, Width } from './ops.ts';

const RAX = 0;
const RDX = 2;
const AH_SHIFT = 8;

/** The high 64 bits of an unsigned 64 x 64 product, from 32-bit halves. */
function highUnsigned(o: Ops, x: Value, y: Value): Value {
  const lo = o.const(0xffffffff);
  const s32 = o.const(32);
  const xl = o.let(o.bin('and', x, lo));
  const xh = o.let(o.bin('shr_u', x, s32));
  const yl = o.let(o.bin('and', y, lo));
  const yh = o.let(o.bin('shr_u', y, s32));
  const ll = o.bin('shr_u', o.bin('mul', xl, yl), s32);
  const lh = o.let(o.bin('add', o.bin('mul', xl, yh), ll));
  const hl = o.let(o.bin('add', o.bin('mul', xh, yl), o.bin('and', lh, lo)));
  const high = o.bin('add', o.bin('mul', xh, yh), o.bin('shr_u', lh, s32));
  return o.let(o.bin('add', high, o.bin('shr_u', hl, s32)));
}

function highSigned(o: Ops, x: Value, y: Value): Value {
  const correction = o.bin(
    'add',
    o.bin('and', o.bin('shr_s', x, o.const(63)), y),
    o.bin('and', o.bin('shr_s', y, o.const(63)), x),
  );
  return o.let(o.bin('sub', highUnsigned(o, x, y), correction));
}

/** CF = OF = the product does not fit; SF by the low half, ZF, PF and AF as processors leave them are undefined. */
function setProductFlags(o: Ops, w: Width, low: Value, overflow: Bool): void {
  o.setFlags({ result: o.sext(w, low), aux: auxOf(o, overflow, overflow) });
}

function storeProduct(o: Ops, w: Width, low: Value, high: Value): void {
  if (w === 8) {
    o.setReg(RAX, 16, o.bin('or', o.zext(8, low), o.bin('shl', o.zext(8, high), o.const(AH_SHIFT))));
    return;
  }
  o.setReg(RAX, w, low);
  o.setReg(RDX, w, high);
}

export function mul(o: Ops, w: Width, src: Operand): void {
  const y = o.read(src, w);
  const x = o.reg(RAX, w);
  const product = o.let(o.bin('mul', x, y));
  const high = w === 64 ? highUnsigned(o, x, y) : o.let(o.bin('shr_u', product, o.const(w)));
  storeProduct(o, w, product, high);
  setProductFlags(o, w, product, o.letBool(o.cmp('ne', o.zext(w, high), o.const(0))));
}

export function imul(o: Ops, w: Width, src: Operand): void {
  const y = o.let(o.sext(w, o.read(src, w)));
  const x = o.let(o.sext(w, o.reg(RAX, w)));
  const product = o.let(o.bin('mul', x, y));
  const high = w === 64 ? highSigned(o, x, y) : o.let(o.bin('shr_s', product, o.const(w)));
  storeProduct(o, w, product, high);
  setProductFlags(o, w, product, signedOverflow(o, w, product, high));
}

function signedOverflow(o: Ops, w: Width, product: Value, high: Value): Bool {
  if (w === 64) return o.letBool(o.cmp('ne', high, o.bin('shr_s', product, o.const(63))));
  return o.letBool(o.cmp('ne', product, o.sext(w, product)));
}

/** IMUL with two or three operands. */
export function imulTruncated(o: Ops, w: Width, dst: Operand, a: Operand, b?: Operand): void {
  const x = o.let(o.sext(w, o.read(a, w)));
  const y = o.let(o.sext(w, o.read(b ?? dst, w)));
  const product = o.let(o.bin('mul', x, y));
  const high = w === 64 ? highSigned(o, x, y) : product;
  const overflow = signedOverflow(o, w, product, high);
  o.write(dst, w, product);
  setProductFlags(o, w, product, overflow);
}

/** DIV and IDIV. #DE where the divisor is 0 or the quotient does not fit. Flags are undefined; they stay. */
function divide(signed: boolean) {
  return (o: Ops, w: Width, src: Operand): void => {
    const y = o.let(signed ? o.sext(w, o.read(src, w)) : o.read(src, w));
    o.faultIf(o.cmp('eq', y, o.const(0)), Exception.DE);
    if (w === 64) {
      divideWide(o, y, signed);
      return;
    }
    const low = o.reg(RAX, w === 8 ? 16 : w);
    const joined = w === 8 ? low : o.bin('or', low, o.bin('shl', o.reg(RDX, w), o.const(w)));
    const x = o.let(signed && w < 32 ? o.sext((w * 2) as Width, joined) : joined);
    // the one quotient that a 64-bit signed division cannot hold
    if (signed && w === 32) {
      const least = o.and(o.cmp('eq', x, o.const(1n << 63n)), o.cmp('eq', y, o.const(-1)));
      o.faultIf(least, Exception.DE);
    }
    const quotient = o.let(o.bin(signed ? 'div_s' : 'div_u', x, y));
    const fits = signed
      ? o.cmp('eq', quotient, o.sext(w, quotient))
      : o.cmp('eq', o.bin('shr_u', quotient, o.const(w)), o.const(0));
    o.faultIf(o.not(fits), Exception.DE);
    const remainder = o.let(o.bin(signed ? 'rem_s' : 'rem_u', x, y));
    storeProduct(o, w, quotient, remainder);
  };
}

/** 128 by 64 bits: plain where the upper half is an extension of the lower, else by the processor's wide division. */
function divideWide(o: Ops, y: Value, signed: boolean): void {
  const low = o.reg(RAX, 64);
  const high = o.reg(RDX, 64);
  const narrow = signed
    ? o.and(o.cmp('eq', high, o.bin('shr_s', low, o.const(63))), o.cmp('ne', y, o.const(-1)))
    : o.cmp('eq', high, o.const(0));
  o.if(
    narrow,
    () => {
      o.setReg(RAX, 64, o.bin(signed ? 'div_s' : 'div_u', low, y));
      o.setReg(RDX, 64, o.bin(signed ? 'rem_s' : 'rem_u', low, y));
    },
    () => o.call(signed ? 'idiv128' : 'div128', y),
  );
}

export const div = divide(false);
export const idiv = divide(true);
