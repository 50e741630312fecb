import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Abi } from '../../../src/abi/struct.ts';
import { BLKIF_OP, BLKIF_RSP, VDISK } from '../../../src/abi/xen/io/blkif.ts';
import { MemorySource } from '../../../src/backends/block/memory-source.ts';
import type { BlockSource } from '../../../src/backends/block/source.ts';
import { FrontendError } from '../../../src/backends/xenbus/backend-device.ts';
import { Front, PORT, type Segment } from './front.ts';

const { okay, error, eopnotsupp } = BLKIF_RSP;
const WHOLE = { firstSect: 0, lastSect: 7 } as const;

const pattern = (length: number, seed: number): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => (i * 13 + (i >> 8) + seed) & 0xff);

/** A source whose requests are done when the test says so; it remembers what it was asked. */
function slow(inner: BlockSource): BlockSource & { waiting: (() => void)[]; calls: string[] } {
  const waiting: (() => void)[] = [];
  const calls: string[] = [];
  const put = (name: string, go: () => void): void => {
    calls.push(name);
    waiting.push(go);
  };
  return {
    waiting,
    calls,
    size: inner.size,
    sectorSize: inner.sectorSize,
    isReadOnly: inner.isReadOnly,
    canDiscard: inner.canDiscard,
    isImmediate: false,
    read: (offset, into, done) => put('read', () => inner.read(offset, into, done)),
    write: (offset, from, done) => put('write', () => inner.write(offset, from, done)),
    flush: done => put('flush', () => inner.flush(done)),
    discard: (offset, length, done) => put('discard', () => inner.discard(offset, length, done)),
    writeZeroes: (offset, length, done) => put('zeroes', () => inner.writeZeroes(offset, length, done)),
    close: () => inner.close(),
  };
}

function stored(source: MemorySource, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  source.read(offset, [bytes], () => {});
  return bytes;
}

describe('features', () => {
  it('say what the disk is and can', () => {
    const source = new MemorySource({ size: 1 << 20, sectorSize: 4096 });
    const { back } = new Front({ source, maxQueues: 2 });
    expect(back.features()).toEqual({
      'feature-discard': '1',
      'discard-granularity': '4096',
      'discard-alignment': '0',
      'discard-secure': '0',
      'feature-flush-cache': '1',
      'feature-barrier': '1',
      'feature-persistent': '1',
      'feature-max-indirect-segments': '256',
      'max-ring-page-order': '4',
      'multi-queue-max-queues': '2',
      info: '0',
      'sector-size': '4096',
      'physical-sector-size': '4096',
      sectors: '2048',
    });
  });

  it('of what cannot be written, or is a CD, say so', () => {
    const { back } = new Front({ isReadOnly: true, isCdrom: true, isRemovable: true });
    expect(back.features().info).toBe(String(VDISK.cdrom | VDISK.removable | VDISK.readonly));
    expect(back.features()['feature-discard']).toBeUndefined();
    const { back: other } = new Front({ discard: false });
    expect(other.features()['feature-discard']).toBeUndefined();
  });
});

describe.each([64, 32] as Abi[])('requests of a %i-bit front end', abi => {
  it('write and read', () => {
    const source = new MemorySource({ size: 1 << 20 });
    const front = new Front({ source }, abi);
    front.connect();
    const page = front.page(pattern(4096, 1), true);
    const half = front.page(pattern(4096, 2), true);
    const id = front.transfer(BLKIF_OP.write, 7, [
      { gref: page, ...WHOLE },
      { gref: half, firstSect: 3, lastSect: 3 },
    ]);
    front.push();
    expect(front.answers()).toEqual([{ id, operation: BLKIF_OP.write, status: okay }]);
    expect(front.domain.notified).toEqual([PORT]);
    expect(stored(source, 7 * 512, 4096)).toEqual(pattern(4096, 1));
    expect(stored(source, 15 * 512, 512)).toEqual(pattern(4096, 2).slice(1536, 2048));
    const into = front.page();
    front.transfer(BLKIF_OP.read, 8, [{ gref: into, firstSect: 2, lastSect: 4 }]);
    expect(front.status()).toBe(okay);
    const expected = new Uint8Array(4096);
    expected.set(pattern(4096, 1).slice(512, 2048), 1024);
    expect(front.bytes(into)).toEqual(expected);
  });

  it('may be indirect, with more segments than fit a request', () => {
    const source = new MemorySource({ size: 4 << 20 });
    const front = new Front({ source }, abi);
    front.connect();
    const segments: Segment[] = Array.from({ length: 200 }, (_, i) => ({
      gref: front.page(pattern(4096, i), true),
      ...WHOLE,
    }));
    const id = front.indirect(BLKIF_OP.write, 0, segments);
    front.push();
    expect(front.answers()).toEqual([{ id, operation: BLKIF_OP.write, status: okay }]);
    for (const i of [0, 100, 199]) expect(stored(source, i * 4096, 4096)).toEqual(pattern(4096, i));
    front.indirect(BLKIF_OP.write, 0, [...segments, ...segments]);
    expect(front.status()).toBe(error);
    front.indirect(BLKIF_OP.flushDiskcache, 0, segments);
    expect(front.status()).toBe(eopnotsupp);
    expect(front.domain.mapped).toBe(1);
  });

  it('discard', () => {
    const source = MemorySource.of(pattern(1 << 17, 0));
    const front = new Front({ source }, abi);
    front.connect();
    front.discard(128, 128);
    expect(front.status()).toBe(okay);
    expect(source.allocated).toBe(1 << 16);
    front.discard(0xffffffffffffffffn, 1);
    expect(front.status()).toBe(error);
    front.discard(0, 1, 1);
    expect(front.status()).toBe(eopnotsupp);
  });

  it('travel on rings of several pages', () => {
    const front = new Front({}, abi, 16);
    front.connect();
    const gref = front.page();
    const { size } = front.rings[0];
    expect(size).toBe(512);
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < size; i++) front.transfer(BLKIF_OP.read, i, [{ gref, ...WHOLE }]);
      front.push();
      expect(front.answers().filter(({ status }) => status === okay)).toHaveLength(size);
    }
  });
});

describe('a request that is not in order', () => {
  const front = new Front();
  front.connect();
  const gref = front.page();
  const readonly = front.page(undefined, true);
  const cases: [string, () => void, number][] = [
    ['beyond the end', () => front.transfer(BLKIF_OP.read, 2041, [{ gref, ...WHOLE }]), error],
    ['far beyond the end', () => front.transfer(BLKIF_OP.read, 1n << 63n, [{ gref, ...WHOLE }]), error],
    ['without a segment', () => front.transfer(BLKIF_OP.write, 0, []), error],
    ['with a segment that ends before it begins', () => segment(4, 3), error],
    ['with a segment over the end of its page', () => segment(0, 8), error],
    ['on a page that is not granted', () => front.transfer(BLKIF_OP.read, 0, [{ gref: 9999, ...WHOLE }]), error],
    ['to be read into a read-only page', () => front.transfer(BLKIF_OP.read, 0, [{ gref: readonly, ...WHOLE }]), error],
    ['with more segments than there can be', () => tooMany(), error],
    ['with a list of segments that is not granted', () => indirectNowhere(), error],
    ['of a kind that nobody knows', () => front.transfer(77, 0, [{ gref, ...WHOLE }]), eopnotsupp],
  ];
  const segment = (firstSect: number, lastSect: number): void =>
    void front.transfer(BLKIF_OP.read, 0, [{ gref, firstSect, lastSect }]);
  const tooMany = (): void => {
    front.put((view, id) => {
      view.setUint8(0, BLKIF_OP.read);
      view.setUint8(1, 12);
      view.setBigUint64(8, id, true);
    });
  };
  const indirectNowhere = (): void => void front.indirect(BLKIF_OP.read, 0, [{ gref, ...WHOLE }], [9999]);

  it.each(cases)('%s: an answer says so, and nothing stays mapped', (_name, make, status) => {
    make();
    expect(front.status()).toBe(status);
    expect(front.domain.mapped).toBe(1);
    front.transfer(BLKIF_OP.read, 2040, [{ gref, ...WHOLE }]);
    expect(front.status()).toBe(okay);
  });
});

describe('durability', () => {
  it('comes by flushes and by barriers, which let nothing pass', () => {
    const source = slow(new MemorySource({ size: 1 << 20 }));
    const front = new Front({ source });
    front.connect();
    const segments = [{ gref: front.page(), ...WHOLE }];
    front.transfer(BLKIF_OP.write, 0, segments);
    front.transfer(BLKIF_OP.writeBarrier, 8, segments);
    front.transfer(BLKIF_OP.write, 16, segments);
    front.push();
    const finishOne = (): string[] => {
      source.waiting.shift()!();
      return source.calls.splice(0);
    };
    expect(source.calls.splice(0)).toEqual(['write']);
    expect(finishOne()).toEqual(['flush']);
    expect(finishOne()).toEqual(['write']);
    expect(finishOne()).toEqual(['flush']);
    expect(finishOne()).toEqual(['write']);
    finishOne();
    expect(front.answers().map(({ status }) => status)).toEqual([okay, okay, okay]);
  });

  it('is all that a flush is about', () => {
    const source = slow(new MemorySource({ size: 1 << 20, isReadOnly: true }));
    const front = new Front({ source });
    front.connect();
    front.transfer(BLKIF_OP.flushDiskcache, 0, []);
    front.push();
    source.waiting.shift()!();
    expect(front.answers()).toMatchObject([{ status: okay }]);
    expect(source.calls).toEqual(['flush']);
    front.transfer(BLKIF_OP.write, 0, [{ gref: front.page(), ...WHOLE }]);
    expect(front.status()).toBe(error);
  });
});

describe('grants', () => {
  it('are given back before the answer, or kept where the front end reuses them', () => {
    const front = new Front();
    front.connect();
    const gref = front.page();
    front.transfer(BLKIF_OP.read, 0, [{ gref, ...WHOLE }]);
    front.push();
    expect(front.domain.mapped).toBe(1);

    const keeping = new Front();
    keeping.nodes['feature-persistent'] = '1';
    keeping.connect();
    const kept = keeping.page();
    for (let i = 0; i < 3; i++) {
      keeping.transfer(i % 2 ? BLKIF_OP.write : BLKIF_OP.read, 0, [{ gref: kept, ...WHOLE }]);
      expect(keeping.status()).toBe(okay);
    }
    expect(keeping.domain.mapped).toBe(2);
    keeping.back.disconnect();
    expect(keeping.domain.mapped).toBe(0);
    expect(keeping.domain.handlers.size).toBe(0);
  });

  it('are kept up to a limit', () => {
    const front = new Front();
    front.nodes['feature-persistent'] = '1';
    front.connect();
    for (let i = 0; i < 120; i++) {
      const segments = Array.from({ length: 11 }, () => ({ gref: front.page(), ...WHOLE }));
      front.transfer(BLKIF_OP.read, 0, segments);
      expect(front.status()).toBe(okay);
    }
    expect(front.domain.mapped).toBe(1 + 1056);
  });
});

describe('connecting', () => {
  it('serves what stood in the ring before', () => {
    const front = new Front();
    front.transfer(BLKIF_OP.read, 0, [{ gref: front.page(), ...WHOLE }]);
    front.rings[0].push();
    front.connect();
    expect(front.answers()).toHaveLength(1);
  });

  it('takes as many queues as the front end has', () => {
    const front = new Front({ maxQueues: 4 });
    const nodes: Record<string, string> = { 'multi-queue-num-queues': '2' };
    for (const n of [0, 1]) {
      if (n === 1) front.addRing('queue-1/', 1);
      nodes[`queue-${n}/ring-ref`] = n === 0 ? front.nodes['ring-ref'] : front.nodes['queue-1/ring-ref'];
      nodes[`queue-${n}/event-channel`] = String(PORT + n);
    }
    Object.assign(front.nodes, nodes);
    front.connect();
    for (const ring of [1, 0, 1]) {
      front.transfer(BLKIF_OP.read, 0, [{ gref: front.page(), ...WHOLE }], ring);
      front.push(ring);
      expect(front.answers(ring)).toMatchObject([{ status: okay }]);
    }
    front.back.disconnect();
    expect(front.domain.mapped).toBe(0);
  });

  it.each([
    ['no ring', { 'ring-ref': '4242' }],
    ['no event channel', { 'event-channel': '77' }],
    ['too many pages', { 'ring-page-order': '5' }],
    ['a protocol of another machine', { protocol: 'arm-abi' }],
    ['too many queues', { 'multi-queue-num-queues': '2' }],
    ['no queues', { 'multi-queue-num-queues': '0' }],
    ['words for numbers', { 'event-channel': 'five' }],
  ])('fails with %s, and leaves nothing behind', (_name, nodes) => {
    const front = new Front();
    Object.assign(front.nodes, nodes);
    expect(() => front.connect()).toThrow(FrontendError);
    front.back.disconnect();
    expect(front.domain.mapped).toBe(0);
    expect(front.domain.handlers.size).toBe(0);
  });

  it('begins again after closing, on another ring', () => {
    const front = new Front();
    front.connect();
    front.back.disconnect();
    front.rings.length = 0;
    front.addRing('', 1);
    front.connect();
    front.transfer(BLKIF_OP.read, 0, [{ gref: front.page(), ...WHOLE }]);
    expect(front.status()).toBe(okay);
  });
});

describe('a source that takes its time', () => {
  it('is answered in its order, and not at all once the front end is gone', () => {
    const source = slow(MemorySource.of(pattern(1 << 16, 4)));
    const front = new Front({ source });
    front.connect();
    const pages = [front.page(), front.page(), front.page()];
    const ids = pages.map((gref, i) => front.transfer(BLKIF_OP.read, 8 * i, [{ gref, ...WHOLE }]));
    front.push();
    source.waiting[1]();
    expect(front.answers().map(({ id }) => id)).toEqual([ids[1]]);
    expect(front.bytes(pages[1])).toEqual(pattern(1 << 16, 4).slice(4096, 8192));
    front.back.disconnect();
    expect(front.domain.mapped).toBe(0);
    source.waiting[0]();
    source.waiting[2]();
    expect(front.bytes(pages[0])).toEqual(new Uint8Array(4096));
    expect(front.answers()).toEqual([]);
  });

  it('is not asked for more than there is memory for', () => {
    const source = slow(new MemorySource({ size: 4 << 20 }));
    const front = new Front({ source }, 64, 16);
    front.connect();
    const segments = Array.from({ length: 256 }, () => ({ gref: front.page(), ...WHOLE }));
    for (let i = 0; i < 100; i++) front.indirect(BLKIF_OP.read, 0, segments);
    front.push();
    while (front.events.deliver() > 0);
    expect(source.waiting).toHaveLength(32);
    while (source.waiting.length > 0) source.waiting.shift()!();
    expect(front.answers()).toHaveLength(100);
  });

  it('that fails is an error of the request and a line in the log', () => {
    const source = slow(new MemorySource({ size: 1 << 20 }));
    source.read = (_offset, _into, done) => done(new Error('the disk is on fire'));
    const front = new Front({ source });
    front.connect();
    front.transfer(BLKIF_OP.read, 0, [{ gref: front.page(), ...WHOLE }]);
    expect(front.status()).toBe(error);
    expect(front.log).toEqual(['the disk is on fire']);
  });
});

describe('large work', () => {
  it('is done in turns', () => {
    const front = new Front({ source: new MemorySource({ size: 4 << 20 }) }, 64, 16);
    front.connect();
    const segments = Array.from({ length: 256 }, () => ({ gref: front.page(), ...WHOLE }));
    for (let i = 0; i < 100; i++) front.indirect(BLKIF_OP.read, 0, segments);
    front.push();
    const first = front.answers().length;
    expect(first).toBeLessThan(30);
    let turns = 0;
    while (front.events.deliver() > 0) turns++;
    expect(turns).toBeGreaterThan(3);
    expect(front.answers()).toHaveLength(100 - first);
  });
});

describe('a hostile front end', () => {
  it('is let go when its indices make no sense', () => {
    const front = new Front();
    front.connect();
    new DataView(front.ringPages[0].buffer).setUint32(0, 5000, true);
    front.domain.send(PORT);
    expect(front.complaints).toEqual(['ring: indices out of range']);
    expect(front.domain.mapped).toBe(0);
  });

  it('can hurt nobody by whatever it writes into its ring', () => {
    const number = fc.oneof(fc.constantFrom(0, 1, 2, 3, 5, 6, 11, 100, 101, 255, 0xffffffff), fc.nat(0xffffffff));
    const write = fc.record({ at: fc.nat(1023), value: number, kick: fc.boolean() });
    fc.assert(
      fc.property(fc.array(write, { maxLength: 60 }), fc.boolean(), fc.boolean(), (writes, is32, isPersistent) => {
        const front = new Front({}, is32 ? 32 : 64);
        if (isPersistent) front.nodes['feature-persistent'] = '1';
        for (let i = 0; i < 4; i++) front.page();
        front.connect();
        const ring = new DataView(front.ringPages[0].buffer);
        for (const { at, value, kick } of writes) {
          ring.setUint32(at * 4, value, true);
          if (kick) ring.setUint32(0, (ring.getUint32(8, true) + (value & 7)) >>> 0, true);
          front.domain.send(PORT);
          front.events.deliver();
        }
        front.back.disconnect();
        expect(front.domain.mapped).toBe(0);
        expect(front.domain.handlers.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
