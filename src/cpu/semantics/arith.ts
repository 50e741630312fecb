// Integer addition, subtraction, comparison and logic (SDM Vol. 2: ADC ADD AND CMP DEC INC NEG NOT OR SBB SUB TEST XADD XOR CMPXCHG).
import { S } from '../layout.ts';
import { addFlags, differenceFlags, keepCarry, logicFlags, subFlags } from './flag-updates.ts';
import type { Operand, Ops, Value, Width } from './ops.ts';

export function add(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const y = o.read(src, w);
  const x = o.update(dst, w);
  const z = o.let(o.bin('add', x, y));
  o.write(dst, w, z);
  o.setFlags(addFlags(o, w, x, y, z));
}

export function adc(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const y = o.read(src, w);
  const x = o.update(dst, w);
  const z = o.let(o.bin('add', o.bin('add', x, y), o.fromBool(o.cf())));
  o.write(dst, w, z);
  o.setFlags(addFlags(o, w, x, y, z));
}

export function sub(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const y = o.read(src, w);
  const x = o.update(dst, w);
  const z = o.let(o.bin('sub', x, y));
  o.write(dst, w, z);
  o.setFlags(differenceFlags(o, w, x, y, z));
}

export function sbb(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const y = o.read(src, w);
  const x = o.update(dst, w);
  const z = o.let(o.bin('sub', o.bin('sub', x, y), o.fromBool(o.cf())));
  o.write(dst, w, z);
  o.setFlags(subFlags(o, w, x, y, z));
}

export function cmp(o: Ops, w: Width, a: Operand, b: Operand): void {
  const y = o.read(b, w);
  const x = o.read(a, w);
  const z = o.let(o.bin('sub', x, y));
  o.setFlags(differenceFlags(o, w, x, y, z));
}

type Logic = 'and' | 'or' | 'xor';

function logic(op: Logic) {
  return (o: Ops, w: Width, dst: Operand, src: Operand): void => {
    const y = o.read(src, w);
    const x = o.update(dst, w);
    const z = o.let(o.bin(op, x, y));
    o.write(dst, w, z);
    o.setFlags(logicFlags(o, w, z));
  };
}

export const and = logic('and');
export const or = logic('or');
export const xor = logic('xor');

export function test(o: Ops, w: Width, a: Operand, b: Operand): void {
  const z = o.let(o.bin('and', o.read(a, w), o.read(b, w)));
  o.setFlags(logicFlags(o, w, z));
}

export function inc(o: Ops, w: Width, dst: Operand): void {
  const cf = o.letBool(o.cf());
  const x = o.update(dst, w);
  const z = o.let(o.zext(w, o.bin('add', x, o.const(1))));
  o.write(dst, w, z);
  const of = o.cmp('eq', z, o.const(1n << BigInt(w - 1)));
  o.setFlags(keepCarry(o, addFlags(o, w, x, o.const(1), z), of, cf));
}

export function dec(o: Ops, w: Width, dst: Operand): void {
  const cf = o.letBool(o.cf());
  const x = o.update(dst, w);
  const z = o.let(o.zext(w, o.bin('sub', x, o.const(1))));
  o.write(dst, w, z);
  const of = o.cmp('eq', x, o.const(1n << BigInt(w - 1)));
  o.setFlags(keepCarry(o, subFlags(o, w, x, o.const(1), z), of, cf));
}

export function neg(o: Ops, w: Width, dst: Operand): void {
  const x = o.update(dst, w);
  const z = o.let(o.bin('sub', o.const(0), x));
  o.write(dst, w, z);
  o.setFlags(subFlags(o, w, o.const(0), x, z));
}

export function not(o: Ops, w: Width, dst: Operand): void {
  o.write(dst, w, o.bin('xor', o.update(dst, w), o.const(-1)));
}

export function xadd(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const y = o.read(src, w);
  const x = o.update(dst, w);
  const z = o.let(o.bin('add', x, y));
  // with the same register twice the sum is what stays
  if (dst.kind === 'reg') {
    o.write(src, w, x);
    o.write(dst, w, z);
  } else {
    o.write(dst, w, z);
    o.write(src, w, x);
  }
  o.setFlags(addFlags(o, w, x, y, z));
}

const RAX = 0;
const RBX = 3;
const RCX = 1;
const RDX = 2;

export function cmpxchg(o: Ops, w: Width, dst: Operand, src: Operand): void {
  const y = o.read(src, w);
  const x = o.update(dst, w);
  const a = o.reg(RAX, w);
  const z = o.let(o.bin('sub', a, x));
  const equal = o.letBool(o.cmp('eq', a, x));
  // the destination is written either way (SDM: "receives a write cycle without regard to the result")
  if (dst.kind === 'mem') {
    o.write(dst, w, o.select(equal, y, x));
    o.if(o.not(equal), () => o.setReg(RAX, w, x));
  } else {
    // a register is not touched where the comparison fails: the upper half of a 32-bit one stays, too
    o.if(
      equal,
      () => o.write(dst, w, y),
      () => o.setReg(RAX, w, x),
    );
  }
  o.setFlags(differenceFlags(o, w, a, x, z));
}

/** CMPXCHG8B (w = 32) and CMPXCHG16B (w = 64): only ZF changes. */
export function cmpxchgPair(o: Ops, w: Width, dst: Operand): void {
  const half = w === 64 ? 64 : 32;
  const bytes = w / 8;
  if (w === 64) o.checkAligned(dst, 16);
  const address = o.let(o.linear(dst, bytes * 2, true));
  const high = o.let(o.bin('add', address, o.const(bytes)));
  // both halves are checked for writing before either is written
  const memoryLow = o.loadForUpdate(address, half);
  const memoryHigh = o.loadForUpdate(high, half);
  const a = o.reg(RAX, half);
  const d = o.reg(RDX, half);
  const b = o.reg(RBX, half);
  const c = o.reg(RCX, half);
  const equal = o.letBool(o.and(o.cmp('eq', memoryLow, a), o.cmp('eq', memoryHigh, d)));
  o.store(high, half, o.select(equal, c, memoryHigh));
  o.store(address, half, o.select(equal, b, memoryLow));
  o.if(o.not(equal), () => {
    o.setReg(RAX, half, memoryLow);
    o.setReg(RDX, half, memoryHigh);
  });
  setZeroFlag(o, equal);
}

/** Sets ZF and keeps CF PF AF SF OF. */
export function setZeroFlag(o: Ops, zf: ReturnType<Ops['zf']>): void {
  const sf = o.letBool(o.sf());
  const pf = o.letBool(o.pf());
  const aux: Value = o.let(o.bin('and', o.state(S.ccAux, 64), o.const(0xc000000000000008n)));
  // result 0 or 1; its own SF is 0, its own PF is 1 for 0 and 0 for 1: the deltas mend both
  const result = o.let(o.fromBool(o.not(zf)));
  const parity = o.bin('shl', o.fromBool(o.xor(pf, zf)), o.const(8));
  o.setFlags({ result, aux: o.bin('or', o.bin('or', aux, o.fromBool(sf)), parity) });
}
