// Decimal adjustments and SALC, which 64-bit mode has not got (SDM Vol. 2: AAA AAD AAM AAS DAA DAS; AMD APM Vol. 3).
import { GuestFault, Vector } from '../exits.ts';
import { evenParity, Flag } from '../flags.ts';
import { R } from '../layout.ts';
import type { CpuState } from '../state.ts';
import type { SystemHelper } from './core.ts';

const ARITHMETIC = BigInt(Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF);

const axOf = (state: CpuState): number => Number(state.gpr[R.rax] & 0xffffn);
function setAx(state: CpuState, ax: number): void {
  state.gpr[R.rax] = (state.gpr[R.rax] & ~0xffffn) | BigInt(ax & 0xffff);
}

/** SF, ZF and PF by AL; CF and AF as given; OF, which is undefined, 0. */
function setFlags(state: CpuState, al: number, cf: boolean, af: boolean): void {
  const flags =
    (cf ? Flag.CF : 0) |
    (af ? Flag.AF : 0) |
    (evenParity(al) ? Flag.PF : 0) |
    (al === 0 ? Flag.ZF : 0) |
    (al & 0x80 ? Flag.SF : 0);
  state.rflags = (state.rflags & ~ARITHMETIC) | BigInt(flags);
}

/** DAA (sign 1) and DAS (sign -1). */
function packed(sign: 1 | -1): SystemHelper {
  return ({ state }) => {
    const ax = axOf(state);
    const before = ax & 0xff;
    const flags = Number(state.rflags);
    const carry = (flags & Flag.CF) !== 0;
    const low = (before & 15) > 9 || (flags & Flag.AF) !== 0;
    const high = before > 0x99 || carry;
    let al = before;
    let cf = high;
    if (low) {
      al += sign * 6;
      // DAS borrows here as well where the low digit does
      if (sign < 0 && al < 0) cf = true;
    }
    if (high) al += sign * 0x60;
    al &= 0xff;
    setAx(state, (ax & 0xff00) | al);
    setFlags(state, al, cf, low);
  };
}

/** AAA (sign 1) and AAS (sign -1): AX moves as a whole. */
function unpacked(sign: 1 | -1): SystemHelper {
  return ({ state }) => {
    let ax = axOf(state);
    const adjust = (ax & 15) > 9 || (Number(state.rflags) & Flag.AF) !== 0;
    if (adjust) ax += sign * 0x106;
    ax &= 0xff0f;
    setAx(state, ax);
    setFlags(state, ax & 0xff, adjust, adjust);
  };
}

export const decimalHelpers: Record<string, SystemHelper> = {
  daa: packed(1),
  das: packed(-1),
  aaa: unpacked(1),
  aas: unpacked(-1),
  aam: ({ state }, _width, base) => {
    if (base === 0n) throw new GuestFault(Vector.DE);
    const al = axOf(state) & 0xff;
    const by = Number(base);
    setAx(state, (Math.floor(al / by) << 8) | (al % by));
    setFlags(state, al % by, false, false);
  },
  aad: ({ state }, _width, base) => {
    const ax = axOf(state);
    const al = ((ax & 0xff) + (ax >> 8) * Number(base)) & 0xff;
    setAx(state, al);
    setFlags(state, al, false, false);
  },
  salc: ({ state }) => {
    setAx(state, (axOf(state) & 0xff00) | (Number(state.rflags) & Flag.CF ? 0xff : 0));
  },
};
