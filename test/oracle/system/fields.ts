// The whole architectural state of a system case as a flat list of 64-bit numbers, so that cases and results can be stored as differences.

export const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
export type SegmentName = (typeof SEGMENTS)[number];

/** Indices into a state. Each segment has four: selector, base, limit in bytes, attributes (descriptor bits 40-47, 52-55 in 12-15). */
export const F = {
  gpr: 0,
  rip: 16,
  rflags: 17,
  segments: 18,
  gdtrBase: 50,
  gdtrLimit: 51,
  idtrBase: 52,
  idtrLimit: 53,
  cr0: 54,
  cr2: 55,
  cr3: 56,
  cr4: 57,
  cr8: 58,
  efer: 59,
  dr0: 60,
  dr6: 64,
  dr7: 65,
  msrs: 66,
} as const;

/** Model-specific registers that a case has, in the order of F.msrs. */
export const MSRS = {
  star: 0xc0000081,
  lstar: 0xc0000082,
  cstar: 0xc0000083,
  sfmask: 0xc0000084,
  kernelGsBase: 0xc0000102,
  tscAux: 0xc0000103,
  sysenterCs: 0x174,
  sysenterEsp: 0x175,
  sysenterEip: 0x176,
  pat: 0x277,
} as const;
export type MsrName = keyof typeof MSRS;
export const MSR_NAMES = Object.keys(MSRS) as MsrName[];

export const FIELD_COUNT = F.msrs + MSR_NAMES.length;

export const selector = (s: SegmentName): number => F.segments + SEGMENTS.indexOf(s) * 4;
export const base = (s: SegmentName): number => selector(s) + 1;
export const limit = (s: SegmentName): number => selector(s) + 2;
export const attributes = (s: SegmentName): number => selector(s) + 3;
export const msr = (name: MsrName): number => F.msrs + MSR_NAMES.indexOf(name);

const GPR = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];

/** A field's name, for messages. */
export function fieldName(index: number): string {
  if (index < 16) return GPR[index];
  if (index >= F.segments && index < F.gdtrBase) {
    const s = SEGMENTS[(index - F.segments) >> 2];
    return `${s}.${['selector', 'base', 'limit', 'attributes'][(index - F.segments) & 3]}`;
  }
  if (index >= F.msrs) return MSR_NAMES[index - F.msrs];
  if (index >= F.dr0 && index < F.dr6) return `dr${index - F.dr0}`;
  return Object.entries(F).find(([, at]) => at === index)?.[0] ?? String(index);
}

/** A state: FIELD_COUNT unsigned 64-bit values. */
export type State = BigUint64Array;

/** One case of system code. */
export interface SystemCase {
  /** What it shows, with the code in it. */
  name: string;
  /** Which of the machine's initial states it starts from. */
  start: string;
  code: Uint8Array;
  /** Fields that differ from the start state. */
  fields: [index: number, value: bigint][];
  /** Bytes laid over the machine's memory, physical addresses. */
  patches: { address: number; bytes: Uint8Array }[];
  /** Linear addresses at which a result in user mode may stand. */
  userTargets: bigint[];
}

export interface SystemOutcome {
  /** 0 the next instruction would run (delivered exceptions included), 1 HLT itself was executed, 2 shutdown (triple fault). */
  end: number;
  changed: [index: number, value: bigint][];
  memory: { address: number; bytes: Uint8Array }[];
}
