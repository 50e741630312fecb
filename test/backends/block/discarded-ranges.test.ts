import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DiscardedRanges } from '../../../src/backends/block/discarded-ranges.ts';

it('is the set of bytes that were added and not removed since', () => {
  const SIZE = 64;
  const step = fc.record({ adds: fc.boolean(), offset: fc.nat(SIZE), length: fc.nat(20) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), steps => {
      const ranges = new DiscardedRanges();
      const model = new Set<number>();
      for (const { adds, offset, length } of steps) {
        if (adds) ranges.add(offset, length);
        else ranges.remove(offset, length);
        for (let at = offset; at < offset + length; at++) {
          if (adds) model.add(at);
          else model.delete(at);
        }
        expect(ranges.total).toBe(model.size);
      }
      const taken = ranges.take();
      expect(taken.flatMap(({ offset, length }) => Array.from({ length }, (_, i) => offset + i))).toEqual(
        [...model].sort((a, b) => a - b),
      );
      expect(taken.every(({ offset }, i) => i === 0 || taken[i - 1].offset + taken[i - 1].length < offset)).toBe(true);
      expect(ranges.count).toBe(0);
    }),
  );
});
