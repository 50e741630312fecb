// Writable page tables: stores to a table that is mapped read-only, as atomic updates of live entries are made.
import { beforeEach, describe, expect, it } from 'vitest';
import { GuestFault } from '../../../src/cpu/exits.ts';
import { type Guest, PAGE, pte, RO, RW, TestHost } from '../harness.ts';

describe('writable page tables', () => {
  let host: TestHost;
  let guest: Guest;
  const slot = 20;
  const at = () => guest.va(PAGE.l1, slot * 8);
  const store = (value: bigint, size: 1 | 2 | 4 | 8 = 8, offset = 0) =>
    host.processor.guestStore(at() + BigInt(offset), value, size);
  beforeEach(() => {
    host = new TestHost();
    guest = host.guest();
    expect(guest.call('vm_assist', 0, 2)).toBe(0);
  });

  it('applies a store as an update of the entry, with references and rewriting', () => {
    const { frames } = guest;
    const [old, next] = [guest.mfns[slot], guest.mfns[slot + 1]];
    store(pte(next, RW));
    expect(guest.peek(PAGE.l1, slot)).toBe(pte(next, RW | 4n) | (1n << 52n));
    expect([frames.typeCount[old], frames.typeCount[next]]).toEqual([0, 2]);
    store(0n);
    expect(frames.typeCount[next]).toBe(1);
  });

  it('merges stores that are narrower than an entry', () => {
    const before = guest.peek(PAGE.l1, slot);
    store(0x21n, 1); // clears W and D as a byte-sized AND does
    expect(guest.peek(PAGE.l1, slot)).toBe((before & ~0xffn) | 0x25n);
    expect(guest.frames.typeCount[guest.mfns[slot]]).toBe(0);
    store(0x8000n, 2, 6); // its topmost two bytes: NX is set, bit 52 goes, so it is a user page now
    expect(guest.peek(PAGE.l1, slot) >> 48n).toBe(0x8000n);
    expect(guest.peek(PAGE.l1, slot) & 0x104n).toBe(0x104n);
  });

  it('faults where the update is refused, and changes nothing', () => {
    const before = guest.peek(PAGE.l1, slot);
    for (const value of [guest.entry(PAGE.l1, RW), pte(host.memory.frames, RW), pte(0, RO), guest.entry(9, RW | 8n)]) {
      expect(() => store(value)).toThrow(GuestFault);
      expect(guest.peek(PAGE.l1, slot)).toBe(before);
    }
  });

  it('is for kernel mode, for L1 tables, and only if asked for', () => {
    expect(() => host.processor.guestStore(guest.va(PAGE.l2, 8), 0n)).toThrow(GuestFault);
    guest.vcpu.pv.inKernel = false;
    expect(() => store(0n)).toThrow(GuestFault);
    guest.vcpu.pv.inKernel = true;
    expect(guest.call('vm_assist', 1, 2)).toBe(0);
    expect(() => store(0n)).toThrow(GuestFault);
    expect(guest.peek(PAGE.l1, slot)).not.toBe(0n);
  });

  it('refuses assists that there are not', () => {
    expect(guest.try('vm_assist', 0, 6)).toBe('-EINVAL');
    expect(guest.try('vm_assist', 2, 2)).toBe('-ENOSYS');
  });
});
