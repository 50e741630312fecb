// A disk's back end under front ends that change states, nodes, grants and rings at any time, with a medium that answers when it likes.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BLKIF_OP } from '../../../src/abi/xen/io/blkif.ts';
import { Blkback } from '../../../src/backends/block/blkback.ts';
import { MemorySource } from '../../../src/backends/block/memory-source.ts';
import type { BlockDone, BlockSource } from '../../../src/backends/block/source.ts';
import { BackendDevice } from '../../../src/backends/xenbus/backend-device.ts';
import { setPageU32 } from '../../../src/protocols/shared-page.ts';
import { makeStore } from '../xenstore/guest.ts';
import { Front, PORT } from './front.ts';

const BACK = '/local/domain/0/backend/vbd/1/51712';
const FRONT = '/local/domain/1/device/vbd/51712';
const PAGES = 6;
const SIZE = 64 << 10;

/** A medium whose answers come when the test lets them. */
class SlowSource implements BlockSource {
  readonly waiting: (() => void)[] = [];
  readonly sectorSize = 512;
  readonly isReadOnly = false;
  readonly canDiscard = true;
  readonly isImmediate = false;
  readonly #inner = new MemorySource({ size: SIZE });
  readonly size = SIZE;
  read = (offset: number, into: readonly Uint8Array[], done: BlockDone) =>
    void this.waiting.push(() => this.#inner.read(offset, into, done));
  write = (offset: number, from: readonly Uint8Array[], done: BlockDone) =>
    void this.waiting.push(() => this.#inner.write(offset, from, done));
  flush = (done: BlockDone) => void this.waiting.push(() => done(null));
  discard = (_offset: number, _length: number, done: BlockDone) => void this.waiting.push(() => done(new Error('no')));
  writeZeroes = (offset: number, length: number, done: BlockDone) =>
    void this.waiting.push(() => this.#inner.writeZeroes(offset, length, done));
  close(): void {}
}

const segment = fc.record({
  gref: fc.constantFrom(100, 101, 102, 103, 104, 105, 8, 999),
  firstSect: fc.nat(8),
  lastSect: fc.nat(8),
});
const action = fc.oneof(
  fc.record({ do: fc.constant('state' as const), value: fc.constantFrom(0, 1, 3, 4, 4, 5, 6, 9) }),
  fc.record({
    do: fc.constant('node' as const),
    name: fc.constantFrom(
      'ring-ref',
      'ring-page-order',
      'event-channel',
      'protocol',
      'feature-persistent',
      'multi-queue-num-queues',
    ),
    value: fc.constantFrom('0', '1', '5', '8', '99', 'x86_32-abi', '', '-1'),
  }),
  fc.record({
    do: fc.constant('transfer' as const),
    operation: fc.constantFrom(BLKIF_OP.read, BLKIF_OP.write, BLKIF_OP.writeBarrier, BLKIF_OP.flushDiskcache),
    sector: fc.oneof(fc.nat(SIZE / 512), fc.constantFrom(2 ** 52, 127)),
    segments: fc.array(segment, { maxLength: 11 }),
  }),
  fc.record({ do: fc.constant('indirect' as const), segments: fc.array(segment, { maxLength: 20 }) }),
  fc.record({ do: fc.constant('discard' as const), sector: fc.nat(200), sectors: fc.nat(200) }),
  fc.record({
    do: fc.constant('scribble' as const),
    at: fc.nat(1023),
    value: fc.oneof(fc.nat(70), fc.nat(0xffffffff)),
  }),
  fc.record({ do: fc.constant('revoke' as const), ref: fc.constantFrom(8, 100, 101, 102) }),
  fc.record({ do: fc.constant('grant' as const), ref: fc.constantFrom(8, 100, 101, 102), readonly: fc.boolean() }),
  fc.record({ do: fc.constant('answer' as const), which: fc.nat(10) }),
  fc.record({ do: fc.constant('good' as const) }),
);

it('nothing throws, loops, or is kept', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 80 }), fc.boolean(), (steps, isPersistent) => {
      const store = makeStore();
      const source = new SlowSource();
      // The ring's and pages' side of a front end; its own back end is not used.
      const front = new Front();
      const { domain, events } = front;
      const ring = front.ringPages[0]!;
      for (let i = 0; i < PAGES; i++) front.page(undefined, i % 3 === 2);
      store.host.write(`${BACK}/state`, '1');
      store.host.write(`${FRONT}/state`, '1');
      const driver = new Blkback({
        domain,
        source,
        abi: 64,
        isReadOnly: false,
        later: handler => events.raise(handler),
        broken: reason => device.fail(reason),
      });
      const device: BackendDevice = new BackendDevice({
        store: store.host,
        backendPath: BACK,
        frontendPath: FRONT,
        driver,
      });
      const good = (): void => {
        const nodes = { ...front.nodes, protocol: 'x86_64-abi', 'feature-persistent': isPersistent ? '1' : '0' };
        for (const name of ['ring-page-order', 'multi-queue-num-queues']) store.host.write(`${FRONT}/${name}`, '0');
        store.host.write(`${FRONT}/multi-queue-num-queues`, '1');
        for (const [name, value] of Object.entries(nodes)) store.host.write(`${FRONT}/${name}`, value);
        store.host.write(`${FRONT}/state`, '1');
        store.host.write(`${FRONT}/state`, '3');
      };
      good();
      for (const step of steps) {
        const room = front.rings[0]!.free > 0;
        if (step.do === 'state') store.host.write(`${FRONT}/state`, String(step.value));
        else if (step.do === 'node') store.host.write(`${FRONT}/${step.name}`, step.value);
        else if (step.do === 'transfer' && room) front.transfer(step.operation, step.sector, step.segments);
        else if (step.do === 'indirect' && room) front.indirect(BLKIF_OP.write, 0, step.segments);
        else if (step.do === 'discard' && room) front.discard(step.sector, step.sectors);
        else if (step.do === 'scribble') setPageU32(ring, step.at * 4, step.value);
        else if (step.do === 'revoke') domain.pages.delete(step.ref);
        else if (step.do === 'grant') {
          domain.pages.set(step.ref, { bytes: step.ref === 8 ? ring : new Uint8Array(4096), readonly: step.readonly });
        } else if (step.do === 'answer') source.waiting.splice(step.which, 1)[0]?.();
        else if (step.do === 'good') {
          ring.fill(0, 0, 64);
          good();
        }
        if (front.rings[0]!.push()) domain.send(PORT);
        events.deliver();
      }
      device.stop();
      // What the medium answers now is nobody's any more.
      for (const answer of source.waiting.splice(0)) answer();
      events.deliver();
      expect([domain.mapped, domain.handlers.size]).toEqual([0, 0]);
    }),
    { numRuns: 300 },
  );
});
