// x87 instructions without a memory operand: from escape byte and ModRM to the instruction's function (SDM Vol. 2D,
// appendix A.5). FNSTSW AX is the caller's.
import { arithmeticSt, fabs, fchs, fprem, frndint, fscale, fsqrt, fxtract } from './x87-arithmetic.ts';
import { fcomi, fcomSt, ftst, fxam } from './x87-compare.ts';
import { fdecstp, ffree, fincstp, fnclex, fninit } from './x87-control.ts';
import { f2xm1, fyl2x, fyl2xp1 } from './x87-logarithm.ts';
import { C1, isEmpty, pop, type X87State } from './x87-state.ts';
import { fcmov, fldConstant, fldSt, fstSt, fxch } from './x87-transfer.ts';
import { fcos, fpatan, fptan, fsin, fsincos } from './x87-trigonometry.ts';

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

/** FSTPNCE, an alias of FSTP that does not check: an empty register is popped and nothing is stored. */
function fstpNce(s: X87State, i: number): void {
  if (isEmpty(s, 0)) {
    s.fsw &= ~C1;
    pop(s);
  } else fstSt(s, i, true);
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
  else if (modrm < 0xe0) fstpNce(s, i);
  else {
    const instruction = D9[modrm - 0xe0];
    if (!instruction) return UNDEFINED_OPCODE;
    instruction(s);
  }
  return DONE;
}
