// memory_op: ballooning, exchanging, the memory map.
import { beforeEach, describe, expect, it } from 'vitest';
import { ulong } from '../../../src/abi/struct.ts';
import * as abi from '../../../src/abi/xen/memory.ts';
import { XENMEM } from '../../../src/abi/xen/memory.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { INVALID_PFN } from '../../../src/hypervisor/memory/m2p.ts';
import { type Guest, PAGE, RW, TestHost } from '../harness.ts';

const LIST = 1024;

describe('memory_op', () => {
  let host: TestHost;
  let guest: Guest;
  beforeEach(() => {
    host = new TestHost();
    guest = host.guest();
  });

  function reserve(
    op: number,
    list: bigint[],
    more: Partial<{ order: number; flags: number; domid: number; start: bigint }> = {},
  ) {
    const extentStart = more.start ?? guest.put(ulong, list, LIST);
    const value = {
      extentStart,
      nrExtents: BigInt(list.length),
      extentOrder: more.order ?? 0,
      memFlags: more.flags ?? 0,
      domid: more.domid ?? DOMID_SELF,
    };
    return guest.call('memory_op', op, guest.put(abi.xenMemoryReservation, [value]));
  }

  it('gives frames back and takes new ones, with the M2P kept true', () => {
    const { m2p, frames } = host.hypervisor;
    const [mfn] = guest.mfns.slice(-1);
    const before = { free: frames.free, pages: guest.domain.pages };
    expect(guest.updateVa(63, 0n)).toBe(0);
    expect(reserve(XENMEM.decrease_reservation, [BigInt(mfn)])).toBe(1);
    expect([frames.free, guest.domain.pages]).toEqual([before.free + 1, before.pages - 1]);
    expect(m2p.get(mfn)).toBe(INVALID_PFN);
    expect(reserve(XENMEM.populate_physmap, [63n, 64n])).toBe(2);
    const got = [guest.got(ulong, LIST), guest.got(ulong, LIST, 1)].map(Number);
    expect(got.map(m => m2p.get(m))).toEqual([63n, 64n]);
    expect(got.every(m => frames.owner[m] === guest.domain.id)).toBe(true);
    expect(guest.domain.pages).toBe(before.pages + 1);
  });

  it('returns 1, 0, 0 for the same page given back three times (XSA-277)', () => {
    const mfn = BigInt(guest.mfns[63]);
    expect(guest.updateVa(63, 0n)).toBe(0);
    const give = () => reserve(XENMEM.decrease_reservation, [mfn]);
    expect([give(), give(), give()]).toEqual([1, 0, 0]);
  });

  it('keeps a page that is still mapped until its mapping goes', () => {
    const { frames } = host.hypervisor;
    const mfn = guest.mfns[63];
    expect(reserve(XENMEM.decrease_reservation, [BigInt(mfn)])).toBe(1);
    expect(frames.owner[mfn]).toBe(guest.domain.id);
    host.processor.guestStore(guest.va(63), 1n);
    expect(guest.updateVa(63, 0n, 0)).toBe(0);
    expect(frames.refCount[mfn]).toBe(0);
    expect(() => host.processor.guestStore(guest.va(63), 2n)).toThrow(); // no stale translation of a frame that is free
  });

  it('does not give away what it does not have', () => {
    const other = host.guest();
    const shared = host.hypervisor.frames.allocateXen(guest.domain.id, true);
    for (const mfn of [other.mfns[9], shared, host.hypervisor.m2p.firstMfn, 1 << 30]) {
      expect(reserve(XENMEM.decrease_reservation, [BigInt(mfn)])).toBe(0);
    }
    expect(reserve(XENMEM.decrease_reservation, [~0n & 0xffffffffffffffffn])).toBe(0);
    expect(reserve(XENMEM.populate_physmap, [1n], { domid: other.domain.id })).toBe(0);
  });

  it('stops at the most pages that the domain may have', () => {
    const room = guest.domain.maxPages - guest.domain.pages;
    expect(
      reserve(
        XENMEM.populate_physmap,
        Array.from({ length: room + 3 }, (_, i) => BigInt(100 + i)),
      ),
    ).toBe(room);
    expect(reserve(XENMEM.increase_reservation, [0n])).toBe(0);
  });

  it('gives extents of an order in a row and aligned, and refuses orders that are too large', () => {
    expect(reserve(XENMEM.populate_physmap, [256n], { order: 4 })).toBe(1);
    const mfn = Number(guest.got(ulong, LIST));
    expect(mfn % 16).toBe(0);
    expect(host.hypervisor.m2p.get(mfn + 15)).toBe(271n);
    expect(reserve(XENMEM.populate_physmap, [512n], { order: 10 })).toBe(0);
    expect(reserve(XENMEM.populate_physmap, [512n], { order: 0xffffffff })).toBe(0);
  });

  it('survives nodes and address widths that there are not (XSA-231)', () => {
    for (const node of [1, 2, 63, 64, 255]) {
      for (const exact of [0, 1 << 17]) {
        const done = reserve(XENMEM.increase_reservation, [0n], { flags: (node << 8) | exact });
        expect(done).toBe(exact ? 0 : 1);
      }
    }
    expect(reserve(XENMEM.increase_reservation, [0n], { flags: 12 })).toBe(0);
    expect(reserve(XENMEM.increase_reservation, [0n], { flags: 32 })).toBe(1);
    expect(reserve(XENMEM.increase_reservation, [0n], { flags: 13 })).toBe(0); // the first two frames are Xen's
  });

  it('takes list pointers that lead nowhere', () => {
    for (const start of [0n, 0x1000n, 0xffff_8000_0000_0000n, ~0n & 0xffffffffffffffffn]) {
      expect(reserve(XENMEM.decrease_reservation, [1n], { start })).toBe(0);
      expect(reserve(XENMEM.populate_physmap, [1n], { start })).toBe(0);
    }
  });

  it('exchanges unused frames, and checks both lists before it writes (XSA-212)', () => {
    const { frames, m2p } = host.hypervisor;
    const exchange = (mfns: bigint[], out: { start: bigint; order: number; count: number }) =>
      guest.try(
        'memory_op',
        XENMEM.exchange,
        guest.put(abi.xenMemoryExchange, [
          {
            in: {
              extentStart: guest.put(ulong, mfns, LIST),
              nrExtents: BigInt(mfns.length),
              extentOrder: 0,
              memFlags: 0,
              domid: DOMID_SELF,
            },
            out: {
              extentStart: out.start,
              nrExtents: BigInt(out.count),
              extentOrder: out.order,
              memFlags: 0,
              domid: DOMID_SELF,
            },
            nrExchanged: 0n,
          },
        ]),
      );
    const mfns = [60, 61, 62, 63].map(p => BigInt(guest.mfns[p]));
    const list = guest.put(ulong, [60n], 2048);
    expect(exchange(mfns, { start: list, order: 2, count: 1 })).toBe('-EINVAL'); // mapped
    for (const p of [60, 61, 62, 63]) expect(guest.updateVa(p, 0n)).toBe(0);
    expect(exchange(mfns, { start: 0xffff_8000_0000_0000n, order: 2, count: 1 })).toBe('-EFAULT');
    expect(exchange(mfns, { start: list, order: 1, count: 1 })).toBe('-EINVAL'); // sizes differ
    expect(exchange([mfns[0], mfns[0], mfns[1], mfns[2]], { start: list, order: 2, count: 1 })).toBe('-EINVAL');
    const pages = guest.domain.pages;
    expect(exchange(mfns, { start: list, order: 2, count: 1 })).toBe('0');
    const mfn = Number(guest.got(ulong, 2048));
    expect(mfn % 4).toBe(0);
    expect([0, 1, 2, 3].map(n => m2p.get(mfn + n))).toEqual([60n, 61n, 62n, 63n]);
    expect(guest.domain.pages).toBe(pages);
    expect(guest.got(abi.xenMemoryExchange).nrExchanged).toBe(4n);
    expect(frames.refCount[Number(mfns[0])]).toBe(0);
  });

  it('tells the memory map, -ENOSYS without one', () => {
    const ask = (nrEntries: number) =>
      guest.try(
        'memory_op',
        XENMEM.memory_map,
        guest.put(abi.xenMemoryMap, [{ nrEntries, buffer: guest.va(PAGE.arguments, 512) }]),
      );
    expect(ask(4)).toBe('-ENOSYS');
    guest.domain.memoryMap = [
      { address: 0n, size: 0x4000000n, type: 1 },
      { address: 0xfee00000n, size: 4096n, type: 2 },
    ];
    expect(ask(8)).toBe('0');
    expect(guest.got(abi.xenMemoryMap).nrEntries).toBe(2);
    const at = host.memory.frameOffset(guest.mfns[PAGE.arguments]) + 512;
    expect(host.memory.view.getBigUint64(at + 8, true)).toBe(0x4000000n);
    expect(host.memory.view.getUint32(at + 36, true)).toBe(2);
    expect(ask(1)).toBe('0');
    expect(guest.got(abi.xenMemoryMap).nrEntries).toBe(1);
    expect(guest.try('memory_op', XENMEM.machine_memory_map, 0)).toBe('-EPERM');
  });

  it('says where the M2P is and how much there is', () => {
    expect(guest.call('memory_op', XENMEM.machphys_mapping, guest.va(PAGE.arguments))).toBe(0);
    expect(guest.got(abi.xenMachphysMapping)).toEqual({
      vStart: 0xffff_8000_0000_0000n,
      vEnd: 0xffff_8040_0000_0000n,
      maxMfn: 0x7ffffffffn,
    });
    expect(guest.call('memory_op', XENMEM.maximum_ram_page)).toBe(host.memory.frames);
    // What stands above the command in the register means nothing (XSA-454).
    expect(guest.call('memory_op', (0xdeadn << 32n) | BigInt(XENMEM.maximum_ram_page))).toBe(host.memory.frames);
    guest.put(ulong, [BigInt(DOMID_SELF)]);
    expect(guest.call('memory_op', XENMEM.current_reservation, guest.va(PAGE.arguments))).toBe(64);
    expect(guest.call('memory_op', XENMEM.maximum_reservation, guest.va(PAGE.arguments))).toBe(128);
    expect(guest.try('memory_op', 63, 0)).toBe('-ENOSYS');
    guest.put(abi.xenAddToPhysmap, [{ ...abi.xenAddToPhysmap.zero(), domid: DOMID_SELF }]);
    expect(guest.try('memory_op', XENMEM.add_to_physmap, guest.va(PAGE.arguments))).toBe('-EACCES');
    expect(guest.updateVa(9, guest.entry(9, RW))).toBe(0);
  });
});
