// PCLMULQDQ, and AES-NI's operands to the helpers that compute (SDM Vol. 2; helpers/sse-crypto.ts).
import { S } from '../layout.ts';
import type { Operand, Ops, Value, Width } from './ops.ts';
import { source } from './sse-operands.ts';

/** An AES instruction: the round key or the source stands in the scratch area. */
export function aes(helper: string) {
  return (o: Ops, _w: Width, dst: Operand, src: Operand, imm?: Operand): void => {
    const y = source(o, src);
    o.setState(S.scratch, 64, o.vectorLow(y));
    o.setState(S.scratch + 8, 64, o.vectorHigh(y));
    const number = o.registerNumber(dst);
    if (imm) o.call(helper, number, o.read(imm, 8));
    else o.call(helper, number);
  };
}

const EVERY_FOURTH = 0x1111111111111111n;

/**
 * Carry-less product of two 32-bit values. Bits are multiplied four apart: at most eight ones meet in a place, their sum stays within
 * the three empty places above, and its lowest bit is their XOR.
 */
function multiply32(o: Ops, x: Value, y: Value): Value {
  const sparse = (v: Value) =>
    [0n, 1n, 2n, 3n].map(i => o.let(o.bin('and', v, o.const((EVERY_FOURTH << i) & 0xffffffffn))));
  const xs = sparse(x);
  const ys = sparse(y);
  let product: Value | null = null;
  for (let r = 0; r < 4; r++) {
    let sum: Value | null = null;
    for (let i = 0; i < 4; i++) {
      const part = o.bin('mul', xs[i], ys[(r - i) & 3]);
      sum = sum !== null ? o.bin('xor', sum, part) : part;
    }
    const places = o.bin('and', sum!, o.const(BigInt.asUintN(64, EVERY_FOURTH << BigInt(r))));
    product = product !== null ? o.bin('or', product, places) : places;
  }
  return o.let(product!);
}

/** PCLMULQDQ: imm bit 0 chooses the destination's half, bit 4 the source's. */
export function pclmulqdq(o: Ops, _w: Width, dst: Operand, src: Operand, imm: Operand): void {
  const y = source(o, src);
  const x = o.readVector(dst, 128);
  const control = o.let(o.read(imm, 8));
  const half = (v: typeof x, bit: number) =>
    o.let(o.select(o.cmp('ne', o.bin('and', control, o.const(bit)), o.const(0)), o.vectorHigh(v), o.vectorLow(v)));
  const a = half(x, 1);
  const b = half(y, 16);
  const low = (v: Value) => o.let(o.zext(32, v));
  const high = (v: Value) => o.let(o.bin('shr_u', v, o.const(32)));
  const [al, ah, bl, bh] = [low(a), high(a), low(b), high(b)];
  // Karatsuba: three products of halves
  const lows = multiply32(o, al, bl);
  const highs = multiply32(o, ah, bh);
  const both = multiply32(o, o.let(o.bin('xor', al, ah)), o.let(o.bin('xor', bl, bh)));
  const middle = o.let(o.bin('xor', o.bin('xor', both, lows), highs));
  o.writeVector(
    dst,
    128,
    o.vectorFrom(
      o.bin('xor', lows, o.bin('shl', middle, o.const(32))),
      o.bin('xor', highs, o.bin('shr_u', middle, o.const(32))),
    ),
  );
}
