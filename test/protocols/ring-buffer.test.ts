import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONSOLE_OUT } from '../../src/protocols/console.ts';
import { ByteRing, RING_BROKEN } from '../../src/protocols/ring-buffer.ts';
import { pageU32, setPageU32, sharedPage } from '../../src/protocols/shared-page.ts';

const { cons, prod, size, buffer } = CONSOLE_OUT;

function ringAt(index: number): { page: Uint8Array; ring: ByteRing } {
  const page = new Uint8Array(4096);
  setPageU32(page, cons, index);
  setPageU32(page, prod, index);
  return { page, ring: new ByteRing(sharedPage(page), CONSOLE_OUT) };
}

function same(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return false;
  return true;
}

describe('byte ring', () => {
  it('is a queue of bytes, whatever the indices start at', () => {
    fc.assert(
      fc.property(
        fc.nat(0xffffffff),
        fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 3000 })), { maxLength: 30 }),
        (start, steps) => {
          const { ring } = ringAt(start);
          const model: number[] = [];
          let next = 0;
          for (const [writing, count] of steps) {
            if (writing) {
              const data = Uint8Array.from({ length: count }, (_, i) => next + i);
              const written = ring.write(data);
              expect(written).toBe(Math.min(count, size - model.length));
              model.push(...data.subarray(0, written));
              next += written;
            } else {
              expect([...(ring.read(count) as Uint8Array)]).toEqual(model.splice(0, count));
            }
            expect(ring.used).toBe(model.length);
            expect(ring.free).toBe(size - model.length);
          }
        },
      ),
    );
  });

  it('wraps at the end of the buffer and at 2^32', () => {
    const { page, ring } = ringAt(0xfffffffe);
    expect(ring.write(Uint8Array.of(1, 2, 3, 4))).toBe(4);
    expect([...page.subarray(buffer + size - 2, buffer + size)]).toEqual([1, 2]);
    expect([...page.subarray(buffer, buffer + 2)]).toEqual([3, 4]);
    expect(pageU32(page, prod)).toBe(2);
    expect(ring.read(10)).toEqual(Uint8Array.of(1, 2, 3, 4));
  });

  it('stays within its buffer and says so where indices are impossible', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(0xffffffff), fc.uint8Array({ maxLength: 64 }), (from, to, data) => {
        const page = new Uint8Array(4096).fill(0xaa);
        setPageU32(page, cons, from);
        setPageU32(page, prod, to);
        const ring = new ByteRing(sharedPage(page), CONSOLE_OUT);
        const impossible = (to - from) >>> 0 > size;
        const before = page.slice();
        const wrote = ring.write(data);
        if (impossible) {
          expect(wrote).toBe(RING_BROKEN);
          expect(ring.read(5)).toBe(RING_BROKEN);
          expect(ring.used).toBe(RING_BROKEN);
          expect(same(page, before, 0, 4096)).toBe(true);
        }
        expect(same(page, before, 0, buffer)).toBe(true);
        expect(same(page, before, buffer + size, cons)).toBe(true);
        expect(same(page, before, prod + 4, 4096)).toBe(true);
      }),
    );
  });
});
