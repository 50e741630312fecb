// Page types: what may become a page table, and what may then no longer be done to it.
import { beforeEach, describe, expect, it } from 'vitest';
import { GuestFault } from '../../../src/cpu/exits.ts';
import { errnoName } from '../../../src/hypervisor/errors.ts';
import { PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import { type Guest, PAGE, pte, RO, RW, TABLE, TestHost } from '../harness.ts';

const GUEST_KERNEL = 1n << 52n;
const [T, U] = [PAGE.firstData, PAGE.firstData + 1];
const page = (n: number) => PAGE.firstData + n;

describe('page types', () => {
  let host: TestHost;
  let guest: Guest;
  const rc = (n: number) => errnoName(n);
  beforeEach(() => {
    host = new TestHost();
    guest = host.guest();
  });

  it('types the tables of the running address space and counts what they hold', () => {
    const { frames } = guest;
    expect([PAGE.l4, PAGE.l3, PAGE.l2, PAGE.l1].map(p => frames.type[guest.mfns[p]])).toEqual([4, 3, 2, 1]);
    // base pointer and pin
    expect(frames.typeCount[guest.mfns[PAGE.l4]]).toBe(2);
    expect(frames.type[guest.mfns[T]]).toBe(PageType.writable);
    expect([frames.typeCount[guest.mfns[T]], frames.refCount[guest.mfns[T]]]).toEqual([1, 2]);
    expect([frames.typeCount[guest.mfns[PAGE.l1]], frames.refCount[guest.mfns[PAGE.l1]]]).toEqual([1, 3]);
  });

  it('rewrites entries: kernel pages get U and bit 52, user pages G, upper levels U', () => {
    expect(guest.peek(PAGE.l1, T) & (GUEST_KERNEL | 0x107n)).toBe(GUEST_KERNEL | 0x7n);
    guest.poke(T, 0, guest.entry(U, RW | 4n));
    guest.poke(T, 1, guest.entry(U, RO));
    guest.protect(T);
    expect(guest.pin(1, T)).toBe(0);
    expect(guest.peek(T, 0) & (GUEST_KERNEL | 0x107n)).toBe(0x107n);
    expect(guest.peek(T, 1) & (GUEST_KERNEL | 0x107n)).toBe(GUEST_KERNEL | 0x5n);
    expect(guest.peek(PAGE.l4, 511) & 4n).toBe(4n);
  });

  it('refuses to make a table of a page that is mapped writable, and a writable mapping of a table', () => {
    expect(rc(guest.pin(1, T))).toBe('-EINVAL');
    guest.protect(T);
    expect(guest.pin(1, T)).toBe(0);
    expect(rc(guest.updateVa(T, guest.entry(T, RW)))).toBe('-EBUSY');
    expect(rc(guest.pin(1, T))).toBe('-EINVAL'); // already pinned
    expect(guest.unpin(T)).toBe(0);
    expect(rc(guest.unpin(T))).toBe('-EINVAL');
    expect(guest.updateVa(T, guest.entry(T, RW))).toBe(0);
  });

  it('refuses a page of one table level as another', () => {
    guest.protect(T);
    expect(guest.pin(1, T)).toBe(0);
    for (const level of [2, 3, 4] as const) expect(rc(guest.pin(level, T))).toBe('-EINVAL');
  });

  it('puts everything back when validation fails half way', () => {
    const { frames } = guest;
    const before = [frames.refCount[guest.mfns[U]], frames.typeCount[guest.mfns[U]]];
    for (let slot = 0; slot < 5; slot++) guest.poke(T, slot, guest.entry(U, RW));
    guest.poke(T, 5, pte(host.memory.frames + 5, RW)); // device space
    guest.protect(T);
    expect(rc(guest.pin(1, T))).toBe('-EPERM');
    expect([frames.refCount[guest.mfns[U]], frames.typeCount[guest.mfns[U]]]).toEqual(before);
    expect(frames.typeCount[guest.mfns[T]]).toBe(0);
    expect(guest.updateVa(T, guest.entry(T, RW))).toBe(0);
  });

  it('refuses flags that guests may not set', () => {
    const bad = { pwt: 8n, pcd: 0x10n, pat: 0x80n };
    for (const flag of Object.values(bad)) expect(rc(guest.updateVa(T, guest.entry(T, RW | flag)))).toBe('-EINVAL');
    expect(guest.updateVa(T, guest.entry(T, RW | 0x100n))).toBe(0); // G is ignored in L1
    guest.protect(U);
    for (const flag of [8n, 0x10n, 0x80n, 0x100n]) {
      const update = [guest.entryAddress(PAGE.l2, 1), guest.entry(U, TABLE | flag)] as const;
      expect(rc(guest.mmuUpdate([update]))).toBe('-EINVAL');
    }
  });

  it('keeps frames of other domains, of Xen and of nobody out of reach', () => {
    const other = host.guest();
    const free = host.memory.frames - 1;
    const xen = host.hypervisor.m2p.firstMfn;
    for (const mfn of [other.mfns[T], free, xen]) {
      for (const flags of [RW, RO]) expect(rc(guest.updateVa(T, pte(mfn, flags)))).toBe('-EBUSY');
      expect(rc(guest.mmuUpdate([[BigInt(mfn) << 12n, 0n]]))).toBe('-EINVAL');
      expect(rc(guest.mmuext({ cmd: 0, mfn }))).toBe('-EINVAL');
    }
    expect(rc(guest.updateVa(T, pte(host.memory.frames, RO)))).toBe('-EPERM');
    expect(rc(guest.updateVa(T, pte(2 ** 40 - 1, RO)))).toBe('-EINVAL');
  });

  it('lets a domain with device memory map that, uncacheable', () => {
    const device = host.memory.frames + 10;
    guest.domain.ioMemory.push([device, device + 1]);
    expect(guest.updateVa(T, pte(device, RW))).toBe(0);
    expect(guest.peek(PAGE.l1, T) & 0x98n).toBe(0x18n); // UC
    expect(guest.updateVa(T, pte(device + 1, RW | 0x80n))).toBe(0);
    expect(guest.peek(PAGE.l1, T) & 0x98n).toBe(0x80n); // WC stays
    expect(rc(guest.updateVa(T, pte(device + 2, RW)))).toBe('-EPERM');
    expect(guest.updateVa(T, guest.entry(T, RW))).toBe(0);
  });

  it('lets a guest map shared_info, but not make a table of it', () => {
    const mfn = host.hypervisor.frames.allocateXen(guest.domain.id, true);
    expect(guest.updateVa(T, pte(mfn, RW))).toBe(0);
    expect(guest.updateVa(T, guest.entry(T, RW))).toBe(0);
    expect(rc(guest.mmuext({ cmd: 0, mfn }))).toBe('-EINVAL');
  });

  it('allows a recursive read-only L4 entry, and refuses to make it writable (XSA-182)', () => {
    const slot = guest.entryAddress(PAGE.l4, 100);
    expect(rc(guest.mmuUpdate([[slot, guest.entry(PAGE.l4, 0x67n)]]))).toBe('-EINVAL');
    expect(guest.mmuUpdate([[slot, guest.entry(PAGE.l4, 0x65n)]])).toBe(0);
    expect(rc(guest.mmuUpdate([[slot, guest.entry(PAGE.l4, 0x67n)]]))).toBe('-EINVAL');
    expect(guest.mmuUpdate([[slot, guest.entry(PAGE.l4, 0x25n)]])).toBe(0); // other flags may change
    expect(guest.mmuUpdate([[slot, 0n]])).toBe(0);
  });

  it('does not chain linear page tables of different roots (XSA-240)', () => {
    const roots = [page(0), page(1), page(2)];
    for (const root of roots) {
      guest.protect(root);
      expect(guest.pin(4, root)).toBe(0);
    }
    const link = (from: number, to: number) => guest.mmuUpdate([[guest.entryAddress(from, 7), guest.entry(to, 0x25n)]]);
    expect(link(roots[0], roots[1])).toBe(0);
    expect(rc(link(roots[1], roots[2]))).toBe('-EINVAL'); // [1] is pointed at, so it may not point on
    expect(rc(link(roots[2], roots[0]))).toBe('-EINVAL'); // [0] points on, so it may not be pointed at
    // [1] outlives its own pin as long as it is linked.
    expect(guest.unpin(roots[1])).toBe(0);
    expect(rc(guest.updateVa(roots[1], guest.entry(roots[1], RW)))).toBe('-EBUSY');
    expect(guest.mmuUpdate([[guest.entryAddress(roots[0], 7), 0n]])).toBe(0);
    expect(guest.updateVa(roots[1], guest.entry(roots[1], RW))).toBe(0);
  });

  it("refuses updates of Xen's slots and fills them in every L4", () => {
    for (const slot of [256, 260, 271]) {
      expect(rc(guest.mmuUpdate([[guest.entryAddress(PAGE.l4, slot), 0n]]))).toBe('-EINVAL');
    }
    expect(guest.mmuUpdate([[guest.entryAddress(PAGE.l4, 272), 0n]])).toBe(0);
    guest.poke(T, 256, guest.entry(U, TABLE)); // what the guest left there is overwritten, not validated
    guest.poke(T, 263, 0xdead067n);
    guest.protect(T);
    expect(guest.pin(4, T)).toBe(0);
    expect(guest.peek(T, 256)).toBe(guest.peek(PAGE.l4, 256));
    expect(guest.peek(T, 263)).toBe(0n);
  });

  it('shows the M2P to the guest, read-only, and faults beyond its end', () => {
    const m2p = 0xffff_8000_0000_0000n;
    expect(host.processor.guestLoad(m2p + BigInt(guest.mfns[T] * 8))).toBe(BigInt(T));
    expect(host.processor.guestLoad(m2p)).toBe(0xffffffffffffffffn);
    expect(() => host.processor.guestStore(m2p, 1n)).toThrow(GuestFault);
    expect(() => host.processor.guestLoad(m2p + BigInt(host.hypervisor.m2p.frames * 4096))).toThrow(GuestFault);
  });

  it('leaves no stale write access when a page becomes a table', () => {
    host.processor.guestStore(guest.va(T), 0n);
    expect(guest.updateVa(T, guest.entry(T, RO), 0)).toBe(0); // no flush asked for
    expect(guest.pin(1, T)).toBe(0);
    // The stale translation allows no direct write any more; the entry goes through validation.
    expect(() => host.processor.guestStore(guest.va(T), pte(0, RW))).toThrow(GuestFault);
    expect(guest.peek(T, 0)).toBe(0n);
  });

  it('applies updates of an L1 that two trees share (XSA-286)', () => {
    // A second L2 is swapped in under the same address; the next update must meet the new tree.
    const [l2, l1] = [page(0), page(1)];
    for (let slot = 0; slot < 64; slot++) guest.poke(l1, slot, guest.peek(PAGE.l1, slot) & ~2n);
    guest.poke(l2, 0, guest.entry(l1, TABLE));
    guest.protect(l1);
    guest.protect(l2);
    guest.poke(l1, PAGE.arguments, guest.entry(PAGE.arguments, RW));
    host.processor.guestLoad(guest.va(T)); // a translation through the old tree
    expect(guest.mmuUpdate([[guest.entryAddress(PAGE.l3, 510), guest.entry(l2, TABLE)]])).toBe(0);
    expect(guest.updateVa(page(3), guest.entry(page(4), RO))).toBe(0);
    expect((guest.peek(l1, page(3)) >> 12n) & 0xffffffffffn).toBe(BigInt(guest.mfns[page(4)]));
    expect((guest.peek(PAGE.l1, page(3)) >> 12n) & 0xffffffffffn).toBe(BigInt(guest.mfns[page(3)]));
  });
});
