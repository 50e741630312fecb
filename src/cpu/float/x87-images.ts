// The memory images of FNSTENV, FNSAVE (SDM Vol. 1, 8.1.10-8.1.11) and the x87 part of FXSAVE (Vol. 1, 10.5; Vol. 2A "FXSAVE").
import { fninit, storedControl } from './x87-control.ts';
import { top, updateSummary, type X87State } from './x87-state.ts';

/** How FNSTENV lays out the pointers: by operand size, and protected mode or real and virtual-8086 mode. */
export interface EnvLayout {
  wide: boolean;
  real: boolean;
}

export function environmentSize(wide: boolean): number {
  return wide ? 28 : 14;
}

const VALID_TAG = 0;
const ZERO_TAG = 1;
const SPECIAL_TAG = 2;
const EMPTY_TAG = 3;

/** The 16-bit tag word, two bits a physical register, made from the contents as the processor does on a store. */
export function fullTags(s: X87State): number {
  let tags = 0;
  for (let register = 0; register < 8; register++) tags |= tagOf(s, register) << (2 * register);
  return tags;
}

function tagOf(s: X87State, register: number): number {
  if (((s.ftw >> register) & 1) === 0) return EMPTY_TAG;
  const exponent = s.signExp(register) & 0x7fff;
  const mantissa = s.mantissa(register);
  if (exponent === 0) return mantissa === 0n ? ZERO_TAG : SPECIAL_TAG;
  return exponent === 0x7fff || mantissa >> 63n === 0n ? SPECIAL_TAG : VALID_TAG;
}

/** A full tag word abridged: a register is empty or not, what it holds decides the rest. */
export function abridgedTags(tags: number): number {
  let abridged = 0;
  for (let register = 0; register < 8; register++) {
    if (((tags >> (2 * register)) & 3) !== EMPTY_TAG) abridged |= 1 << register;
  }
  return abridged;
}

const low32 = (address: bigint): number => Number(address & 0xffffffffn);

/** FNSTENV: 14 or 28 bytes; masks all exceptions afterwards. */
export function fnstenv(s: X87State, layout: EnvLayout): Uint8Array {
  const bytes = new Uint8Array(environmentSize(layout.wide));
  writeEnvironment(s, layout, new DataView(bytes.buffer));
  s.fcw |= 0x3f;
  updateSummary(s);
  return bytes;
}

function writeEnvironment(s: X87State, layout: EnvLayout, view: DataView): void {
  const step = layout.wide ? 4 : 2;
  const words = [s.fcw, s.fsw, fullTags(s), ...pointerWords(s, layout)];
  for (const [i, word] of words.entries()) {
    if (layout.wide) view.setUint32(i * step, (i < 3 ? 0xffff0000 | word : word) >>> 0, true);
    else view.setUint16(i * step, word & 0xffff, true);
  }
}

/** The four words after the tags. Real mode has linear addresses in place of selector and offset. */
function pointerWords(s: X87State, layout: EnvLayout): number[] {
  const fip = low32(s.fip);
  const fdp = low32(s.fdp);
  if (!layout.real) {
    return layout.wide ? [fip, (s.fop << 16) | s.fcs, fdp, 0xffff0000 | s.fds] : [fip, s.fcs, fdp, s.fds];
  }
  const code = fip + s.fcs * 16;
  const data = fdp + s.fds * 16;
  const low = (address: number) => (layout.wide ? 0xffff0000 : 0) | (address & 0xffff);
  // 16 bits of the upper half at bit 12 of a wide word; a narrow word has room for 4 of them.
  const high = (address: number) => (address >>> 16) << 12;
  return [low(code), high(code) | s.fop, low(data), high(data)];
}

/** FLDENV. @param bytes as many as `environmentSize` says, or more */
export function fldenv(s: X87State, layout: EnvLayout, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const step = layout.wide ? 4 : 2;
  const half = (i: number) => view.getUint16(i * step, true);
  s.fcw = storedControl(half(0));
  s.fsw = half(1);
  s.ftw = abridgedTags(half(2));
  const word = (i: number) => (layout.wide ? view.getUint32(i * step, true) : half(i));
  if (layout.real) {
    const high = (i: number) => (((word(i) >>> 12) & 0xffff) << 16) >>> 0;
    s.fop = word(4) & 0x7ff;
    s.fip = BigInt(high(4) + (word(3) & 0xffff));
    s.fdp = BigInt(high(6) + (word(5) & 0xffff));
    s.fcs = 0;
    s.fds = 0;
  } else {
    s.fip = BigInt(word(3));
    s.fcs = word(4) & 0xffff;
    s.fop = layout.wide ? (word(4) >>> 16) & 0x7ff : 0;
    s.fdp = BigInt(word(5));
    s.fds = word(6) & 0xffff;
  }
  updateSummary(s);
}

/** FNSAVE: environment and ST(0)-ST(7), 94 or 108 bytes; then FNINIT. */
export function fnsave(s: X87State, layout: EnvLayout): Uint8Array {
  const base = environmentSize(layout.wide);
  const bytes = new Uint8Array(base + 80);
  const view = new DataView(bytes.buffer);
  writeEnvironment(s, layout, view);
  for (let i = 0; i < 8; i++) {
    const register = (top(s) + i) & 7;
    view.setBigUint64(base + 10 * i, s.mantissa(register), true);
    view.setUint16(base + 10 * i + 8, s.signExp(register), true);
  }
  fninit(s);
  return bytes;
}

export function frstor(s: X87State, layout: EnvLayout, bytes: Uint8Array): void {
  fldenv(s, layout, bytes);
  const base = environmentSize(layout.wide);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let i = 0; i < 8; i++) {
    const mantissa = view.getBigUint64(base + 10 * i, true);
    s.setRegister((top(s) + i) & 7, view.getUint16(base + 10 * i + 8, true), mantissa);
  }
}

/**
 * The x87 part of an FXSAVE or XSAVE image: bytes 0-23 and 32-159 of `view`; MXCSR and the rest stay as they are.
 * @param wide64 the form with REX.W: 64-bit pointers without selectors
 */
export function fxsaveX87(s: X87State, view: DataView, wide64: boolean): void {
  view.setUint16(0, s.fcw, true);
  view.setUint16(2, s.fsw, true);
  view.setUint16(4, s.ftw & 0xff, true);
  view.setUint16(6, s.fop, true);
  if (wide64) {
    view.setBigUint64(8, s.fip, true);
    view.setBigUint64(16, s.fdp, true);
  } else {
    view.setUint32(8, low32(s.fip), true);
    view.setUint32(12, s.fcs, true);
    view.setUint32(16, low32(s.fdp), true);
    view.setUint32(20, s.fds, true);
  }
  for (let i = 0; i < 8; i++) {
    const register = (top(s) + i) & 7;
    view.setBigUint64(32 + 16 * i, s.mantissa(register), true);
    view.setBigUint64(40 + 16 * i, BigInt(s.signExp(register)), true);
  }
}

/** Loads what `fxsaveX87` stores; reserved bits are ignored, never faulted on. */
export function fxrstorX87(s: X87State, view: DataView, wide64: boolean): void {
  s.fcw = storedControl(view.getUint16(0, true));
  s.fsw = view.getUint16(2, true);
  s.ftw = view.getUint8(4);
  s.fop = view.getUint16(6, true) & 0x7ff;
  s.fip = wide64 ? view.getBigUint64(8, true) : BigInt(view.getUint32(8, true));
  s.fcs = wide64 ? 0 : view.getUint16(12, true);
  s.fdp = wide64 ? view.getBigUint64(16, true) : BigInt(view.getUint32(16, true));
  s.fds = wide64 ? 0 : view.getUint16(20, true);
  for (let i = 0; i < 8; i++) {
    const mantissa = view.getBigUint64(32 + 16 * i, true);
    s.setRegister((top(s) + i) & 7, view.getUint16(40 + 16 * i, true), mantissa);
  }
  updateSummary(s);
}
