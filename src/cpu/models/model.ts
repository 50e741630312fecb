// A CPU model: named data from which CPUID and the model's behaviour follow.

/** One CPUID leaf. `subleaf` null: the leaf ignores ECX. */
export interface CpuidLeaf {
  leaf: number;
  subleaf: number | null;
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** A processor model (SDM Vol. 2A "CPUID", AMD APM Vol. 3 appendix E). */
export interface CpuModel {
  /** What `--cpu` takes. */
  name: string;
  vendor: 'AuthenticAMD' | 'GenuineIntel';
  /** Virtual cycles a second; one instruction is one cycle on the virtual clock. */
  frequencyKHz: number;
  physicalAddressBits: number;
  /** What the bare processor answers; hypervisors filter it. */
  leaves: CpuidLeaf[];
}
