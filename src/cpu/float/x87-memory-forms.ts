// x87 instructions with a memory operand: from escape byte and ModRM to the instruction's function (SDM Vol. 2D, appendix A.5),
// for callers without bindings of their own. FNSTENV, FNSAVE, FLDENV and FRSTOR are in x87-images.ts.
import { arithmeticInt, arithmeticM32, arithmeticM64 } from './x87-arithmetic.ts';
import { fcomM32, fcomM64, ficom } from './x87-compare.ts';
import { fldcw } from './x87-control.ts';
import type { X87State } from './x87-state.ts';
import { fbld, fbstp, fild, fist, fldM32, fldM64, fldM80, fstM32, fstM64, fstpM80 } from './x87-transfer.ts';

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
