import { describe, expect, it } from 'vitest';
import { cpuModel } from '../../../src/cpu/models/index.ts';
import { type CpuidContext, pvCpuid, pvHasFeature } from '../../../src/hypervisor/pv/cpuid.ts';

const context: CpuidContext = { osxsave: false, xcr0: 1n, tscKHz: 1_000_000, maxMfn: 0x1ffff };
const text = (...words: number[]): string =>
  words.map(word => String.fromCharCode(...[0, 8, 16, 24].map(shift => (word >>> shift) & 0xff))).join('');

for (const name of ['epyc', 'skylake']) {
  const model = cpuModel(name)!;
  const leaf = (number: number, sub = 0, c = context) => pvCpuid(model, c, number, sub);

  describe(`CPUID of a PV guest on ${name}`, () => {
    it('keeps the vendor and ends at leaf 0xd', () => {
      const { eax, ebx, ecx, edx } = leaf(0);
      expect(text(ebx, edx, ecx)).toBe(model.vendor);
      expect(eax).toBe(0xd);
      expect(leaf(0xe)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
      expect(leaf(0x80000100)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    });

    it('tells of an invariant TSC only who cannot migrate', () => {
      expect(leaf(0x80000007)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
      expect(leaf(0x80000007, 0, { ...context, invariantTsc: true })).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0x100 });
    });

    it('hides what a PV guest cannot use', () => {
      const one = leaf(1);
      for (const bit of [1, 3, 12, 13, 17, 21]) expect([bit, (one.edx >>> bit) & 1]).toEqual([bit, 0]); // VME PSE MTRR PGE PSE36 DS
      for (const bit of [3, 5, 7, 15, 17, 21, 24]) expect([bit, (one.ecx >>> bit) & 1]).toEqual([bit, 0]); // MONITOR VMX EIST PDCM PCID X2APIC deadline
      expect((one.ecx >>> 31) & 1).toBe(1);
      const seven = leaf(7);
      for (const bit of [1, 7, 10, 20]) expect([bit, (seven.ebx >>> bit) & 1]).toEqual([bit, 0]); // TSC_ADJUST SMEP INVPCID SMAP
      expect((seven.ebx & 1) === 1).toBe(pvHasFeature(model, 'fsgsbase'));
      expect(leaf(0xd, 1).eax & 8).toBe(0); // XSAVES
      for (const empty of [5, 6, 0xa, 0xb]) expect(leaf(empty)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    });

    it('always has SYSCALL, NX and long mode; AMD repeats the common features', () => {
      const { edx } = leaf(0x80000001);
      for (const bit of [11, 20, 29]) expect((edx >>> bit) & 1).toBe(1);
      expect((edx & 1) === 1).toBe(model.vendor === 'AuthenticAMD');
      expect((edx >>> 26) & 1).toBe(0); // 1 GiB pages
    });

    it('has no APIC id, and OSXSAVE as the guest set it', () => {
      expect(leaf(1).ebx >>> 24).toBe(0);
      expect((leaf(1).ecx >>> 27) & 1).toBe(0);
      expect((leaf(1, 0, { ...context, osxsave: true }).ecx >>> 27) & 1).toBe(1);
    });

    it('gives the XSAVE size for what XCR0 has on', () => {
      expect(leaf(0xd).ebx).toBe(576);
      expect(leaf(0xd).eax & 3).toBe(3);
    });

    it('has Xen’s leaves', () => {
      const base = leaf(0x40000000);
      expect(text(base.ebx, base.ecx, base.edx)).toBe('XenVMMXenVMM');
      expect(base.eax).toBe(0x40000005);
      expect(leaf(0x40000001).eax).toBe(0x40011);
      expect(leaf(0x40000002)).toEqual({ eax: 1, ebx: 0x40000000, ecx: 1, edx: 0 });
      expect(leaf(0x40000003).ecx).toBe(1_000_000);
      expect(leaf(0x40000003, 2).eax).toBe(1_000_000);
      expect(leaf(0x40000004)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
      expect(leaf(0x40000005).ebx).toBe(29);
      expect(leaf(0x40000006)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 });
    });
  });
}
