// XENMEM_exchange as a kernel that drives devices makes it (Linux, xen_create_contiguous_region and its reverse): scattered frames for a run of
// them that a device can reach, and back. The run is contiguous, below the bound, and nobody else's.
import { beforeEach, describe, expect, it } from 'vitest';
import { ulong } from '../../../src/abi/struct.ts';
import * as abi from '../../../src/abi/xen/memory.ts';
import { XENMEM } from '../../../src/abi/xen/memory.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { INVALID_PFN } from '../../../src/hypervisor/memory/m2p.ts';
import { type Guest, pte, RW, TestHost } from '../harness.ts';
import { checkInvariants } from './invariants.ts';

const IN = 1024;
const OUT = 2048;
const ORDER = 3;
const COUNT = 2 ** ORDER;
/** The pages that are exchanged: they stand far apart in the machine. */
const FIRST = 40;
const PFNS = Array.from({ length: COUNT }, (_, i) => FIRST + i);

let host: TestHost;
let dom0: Guest;
beforeEach(() => {
  host = new TestHost(2048);
  dom0 = host.guest({ id: 0, isPrivileged: true });
});

interface Side {
  start: bigint;
  count: number;
  order: number;
  flags?: number;
  domid?: number;
}
const side = ({ start, count, order, flags = 0, domid = DOMID_SELF }: Side) => ({
  ...{ extentStart: start, nrExtents: BigInt(count), extentOrder: order, memFlags: flags, domid },
});
function exchange(g: Guest, from: Side, to: Side, nrExchanged = 0n): string {
  const value = { in: side(from), out: side(to), nrExchanged };
  return g.try('memory_op', XENMEM.exchange, g.put(abi.xenMemoryExchange, [value]));
}

/** Takes the pages out of the page tables and asks for a run of as many, reachable with so many address bits. */
function contiguous(g: Guest, bits: number): string {
  for (const pfn of PFNS) expect(g.updateVa(pfn, 0n)).toBe(0);
  const mfns = PFNS.map(pfn => BigInt(g.mfns[pfn]));
  const from = { start: g.put(ulong, mfns, IN), count: COUNT, order: 0 };
  return exchange(g, from, { start: g.put(ulong, [BigInt(FIRST)], OUT), count: 1, order: ORDER, flags: bits });
}

describe('a run for a device', () => {
  it.each([21, 22, 32, 64])('below 2^%d bytes', bits => {
    const { frames, m2p } = host.hypervisor;
    const { pages } = dom0.domain;
    const { free } = frames;
    const given = PFNS.map(pfn => dom0.mfns[pfn]);
    expect(contiguous(dom0, bits)).toBe('0');
    const first = Number(dom0.got(ulong, OUT));
    expect(first % COUNT).toBe(0);
    expect((first + COUNT) * 4096).toBeLessThanOrEqual(2 ** Math.min(bits, 23));
    const run = PFNS.map((_, i) => first + i);
    expect(run.map(mfn => frames.owner[mfn])).toEqual(PFNS.map(() => 0));
    expect(run.map(mfn => frames.refCount[mfn])).toEqual(PFNS.map(() => 1));
    expect(run.map(mfn => m2p.get(mfn))).toEqual(PFNS.map(BigInt));
    expect(given.map(mfn => m2p.get(mfn))).toEqual(PFNS.map(() => INVALID_PFN));
    expect(given.map(mfn => frames.refCount[mfn])).toEqual(PFNS.map(() => 0));
    expect(dom0.got(abi.xenMemoryExchange).nrExchanged).toBe(BigInt(COUNT));
    expect([dom0.domain.pages, frames.free]).toEqual([pages, free]);
    // What was given is not to be mapped any more, what was got is.
    expect(dom0.updateVa(FIRST, pte(given[0], RW))).toBe(-16);
    for (const [i, pfn] of PFNS.entries()) expect(dom0.updateVa(pfn, pte(run[i], RW))).toBe(0);
    host.processor.guestStore(dom0.va(FIRST + 1), 0x1234n);
    expect(host.memory.view.getBigUint64(host.memory.frameOffset(run[1]), true)).toBe(0x1234n);
    checkInvariants(host);
  });

  it('comes without what others had written there', () => {
    const other = host.guest();
    const dirty = [...other.mfns];
    for (const mfn of dirty.slice(8)) host.memory.frame(mfn).fill(0xee);
    host.hypervisor.destroyDomain(other.domain);
    dom0.run();
    expect(contiguous(dom0, 19)).toBe('0');
    const first = Number(dom0.got(ulong, OUT));
    expect(dirty.slice(8)).toEqual(expect.arrayContaining(PFNS.map((_, i) => first + i)));
    for (let i = 0; i < COUNT; i++) expect(host.memory.frame(first + i).every(byte => byte === 0)).toBe(true);
  });

  it('goes back for single frames, which may stand anywhere', () => {
    const { frames, m2p } = host.hypervisor;
    expect(contiguous(dom0, 22)).toBe('0');
    const first = dom0.got(ulong, OUT);
    const from = { start: dom0.put(ulong, [first], IN), count: 1, order: ORDER };
    expect(exchange(dom0, from, { start: dom0.put(ulong, PFNS.map(BigInt), OUT), count: COUNT, order: 0 })).toBe('0');
    const got = PFNS.map((_, i) => Number(dom0.got(ulong, OUT, i)));
    expect(new Set(got).size).toBe(COUNT);
    expect(got.map(mfn => m2p.get(mfn))).toEqual(PFNS.map(BigInt));
    expect(got.every(mfn => frames.owner[mfn] === 0)).toBe(true);
    expect(frames.refCount[Number(first)]).toBe(0);
    checkInvariants(host);
  });

  it.each([1, 12, 13, 15])('is not to be had within %d address bits: nothing has changed then', bits => {
    const { frames, m2p } = host.hypervisor;
    const { free } = frames;
    const given = PFNS.map(pfn => dom0.mfns[pfn]);
    expect(contiguous(dom0, bits)).toBe('-ENOMEM');
    expect(given.map(mfn => m2p.get(mfn))).toEqual(PFNS.map(BigInt));
    expect([dom0.got(abi.xenMemoryExchange).nrExchanged, frames.free]).toEqual([0n, free]);
    for (const pfn of PFNS) expect(dom0.updateVa(pfn, dom0.entry(pfn, RW))).toBe(0);
    checkInvariants(host);
  });
});

describe('who may ask for how much', () => {
  it('an unprivileged domain for 2 MiB in a row, the control domain for more', () => {
    const guest = host.guest();
    const ask = (g: Guest, order: number): string =>
      exchange(g, { start: g.va(5), count: 2 ** order, order: 0 }, { start: g.va(6), count: 1, order });
    expect(ask(guest, 10)).toBe('-EPERM');
    expect(ask(dom0, 19)).toBe('-EPERM');
    expect(ask(dom0, 10)).toBe('-EINVAL'); // the list names no frames of its own
  });

  it('for others the control domain alone, and for one domain at a time', () => {
    const guest = host.guest();
    const ask = (g: Guest, one: number, two: number): string => {
      const list = g.put(ulong, [1n], IN);
      return exchange(
        g,
        { start: list, count: 1, order: 0, domid: one },
        { start: list, count: 1, order: 0, domid: two },
      );
    };
    expect(ask(guest, 0, 0)).toBe('-EPERM');
    expect(ask(guest, 77, 77)).toBe('-ESRCH');
    expect(ask(dom0, 0, guest.domain.id)).toBe('-EINVAL');
  });

  it('nobody for frames of others', () => {
    const guest = host.guest();
    const other = host.guest();
    const from = { start: guest.put(ulong, [BigInt(other.mfns[9])], IN), count: 1, order: 0 };
    expect(exchange(guest, from, { start: guest.put(ulong, [9n], OUT), count: 1, order: 0 })).toBe('-EINVAL');
  });
});
