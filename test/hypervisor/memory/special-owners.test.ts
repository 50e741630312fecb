// Frames that are no domain's, as a kernel maps them that drives the machine: device memory (DOMID_IO), and Xen's own that privileged domains may
// read (DOMID_XEN: the machine-to-physical table). Source: xen/arch/x86/mm.c get_page_from_l1e(), x86_64/mm.c subarch_memory_op().
import { beforeEach, describe, expect, it } from 'vitest';
import { ulong } from '../../../src/abi/struct.ts';
import { XENMEM, xenMachphysMapping, xenMachphysMfnList } from '../../../src/abi/xen/memory.ts';
import { DOMID_IO, DOMID_SELF, DOMID_XEN } from '../../../src/hypervisor/domain-ids.ts';
import { errnoName } from '../../../src/hypervisor/errors.ts';
import { type Guest, PAGE, pte, RO, RW, TestHost } from '../harness.ts';
import { checkInvariants } from './invariants.ts';

const LIST = 1024;
const VA_PAGE = 20;
/** Device memory above RAM, and what of it nobody may map: Xen's own devices. */
const DEVICE = 0xfeb00;
const OWN_DEVICE = 0xfec00;
const NOBODYS = 2 ** 40 - 1;
const FRAME_NUMBER = (1n << 40n) - 1n;
/** Flags of an entry that make it UC- or UC. */
const PWT = 0x08n;
const PCD = 0x10n;

let host: TestHost;
let dom0: Guest;
let guest: Guest;
beforeEach(() => {
  host = new TestHost();
  dom0 = host.guest({ id: 0, isPrivileged: true });
  dom0.domain.ioMemory = [
    [0, OWN_DEVICE - 1],
    [OWN_DEVICE + 1, 0xfffff],
  ];
  guest = host.guest();
});

/** The ways by which an entry gets into a kernel's tables. */
const WAYS: Readonly<Record<string, (g: Guest, entry: bigint, owner: number) => string>> = {
  mmu_update: (g, entry, owner) => errnoName(g.mmuUpdate([[g.entryAddress(PAGE.l1, VA_PAGE), entry]], owner)),
  update_va_mapping_otherdomain: (g, entry, owner) =>
    g.try('update_va_mapping_otherdomain', g.va(VA_PAGE), entry, 2, owner),
};

describe.each(Object.entries(WAYS))('%s', (_, map) => {
  describe('device memory', () => {
    it.each([DOMID_IO, DOMID_SELF, 0])('is the control domain’s as that of %d', owner => {
      expect(map(dom0, pte(DEVICE, RW | PCD), owner)).toBe('0');
      expect((dom0.peek(PAGE.l1, VA_PAGE) >> 12n) & FRAME_NUMBER).toBe(BigInt(DEVICE));
      expect(map(dom0, 0n, owner)).toBe('0');
      checkInvariants(host);
    });

    it('is never cached, whatever the entry says; write-combining stays', () => {
      const attributes = (): bigint => dom0.peek(PAGE.l1, VA_PAGE) & (PWT | PCD | 0x80n);
      for (const [asked, got] of [
        [0n, PWT | PCD],
        [PWT, PWT | PCD],
        [PCD, PCD],
        [PWT | PCD, PWT | PCD],
        [0x80n, 0x80n],
      ]) {
        expect(map(dom0, pte(DEVICE, RW | asked), DOMID_IO)).toBe('0');
        expect(attributes()).toBe(got);
      }
    });

    it('is refused where Xen keeps it, and where there can be none', () => {
      expect(map(dom0, pte(OWN_DEVICE, RW | PCD), DOMID_IO)).toBe('-EPERM');
      expect(map(dom0, pte(NOBODYS, RW | PCD), DOMID_IO)).toBe('-EINVAL');
      expect(map(dom0, pte(DEVICE, RW | PCD), DOMID_XEN)).toBe('-EPERM');
    });

    it('is refused to guests, as anybody’s', () => {
      for (const owner of [DOMID_IO, DOMID_SELF]) expect(map(guest, pte(DEVICE, RW), owner)).toBe('-EPERM');
      expect(map(guest, pte(DEVICE, RW), DOMID_XEN)).toBe('-EPERM');
      expect(map(guest, pte(DEVICE, RW), 0)).toBe('-EPERM');
    });

    it('is refused to one domain as that of another that may not use it', () => {
      expect(map(dom0, pte(DEVICE, RW), guest.domain.id)).toBe('-EPERM');
    });
  });

  it('no RAM is DOMID_IO’s', () => {
    for (const mfn of [dom0.mfns[9], guest.mfns[9], host.hypervisor.m2p.firstMfn]) {
      expect(map(dom0, pte(mfn, RO), DOMID_IO)).toBe('-EBUSY');
    }
  });

  describe('frames of Xen’s', () => {
    it('the control domain reads and does not write', () => {
      const { firstMfn } = host.hypervisor.m2p;
      expect(map(dom0, pte(firstMfn, RW), DOMID_XEN)).toBe('-EBUSY');
      expect(map(dom0, pte(firstMfn, RO), DOMID_SELF)).toBe('-EBUSY');
      expect(map(dom0, pte(firstMfn, RO), DOMID_XEN)).toBe('0');
      expect(() => host.processor.guestStore(dom0.va(VA_PAGE), 1n)).toThrow();
      expect(map(dom0, 0n, DOMID_XEN)).toBe('0');
      checkInvariants(host);
    });

    it('are nothing that another domain’s frame could pass for', () => {
      expect(map(dom0, pte(dom0.mfns[9], RO), DOMID_XEN)).toBe('-EBUSY');
      expect(map(dom0, pte(guest.mfns[9], RO), DOMID_XEN)).toBe('-EBUSY');
    });

    it('are refused to guests', () => {
      expect(map(guest, pte(host.hypervisor.m2p.firstMfn, RO), DOMID_XEN)).toBe('-EPERM');
      expect(map(guest, pte(host.hypervisor.m2p.firstMfn, RO), DOMID_SELF)).toBe('-EBUSY');
    });
  });
});

describe('the machine-to-physical table', () => {
  const list = (g: Guest, maxExtents: number, extentStart = g.put(ulong, [7n, 7n, 7n], LIST)): string =>
    g.try(
      'memory_op',
      XENMEM.machphys_mfn_list,
      g.put(xenMachphysMfnList, [{ maxExtents, extentStart, nrExtents: 9 }]),
    );

  it('is told by its extents of 2 MiB, and read through a mapping of them', () => {
    const { m2p } = host.hypervisor;
    expect(list(dom0, 4)).toBe('0');
    expect(dom0.got(xenMachphysMfnList).nrExtents).toBe(1);
    const first = Number(dom0.got(ulong, LIST));
    expect([first, dom0.got(ulong, LIST, 1)]).toEqual([m2p.firstMfn, 7n]);
    expect(list(dom0, 0)).toBe('0');
    expect(dom0.got(xenMachphysMfnList).nrExtents).toBe(0);
    expect(list(dom0, 4, 0xffff_8000_0000_0000n)).toBe('-EFAULT');
    // What privcmd's tools look up: the pseudo-physical frame of a machine frame, of a guest too.
    const mfn = guest.mfns[33];
    const map = pte(first + (mfn >> 9), RO);
    expect(dom0.try('update_va_mapping_otherdomain', dom0.va(VA_PAGE), map, 2, DOMID_XEN)).toBe('0');
    const at = host.processor.translate(dom0.va(VA_PAGE, (mfn & 511) * 8), { write: false, user: true });
    expect(host.memory.view.getBigUint64(at, true)).toBe(33n);
    expect(guest.mmuUpdate([[(BigInt(mfn) << 12n) | 1n, 1234n]])).toBe(0);
    expect(host.memory.view.getBigUint64(at, true)).toBe(1234n);
  });

  it('ends for the control domain where memory does', () => {
    expect(dom0.call('memory_op', XENMEM.machphys_mapping, dom0.va(PAGE.arguments))).toBe(0);
    expect(dom0.got(xenMachphysMapping)).toMatchObject({ maxMfn: BigInt(host.memory.frames - 1) });
  });
});
