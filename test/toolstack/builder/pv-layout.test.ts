import { describe, expect, it } from 'vitest';
import { BuildError } from '../../../src/toolstack/builder/error.ts';
import { type LayoutImage, layOutPv } from '../../../src/toolstack/builder/pv-layout.ts';

const BASE = 0xffffffff80000000n;
const linux: LayoutImage = {
  virtBase: BASE,
  paddrOffset: 0n,
  virtStart: BASE + 0x1000000n,
  virtEnd: BASE + 0x4a00000n,
  initP2m: 0x8000000000n,
  modStartPfn: true,
};
const MIB = 256; // pages

describe('layout of a PV guest', () => {
  it('is the one that genuine Xen made for this kernel size, initrd size and 256 MiB', () => {
    const l = layOutPv(linux, 256 * MIB, 0x213 * 4096);
    expect([l.kernel.pfn, l.kernel.pages]).toEqual([0x1000, 0x3a00]);
    expect([l.startInfo.pfn, l.xenstore!.pfn, l.console!.pfn, l.pageTables.pfn]).toEqual([
      0x4a00, 0x4a01, 0x4a02, 0x4a03,
    ]);
    expect(l.initrd).toEqual({ pfn: 0x4c00, pages: 0x213, va: null });
    expect([l.p2m.pfn, l.p2mFrames]).toEqual([0x4e13, 0x83]);
    expect(l.p2m.va).toBe(0x8000000000n);
    expect(l.startInfo.va).toBe(BASE + 0x4a00000n);
  });

  it('ends its mapping on 4 MiB with half a MiB to spare, and has exactly the tables for it', () => {
    for (const end of [0x1200000n, 0x1378000n, 0x1379000n, 0x13ff000n, 0x1400000n, 0x4000000n]) {
      const l = layOutPv({ ...linux, virtEnd: BASE + end }, 256 * MIB, 0);
      expect(l.virtEnd % 0x400000n).toBe(0n);
      const spare = Number((l.virtEnd - BASE) / 4096n) - l.bootStack.pfn - 1;
      expect(spare).toBeGreaterThanOrEqual(128);
      expect(spare).toBeLessThan(128 + 1024 + 2);
      expect(l.pageTables.pages).toBe(3 + Number((l.virtEnd - BASE) / 0x200000n));
      expect(l.bootStack.pfn).toBe(l.pageTables.pfn + l.pageTables.pages);
    }
  });

  it('without the notes for it maps initrd and p2m, in this order, after the kernel', () => {
    const l = layOutPv({ ...linux, initP2m: null, modStartPfn: false }, 128 * MIB, 5000);
    expect(l.initrd).toEqual({ pfn: 0x4a00, pages: 2, va: BASE + 0x4a00000n });
    expect([l.p2m.pfn, l.p2m.pages, l.p2mFrames]).toEqual([0x4a02, 64, 0]);
    expect(l.startInfo.pfn).toBe(0x4a42);
  });

  it('serves a kernel that has no virtual base', () => {
    const l = layOutPv(
      { virtBase: 0n, paddrOffset: 0n, virtStart: 0x100000n, virtEnd: 0x123456n, initP2m: null, modStartPfn: false },
      16 * MIB,
      0,
    );
    expect([l.kernel.pfn, l.kernel.pages]).toEqual([0x100, 0x24]);
    expect(l.p2m.va).toBe(0x124000n);
    expect(l.initrd).toBeNull();
  });

  it('places the p2m by itself where INIT_P2M cannot be used', () => {
    for (const initP2m of [BASE + 0x10000000n, 0x8000000800n]) {
      expect(layOutPv({ ...linux, initP2m }, 128 * MIB, 0).p2mFrames).toBe(0);
    }
  });

  it('says how much memory kernel and initrd need at least', () => {
    expect(() => layOutPv(linux, 64 * MIB, 0)).toThrow(BuildError);
    expect(() => layOutPv(linux, 80 * MIB, 100 << 20)).toThrow(
      /^80 MiB of memory are too little: a kernel of 58 MiB and an initrd of 100 MiB needs at least 177 MiB to be loaded$/,
    );
  });
});
