// CPUID feature bits by name, as /proc/cpuinfo spells them (SDM Vol. 2A "CPUID", AMD APM Vol. 3 appendix E).
import type { CpuModel } from './model.ts';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';

/** name: [leaf, subleaf, register, bit] */
const FEATURES: Record<string, readonly [number, number, Register, number]> = {
  fpu: [1, 0, 'edx', 0],
  vme: [1, 0, 'edx', 1],
  de: [1, 0, 'edx', 2],
  pse: [1, 0, 'edx', 3],
  tsc: [1, 0, 'edx', 4],
  msr: [1, 0, 'edx', 5],
  pae: [1, 0, 'edx', 6],
  mce: [1, 0, 'edx', 7],
  cx8: [1, 0, 'edx', 8],
  apic: [1, 0, 'edx', 9],
  sep: [1, 0, 'edx', 11],
  mtrr: [1, 0, 'edx', 12],
  pge: [1, 0, 'edx', 13],
  mca: [1, 0, 'edx', 14],
  cmov: [1, 0, 'edx', 15],
  pat: [1, 0, 'edx', 16],
  pse36: [1, 0, 'edx', 17],
  clflush: [1, 0, 'edx', 19],
  mmx: [1, 0, 'edx', 23],
  fxsr: [1, 0, 'edx', 24],
  sse: [1, 0, 'edx', 25],
  sse2: [1, 0, 'edx', 26],
  ss: [1, 0, 'edx', 27],
  pni: [1, 0, 'ecx', 0],
  pclmulqdq: [1, 0, 'ecx', 1],
  monitor: [1, 0, 'ecx', 3],
  ssse3: [1, 0, 'ecx', 9],
  cx16: [1, 0, 'ecx', 13],
  pcid: [1, 0, 'ecx', 17],
  sse4_1: [1, 0, 'ecx', 19],
  sse4_2: [1, 0, 'ecx', 20],
  x2apic: [1, 0, 'ecx', 21],
  movbe: [1, 0, 'ecx', 22],
  popcnt: [1, 0, 'ecx', 23],
  tsc_deadline_timer: [1, 0, 'ecx', 24],
  aes: [1, 0, 'ecx', 25],
  xsave: [1, 0, 'ecx', 26],
  rdrand: [1, 0, 'ecx', 30],
  arat: [6, 0, 'eax', 2],
  fsgsbase: [7, 0, 'ebx', 0],
  tsc_adjust: [7, 0, 'ebx', 1],
  bmi1: [7, 0, 'ebx', 3],
  smep: [7, 0, 'ebx', 7],
  erms: [7, 0, 'ebx', 9],
  invpcid: [7, 0, 'ebx', 10],
  rdseed: [7, 0, 'ebx', 18],
  smap: [7, 0, 'ebx', 20],
  clflushopt: [7, 0, 'ebx', 23],
  clwb: [7, 0, 'ebx', 24],
  umip: [7, 0, 'ecx', 2],
  rdpid: [7, 0, 'ecx', 22],
  fsrm: [7, 0, 'edx', 4],
  xsaveopt: [0xd, 1, 'eax', 0],
  xsavec: [0xd, 1, 'eax', 1],
  xsaves: [0xd, 1, 'eax', 3],
  syscall: [0x80000001, 0, 'edx', 11],
  nx: [0x80000001, 0, 'edx', 20],
  mmxext: [0x80000001, 0, 'edx', 22],
  fxsr_opt: [0x80000001, 0, 'edx', 25],
  pdpe1gb: [0x80000001, 0, 'edx', 26],
  rdtscp: [0x80000001, 0, 'edx', 27],
  lm: [0x80000001, 0, 'edx', 29],
  lahf_lm: [0x80000001, 0, 'ecx', 0],
  abm: [0x80000001, 0, 'ecx', 5],
  '3dnowprefetch': [0x80000001, 0, 'ecx', 8],
  // an invariant TSC
  nonstop_tsc: [0x80000007, 0, 'edx', 8],
  // LFENCE always serialises; a null selector clears base and limit
  lfence_rdtsc: [0x80000021, 0, 'eax', 2],
  null_sel_clr_base: [0x80000021, 0, 'eax', 6],
};

/** The bit's place, for code that builds leaves. Throws for an unknown name. */
export function featureBit(name: string): readonly [leaf: number, subleaf: number, register: Register, bit: number] {
  const place = FEATURES[name];
  if (!place) throw new Error(`no such CPU feature: ${name}`);
  return place;
}

/** Whether a model has a feature; names without a CPUID bit here are absent. */
export function hasFeature(model: CpuModel, name: string): boolean {
  let known = answers.get(model);
  if (!known) answers.set(model, (known = new Map()));
  let has = known.get(name);
  if (has === undefined) known.set(name, (has = findFeature(model, name)));
  return has;
}

const answers = new WeakMap<CpuModel, Map<string, boolean>>();

function findFeature(model: CpuModel, name: string): boolean {
  const place = FEATURES[name];
  const leaf = place && model.leaves.find(l => l.leaf === place[0] && (l.subleaf === null || l.subleaf === place[1]));
  return leaf !== undefined && ((leaf[place[2]] >>> place[3]) & 1) === 1;
}
