import { describe, expect, it } from 'vitest';
import { CPU_MODELS, cpuModel } from '../../../src/cpu/models/index.ts';
import type { CpuModel } from '../../../src/cpu/models/model.ts';
import { Cpuid, type CpuidState } from '../../../src/machine/processor/cpuid.ts';

const RESET: CpuidState = { cr4: 0n, xcr0: 1n, xss: 0n, apicEnabled: true };
const model = (name: string, ...more: CpuModel['leaves']): CpuModel => {
  const known = cpuModel(name)!;
  return { ...known, leaves: [...more, ...known.leaves] };
};
const amd = (...more: CpuModel['leaves']) => model('epyc', ...more);
const intel = (...more: CpuModel['leaves']) => model('skylake', ...more);
const row = (leaf: number, subleaf: number | null, eax: number, ebx = 0, ecx = 0, edx = 0) => ({
  leaf,
  subleaf,
  eax,
  ebx,
  ecx,
  edx,
});

const read = (of: CpuModel, apicId: number, processors: number, leaf: number, subleaf = 0, state = RESET) =>
  new Cpuid(of, { apicId, processors }).read(leaf, subleaf, state);

describe('processors of a package', () => {
  it.each([
    [1, 0, 1, 0, 0],
    [2, 1, 2, 1, 1],
    [3, 2, 4, 2, 1],
    [4, 3, 4, 2, 1],
    [128, 100, 128, 7, 1],
  ])('%i: number %i', (processors, apicId, ids, shift, htt) => {
    for (const of of [amd(), intel()]) {
      const one = read(of, apicId, processors, 1);
      expect(one.ebx >>> 24).toBe(apicId);
      expect((one.ebx >>> 16) & 0xff).toBe(ids);
      expect((one.edx >>> 28) & 1).toBe(htt);
      expect(read(of, apicId, processors, 0xb, 0)).toEqual({ eax: 0, ebx: 1, ecx: 0x100, edx: apicId });
      expect(read(of, apicId, processors, 0xb, 1)).toEqual({ eax: shift, ebx: processors, ecx: 0x201, edx: apicId });
      expect(read(of, apicId, processors, 0xb, 2)).toEqual({ eax: 0, ebx: 0, ecx: 2, edx: apicId });
    }
    expect(read(amd(), apicId, processors, 0x80000008).ecx).toBe((shift << 12) | (processors - 1));
    expect((read(amd(), apicId, processors, 0x80000001).ecx >>> 1) & 1).toBe(htt);
  });

  it('have first and second level caches of their own and share the third', () => {
    const third = row(4, 3, 0x163, 0x01c0003f, 0x7fff);
    const sharing = (subleaf: number) => (read(intel(third), 0, 6, 4, subleaf).eax >>> 14) & 0xfff;
    expect([0, 1, 2, 3].map(sharing)).toEqual([0, 0, 0, 7]);
    expect(read(intel(third), 0, 6, 4, 0).eax >>> 26).toBe(7);
    expect(read(intel(third), 0, 6, 4, 9)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    const extended = [row(0x80000000, null, 0x8000001e), row(0x8000001d, 3, 0x163)];
    expect((read(amd(...extended), 0, 6, 0x8000001d, 3).eax >>> 14) & 0xfff).toBe(7);
  });

  it('say so once more where AMD extends the topology', () => {
    const leaves = [
      row(0x80000000, null, 0x8000001e),
      row(0x80000001, null, 0, 0, 1 << 22),
      row(0x8000001e, null, 0, 0, 0, 0),
    ];
    expect(read(amd(...leaves), 3, 4, 0x8000001e)).toEqual({ eax: 3, ebx: 3, ecx: 0, edx: 0 });
  });
});

describe('the present state', () => {
  const bit = (value: number, n: number) => (value >>> n) & 1;

  it('shows OSXSAVE, OSPKE and the APIC; never a hypervisor', () => {
    const on = { ...RESET, cr4: (1n << 18n) | (1n << 22n) };
    const off = { ...RESET, apicEnabled: false };
    expect(bit(read(amd(), 0, 1, 1).ecx, 27)).toBe(0);
    expect(bit(read(amd(), 0, 1, 1, 0, on).ecx, 27)).toBe(1);
    expect(bit(read(amd(), 0, 1, 7, 0, on).ecx, 4)).toBe(1);
    expect(bit(read(amd(), 0, 1, 1).edx, 9)).toBe(1);
    expect(bit(read(amd(), 0, 1, 1, 0, off).edx, 9)).toBe(0);
    expect(bit(read(amd(), 0, 1, 0x80000001, 0, off).edx, 9)).toBe(0);
    for (const of of CPU_MODELS) expect(bit(read(of, 0, 1, 1).ecx, 31)).toBe(0);
  });

  it('decides how large an XSAVE area is', () => {
    const leaves = [row(0xd, 2, 256, 576), row(0xd, 9, 8, 2688), row(0xd, 11, 16, 0, 1)];
    const size = (subleaf: number, xcr0: bigint, xss = 0n) =>
      read(amd(...leaves), 0, 1, 0xd, subleaf, { ...RESET, xcr0, xss }).ebx;
    expect(size(0, 3n)).toBe(576);
    expect(size(0, 7n)).toBe(832);
    expect(size(0, 0x207n)).toBe(2696);
    expect(size(1, 0x207n)).toBe(840);
    expect(size(1, 7n, 1n << 11n)).toBe(848);
  });
});

describe('leaves that are not there', () => {
  it('are nothing on AMD’s, and the last basic leaf on Intel’s', () => {
    expect(read(amd(), 0, 1, 0x40000000)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    const last = read(intel(), 0, 1, 0).eax;
    expect(read(intel(), 0, 1, 0x40000000)).toEqual(read(intel(), 0, 1, last));
    expect(read(intel(), 0, 1, 0x800000ff)).toEqual(read(intel(), 0, 1, last));
  });
});
