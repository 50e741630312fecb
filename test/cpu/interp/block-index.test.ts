import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BlockIndex } from '../../../src/cpu/interp/block-index.ts';

describe('block index', () => {
  it('answers as a Map does, whatever is put in, taken out and grown', () => {
    const place = fc.record({
      mfn: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: (1 << 20) - 1 })),
      offset: fc.integer({ min: 0, max: 15 }),
      mode: fc.constantFrom(0, 0x1d, 0x9d, 1023),
    });
    const step = fc.record({ place, action: fc.constantFrom('set', 'set', 'delete', 'get') });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), steps => {
        const index = new BlockIndex();
        const map = new Map<string, number>();
        let header = 0;
        for (const { place: p, action } of steps) {
          const key = `${p.mfn} ${p.offset} ${p.mode}`;
          if (action === 'set') {
            header += 32;
            index.set(p.mfn, p.offset, p.mode, header);
            map.set(key, header);
          } else if (action === 'delete') {
            index.delete(p.mfn, p.offset, p.mode);
            map.delete(key);
          }
          expect(index.get(p.mfn, p.offset, p.mode)).toBe(map.get(key));
        }
        for (const { place: p } of steps) {
          expect(index.get(p.mfn, p.offset, p.mode)).toBe(map.get(`${p.mfn} ${p.offset} ${p.mode}`));
        }
      }),
    );
  });

  it('keeps all of a large number of blocks, and forgets all', () => {
    const index = new BlockIndex();
    const many = 20_000;
    for (let i = 1; i <= many; i++) index.set(i >> 3, (i & 7) * 16, 0x9d, i * 32);
    for (let i = 2; i <= many; i += 2) index.delete(i >> 3, (i & 7) * 16, 0x9d);
    for (let i = 1; i <= many; i++) expect(index.get(i >> 3, (i & 7) * 16, 0x9d)).toBe(i & 1 ? i * 32 : undefined);
    index.clear();
    for (let i = 1; i <= many; i++) expect(index.get(i >> 3, (i & 7) * 16, 0x9d)).toBeUndefined();
  });
});
