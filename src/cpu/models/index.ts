// The CPU models that --cpu knows. Each leaf is what the bare processor answers; APIC ids and OSXSAVE are filled in by the platform.
import { MONITOR_LINE } from '../monitor.ts';
import { featureBit } from './features.ts';
import type { CpuidLeaf, CpuModel } from './model.ts';

const words = (list: string): string[] => list.trim().split(/\s+/);

/** What all of the models have, and this processor does. */
const COMMON_FEATURES = words(`
  fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2
  pni pclmulqdq monitor ssse3 cx16 sse4_1 sse4_2 x2apic movbe popcnt aes xsave rdrand
  arat fsgsbase smep rdseed smap clflushopt clwb xsaveopt xsavec
  syscall nx pdpe1gb rdtscp lm lahf_lm abm 3dnowprefetch nonstop_tsc`);
const AMD_FEATURES = words('mmxext fxsr_opt umip rdpid');
/** Bits of leaf 1 EDX that AMD's leaf 0x80000001 EDX repeats. */
const REPEATED_EDX = 0x0183f3ff;

function text(name: string): [number, number, number] {
  const word = (at: number) => [3, 2, 1, 0].reduce((v, i) => (v << 8) | name.charCodeAt(at + i), 0) >>> 0;
  return [word(0), word(4), word(8)];
}

interface Definition {
  name: string;
  vendor: CpuModel['vendor'];
  brand: string;
  signature: number;
  frequencyKHz: number;
  /** Beside the common ones. */
  features: string;
}

function define(d: Definition): CpuModel {
  const leaves = new Map<string, CpuidLeaf>();
  const at = (leaf: number, subleaf: number | null): CpuidLeaf => {
    const key = `${leaf}:${subleaf}`;
    let l = leaves.get(key);
    if (!l) leaves.set(key, (l = { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0 }));
    return l;
  };
  const put = (leaf: number, subleaf: number | null, eax: number, ebx: number, ecx: number, edx: number): void => {
    Object.assign(at(leaf, subleaf), { eax: eax >>> 0, ebx: ebx >>> 0, ecx: ecx >>> 0, edx: edx >>> 0 });
  };
  const amd = d.vendor === 'AuthenticAMD';
  const [v0, v1, v2] = text(d.vendor);
  put(0, null, 0xd, v0, v2, v1);
  put(1, null, d.signature, 0x00010800, 0, 0);
  if (!amd) {
    put(2, null, 0x00feff01, 0, 0, 0);
    put(4, 0, 0x121, 0x01c0003f, 63, 0);
    put(4, 1, 0x122, 0x01c0003f, 63, 0);
    put(4, 2, 0x143, 0x03c0003f, 1023, 0);
    put(4, 3, 0, 0, 0, 0);
  }
  // MONITOR's line, MWAIT's extensions, C-states that it knows
  put(5, null, MONITOR_LINE, MONITOR_LINE, 3, amd ? 0x11 : 0x2020);
  put(6, null, 0, 0, 0, 0);
  put(7, 0, 0, 0, 0, 0);
  put(0xb, 0, 0, 1, 0x100, 0);
  put(0xb, 1, 0, 1, 0x201, 0);
  // XSAVE: x87 and SSE, 576 bytes
  put(0xd, 0, 3, 576, 576, 0);
  put(0xd, 1, 0, 576, 0, 0);
  put(0x80000000, null, amd ? 0x80000021 : 0x80000008, amd ? v0 : 0, amd ? v2 : 0, amd ? v1 : 0);
  put(0x80000001, null, amd ? d.signature : 0, 0, 0, 0);
  const brand = d.brand.padEnd(48, '\0');
  for (let i = 0; i < 3; i++) {
    const word = (n: number) => text(brand.slice(i * 16 + n * 4, i * 16 + n * 4 + 4).padEnd(12, '\0'))[0];
    put(0x80000002 + i, null, word(0), word(1), word(2), word(3));
  }
  put(0x80000005, null, 0xff40ff40, 0xff40ff40, 0x20080140, 0x40040140);
  put(0x80000006, null, 0x48006400, 0x68006400, 0x02006140, 0x00009140);
  put(0x80000007, null, 0, 0, 0, 0);
  put(0x80000008, null, 0x3028, 0, 0, 0); // 40 physical, 48 linear address bits
  if (amd) put(0x80000021, null, 0, 0, 0, 0);
  for (const feature of [...COMMON_FEATURES, ...(amd ? AMD_FEATURES : []), ...words(d.features)]) {
    const [leaf, subleaf, register, bit] = featureBit(feature);
    const l = leaves.get(`${leaf}:${subleaf}`) ?? leaves.get(`${leaf}:null`)!;
    l[register] = (l[register] | (1 << bit)) >>> 0;
  }
  if (amd) at(0x80000001, null).edx |= at(1, null).edx & REPEATED_EDX;
  return {
    name: d.name,
    vendor: d.vendor,
    frequencyKHz: d.frequencyKHz,
    physicalAddressBits: 40,
    leaves: [...leaves.values()],
  };
}

/** Models by name; the first is the default. Frequencies are those of the virtual clock: an instruction a cycle. */
export const CPU_MODELS: readonly CpuModel[] = [
  define({
    name: 'epyc',
    vendor: 'AuthenticAMD',
    brand: 'AMD EPYC 9005 Processor (domzero)',
    signature: 0x00b00f21, // family 1Ah model 2 stepping 1
    frequencyKHz: 1_000_000,
    features: 'pcid invpcid erms fsrm lfence_rdtsc null_sel_clr_base',
  }),
  define({
    name: 'epyc-rome',
    vendor: 'AuthenticAMD',
    brand: 'AMD EPYC 7002 Processor (domzero)',
    signature: 0x00830f10, // family 17h model 31h stepping 0: kernels switch on its mitigations
    frequencyKHz: 1_000_000,
    features: 'lfence_rdtsc',
  }),
  define({
    name: 'skylake',
    vendor: 'GenuineIntel',
    brand: 'Intel Xeon Processor (Skylake, domzero)',
    signature: 0x00050654, // family 6 model 85 stepping 4
    frequencyKHz: 1_000_000,
    features: 'ss pcid invpcid erms tsc_deadline_timer tsc_adjust',
  }),
];

/** A model by name, or null. */
export function cpuModel(name: string): CpuModel | null {
  return CPU_MODELS.find(m => m.name === name) ?? null;
}
