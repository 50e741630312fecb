// How operations set the arithmetic flags, in the lazy form of flags.ts.
import type { Bool, FlagUpdate, Ops, Value, Width } from './ops.ts';

const TOP_TWO = 0xc000000000000000n;
const AF_BIT = 8n;

/** ccAux from a carry-out vector: bit w-1 is the carry out, bit w-2 the carry into the top bit, bit 3 the carry out of the low nibble. */
function auxFromCarries(o: Ops, w: Width, carries: Value): Value {
  if (w === 64) return o.bin('and', carries, o.const(TOP_TWO | AF_BIT));
  const c = o.let(carries);
  const top = o.bin('and', o.bin('shl', c, o.const(64 - w)), o.const(TOP_TWO));
  return o.bin('or', top, o.bin('and', c, o.const(AF_BIT)));
}

/** Flags of z = x + y (+ carry in). z may have bits above w. */
export function addFlags(o: Ops, w: Width, x: Value, y: Value, z: Value): FlagUpdate {
  // carry out of each bit: both set, or one set and the sum's bit clear
  const notZ = o.bin('xor', z, o.const(-1));
  const carries = o.bin('or', o.bin('and', x, y), o.bin('and', o.bin('or', x, y), notZ));
  return { result: o.sext(w, z), aux: auxFromCarries(o, w, carries) };
}

/** Flags of z = x - y (- borrow in). */
export function subFlags(o: Ops, w: Width, x: Value, y: Value, z: Value): FlagUpdate {
  const notX = o.bin('xor', x, o.const(-1));
  const borrows = o.bin('or', o.bin('and', notX, y), o.bin('and', o.bin('or', notX, y), z));
  return { result: o.sext(w, z), aux: auxFromCarries(o, w, borrows) };
}

/** Flags of z = x - y with no borrow in, x and y being zero-extended. */
export function differenceFlags(o: Ops, w: Width, x: Value, y: Value, z: Value): FlagUpdate {
  return { ...subFlags(o, w, x, y, z), difference: { w, x, y } };
}

/** CF = OF = AF = 0. */
export function logicFlags(o: Ops, w: Width, z: Value): FlagUpdate {
  return { result: o.sext(w, z), aux: o.const(0) };
}

/** ccAux with the given CF and OF, AF clear. */
export function auxOf(o: Ops, cf: Bool, of: Bool): Value {
  const c = o.bin('shl', o.fromBool(cf), o.const(63));
  const p = o.bin('shl', o.fromBool(o.xor(cf, of)), o.const(62));
  return o.bin('or', c, p);
}

/** A FlagUpdate that keeps CF: INC and DEC. `update` gives all others. */
export function keepCarry(o: Ops, update: FlagUpdate, of: Bool, cf: Bool): FlagUpdate {
  const af = o.bin('and', update.aux, o.const(AF_BIT));
  return { result: update.result, aux: o.bin('or', auxOf(o, cf, of), af) };
}

/** Sets CF and OF, keeps ZF SF PF AF (rotates, BT). */
export function replaceCarry(o: Ops, stateResult: Value, stateAux: Value, cf: Bool, of: Bool): FlagUpdate {
  return {
    result: stateResult,
    aux: o.bin('or', o.bin('and', stateAux, o.const(~TOP_TWO & 0xffffffffffffffffn)), auxOf(o, cf, of)),
  };
}

/** The top bit of a width-w value. */
export function signBit(o: Ops, w: Width, v: Value): Bool {
  return o.cmp('ne', o.bin('and', v, o.const(1n << BigInt(w - 1))), o.const(0));
}

/** Condition codes 0-15 (SDM Vol. 1, appendix B): O NO B NB Z NZ BE NBE S NS P NP L NL LE NLE. */
export function condition(o: Ops, cc: number): Bool {
  const positive = ((): Bool => {
    switch (cc >> 1) {
      case 0:
        return o.of();
      case 1:
        return o.cf();
      case 2:
        return o.zf();
      case 3:
        return o.or(o.cf(), o.zf());
      case 4:
        return o.sf();
      case 5:
        return o.pf();
      case 6:
        return o.xor(o.sf(), o.of());
      default:
        return o.or(o.zf(), o.xor(o.sf(), o.of()));
    }
  })();
  return cc & 1 ? o.not(positive) : positive;
}
