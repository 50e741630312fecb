// CPUID feature bits by name, as /proc/cpuinfo spells them (SDM Vol. 2A "CPUID", AMD APM Vol. 3 appendix E).
import type { CpuModel } from './model.ts';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';

/** name: [leaf, subleaf, register, bit] */
const FEATURES: Record<string, readonly [number, number, Register, number]> = {
  fpu: [1, 0, 'edx', 0],
  tsc: [1, 0, 'edx', 4],
  cx8: [1, 0, 'edx', 8],
  sep: [1, 0, 'edx', 11],
  cmov: [1, 0, 'edx', 15],
  mmx: [1, 0, 'edx', 23],
  fxsr: [1, 0, 'edx', 24],
  sse: [1, 0, 'edx', 25],
  sse2: [1, 0, 'edx', 26],
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
  aes: [1, 0, 'ecx', 25],
  xsave: [1, 0, 'ecx', 26],
  rdrand: [1, 0, 'ecx', 30],
  fsgsbase: [7, 0, 'ebx', 0],
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
  rdtscp: [0x80000001, 0, 'edx', 27],
  lm: [0x80000001, 0, 'edx', 29],
  lahf_lm: [0x80000001, 0, 'ecx', 0],
  abm: [0x80000001, 0, 'ecx', 5],
};

/** The bit's place, for code that builds leaves. Throws for an unknown name. */
export function featureBit(name: string): readonly [leaf: number, subleaf: number, register: Register, bit: number] {
  const place = FEATURES[name];
  if (!place) throw new Error(`no such CPU feature: ${name}`);
  return place;
}

/** A test of features of a model; names without a CPUID bit here are absent. */
export function hasFeature(model: CpuModel): (name: string) => boolean {
  const known = new Map<string, boolean>();
  return name => {
    let has = known.get(name);
    if (has === undefined) {
      const place = FEATURES[name];
      const leaf =
        place && model.leaves.find(l => l.leaf === place[0] && (l.subleaf === null || l.subleaf === place[1]));
      has = leaf !== undefined && ((leaf[place[2]] >>> place[3]) & 1) === 1;
      known.set(name, has);
    }
    return has;
  };
}
