// The CPU models: what sets the named processors apart is there, and nothing that this one cannot do.
import { describe, expect, it } from 'vitest';
import { hasFeature } from '../../../src/cpu/models/features.ts';
import { CPU_MODELS, cpuModel } from '../../../src/cpu/models/index.ts';
import type { CpuModel } from '../../../src/cpu/models/model.ts';

const model = (name: string): CpuModel => cpuModel(name)!;
const has = (name: string, ...features: string[]): boolean[] => features.map(f => hasFeature(model(name), f));

describe('CPU models', () => {
  it('have what a 64-bit kernel needs of any', () => {
    const needed = [
      'fpu',
      'pae',
      'pge',
      'pat',
      'mtrr',
      'apic',
      'x2apic',
      'cx8',
      'cx16',
      'nx',
      'lm',
      'syscall',
      'sse2',
      'clflush',
      'nonstop_tsc',
    ];
    for (const { name } of CPU_MODELS)
      expect([name, ...has(name, ...needed)]).toEqual([name, ...needed.map(() => true)]);
  });
  it('differ as the real ones do', () => {
    expect(has('epyc', 'pcid', 'invpcid', 'umip', 'rdpid', 'fsrm', 'tsc_deadline_timer', 'tsc_adjust')).toEqual([
      true,
      true,
      true,
      true,
      true,
      false,
      false,
    ]);
    expect(has('epyc-rome', 'pcid', 'invpcid', 'umip', 'rdpid', 'erms', 'fsrm')).toEqual([
      false,
      false,
      true,
      true,
      false,
      false,
    ]);
    expect(has('skylake', 'pcid', 'invpcid', 'umip', 'rdpid', 'erms', 'tsc_deadline_timer', 'tsc_adjust')).toEqual([
      true,
      true,
      false,
      false,
      true,
      true,
      true,
    ]);
  });
  it('do not claim vector registers of 256 bits', () => {
    for (const { leaves } of CPU_MODELS) {
      expect(leaves.find(l => l.leaf === 1)!.ecx & (1 << 28)).toBe(0);
      expect(leaves.find(l => l.leaf === 0xd && l.subleaf === 0)!.eax).toBe(3);
    }
  });
  it('repeat the common features in the extended leaf of AMD', () => {
    const repeated = (name: string) => model(name).leaves.find(l => l.leaf === 0x80000001)!.edx & 0x0183f3ff;
    const basic = (name: string) => model(name).leaves.find(l => l.leaf === 1)!.edx & 0x0183f3ff;
    expect(repeated('epyc')).toBe(basic('epyc'));
    expect(repeated('skylake')).toBe(0);
  });
  it('name their last leaves, and have no others', () => {
    for (const { leaves } of CPU_MODELS) {
      const last = (base: number) => leaves.find(l => l.leaf === base)!.eax >>> 0;
      for (const { leaf } of leaves) expect(leaf).toBeLessThanOrEqual(leaf >= 0x80000000 ? last(0x80000000) : last(0));
    }
  });
});
