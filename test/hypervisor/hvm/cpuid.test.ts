import { describe, expect, it } from 'vitest';
import { cpuModel } from '../../../src/cpu/models/index.ts';
import { type HvmCpuidContext, hvmCpuid } from '../../../src/hypervisor/hvm/cpuid.ts';

const context: HvmCpuidContext = {
  vcpu: 3,
  domid: 7,
  apicId: 6,
  apicEnabled: true,
  osxsave: false,
  ospke: false,
  longMode: true,
  xcr0: 1n,
  tscKHz: 1_000_000,
};
const EMPTY = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
const bit = (word: number, n: number): number => (word >>> n) & 1;

for (const name of ['epyc', 'skylake']) {
  const model = cpuModel(name)!;
  const amd = model.vendor === 'AuthenticAMD';
  const leaf = (number: number, sub = 0, more: Partial<HvmCpuidContext> = {}) =>
    hvmCpuid(model, { ...context, ...more }, number, sub);

  describe(`CPUID of an HVM guest on ${name}`, () => {
    it('has what a guest with page tables and interrupts of its own can use', () => {
      const one = leaf(1);
      for (const n of [1, 3, 9, 12, 13, 17]) expect([n, bit(one.edx, n)]).toEqual([n, 1]); // VME PSE APIC MTRR PGE PSE36
      for (const n of [21, 31]) expect([n, bit(one.ecx, n)]).toEqual([n, 1]); // X2APIC HYPERVISOR
      for (const n of [3, 5, 7, 15]) expect([n, bit(one.ecx, n)]).toEqual([n, 0]); // MONITOR VMX EIST PDCM
      for (const n of [7, 20]) expect([n, bit(leaf(7).ebx, n)]).toEqual([n, 1]); // SMEP SMAP
      expect(bit(leaf(0x80000001).ecx, 2)).toBe(0); // SVM
      for (const hidden of [3, 5, 6, 8, 9, 0xa, 0x80000007, 0x8000000a, 0x8000001f]) {
        expect([hidden, leaf(hidden)]).toEqual([hidden, EMPTY]);
      }
    });

    it('knows its APIC id, and whether there is an APIC', () => {
      expect(leaf(1).ebx >>> 24).toBe(6);
      expect(leaf(0xb, 1)).toEqual({ eax: 0, ebx: 0, ecx: 1, edx: 6 });
      expect(bit(leaf(1, 0, { apicEnabled: false }).edx, 9)).toBe(0);
      expect(bit(leaf(0x80000001, 0, { apicEnabled: false }).edx, 9)).toBe(0);
    });

    it('follows control registers', () => {
      expect([bit(leaf(1).ecx, 27), bit(leaf(1, 0, { osxsave: true }).ecx, 27)]).toEqual([0, 1]);
      // Outside of long mode Intel's processors have no SYSCALL.
      expect(bit(leaf(0x80000001, 0, { longMode: false }).edx, 11)).toBe(amd ? 1 : 0);
    });

    it('has Xen’s leaves, with who it is', () => {
      expect(leaf(0x40000000).eax).toBe(0x40000005);
      expect(leaf(0x40000002)).toEqual({ eax: 1, ebx: 0x40000000, ecx: 0, edx: 0 });
      expect(leaf(0x40000004)).toEqual({ eax: 0x5c, ebx: 3, ecx: 7, edx: 0 });
      expect([leaf(0x40000004, 1), leaf(0x40000005), leaf(0x40000100)]).toEqual([EMPTY, EMPTY, EMPTY]);
    });
  });
}
