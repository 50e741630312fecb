// FNINIT, FNCLEX, control and status words, stack pointer, tags, and the MMX view of the registers (SDM Vol. 1, 8.1 and 9.5).
import { BUSY, C1, ES, pop, SF, setTop, top, updateSummary, type X87State } from './x87-state.ts';

export function fninit(s: X87State): void {
  s.fcw = 0x37f;
  s.fsw = 0;
  s.ftw = 0;
  s.fop = 0;
  s.fip = 0n;
  s.fcs = 0;
  s.fdp = 0n;
  s.fds = 0;
}

export function fnclex(s: X87State): void {
  s.fsw &= ~(0x3f | SF | ES | BUSY);
}

/** FLDCW. Unmasking an exception that is flagged makes it pending. */
export function fldcw(s: X87State, value: number): void {
  s.fcw = storedControl(value);
  updateSummary(s);
}

/** Bit 6 of the control word always reads as 1, bits 7 and 13-15 as 0. */
export function storedControl(value: number): number {
  return (value & 0x1f7f) | 0x40;
}

export function fincstp(s: X87State): void {
  s.fsw &= ~C1;
  setTop(s, top(s) + 1);
}

export function fdecstp(s: X87State): void {
  s.fsw &= ~C1;
  setTop(s, top(s) - 1);
}

/** FFREE, and with `popAfter` the undocumented FFREEP. */
export function ffree(s: X87State, i: number, popAfter: boolean): void {
  s.fsw &= ~C1;
  s.ftw &= ~(1 << ((top(s) + i) & 7));
  if (popAfter) pop(s);
}

/** What every MMX instruction but EMMS does to the x87: TOP = 0, all registers in use. */
export function enterMmx(s: X87State): void {
  setTop(s, 0);
  s.ftw = 0xff;
}

export function emms(s: X87State): void {
  s.ftw = 0;
}

export function readMmx(s: X87State, register: number): bigint {
  return s.mantissa(register);
}

/** Writes MMn; sign and exponent of the register become all ones. */
export function writeMmx(s: X87State, register: number, value: bigint): void {
  s.setRegister(register, 0xffff, value);
}
