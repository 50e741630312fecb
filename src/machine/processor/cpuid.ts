// CPUID of one logical processor of a bare machine: the model's leaves with what only the machine knows filled in: ids, how many
// processors there are, who shares which cache, and what follows control registers (SDM Vol. 2A "CPUID"; AMD APM Vol. 3, appendix E).
import type { CpuidLeaf, CpuModel } from '../../cpu/models/model.ts';

export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** One package of so many cores, of one thread each; APIC ids count from 0. */
export interface Topology {
  /** This processor's x2APIC id. */
  apicId: number;
  processors: number;
}

/** What of the processor's present state shows. */
export interface CpuidState {
  cr4: bigint;
  xcr0: bigint;
  xss: bigint;
  /** IA32_APIC_BASE has the APIC on. */
  apicEnabled: boolean;
}

/** Leaf 1. */
const APIC = 1 << 9;
const HTT = 1 << 28;
const XSAVE = 1 << 26;
const OSXSAVE = 1 << 27;
const HYPERVISOR = 1 << 31;
const CMP_LEGACY = 1 << 1;
const OSPKE = 1 << 4;
const CR4_OSXSAVE = 1n << 18n;
const CR4_PKE = 1n << 22n;
/** Level types of leaf 0xb, at bit 8. */
const LEVEL_THREAD = 1 << 8;
const LEVEL_CORE = 2 << 8;
/** Leaf 4 and leaf 0x8000001d. */
const CACHE_SHARING = 0xfff << 14;
const CACHE_CORES = 0x3f << 26;
const PRIVATE_LEVELS = 2;

const XSAVE_LEGACY_SIZE = 576;
const COMPACT_ALIGNED = 2;
const EMPTY: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

export class Cpuid {
  private readonly model: CpuModel;
  private readonly topology: Topology;
  private readonly leaves = new Map<number, CpuidLeaf[]>();
  private readonly maxBasic: number;
  private readonly maxExtended: number;

  constructor(model: CpuModel, topology: Topology) {
    this.model = model;
    this.topology = topology;
    for (const leaf of model.leaves) {
      const known = this.leaves.get(leaf.leaf);
      if (known) known.push(leaf);
      else this.leaves.set(leaf.leaf, [leaf]);
    }
    this.maxBasic = this.bare(0, 0).eax;
    this.maxExtended = this.bare(0x80000000, 0).eax;
  }

  read(leaf: number, subleaf: number, state: CpuidState): CpuidResult {
    const number = this.answered(leaf >>> 0);
    if (number === null) return EMPTY;
    const result = { ...this.bare(number, subleaf >>> 0) };
    this.complete(result, number, subleaf >>> 0, state);
    return unsigned(result);
  }

  /** Beyond the last leaf, Intel's answer as the last basic one does, AMD's with nothing. */
  private answered(leaf: number): number | null {
    if (leaf <= this.maxBasic || (leaf >= 0x80000000 && leaf <= this.maxExtended)) return leaf;
    return this.model.vendor === 'GenuineIntel' ? this.maxBasic : null;
  }

  private bare(leaf: number, subleaf: number): CpuidResult {
    return this.leaves.get(leaf)?.find(row => row.subleaf === null || row.subleaf === subleaf) ?? EMPTY;
  }

  private complete(r: CpuidResult, leaf: number, subleaf: number, state: CpuidState): void {
    const { apicId, processors } = this.topology;
    const amd = this.model.vendor === 'AuthenticAMD';
    switch (leaf) {
      case 1:
        this.completeFeatures(r, state);
        break;
      case 4:
        this.shareCache(r);
        if (r.eax) r.eax = (r.eax & ~CACHE_CORES) | (Math.min((1 << this.idBits) - 1, 0x3f) << 26);
        break;
      case 7:
        if (subleaf === 0 && state.cr4 & CR4_PKE) r.ecx |= OSPKE;
        break;
      case 0xb:
      case 0x1f:
        Object.assign(r, this.level(subleaf));
        break;
      case 0xd:
        if (subleaf === 0) r.ebx = this.xsaveSize(state.xcr0);
        if (subleaf === 1) r.ebx = this.compactSize(state.xcr0 | state.xss);
        break;
      case 0x80000001:
        if (!amd) break;
        if (processors > 1) r.ecx |= CMP_LEGACY;
        if (!state.apicEnabled) r.edx &= ~APIC;
        break;
      case 0x80000008:
        if (amd) r.ecx = (r.ecx & ~0xf0ff) | (this.idBits << 12) | Math.min(processors - 1, 0xff);
        break;
      case 0x8000001d:
        this.shareCache(r);
        break;
      case 0x8000001e:
        // one thread a core, one node a package
        if (this.hasTopologyExtensions) Object.assign(r, { eax: apicId, ebx: apicId & 0xff, ecx: 0, edx: 0 });
        break;
    }
  }

  private completeFeatures(r: CpuidResult, state: CpuidState): void {
    const { apicId, processors } = this.topology;
    const ids = processors > 1 ? Math.min(1 << this.idBits, 0xff) : 1;
    r.ebx = (r.ebx & 0xffff) | (ids << 16) | (apicId << 24);
    r.ecx &= ~(OSXSAVE | HYPERVISOR);
    if (r.ecx & XSAVE && state.cr4 & CR4_OSXSAVE) r.ecx |= OSXSAVE;
    r.edx &= ~HTT;
    if (processors > 1) r.edx |= HTT;
    if (!state.apicEnabled) r.edx &= ~APIC;
  }

  /** Bits of an APIC id that count cores. */
  private get idBits(): number {
    return 32 - Math.clz32(this.topology.processors - 1);
  }

  private get hasTopologyExtensions(): boolean {
    return (this.bare(0x80000001, 0).ecx & (1 << 22)) !== 0;
  }

  /** Leaves 0xb and 0x1f: threads of a core, cores of the package. */
  private level(subleaf: number): CpuidResult {
    const { apicId, processors } = this.topology;
    const number = subleaf & 0xff;
    if (subleaf === 0) return { eax: 0, ebx: 1, ecx: LEVEL_THREAD | number, edx: apicId };
    if (subleaf === 1) return { eax: this.idBits, ebx: processors, ecx: LEVEL_CORE | number, edx: apicId };
    return { eax: 0, ebx: 0, ecx: number, edx: apicId };
  }

  /** The first levels are a core's own, the last one is everybody's. */
  private shareCache(r: CpuidResult): void {
    if ((r.eax & 31) === 0) return;
    const level = (r.eax >>> 5) & 7;
    const sharing = level <= PRIVATE_LEVELS ? 0 : Math.min((1 << this.idBits) - 1, 0xfff);
    r.eax = (r.eax & ~CACHE_SHARING) | (sharing << 14);
  }

  /** Bytes of an XSAVE area in standard form for these components. */
  private xsaveSize(components: bigint): number {
    let size = XSAVE_LEGACY_SIZE;
    for (const { eax, ebx } of this.extended(components)) size = Math.max(size, eax + ebx);
    return size;
  }

  /** And in compacted form. */
  private compactSize(components: bigint): number {
    let size = XSAVE_LEGACY_SIZE;
    for (const { eax, ecx } of this.extended(components)) {
      if (ecx & COMPACT_ALIGNED) size = (size + 63) & ~63;
      size += eax;
    }
    return size;
  }

  private extended(components: bigint): CpuidResult[] {
    const list: CpuidResult[] = [];
    for (let i = 2; i < 63; i++) if ((components >> BigInt(i)) & 1n) list.push(this.bare(0xd, i));
    return list;
  }
}

const unsigned = ({ eax, ebx, ecx, edx }: CpuidResult): CpuidResult => ({
  eax: eax >>> 0,
  ebx: ebx >>> 0,
  ecx: ecx >>> 0,
  edx: edx >>> 0,
});
