// Bit tests, scans, counts and byte orders (SDM Vol. 2: BT BTC BTR BTS BSF BSR LZCNT TZCNT POPCNT BSWAP MOVBE CRC32).
import { S } from '../layout.ts';
import { setZeroFlag } from './arith.ts';
import { auxOf, replaceCarry } from './flag-updates.ts';
import type { Bool, Operand, Ops, Value, Width } from './ops.ts';

type BitChange = 'none' | 'set' | 'reset' | 'complement';

/** CF is the bit; OF, AF, SF, ZF and PF are left as they are. */
function bitTest(change: BitChange) {
  return (o: Ops, w: Width, base: Operand, index: Operand): void => {
    const raw = o.let(o.read(index, w));
    const n = o.let(o.bin('and', raw, o.const(w - 1)));
    const mask = o.let(o.bin('shl', o.const(1), n));
    // a register index into memory reaches beyond the operand, in both directions
    const farMemory = base.kind === 'mem' && index.kind === 'reg';
    let address: Value | null = null;
    if (farMemory) {
      const units = o.bin('shr_s', o.sext(w, raw), o.const(w === 64 ? 6 : w === 32 ? 5 : 4));
      const displaced = o.bin('add', o.offset(base), o.bin('shl', units, o.const(w === 64 ? 3 : w === 32 ? 2 : 1)));
      address = o.let(o.bitAddress(base, o.zext(o.addressWidth, displaced), w / 8, change !== 'none'));
    }
    const x = o.let(
      address !== null
        ? change === 'none'
          ? o.load(address, w)
          : o.loadForUpdate(address, w)
        : change === 'none'
          ? o.read(base, w)
          : o.update(base, w),
    );
    const was = o.letBool(o.cmp('ne', o.bin('and', x, mask), o.const(0)));
    if (change !== 'none') {
      const changed =
        change === 'set'
          ? o.bin('or', x, mask)
          : change === 'complement'
            ? o.bin('xor', x, mask)
            : o.bin('and', x, o.bin('xor', mask, o.const(-1)));
      const z = o.let(changed);
      if (address !== null) o.store(address, w, z);
      else o.write(base, w, z);
    }
    o.setFlags(replaceCarry(o, o.state(S.ccResult, 64), o.state(S.ccAux, 64), was, o.of()));
  };
}

export const bt = bitTest('none');
export const bts = bitTest('set');
export const btr = bitTest('reset');
export const btc = bitTest('complement');

/** BSF, BSR: a zero source sets ZF and leaves the destination (as AMD documents and Intel does); other flags stay as they are. */
function scan(forward: boolean) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const x = o.read(src, w);
    const zero = o.letBool(o.cmp('eq', x, o.const(0)));
    o.if(o.not(zero), () => {
      const n = forward ? o.un('ctz', x) : o.bin('sub', o.const(63), o.un('clz', x));
      o.write(dst, w, n);
    });
    setZeroFlag(o, zero);
  };
}
export const bsf = scan(true);
export const bsr = scan(false);

function setCountFlags(o: Ops, cf: Bool, result: Value): void {
  o.setFlags({ result, aux: auxOf(o, cf, o.cmp('ne', o.const(0), o.const(0))) });
}

export function lzcnt(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const x = o.read(src, w);
  const n = o.let(o.bin('sub', o.un('clz', x), o.const(64 - w)));
  o.write(dst, w, n);
  setCountFlags(o, o.letBool(o.cmp('eq', x, o.const(0))), n);
}

export function tzcnt(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const x = o.read(src, w);
  const zero = o.letBool(o.cmp('eq', x, o.const(0)));
  const n = o.let(o.select(zero, o.const(w), o.un('ctz', x)));
  o.write(dst, w, n);
  setCountFlags(o, zero, n);
}

export function popcnt(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const x = o.read(src, w);
  o.write(dst, w, o.un('popcnt', x));
  // ZF by the source, all others clear: parity is inverted where the lazy result would give PF
  const zero = o.letBool(o.cmp('eq', x, o.const(0)));
  o.setFlags({ result: o.fromBool(o.not(zero)), aux: o.bin('shl', o.fromBool(zero), o.const(8)) });
}

/** The bytes of a w-bit value in reverse order. */
function swapBytes(o: Ops, w: Width, v: Value): Value {
  let x = v;
  const swap = (bits: number, mask: bigint): void => {
    const m = o.const(mask);
    const y = o.let(x);
    x = o.bin('or', o.bin('and', o.bin('shr_u', y, o.const(bits)), m), o.bin('shl', o.bin('and', y, m), o.const(bits)));
  };
  swap(8, 0x00ff00ff00ff00ffn);
  if (w > 16) swap(16, 0x0000ffff0000ffffn);
  if (w > 32) x = o.bin('rotl', x, o.const(32));
  return o.let(x);
}

/** A 16-bit operand is undefined; processors give 0. */
export function bswap(o: Ops, w: Width, dst: Operand): void {
  o.write(dst, w, w === 16 ? o.const(0) : swapBytes(o, w, o.read(dst, w)));
}

export function movbe(o: Ops, w: Width, dst: Operand, src: Operand): void {
  o.write(dst, w, swapBytes(o, w, o.read(src, w)));
}

/** CRC32 (Castagnoli, bit-reflected polynomial), a bit at a time over the source's bytes. */
export function crc32(sourceWidth: Width | null) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const width = sourceWidth ?? w;
    const x = o.read(src, width);
    const crc = o.variable(o.read(dst, 32));
    // 64 bits go through in two halves, as the 32-bit register does
    for (let at = 0; at < width; at += 32) {
      const bits = Math.min(32, width - at);
      o.assign(crc, o.bin('xor', crc, o.zext(bits as Width, o.bin('shr_u', x, o.const(at)))));
      const i = o.variable(o.const(bits));
      o.while(
        () => o.cmp('ne', i, o.const(0)),
        () => {
          const low = o.bin('sub', o.const(0), o.bin('and', crc, o.const(1)));
          o.assign(crc, o.bin('xor', o.bin('shr_u', crc, o.const(1)), o.bin('and', low, o.const(0x82f63b78))));
          o.assign(i, o.bin('sub', i, o.const(1)));
        },
      );
    }
    o.write(dst, w === 64 ? 64 : 32, crc);
  };
}
