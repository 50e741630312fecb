// From an escape opcode to the instruction's function (SDM Vol. 2D, appendix A.5), for callers without bindings of their own.
// Leaves out what needs more than the x87: FNSTENV, FNSAVE, FLDENV, FRSTOR (operand size and mode) and FNSTSW AX.
import {
  arithmeticInt,
  arithmeticM32,
  arithmeticM64,
  arithmeticSt,
  fabs,
  fchs,
  fprem,
  frndint,
  fscale,
  fsqrt,
  fxtract,
} from './x87-arithmetic.ts';
import { fcomi, fcomM32, fcomM64, fcomSt, ficom, ftst, fxam } from './x87-compare.ts';
import { fdecstp, ffree, fincstp, fldcw, fnclex, fninit } from './x87-control.ts';
import type { X87State } from './x87-state.ts';
import { f2xm1, fcos, fpatan, fptan, fsin, fsincos, fyl2x, fyl2xp1 } from './x87-transcendental.ts';
import {
  fbld,
  fbstp,
  fcmov,
  fild,
  fist,
  fldConstant,
  fldM32,
  fldM64,
  fldM80,
  fldSt,
  fstM32,
  fstM64,
  fstpM80,
  fstSt,
  fxch,
} from './x87-transfer.ts';

/** Reads or writes an environment or state image, whose size depends on operand size: x87-images.ts. */
export const IMAGE = 128;
/** Bytes that D8-DF /0-/7 read from memory (positive) or write to it (negative); 0: no such opcode (#UD). */
const MEMORY: readonly (readonly number[])[] = [
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, 0, -4, -4, IMAGE, 2, IMAGE, -2],
  [4, 4, 4, 4, 4, 4, 4, 4],
  [4, -4, -4, -4, 0, 10, 0, -10],
  [8, 8, 8, 8, 8, 8, 8, 8],
  [8, -8, -8, -8, IMAGE, 0, IMAGE, -2],
  [2, 2, 2, 2, 2, 2, 2, 2],
  [2, -2, -2, -2, 10, 8, -10, -8],
];

/** @param esc the escape byte, 0xd8-0xdf @param reg bits 5-3 of ModRM */
export function memoryOperand(esc: number, reg: number): number {
  return MEMORY[esc & 7][reg];
}

/**
 * Runs an instruction with a memory operand for which `memoryOperand` gives a size (for others it throws).
 * @param memory what was read, or room for what is to be written; 16 bytes
 * @returns false if an unmasked exception keeps it from writing
 */
export function executeMemory(s: X87State, esc: number, reg: number, memory: DataView): boolean {
  switch (esc & 7) {
    case 0:
      if (reg === 2 || reg === 3) fcomM32(s, memory.getUint32(0, true), reg === 3);
      else arithmeticM32(s, reg, memory.getUint32(0, true));
      return true;
    case 2:
    case 6: {
      const value = (esc & 7) === 2 ? memory.getInt32(0, true) : memory.getInt16(0, true);
      if (reg === 2 || reg === 3) ficom(s, value, reg === 3);
      else arithmeticInt(s, reg, value);
      return true;
    }
    case 4:
      if (reg === 2 || reg === 3) fcomM64(s, memory.getBigUint64(0, true), reg === 3);
      else arithmeticM64(s, reg, memory.getBigUint64(0, true));
      return true;
    case 1:
      return transferD9(s, reg, memory);
    case 3:
      return transferDb(s, reg, memory);
    case 5:
      return transferDd(s, reg, memory);
    default:
      return transferDf(s, reg, memory);
  }
}

function transferD9(s: X87State, reg: number, memory: DataView): boolean {
  switch (reg) {
    case 0:
      fldM32(s, memory.getUint32(0, true));
      return true;
    case 2:
    case 3: {
      const bits = fstM32(s, reg === 3);
      if (bits !== undefined) memory.setUint32(0, bits, true);
      return bits !== undefined;
    }
    case 5:
      fldcw(s, memory.getUint16(0, true));
      return true;
    case 7:
      memory.setUint16(0, s.fcw, true);
      return true;
    default:
      throw new Error(`D9 /${reg} has no simple memory operand`);
  }
}

function transferDb(s: X87State, reg: number, memory: DataView): boolean {
  switch (reg) {
    case 0:
      fild(s, BigInt(memory.getInt32(0, true)));
      return true;
    case 1:
    case 2:
    case 3: {
      const value = fist(s, 32, reg !== 2, reg === 1);
      if (value !== undefined) memory.setInt32(0, Number(value), true);
      return value !== undefined;
    }
    case 5:
      fldM80(s, memory.getUint16(8, true), memory.getBigUint64(0, true));
      return true;
    case 7: {
      const value = fstpM80(s);
      if (value === undefined) return false;
      memory.setBigUint64(0, value.mantissa, true);
      memory.setUint16(8, value.signExp, true);
      return true;
    }
    default:
      throw new Error(`DB /${reg} has no memory operand`);
  }
}

function transferDd(s: X87State, reg: number, memory: DataView): boolean {
  switch (reg) {
    case 0:
      fldM64(s, memory.getBigUint64(0, true));
      return true;
    case 1:
      return storeInt64(s, memory, true);
    case 2:
    case 3: {
      const bits = fstM64(s, reg === 3);
      if (bits !== undefined) memory.setBigUint64(0, bits, true);
      return bits !== undefined;
    }
    case 7:
      memory.setUint16(0, s.fsw, true);
      return true;
    default:
      throw new Error(`DD /${reg} has no simple memory operand`);
  }
}

function storeInt64(s: X87State, memory: DataView, truncate: boolean): boolean {
  const value = fist(s, 64, true, truncate);
  if (value !== undefined) memory.setBigInt64(0, value, true);
  return value !== undefined;
}

function transferDf(s: X87State, reg: number, memory: DataView): boolean {
  switch (reg) {
    case 0:
      fild(s, BigInt(memory.getInt16(0, true)));
      return true;
    case 1:
    case 2:
    case 3: {
      const value = fist(s, 16, reg !== 2, reg === 1);
      if (value !== undefined) memory.setInt16(0, Number(value), true);
      return value !== undefined;
    }
    case 4:
      fbld(s, new Uint8Array(memory.buffer, memory.byteOffset, 10));
      return true;
    case 5:
      fild(s, memory.getBigInt64(0, true));
      return true;
    case 6: {
      const bytes = fbstp(s);
      if (bytes !== undefined) new Uint8Array(memory.buffer, memory.byteOffset, 10).set(bytes);
      return bytes !== undefined;
    }
    default:
      return storeInt64(s, memory, false);
  }
}

/** What `executeRegister` did beyond the x87: nothing, or EFLAGS to load (ZF, PF, CF; OF, SF, AF cleared), or no such opcode. */
export const DONE = -1;
export const UNDEFINED_OPCODE = -2;

/**
 * Runs an instruction without a memory operand.
 * @param modrm 0xc0-0xff
 * @param eflags for FCMOVcc
 * @returns DONE, UNDEFINED_OPCODE (#UD), or the EFLAGS of FCOMI and its family
 */
export function executeRegister(s: X87State, esc: number, modrm: number, eflags: number): number {
  const reg = (modrm >> 3) & 7;
  const i = modrm & 7;
  switch (esc & 7) {
    case 0:
      if (reg === 2 || reg === 3) fcomSt(s, i, reg - 2, true);
      else arithmeticSt(s, reg, i, 0, false);
      return DONE;
    case 1:
      return registerD9(s, modrm);
    case 2:
      if (reg < 4) fcmov(s, i, moves(reg, eflags));
      else if (modrm === 0xe9) fcomSt(s, 1, 2, false);
      else return UNDEFINED_OPCODE;
      return DONE;
    case 3:
      return registerDb(s, reg, i, modrm, eflags);
    case 4:
      if (reg === 2 || reg === 3) fcomSt(s, i, reg - 2, true);
      else arithmeticSt(s, reg, i, i, false);
      return DONE;
    case 5:
      return registerDd(s, reg, i);
    case 6:
      if (reg === 2) fcomSt(s, i, 1, true);
      else if (modrm === 0xd9) fcomSt(s, 1, 2, true);
      else if (reg === 3) return UNDEFINED_OPCODE;
      else arithmeticSt(s, reg, i, i, true);
      return DONE;
    default:
      return registerDf(s, reg, i);
  }
}

/** FCMOVB, E, BE, U. */
function moves(condition: number, eflags: number): boolean {
  return (eflags & [0x01, 0x40, 0x41, 0x04][condition]) !== 0;
}

function registerDb(s: X87State, reg: number, i: number, modrm: number, eflags: number): number {
  if (reg < 4) {
    fcmov(s, i, !moves(reg, eflags));
    return DONE;
  }
  if (reg === 5 || reg === 6) return fcomi(s, i, false, reg === 6);
  if (modrm === 0xe2) fnclex(s);
  else if (modrm === 0xe3) fninit(s);
  // FNENI, FNDISI and FNSETPM of the 8087 and 80287 do nothing any more.
  else if (modrm !== 0xe0 && modrm !== 0xe1 && modrm !== 0xe4) return UNDEFINED_OPCODE;
  return DONE;
}

function registerDd(s: X87State, reg: number, i: number): number {
  switch (reg) {
    case 0:
      ffree(s, i, false);
      return DONE;
    case 1:
      fxch(s, i);
      return DONE;
    case 2:
    case 3:
      fstSt(s, i, reg === 3);
      return DONE;
    case 4:
    case 5:
      fcomSt(s, i, reg - 4, false);
      return DONE;
    default:
      return UNDEFINED_OPCODE;
  }
}

function registerDf(s: X87State, reg: number, i: number): number {
  switch (reg) {
    case 0:
      ffree(s, i, true);
      return DONE;
    case 1:
      fxch(s, i);
      return DONE;
    case 2:
    case 3:
      fstSt(s, i, true);
      return DONE;
    case 5:
    case 6:
      return fcomi(s, i, true, reg === 6);
    default:
      return UNDEFINED_OPCODE;
  }
}

/** D9 E0-FF, the instructions without operands. */
const D9: readonly (((s: X87State) => void) | undefined)[] = [
  fchs,
  fabs,
  undefined,
  undefined,
  ftst,
  fxam,
  undefined,
  undefined,
  s => fldConstant(s, 0),
  s => fldConstant(s, 1),
  s => fldConstant(s, 2),
  s => fldConstant(s, 3),
  s => fldConstant(s, 4),
  s => fldConstant(s, 5),
  s => fldConstant(s, 6),
  undefined,
  f2xm1,
  fyl2x,
  fptan,
  fpatan,
  fxtract,
  s => fprem(s, true),
  fdecstp,
  fincstp,
  s => fprem(s, false),
  fyl2xp1,
  fsqrt,
  fsincos,
  frndint,
  fscale,
  fsin,
  fcos,
];

function registerD9(s: X87State, modrm: number): number {
  const i = modrm & 7;
  if (modrm < 0xc8) fldSt(s, i);
  else if (modrm < 0xd0) fxch(s, i);
  else if (modrm === 0xd0) return DONE;
  else if (modrm < 0xd8) return UNDEFINED_OPCODE;
  else if (modrm < 0xe0) fstSt(s, i, true);
  else {
    const instruction = D9[modrm - 0xe0];
    if (!instruction) return UNDEFINED_OPCODE;
    instruction(s);
  }
  return DONE;
}
