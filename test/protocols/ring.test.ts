import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BackRing, FrontRing, ringSize } from '../../src/protocols/ring.ts';
import { RING_BROKEN } from '../../src/protocols/ring-buffer.ts';
import { setPageU32, sharedPage } from '../../src/protocols/shared-page.ts';

const pagesOf = (count: number) => Array.from({ length: count }, () => sharedPage(new Uint8Array(4096)));
const entry = (size: number, seed: number): Uint8Array =>
  Uint8Array.from({ length: size }, (_, i) => (seed * 7 + i) & 0xff);

describe('shared rings', () => {
  it.each([
    [1, 112, 32], // blkif, 64-bit
    [1, 108, 32], // blkif, 32-bit
    [16, 112, 512],
    [1, 12, 256], // netif transmit
    [1, 8, 256], // netif receive
  ])('%i pages of entries of %i bytes have %i slots', (pages, size, slots) => {
    expect(ringSize(pages, size)).toBe(slots);
  });

  it('carries requests one way and responses the other, also across pages and the wrap of the indices', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4),
        fc.constantFrom(8, 12, 108, 112),
        fc.array(fc.tuple(fc.nat(40), fc.nat(40)), { maxLength: 60 }),
        (pageCount, size, rounds) => {
          const shape = { pages: pagesOf(pageCount), entrySize: size };
          const front = new FrontRing(shape);
          const back = new BackRing(shape);
          let sent = 0;
          let taken = 0;
          let answered = 0;
          let seen = 0;
          for (const [send, serve] of rounds) {
            for (let i = 0; i < send && front.request(entry(size, sent)); i++) sent++;
            front.push();
            expect(back.waiting).toBe(sent - taken);
            for (let i = 0; i < serve && back.waiting > 0; i++) expect(back.take()).toEqual(entry(size, taken++));
            while (answered < taken) back.answer(entry(size, 1000 + answered++));
            back.push();
            expect(front.waiting).toBe(answered - seen);
            while (front.waiting > 0) expect(front.take()).toEqual(entry(size, 1000 + seen++));
          }
        },
      ),
    );
  });

  it('tells of events only where they were asked for', () => {
    const shape = { pages: pagesOf(1), entrySize: 12 };
    const front = new FrontRing(shape);
    const back = new BackRing(shape);
    const send = () => {
      front.request(entry(12, 0));
      return front.push();
    };
    expect(send()).toBe(true);
    expect(send()).toBe(false);
    back.take();
    back.take();
    back.askFor(2);
    expect(back.waiting).toBe(0);
    expect(send()).toBe(false);
    expect(send()).toBe(true);
    back.answer(entry(12, 1));
    expect(back.push()).toBe(true);
    back.answer(entry(12, 1));
    expect(back.push()).toBe(false);
    front.take();
    front.take();
    front.askForNext();
    back.take();
    back.answer(entry(12, 1));
    expect(back.push()).toBe(true);
  });

  it('believes no index that no honest front end could have left', () => {
    fc.assert(
      fc.property(fc.nat(0xffffffff), fc.nat(256), (claimed, before) => {
        const shape = { pages: pagesOf(1), entrySize: 12 };
        const front = new FrontRing(shape);
        const back = new BackRing(shape);
        for (let i = 0; i < before; i++) front.request(entry(12, i));
        front.push();
        for (let i = 0; i < before / 2; i++) back.take();
        const taken = back.outstanding;
        setPageU32(shape.pages[0]!.bytes(), 0, claimed);
        const honest = claimed >= taken && claimed <= 256;
        expect(back.waiting).toBe(honest ? claimed - taken : RING_BROKEN);
      }),
    );
  });

  it('a response needs a request', () => {
    const back = new BackRing({ pages: pagesOf(1), entrySize: 12 });
    expect(() => back.answer(entry(12, 0))).toThrow(RangeError);
  });
});
