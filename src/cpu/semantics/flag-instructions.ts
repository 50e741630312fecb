// Instructions on RFLAGS (SDM Vol. 2: CLC STC CMC CLD STD LAHF SAHF PUSHF POPF CLI STI, SALC's absence in 64-bit mode).
import { Flag } from '../flags.ts';
import { S } from '../layout.ts';
import { replaceCarry } from './flag-updates.ts';
import type { Bool, Ops, Value, Width } from './ops.ts';
import { adjustStack, pushValue, topOfStack } from './stack.ts';

const RAX = 0;

function setCarry(o: Ops, cf: Bool): void {
  const carry = o.letBool(cf);
  const of = o.letBool(o.of());
  o.setFlags(replaceCarry(o, o.state(S.ccResult, 64), o.state(S.ccAux, 64), carry, of));
}

export function clc(o: Ops): void {
  setCarry(o, o.cmp('ne', o.const(0), o.const(0)));
}
export function stc(o: Ops): void {
  setCarry(o, o.cmp('eq', o.const(0), o.const(0)));
}
export function cmc(o: Ops): void {
  setCarry(o, o.not(o.cf()));
}

export function cld(o: Ops): void {
  o.setState(S.rflags, 64, o.bin('and', o.state(S.rflags, 64), o.const(~BigInt(Flag.DF) & 0xffffffffffffffffn)));
}
export function std(o: Ops): void {
  o.setState(S.rflags, 64, o.bin('or', o.state(S.rflags, 64), o.const(Flag.DF)));
}

/** SF ZF AF PF CF as RFLAGS bits, with bit 1 set; `withOverflow` adds OF. */
function arithmeticBits(o: Ops, withOverflow: boolean): Value {
  const at = (b: Bool, mask: number) => o.bin('shl', o.fromBool(b), o.const(Math.log2(mask)));
  let bits = o.bin('or', o.fromBool(o.cf()), o.const(2));
  bits = o.bin('or', bits, at(o.pf(), Flag.PF));
  bits = o.bin('or', bits, at(o.af(), Flag.AF));
  bits = o.bin('or', bits, at(o.zf(), Flag.ZF));
  bits = o.bin('or', bits, at(o.sf(), Flag.SF));
  return withOverflow ? o.bin('or', bits, at(o.of(), Flag.OF)) : bits;
}

export function lahf(o: Ops): void {
  const low = o.reg(RAX, 8);
  o.setReg(RAX, 16, o.bin('or', low, o.bin('shl', arithmeticBits(o, false), o.const(8))));
}

/** Lazy words from RFLAGS bits in a value. */
function loadArithmetic(o: Ops, flags: Value, of: Bool): void {
  const f = o.let(flags);
  const bit = (mask: number) => o.cmp('ne', o.bin('and', f, o.const(mask)), o.const(0));
  const zf = o.letBool(bit(Flag.ZF));
  const cf = o.letBool(bit(Flag.CF));
  const top = o.bin(
    'or',
    o.bin('shl', o.fromBool(cf), o.const(63)),
    o.bin('shl', o.fromBool(o.xor(cf, of)), o.const(62)),
  );
  const af = o.bin('shl', o.fromBool(bit(Flag.AF)), o.const(3));
  const parity = o.bin('shl', o.fromBool(o.xor(zf, bit(Flag.PF))), o.const(8));
  const low = o.bin('or', o.bin('or', af, parity), o.fromBool(bit(Flag.SF)));
  o.setFlags({ result: o.fromBool(o.not(zf)), aux: o.bin('or', top, low) });
}

export function sahf(o: Ops): void {
  const of = o.letBool(o.of());
  loadArithmetic(o, o.bin('shr_u', o.reg(RAX, 16), o.const(8)), of);
}

/** VM and RF read as 0. */
export function pushf(o: Ops, w: Width): void {
  const all = o.long64 ? o.state(S.rflags, 64) : o.callValue('pushedFlags', o.const(w));
  const system = o.bin('and', all, o.const(0xfffcffffn));
  pushValue(o, w, o.zext(w, o.let(o.bin('or', system, arithmeticBits(o, true)))));
}

/** What may change depends on CPL, IOPL and mode: the processor decides (helper), arithmetic flags and DF always do. */
export function popf(o: Ops, w: Width): void {
  const v = o.let(topOfStack(o, w));
  o.call('popf', o.const(w), v);
  adjustStack(o, o.const(w / 8));
  o.endBlock();
}
