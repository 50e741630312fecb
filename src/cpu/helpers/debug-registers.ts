// MOV to and from debug registers (SDM Vol. 3B, 18.2; Vol. 2B "MOV—Move to/from Debug Registers").
import { GuestFault, Vector } from '../exits.ts';
import { S } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';

const CR4_DE = 8n;
const DR7_GD = 1n << 13n;
const DR6_BD = 1n << 13n;
const DR6_FIXED = 0xffff0ff0n;
const DR6_WRITABLE = 0xe00fn;
const DR7_FIXED = 0x400n;
const DR7_WRITABLE = 0xffff23ffn;

export const dr6At: number = S.dr + 6 * 8;
export const dr7At: number = S.dr + 7 * 8;

/** The register that a number means: DR4 and DR5 are DR6 and DR7 unless CR4.DE refuses them. An access traps where DR7.GD is set. */
function reach({ state }: SystemCore, numberValue: bigint): number {
  let number = Number(numberValue);
  if (number > 7) throw new GuestFault(Vector.UD);
  if (number === 4 || number === 5) {
    if (state.get(S.cr4) & CR4_DE) throw new GuestFault(Vector.UD);
    number += 2;
  }
  if (state.get(dr7At) & DR7_GD) throw new GuestFault(Vector.DB, null, DR6_BD);
  return number;
}

const readDr: SystemHelper = (core, numberValue) => {
  const number = reach(core, numberValue);
  return core.state.get(S.dr + number * 8);
};

const writeDr: SystemHelper = (core, numberValue, value) => {
  const { state } = core;
  const number = reach(core, numberValue);
  if (number < 4) {
    state.set(S.dr + number * 8, value);
    return;
  }
  if (value >> 32n) throw new GuestFault(Vector.GP, 0);
  if (number === 6) state.set(dr6At, (value & DR6_WRITABLE) | DR6_FIXED);
  else {
    state.set(dr7At, (value & DR7_WRITABLE) | DR7_FIXED);
    core.modeChanged();
  }
};

/** What a #DB does to the debug registers: its bits are added to DR6, and handlers may access them freely. */
export function recordDebugException({ state }: SystemCore, bits: bigint): void {
  state.set(dr6At, state.get(dr6At) | bits | DR6_FIXED);
  state.set(dr7At, state.get(dr7At) & ~DR7_GD);
}

export const debugRegisterHelpers: Record<string, SystemHelper> = { readDr, writeDr };
