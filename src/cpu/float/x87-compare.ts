// FCOM, FUCOM, FTST, FICOM, FCOMI, FUCOMI and FXAM (SDM Vol. 1, 8.3.6; Vol. 2A).
import { compare, EQUAL, GREATER, LESS } from './compare.ts';
import { fromInteger } from './convert.ts';
import { FINITE, INFINITE, QNAN, SNAN, type Unpacked, unpack32, unpack64, ZERO, ZEROS } from './unpacked.ts';
import {
  begin,
  C0,
  C1,
  C2,
  C3,
  commit,
  env,
  isEmpty,
  pop,
  readSt,
  stackFault,
  top,
  type X87State,
} from './x87-state.ts';

/** C3, C2 and C0 for a relation; they line up with ZF, PF and CF after FNSTSW AX and SAHF. */
function conditionCodes(relation: number): number {
  return relation === GREATER ? 0 : relation === LESS ? C0 : relation === EQUAL ? C3 : C0 | C2 | C3;
}

function setConditionCodes(s: X87State, codes: number): void {
  s.fsw = (s.fsw & ~(C0 | C2 | C3)) | codes;
}

/**
 * Compares ST(0); `operand` undefined stands for an empty register. Returns false if nothing may be popped.
 * An unmasked exception keeps the stack as it is, but AMD's processors set the condition codes all the same, and so do we;
 * the SDM says that Intel's do not.
 */
function compareWith(s: X87State, operand: Unpacked | undefined, signaling: boolean): boolean {
  if (operand === undefined || isEmpty(s, 0)) {
    setConditionCodes(s, C0 | C2 | C3);
    return stackFault(s, false);
  }
  setConditionCodes(s, conditionCodes(compare(env, readSt(s, 0), operand, signaling)));
  return commit(s);
}

/** FCOM, FCOMP, FCOMPP (signaling) and FUCOM, FUCOMP, FUCOMPP. @param pops 0, 1 or 2 */
export function fcomSt(s: X87State, i: number, pops: number, signaling: boolean): void {
  begin(s);
  if (!compareWith(s, isEmpty(s, i) ? undefined : readSt(s, i), signaling)) return;
  if (pops > 0) pop(s);
  if (pops > 1) pop(s);
}

function fcomOperand(s: X87State, operand: Unpacked, popAfter: boolean): void {
  if (compareWith(s, operand, true) && popAfter) pop(s);
}

/** @param bits unsigned 32-bit number */
export function fcomM32(s: X87State, bits: number, popAfter: boolean): void {
  begin(s);
  fcomOperand(s, unpack32(env, bits), popAfter);
}

/** @param bits unsigned 64-bit BigInt */
export function fcomM64(s: X87State, bits: bigint, popAfter: boolean): void {
  begin(s);
  fcomOperand(s, unpack64(env, bits), popAfter);
}

/** FICOM and FICOMP. @param value signed, from m16 or m32 */
export function ficom(s: X87State, value: number, popAfter: boolean): void {
  begin(s);
  fcomOperand(s, fromInteger(BigInt(value)), popAfter);
}

export function ftst(s: X87State): void {
  begin(s);
  compareWith(s, ZEROS[0], true);
}

/** EFLAGS bits that FCOMI and its family write; OF, SF and AF become 0. */
const CF = 0x01;
const PF = 0x04;
const ZF = 0x40;

/**
 * FCOMI, FCOMIP (signaling), FUCOMI, FUCOMIP. C1 stays unless the stack faults. As with FCOM an unmasked exception
 * stops the pop alone.
 * @returns ZF, PF and CF at their places in EFLAGS
 */
export function fcomi(s: X87State, i: number, popAfter: boolean, signaling: boolean): number {
  const c1 = s.fsw & C1;
  begin(s);
  if (isEmpty(s, 0) || isEmpty(s, i)) {
    if (stackFault(s, false) && popAfter) pop(s);
    return ZF | PF | CF;
  }
  s.fsw |= c1;
  const relation = compare(env, readSt(s, 0), readSt(s, i), signaling);
  if (commit(s) && popAfter) pop(s);
  return relation === GREATER ? 0 : relation === LESS ? CF : relation === EQUAL ? ZF : ZF | PF | CF;
}

/** FXAM: class into C3, C2, C0, sign into C1, also of an empty register. */
export function fxam(s: X87State): void {
  const register = top(s);
  s.fsw = (s.fsw & ~C1) | (s.signExp(register) & 0x8000 ? C1 : 0);
  setConditionCodes(s, isEmpty(s, 0) ? C3 | C0 : classCodes(readSt(s, 0)));
}

function classCodes(a: Unpacked): number {
  switch (a.kind) {
    case ZERO:
      return C3;
    case FINITE:
      return a.denormal ? C3 | C2 : C2;
    case INFINITE:
      return C2 | C0;
    case QNAN:
    case SNAN:
      return C0;
    default:
      return 0;
  }
}
