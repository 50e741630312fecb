// The model-specific registers that belong to the processor itself: system calls, bases, EFER, PAT, TSC (SDM Vol. 4, 2.1; AMD APM Vol. 2,
// appendix A). Platforms answer the rest (Registers in types.ts); what neither knows is #GP.
import { GuestFault, Vector } from '../exits.ts';
import { S, SEG, SEG_FIELD } from '../layout.ts';
import { hasFeature } from '../models/features.ts';
import { writeEfer } from './control-registers.ts';
import type { SystemCore } from './core.ts';
import { isCanonical } from './descriptors.ts';
import { fieldAt, setBase } from './segment-registers.ts';

export const Msr = {
  TSC: 0x10,
  TSC_ADJUST: 0x3b,
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  PAT: 0x277,
  XSS: 0xda0,
  EFER: 0xc0000080,
  STAR: 0xc0000081,
  LSTAR: 0xc0000082,
  CSTAR: 0xc0000083,
  SFMASK: 0xc0000084,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
  TSC_AUX: 0xc0000103,
} as const;

/** Registers that are one field of the state block, what may be written to them, and the feature that they come with. */
const FIELDS = new Map<number, readonly [offset: number, valid: (value: bigint) => boolean, feature?: string]>([
  [Msr.SYSENTER_CS, [S.sysenterCs, value => value >> 32n === 0n]],
  [Msr.SYSENTER_ESP, [S.sysenterEsp, isCanonical]],
  [Msr.SYSENTER_EIP, [S.sysenterEip, isCanonical]],
  [Msr.PAT, [S.pat, isPat]],
  [Msr.XSS, [S.xss, value => value === 0n, 'xsaves']],
  [Msr.STAR, [S.star, () => true]],
  [Msr.LSTAR, [S.lstar, isCanonical]],
  [Msr.CSTAR, [S.cstar, isCanonical]],
  [Msr.SFMASK, [S.sfmask, () => true]],
  [Msr.KERNEL_GS_BASE, [S.kernelGsBase, isCanonical]],
  [Msr.TSC_AUX, [S.tscAux, value => value >> 32n === 0n, 'rdtscp']],
]);

const MEMORY_TYPES: readonly bigint[] = [0n, 1n, 4n, 5n, 6n, 7n];

/** Eight memory types, a byte each. */
function isPat(value: bigint): boolean {
  for (let i = 0n; i < 64n; i += 8n) if (!MEMORY_TYPES.includes((value >> i) & 0xffn)) return false;
  return true;
}

/** Bases of FS and GS by their MSRs. */
const baseOf = (index: number): number | null =>
  index === Msr.FS_BASE ? SEG.fs : index === Msr.GS_BASE ? SEG.gs : null;

/** What the register is a field of, where this model has it. */
function fieldOf({ model }: SystemCore, index: number) {
  const field = FIELDS.get(index);
  return field && (field[2] === undefined || hasFeature(model, field[2])) ? field : null;
}

const isTscAdjust = ({ model }: SystemCore, index: number): boolean =>
  index === Msr.TSC_ADJUST && hasFeature(model, 'tsc_adjust');

/** Moves the TSC; IA32_TSC_ADJUST counts it. */
function moveTsc({ state, onTscMove }: SystemCore, by: bigint): void {
  for (const at of [S.tscOffset, S.tscAdjust]) state.set(at, BigInt.asUintN(64, state.get(at) + by));
  onTscMove?.();
}

/** Registers whose writes are the platform's business too. */
export const movesTsc = (index: number): boolean => index === Msr.TSC || index === Msr.TSC_ADJUST;

const tsc = (core: SystemCore): bigint => BigInt.asUintN(64, core.cycles() + core.state.get(S.tscOffset));

/** The register's value, or null where it is not the processor's own. */
export function readProcessorMsr(core: SystemCore, index: number): bigint | null {
  const { state } = core;
  const field = fieldOf(core, index);
  if (field) return state.get(field[0]);
  const segment = baseOf(index);
  if (segment !== null) return state.get(fieldAt(segment, SEG_FIELD.base));
  if (index === Msr.EFER) return state.get(S.efer);
  if (index === Msr.TSC) return tsc(core);
  if (isTscAdjust(core, index)) return state.get(S.tscAdjust);
  return null;
}

/** Writes a register of the processor's own; false: it is not one. Throws #GP for a value that it does not take. */
export function writeProcessorMsr(core: SystemCore, index: number, value: bigint): boolean {
  const { state } = core;
  const field = fieldOf(core, index);
  const segment = baseOf(index);
  if (field) {
    if (!field[1](value)) throw new GuestFault(Vector.GP, 0);
    state.set(field[0], value);
  } else if (segment !== null) {
    if (!isCanonical(value)) throw new GuestFault(Vector.GP, 0);
    setBase(state, segment, value);
  } else if (index === Msr.EFER) writeEfer(core, value);
  else if (index === Msr.TSC) moveTsc(core, value - tsc(core));
  else if (isTscAdjust(core, index)) moveTsc(core, value - state.get(S.tscAdjust));
  else return false;
  return true;
}
