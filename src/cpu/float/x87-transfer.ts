// Loads, stores, constants, exchange and conditional moves (SDM Vol. 2A: FLD, FILD, FBLD, FST, FIST, FBSTP, FXCH, FCMOVcc).
// A store returns undefined where an unmasked exception keeps it from happening.
import { convert, fromInteger, toInteger } from './convert.ts';
import { BINARY32, BINARY64, DE, EXTENDED, type Ext80, type Format, IE, OE, PE, TOWARD_ZERO, UE } from './format.ts';
import { invalid, propagate1 } from './nan.ts';
import { roundTo } from './rounding.ts';
import { DEFAULT_NAN, FINITE, pack32, pack64, type Unpacked, unpack32, unpack64, ZERO } from './unpacked.ts';
import {
  begin,
  commit,
  env,
  isEmpty,
  pop,
  push,
  readSt,
  roomToPush,
  setTop,
  stackFault,
  top,
  writeRaw,
  writeSt,
  type X87State,
} from './x87-state.ts';

/** Of the exceptions of a load only an unmasked IE keeps the value out: a denormal is pushed even if DE is unmasked. */
function load(s: X87State, operand: Unpacked): void {
  const result = operand.denormal ? operand : convert(env, EXTENDED, operand);
  if (operand.denormal) env.flags |= DE;
  commit(s);
  if ((env.flags & ~env.masks & IE) === 0) push(s, result);
}

/** @param bits unsigned 32-bit number */
export function fldM32(s: X87State, bits: number): void {
  begin(s);
  if (roomToPush(s)) load(s, unpack32(env, bits));
}

/** @param bits unsigned 64-bit BigInt */
export function fldM64(s: X87State, bits: bigint): void {
  begin(s);
  if (roomToPush(s)) load(s, unpack64(env, bits));
}

/** Any 80 bits go in unchanged. */
export function fldM80(s: X87State, signExp: number, mantissa: bigint): void {
  begin(s);
  if (!roomToPush(s)) return;
  setTop(s, top(s) - 1);
  writeRaw(s, 0, signExp, mantissa);
}

export function fldSt(s: X87State, i: number): void {
  begin(s);
  if (isEmpty(s, i)) {
    // The fault of the missing source comes first, but a full stack cannot miss one.
    if (stackFault(s, false)) push(s, DEFAULT_NAN);
    return;
  }
  const register = (top(s) + i) & 7;
  fldM80(s, s.signExp(register), s.mantissa(register));
}

/** FILD. @param value signed */
export function fild(s: X87State, value: bigint): void {
  begin(s);
  if (roomToPush(s)) push(s, fromInteger(value));
}

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: truncated significand, and whether the rest is over a half. */
const CONSTANTS: readonly (readonly [signExp: number, mantissa: bigint, roundsUp: boolean | undefined])[] = [
  [0x3fff, 0x8000000000000000n, undefined],
  [0x4000, 0xd49a784bcd1b8afen, false],
  [0x3fff, 0xb8aa3b295c17f0bbn, true],
  [0x4000, 0xc90fdaa22168c234n, true],
  [0x3ffd, 0x9a209a84fbcff798n, true],
  [0x3ffe, 0xb17217f7d1cf79abn, true],
  [0, 0n, undefined],
];

/** @param index the low three bits of the opcode D9 E8-EE. No exception but a stack fault, though the constants are rounded. */
export function fldConstant(s: X87State, index: number): void {
  const [signExp, mantissa, roundsUp] = CONSTANTS[index];
  const mode = (s.fcw >> 10) & 3;
  const up = roundsUp !== undefined && (mode === 2 || (mode === 0 && roundsUp));
  fldM80(s, signExp, up ? mantissa + 1n : mantissa);
}

/** FBLD. @param bytes 10, low digits first; sign in bit 7 of the last */
export function fbld(s: X87State, bytes: Uint8Array): void {
  begin(s);
  if (!roomToPush(s)) return;
  let value = 0n;
  for (let i = 8; i >= 0; i--) value = value * 100n + BigInt((bytes[i] >> 4) * 10 + (bytes[i] & 15));
  const sign = bytes[9] >> 7;
  push(s, value === 0n ? { kind: ZERO, sign, exp: 0, sig: 0n, denormal: false } : fromInteger(sign ? -value : value));
}

/** What an empty ST(0) stores: the indefinite if IE is masked. */
function storeUnderflow(s: X87State): boolean {
  return stackFault(s, false);
}

/** Books the flags of a store to a narrower real; false if the store must not happen. */
function commitStore(s: X87State): boolean {
  // Unmasked overflow and underflow leave the value in the register, unrounded, so nothing was inexact.
  if (env.flags & ~env.masks & (OE | UE)) {
    env.flags &= ~PE;
    commit(s);
    return false;
  }
  return commit(s);
}

function narrowed(s: X87State, fmt: Format): Unpacked | undefined {
  begin(s);
  if (isEmpty(s, 0)) return storeUnderflow(s) ? DEFAULT_NAN : undefined;
  const a = readSt(s, 0);
  // Not `convert`: a store of a denormal raises no DE.
  const result = propagate1(env, a) ?? (a.kind === FINITE ? roundTo(env, fmt, a.sign, a.exp, a.sig) : a);
  return commitStore(s) ? result : undefined;
}

/** FST and FSTP m32. @returns unsigned 32-bit number */
export function fstM32(s: X87State, popAfter: boolean): number | undefined {
  const result = narrowed(s, BINARY32);
  if (result === undefined) return undefined;
  if (popAfter) pop(s);
  return pack32(result);
}

/** FST and FSTP m64. @returns unsigned 64-bit BigInt */
export function fstM64(s: X87State, popAfter: boolean): bigint | undefined {
  const result = narrowed(s, BINARY64);
  if (result === undefined) return undefined;
  if (popAfter) pop(s);
  return pack64(result);
}

/** FSTP m80: the register as it is. */
export function fstpM80(s: X87State): Ext80 | undefined {
  begin(s);
  let result: Ext80 = { signExp: 0xffff, mantissa: 0xc000000000000000n };
  if (!isEmpty(s, 0)) result = { signExp: s.signExp(top(s)), mantissa: s.mantissa(top(s)) };
  else if (!storeUnderflow(s)) return undefined;
  pop(s);
  return result;
}

/** FST and FSTP ST(i). */
export function fstSt(s: X87State, i: number, popAfter: boolean): void {
  begin(s);
  if (isEmpty(s, 0)) {
    if (!stackFault(s, false)) return;
    writeSt(s, i, DEFAULT_NAN);
  } else writeRaw(s, i, s.signExp(top(s)), s.mantissa(top(s)));
  if (popAfter) pop(s);
}

/**
 * FIST, FISTP and, with `truncate`, FISTTP.
 * @param bits 16, 32 or 64
 * @returns signed
 */
export function fist(s: X87State, bits: number, popAfter: boolean, truncate: boolean): bigint | undefined {
  begin(s);
  let result = -(1n << BigInt(bits - 1));
  if (isEmpty(s, 0)) {
    if (!storeUnderflow(s)) return undefined;
  } else {
    result = toInteger(env, readSt(s, 0), bits, truncate ? TOWARD_ZERO : env.rounding);
    if (!commit(s)) return undefined;
  }
  if (popAfter) pop(s);
  return result;
}

const BCD_LIMIT = 10n ** 18n;

/** FBSTP. @returns 10 bytes, the packed BCD indefinite where the value has more than 18 digits */
export function fbstp(s: X87State): Uint8Array | undefined {
  begin(s);
  let bytes: Uint8Array;
  if (isEmpty(s, 0)) {
    if (!storeUnderflow(s)) return undefined;
    bytes = bcdIndefinite();
  } else {
    const a = readSt(s, 0);
    bytes = a.kind === ZERO || a.kind === FINITE ? bcd(a) : bcdInvalid();
    if (!commit(s)) return undefined;
  }
  pop(s);
  return bytes;
}

function bcdIndefinite(): Uint8Array {
  return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff);
}

function bcdInvalid(): Uint8Array {
  invalid(env);
  return bcdIndefinite();
}

function bcd(a: Unpacked): Uint8Array {
  const value = toInteger(env, a, 64, env.rounding);
  let rest = value < 0n ? -value : value;
  if (rest >= BCD_LIMIT) {
    env.flags = IE;
    return bcdIndefinite();
  }
  const bytes = new Uint8Array(10);
  for (let i = 0; i < 9; i++, rest /= 100n) {
    const pair = Number(rest % 100n);
    bytes[i] = (Math.floor(pair / 10) << 4) | (pair % 10);
  }
  bytes[9] = a.sign << 7;
  return bytes;
}

export function fxch(s: X87State, i: number): void {
  begin(s);
  const mine = isEmpty(s, 0);
  const other = isEmpty(s, i);
  if ((mine || other) && !stackFault(s, false)) return;
  if (mine) writeSt(s, 0, DEFAULT_NAN);
  if (other) writeSt(s, i, DEFAULT_NAN);
  const a = top(s);
  const b = (a + i) & 7;
  const signExp = s.signExp(a);
  const mantissa = s.mantissa(a);
  s.setRegister(a, s.signExp(b), s.mantissa(b));
  s.setRegister(b, signExp, mantissa);
}

/** FCMOVcc; the caller evaluates the condition, but a stack fault does not depend on it. */
export function fcmov(s: X87State, i: number, condition: boolean): void {
  if (isEmpty(s, 0) || isEmpty(s, i)) {
    begin(s);
    if (stackFault(s, false)) writeSt(s, 0, DEFAULT_NAN);
    return;
  }
  const source = (top(s) + i) & 7;
  if (condition) s.setRegister(top(s), s.signExp(source), s.mantissa(source));
}
