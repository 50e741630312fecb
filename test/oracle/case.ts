// A case: one instruction with everything it can see, and what a real processor made of it.
import { Flavor, FX, fill, initialRegisters } from './initial-state.ts';
import {
  CODE,
  CODE_BACKING,
  CODE_SIZE,
  FS_BASE,
  GS_BASE,
  HIGH_CODE,
  Ldt,
  USER_CS32,
  USER_CS64,
  USER_DS,
} from './places.ts';
import { hashName, Prng } from './prng.ts';

export type Mode = 64 | 32 | 16;

/** What `registers` of a case can set beyond the general registers 0-15. */
export const Slot = { rflags: 16, ss: 17, ds: 18, es: 19, fs: 20, gs: 21, mxcsr: 22, fsBase: 23, gsBase: 24 } as const;

export interface Window {
  /** Offset in the backing memory. */
  offset: number;
  length: number;
  kind: number;
}

export interface CaseInput {
  mode: Mode;
  code: Uint8Array;
  /** Where RIP is: see placeOf. */
  place: number;
  /** With the group's name this gives every value not set below. */
  seed: number;
  flavor: number;
  registers: [slot: number, value: bigint][];
  windows: Window[];
  patches: { offset: number; bytes: Uint8Array }[];
}

export interface Selectors {
  cs: number;
  ss: number;
  ds: number;
  es: number;
  fs: number;
  gs: number;
}

/** All that an instruction reads or writes, before or after it. */
export interface MachineState {
  rip: bigint;
  rflags: bigint;
  gpr: BigUint64Array;
  fxsave: Uint8Array;
  selectors: Selectors;
  fsBase: bigint;
  gsBase: bigint;
}

export interface Initial extends MachineState {
  /** Bytes laid over the background memory, in order; the code is the first. */
  patches: { offset: number; bytes: Uint8Array }[];
}

export interface MemoryChange {
  offset: number;
  bytes: Uint8Array;
}

export interface Outcome extends MachineState {
  /** The exception raised, or -1. */
  vector: number;
  error: number;
  /** Linear address of a page fault. */
  address: bigint;
  changes: MemoryChange[];
}

/** Ranges of the backing memory whose contents after the case are not defined alike on all processors. */
export interface Ignored {
  offset: number;
  length: number;
}

export interface Case {
  input: CaseInput;
  outcome: Outcome;
  /** RFLAGS bits not to be compared. */
  undefinedFlags: number;
  /** General registers (a bit each) whose values are this machine's own: time, random numbers, CPUID. */
  ignoredRegisters: number;
  ignored: Ignored[];
  /** initialOf the input, where it was computed already. */
  initial?: Initial;
}

/** How exactly x87 and XMM results are defined. */
export const Precision = {
  exact: 0,
  /** x87 transcendentals: within some units in the last place; C1 and the precision flag are free. */
  transcendental: 1,
  /** RCPPS, RSQRTPS: relative error up to 1.5 * 2^-12. */
  reciprocal: 2,
} as const;

export interface Group {
  /** iced-x86's name of the encoding, or one of our own for a special family. */
  name: string;
  precision: number;
  /** FSW bits C0, C2, C3 (0x4500) and C1 (0x200) that are not defined. */
  undefinedFsw: number;
  cases: Case[];
}

const PLAIN = 0x800n;

/**
 * Linear address of the instruction: 0 in the middle of a code page, 16 + k: k bytes before the end of the first code page,
 * 32 + k: k bytes before the end of all mapped code; 64 more: the same high up.
 */
export function placeOf(place: number): bigint {
  const base = place & 64 ? HIGH_CODE : CODE;
  const k = BigInt(place & 15);
  if (place & 16) return base + 0x1000n - k;
  if (place & 32) return base + BigInt(CODE_SIZE) - k;
  return base + PLAIN;
}

export function selectorsOf(mode: Mode): Selectors {
  if (mode === 64) return { cs: USER_CS64, ss: USER_DS, ds: USER_DS, es: USER_DS, fs: 0, gs: 0 };
  return { cs: mode === 32 ? USER_CS32 : Ldt.code16, ss: USER_DS, ds: USER_DS, es: USER_DS, fs: Ldt.fs, gs: Ldt.gs };
}

/** The code segment's base: RIP as the processor holds it is the linear address less this. */
export function codeBase(mode: Mode): bigint {
  return mode === 16 ? CODE : 0n;
}

export function seedOf(groupName: string, seed: number): number {
  return hashName(groupName) ^ Math.imul(seed + 1, 0x9e3779b1);
}

/** Computes the whole state before a case. */
export function initialOf(groupName: string, input: CaseInput): Initial {
  const seed = seedOf(groupName, input.seed);
  const { gpr, rflags, fxsave } = initialRegisters(seed, input.flavor);
  if (input.mode !== 64) for (let i = 0; i < 16; i++) gpr[i] = i < 8 ? gpr[i] & 0xffffffffn : 0n;
  const linear = placeOf(input.place);
  const state: Initial = {
    rip: linear - codeBase(input.mode),
    rflags: BigInt(rflags),
    gpr,
    fxsave,
    selectors: selectorsOf(input.mode),
    fsBase: FS_BASE,
    gsBase: GS_BASE,
    patches: [],
  };
  for (const [slot, value] of input.registers) setSlot(state, slot, value);
  const codeOffset = CODE_BACKING + Number(linear & 0x1fffn);
  const fits = Math.min(input.code.length, CODE_BACKING + CODE_SIZE - codeOffset);
  state.patches.push({ offset: codeOffset, bytes: input.code.subarray(0, fits) });
  input.windows.forEach((w, i) => {
    const bytes = new Uint8Array(w.length);
    fill(new Prng(seed, 100 + i), w.kind, bytes);
    state.patches.push({ offset: w.offset, bytes });
  });
  for (const p of input.patches) state.patches.push(p);
  return state;
}

function setSlot(state: MachineState, slot: number, value: bigint): void {
  if (slot < 16) state.gpr[slot] = value;
  else if (slot === Slot.rflags) state.rflags = value;
  else if (slot === Slot.ss) state.selectors.ss = Number(value);
  else if (slot === Slot.ds) state.selectors.ds = Number(value);
  else if (slot === Slot.es) state.selectors.es = Number(value);
  else if (slot === Slot.fs) state.selectors.fs = Number(value);
  else if (slot === Slot.gs) state.selectors.gs = Number(value);
  else if (slot === Slot.mxcsr) new DataView(state.fxsave.buffer).setUint32(FX.mxcsr, Number(value), true);
  else if (slot === Slot.fsBase) state.fsBase = value;
  else if (slot === Slot.gsBase) state.gsBase = value;
  else throw new RangeError(`no such slot: ${slot}`);
}

/** True where the flavor gives the x87 or vector registers contents of their own. */
export function usesVector(flavor: number): boolean {
  return flavor !== Flavor.general;
}
