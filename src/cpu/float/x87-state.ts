// The x87's registers, its stack and its way of reporting exceptions (SDM Vol. 1, chapter 8).
import { type FloatEnv, newFloatEnv } from './float-env.ts';
import { ALL_EXCEPTIONS, EXTENDED, EXTENDED_24, EXTENDED_53, type Format, IE, PE, PRE_COMPUTATION } from './format.ts';
import { DEFAULT_NAN, packExt, type Unpacked, unpackExt } from './unpacked.ts';

/**
 * The registers, wherever they are kept (a plain object, a view of engine memory).
 * Physical registers 0-7 are addressed by number, not relative to TOP.
 */
export interface X87State {
  /** Control, status (with TOP) and abridged tag word (bit i set: physical register i is not empty). */
  fcw: number;
  fsw: number;
  ftw: number;
  /** Last instruction: 11 bits of opcode, its address and its memory operand's, with selectors. */
  fop: number;
  fip: bigint;
  fcs: number;
  fdp: bigint;
  fds: number;
  mantissa(register: number): bigint;
  signExp(register: number): number;
  setRegister(register: number, signExp: number, mantissa: bigint): void;
}

/** Status word bits above the exception flags. */
export const SF = 0x40;
export const ES = 0x80;
export const C0 = 0x100;
export const C1 = 0x200;
export const C2 = 0x400;
export const C3 = 0x4000;
export const BUSY = 0x8000;
export const TOP_MASK = 0x3800;

/** The state after FNINIT in an object of its own. */
export function newX87State(): X87State {
  const mantissas = new BigUint64Array(8);
  const signExps = new Uint16Array(8);
  return {
    fcw: 0x37f,
    fsw: 0,
    ftw: 0,
    fop: 0,
    fip: 0n,
    fcs: 0,
    fdp: 0n,
    fds: 0,
    mantissa: register => mantissas[register],
    signExp: register => signExps[register],
    setRegister(register, signExp, mantissa) {
      mantissas[register] = mantissa;
      signExps[register] = signExp;
    },
  };
}

/** One instruction runs at a time: this is what it computes in. Set up by `begin`. */
export const env: FloatEnv = newFloatEnv(true);

/** Starts an instruction: control word into `env`, C1 and flags cleared. */
export function begin(s: X87State): void {
  const fcw = s.fcw;
  env.rounding = (fcw >> 10) & 3;
  env.masks = fcw & ALL_EXCEPTIONS;
  env.flags = 0;
  env.roundedUp = false;
  env.inexact = false;
  s.fsw &= ~C1;
}

/** The precision that FADD, FSUB, FMUL, FDIV and FSQRT round to. */
export function precision(s: X87State): Format {
  const control = (s.fcw >> 8) & 3;
  return control === 0 ? EXTENDED_24 : control === 2 ? EXTENDED_53 : EXTENDED;
}

/** Exceptions of `env` that are unmasked and deny the instruction its result. */
export function denied(): boolean {
  return (env.flags & ~env.masks & PRE_COMPUTATION) !== 0;
}

/**
 * Ends an instruction: books the flags of `env`, C1 and, where unmasked, ES and B.
 * @returns false if the instruction must leave its destination and the stack alone
 */
export function commit(s: X87State): boolean {
  const flags = env.flags;
  if (flags === 0) return true;
  let fsw = s.fsw | flags;
  if (flags & PE && env.roundedUp) fsw |= C1;
  if (flags & ~env.masks) fsw |= ES | BUSY;
  s.fsw = fsw;
  return (flags & ~env.masks & PRE_COMPUTATION) === 0;
}

/** Stack overflow (C1 = 1) or underflow (C1 = 0). Returns true if IE is masked and the indefinite response is due. */
export function stackFault(s: X87State, overflow: boolean): boolean {
  const masked = (s.fcw & IE) !== 0;
  s.fsw |= IE | SF | (overflow ? C1 : 0) | (masked ? 0 : ES | BUSY);
  return masked;
}

/** Sets or clears ES and B after the control or the status word was loaded. */
export function updateSummary(s: X87State): void {
  s.fsw = s.fsw & ~s.fcw & ALL_EXCEPTIONS ? s.fsw | ES | BUSY : s.fsw & ~(ES | BUSY);
}

/** Does a waiting instruction have to raise #MF (or FERR#) before it does anything? */
export function pendingException(s: X87State): boolean {
  return (s.fsw & ES) !== 0;
}

export function top(s: X87State): number {
  return (s.fsw >> 11) & 7;
}

export function setTop(s: X87State, register: number): void {
  s.fsw = (s.fsw & ~TOP_MASK) | ((register & 7) << 11);
}

export function isEmpty(s: X87State, i: number): boolean {
  return ((s.ftw >> ((top(s) + i) & 7)) & 1) === 0;
}

/** ST(i), taken apart. */
export function readSt(s: X87State, i: number): Unpacked {
  const register = (top(s) + i) & 7;
  return unpackExt(s.signExp(register), s.mantissa(register));
}

/** Writes ST(i) and marks it as in use. */
export function writeSt(s: X87State, i: number, value: Unpacked): void {
  const { signExp, mantissa } = packExt(value);
  writeRaw(s, i, signExp, mantissa);
}

export function writeRaw(s: X87State, i: number, signExp: number, mantissa: bigint): void {
  const register = (top(s) + i) & 7;
  s.setRegister(register, signExp, mantissa);
  s.ftw |= 1 << register;
}

export function pop(s: X87State): void {
  const register = top(s);
  s.ftw &= ~(1 << register);
  setTop(s, register + 1);
}

/** Pushes without a check. */
export function push(s: X87State, value: Unpacked): void {
  setTop(s, top(s) - 1);
  writeSt(s, 0, value);
}

/** Is there room for a push? If not, books the fault and, IE masked, pushes the indefinite. */
export function roomToPush(s: X87State): boolean {
  if (isEmpty(s, 7)) return true;
  if (stackFault(s, true)) push(s, DEFAULT_NAN);
  return false;
}
