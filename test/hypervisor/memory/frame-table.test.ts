// Who gets which frames.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { XenError } from '../../../src/hypervisor/errors.ts';
import type { FrameTable } from '../../../src/hypervisor/memory/frame-table.ts';
import { TestHost } from '../harness.ts';

describe('allocation of frames', () => {
  let host: TestHost;
  let frames: FrameTable;
  let domain: Domain;
  beforeEach(() => {
    host = new TestHost(512);
    frames = host.hypervisor.frames;
    domain = host.hypervisor.createDomain({ id: 1, name: 'd', abi: 'pv64', vcpus: 1, maxPages: 10000 });
  });

  it('gives zeroed frames, never frame 0', () => {
    const mfn = frames.allocate(domain);
    expect(mfn).toBeGreaterThan(0);
    host.memory.frame(mfn).fill(1);
    frames.putAllocation(mfn);
    expect(frames.allocate(domain)).toBe(mfn);
    expect(host.memory.frame(mfn).every(b => b === 0)).toBe(true);
  });

  it('finds runs, aligned and below an address', () => {
    const mfn = frames.allocate(domain, { order: 5 });
    expect(mfn % 32).toBe(0);
    expect(frames.allocate(domain, { order: 3, addressBits: 18 })).toBeLessThanOrEqual(64 - 8);
    expect(() => frames.allocate(domain, { order: 9 })).toThrow(XenError);
    expect(() => frames.allocate(domain, { addressBits: 13 })).toThrow(XenError);
  });

  it('ends with ENOMEM and starts again', () => {
    const all: number[] = [];
    expect(() => {
      for (;;) all.push(frames.allocate(domain));
    }).toThrow('ENOMEM');
    expect(frames.free).toBe(0);
    expect(new Set(all).size).toBe(all.length);
    for (const mfn of all) frames.putAllocation(mfn);
    expect(frames.free).toBe(all.length);
    expect(domain.pages).toBe(0);
  });

  it('counts right through any order of runs and single frames', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 4 }), fc.nat(), fc.boolean()), { maxLength: 80 }),
        script => {
          const held: { mfn: number; n: number }[] = [];
          const start = frames.free;
          for (const [order, which, give] of script) {
            if (give && held.length > 0) {
              const [{ mfn, n }] = held.splice(which % held.length, 1);
              for (let i = 0; i < n; i++) frames.putAllocation(mfn + i);
            } else if (frames.free >= 64) {
              held.push({ mfn: frames.allocate(domain, { order }), n: 2 ** order });
            }
            const mine = held.flatMap(h => Array.from({ length: h.n }, (_, i) => h.mfn + i));
            expect(new Set(mine).size).toBe(mine.length);
            expect(frames.free).toBe(start - mine.length);
          }
          for (const { mfn, n } of held) for (let i = 0; i < n; i++) frames.putAllocation(mfn + i);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('refuses to give back what was not taken', () => {
    expect(() => frames.putPage(400)).toThrow('no reference');
    expect(() => frames.freeXen(frames.allocate(domain))).toThrow("not Xen's");
  });
});
