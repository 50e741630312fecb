// Taking a domain down: everything it held is free again, except what others still hold.
import { expect, it } from 'vitest';
import { putL1 } from '../../../src/hypervisor/memory/entries.ts';
import { PAGE, pte, RO, TestHost } from '../harness.ts';

it('frees all frames of a domain, pinned and linear tables, GDT and LDT among them', () => {
  const host = new TestHost();
  const { frames } = host.hypervisor;
  const before = frames.free;
  const guest = host.guest();
  guest.domain.sharedInfoMfn = frames.allocateXen(guest.domain.id, true);
  expect(guest.updateVa(20, pte(guest.domain.sharedInfoMfn, RO))).toBe(0);
  guest.protect(10);
  expect(guest.pin(4, 10)).toBe(0);
  expect(guest.mmuUpdate([[guest.entryAddress(PAGE.l4, 3), guest.entry(10, 0x25n)]])).toBe(0);
  expect(guest.mmuUpdate([[guest.entryAddress(PAGE.l4, 4), guest.entry(PAGE.l4, 0x25n)]])).toBe(0);
  guest.protect(11);
  guest.host.memory.view.setBigUint64(
    host.memory.frameOffset(guest.mfns[PAGE.arguments]),
    BigInt(guest.mfns[11]),
    true,
  );
  expect(guest.call('set_gdt', guest.va(PAGE.arguments), 512)).toBe(0);
  host.hypervisor.destroyDomain(guest.domain);
  expect(frames.free).toBe(before);
  expect(host.hypervisor.domains.size).toBe(0);
  expect(guest.domain.pages).toBe(0);
});

it('keeps a dying domain while another holds one of its frames', () => {
  const host = new TestHost();
  const { frames, domains } = host.hypervisor;
  const owner = host.guest();
  const mfn = owner.mfns[10];
  expect(frames.getPage(mfn, owner.domain.id)).toBe(true); // as a grant's mapping does
  host.hypervisor.destroyDomain(owner.domain);
  expect(domains.has(owner.domain.id)).toBe(true);
  expect(owner.domain.pages).toBe(1);
  putL1(frames, Number(pte(mfn, RO)), 0, undefined);
  host.hypervisor.reap();
  expect(domains.has(owner.domain.id)).toBe(false);
});
