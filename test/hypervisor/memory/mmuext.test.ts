// mmuext_op: base pointers, flushes, LDT, page copies, and what it refuses.
import { beforeEach, describe, expect, it } from 'vitest';
import { u32 } from '../../../src/abi/struct.ts';
import { MMUEXT, mmuextOp } from '../../../src/abi/xen/xen.ts';
import { GuestFault } from '../../../src/cpu/exits.ts';
import { DOMID_IO, DOMID_XEN } from '../../../src/hypervisor/domain-ids.ts';
import { errnoName } from '../../../src/hypervisor/errors.ts';
import { ldtAddress } from '../../../src/hypervisor/memory/address-space.ts';
import { mapLdtPage } from '../../../src/hypervisor/memory/descriptor-tables.ts';
import { PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import { BASE, type Guest, PAGE, pte, RO, RW, TestHost } from '../harness.ts';

describe('mmuext_op', () => {
  let host: TestHost;
  let guest: Guest;
  const [A, B] = [10, 11];
  const name = (rc: number) => errnoName(rc);
  beforeEach(() => {
    host = new TestHost();
    guest = host.guest();
  });

  it('switches base pointers and drops the old table', () => {
    // A second root with the same contents.
    for (let slot = 0; slot < 512; slot++) guest.poke(A, slot, guest.peek(PAGE.l4, slot));
    guest.protect(A);
    expect(guest.mmuext({ cmd: MMUEXT.new_baseptr, mfn: guest.mfns[A] })).toBe(0);
    expect(host.processor.root).toBe(BigInt(guest.mfns[A]) << 12n);
    expect(guest.frames.typeCount[guest.mfns[PAGE.l4]]).toBe(1); // the pin
    expect(guest.frames.typeCount[guest.mfns[PAGE.l3]]).toBe(2);
    expect(guest.unpin(PAGE.l4)).toBe(0);
    expect(guest.frames.typeCount[guest.mfns[PAGE.l4]]).toBe(0);
    expect(name(guest.mmuext({ cmd: MMUEXT.new_baseptr, mfn: guest.mfns[B] }))).toBe('-EINVAL');
    expect(guest.vcpu.pv.guestTable).toBe(guest.mfns[A]);
  });

  it('takes and drops the user table, and hides the M2P from it where asked to', () => {
    guest.protect(A);
    expect(guest.mmuext({ cmd: MMUEXT.new_user_baseptr, mfn: guest.mfns[A] })).toBe(0);
    expect(guest.peek(A, 256)).not.toBe(0n);
    expect(guest.mmuext({ cmd: MMUEXT.new_user_baseptr, mfn: 0 })).toBe(0);
    expect(guest.frames.typeCount[guest.mfns[A]]).toBe(0);
    expect(guest.call('vm_assist', 0, 32)).toBe(0);
    expect(guest.mmuext({ cmd: MMUEXT.new_user_baseptr, mfn: guest.mfns[A] })).toBe(0);
    expect(guest.peek(A, 256)).toBe(0n);
  });

  it('flushes what it is asked to flush', () => {
    const stale = () => host.processor.guestLoad(guest.va(A));
    guest.poke(A, 0, 1n);
    guest.poke(B, 0, 2n);
    const flushes: [string, () => number][] = [
      ['local', () => guest.mmuext({ cmd: MMUEXT.tlb_flush_local })],
      ['all', () => guest.mmuext({ cmd: MMUEXT.tlb_flush_all })],
      ['one local', () => guest.mmuext({ cmd: MMUEXT.invlpg_local, linear: guest.va(A) })],
      ['one all', () => guest.mmuext({ cmd: MMUEXT.invlpg_all, linear: guest.va(A) })],
      ['multi', () => guest.mmuext({ cmd: MMUEXT.tlb_flush_multi, mask: guest.put(u32, [1, 0], 2048) })],
      [
        'one multi',
        () => guest.mmuext({ cmd: MMUEXT.invlpg_multi, linear: guest.va(A), mask: guest.put(u32, [1, 0], 2048) }),
      ],
    ];
    for (const [what, flush] of flushes) {
      expect(guest.updateVa(A, guest.entry(A, RW), 1)).toBe(0);
      expect(stale()).toBe(1n);
      expect(guest.updateVa(A, guest.entry(B, RO), 0)).toBe(0);
      expect(stale(), what).toBe(1n); // a TLB may be stale until told
      expect(flush(), what).toBe(0);
      expect(stale(), what).toBe(2n);
    }
    expect(name(guest.mmuext({ cmd: MMUEXT.tlb_flush_multi, mask: 0x1000n }))).toBe('-EINVAL');
  });

  it('takes addresses that no guest has without harm (XSA-279)', () => {
    for (const linear of [0x8000_0000_0000n, 0xffff_8000_0000_0000n, 0xffff_7fff_ffff_f000n]) {
      expect(guest.mmuext({ cmd: MMUEXT.invlpg_local, linear })).toBe(0);
      expect(guest.mmuext({ cmd: MMUEXT.invlpg_all, linear })).toBe(0);
      expect(guest.try('update_va_mapping', linear, guest.entry(A, RW), 2)).toBe('-EINVAL');
    }
    expect(guest.try('update_va_mapping', 0n, guest.entry(A, RW), 2)).toBe('-EINVAL'); // no L1 there
  });

  it('sets an LDT whose pages are typed at first use', () => {
    const set = (linear: bigint, entries: number) => guest.mmuext({ cmd: MMUEXT.set_ldt, linear, entries });
    expect(name(set(BASE + 8n, 4))).toBe('-EINVAL');
    expect(name(set(0xffff_8000_0000_0000n, 4))).toBe('-EINVAL');
    expect(name(set(guest.va(A), 8193))).toBe('-EINVAL');
    expect(set(guest.va(A), 8)).toBe(0);
    const linear = ldtAddress(guest.vcpu);
    expect(() => host.processor.readLinear(linear, new Uint8Array(8), { write: false, user: false })).toThrow(
      GuestFault,
    );
    expect(mapLdtPage(guest.vcpu, 0)).toBe(false); // mapped writable
    guest.poke(A, 1, 0x00cffb000000ffffn);
    guest.protect(A);
    expect(mapLdtPage(guest.vcpu, 1)).toBe(false); // beyond the limit
    expect(mapLdtPage(guest.vcpu, 0)).toBe(true);
    expect(guest.frames.type[guest.mfns[A]]).toBe(PageType.segDesc);
    const raw = new Uint8Array(8);
    host.processor.readLinear(linear + 8n, raw, { write: false, user: false });
    expect(raw[5]).toBe(0xfb);
    expect(name(guest.updateVa(A, guest.entry(A, RW)))).toBe('-EBUSY');
    expect(set(0n, 0)).toBe(0);
    expect(guest.updateVa(A, guest.entry(A, RW))).toBe(0);
  });

  it('clears and copies pages that are the guest’s and writable', () => {
    guest.poke(A, 7, 77n);
    expect(guest.mmuext({ cmd: MMUEXT.copy_page, mfn: guest.mfns[B], source: guest.mfns[A] })).toBe(0);
    expect(guest.peek(B, 7)).toBe(77n);
    expect(guest.mmuext({ cmd: MMUEXT.clear_page, mfn: guest.mfns[B] })).toBe(0);
    expect(guest.peek(B, 7)).toBe(0n);
    const other = host.guest();
    guest.run();
    expect(name(guest.mmuext({ cmd: MMUEXT.clear_page, mfn: guest.mfns[PAGE.l1] }))).toBe('-EINVAL');
    expect(name(guest.mmuext({ cmd: MMUEXT.clear_page, mfn: other.mfns[A] }))).toBe('-EINVAL');
    expect(name(guest.mmuext({ cmd: MMUEXT.copy_page, mfn: guest.mfns[B], source: other.mfns[A] }))).toBe('-EINVAL');
  });

  it('answers as Xen does to what it does not do', () => {
    expect(name(guest.mmuext({ cmd: MMUEXT.mark_super, mfn: 1 }))).toBe('-EOPNOTSUPP');
    expect(name(guest.mmuext({ cmd: MMUEXT.flush_cache }))).toBe('-EACCES');
    expect(name(guest.mmuext({ cmd: 14 }))).toBe('-ENOSYS');
    expect(name(guest.mmuext({ cmd: 0, mfn: guest.mfns[A] }, 77))).toBe('-ESRCH');
    expect(name(guest.mmuext({ cmd: 0, mfn: 1 }, DOMID_XEN))).toBe('-EPERM');
    expect(guest.try('mmuext_op', 0x1000n, 1, 0, 0x7ff0)).toBe('-EFAULT');
    expect(guest.try('mmuext_op', 0xffff_8000_0000_0000n, 1, 0, 0x7ff0)).toBe('-EFAULT');
  });

  it('lets only a privileged domain act for another', () => {
    const toolstack = host.guest({ id: 0, isPrivileged: true });
    const target = host.guest();
    const other = host.guest();
    target.protect(A);
    expect(name(other.mmuext({ cmd: 0, mfn: target.mfns[A] }, target.domain.id))).toBe('-EPERM');
    expect(toolstack.mmuext({ cmd: 0, mfn: target.mfns[A] }, target.domain.id)).toBe(0);
    expect(name(toolstack.mmuext({ cmd: MMUEXT.tlb_flush_all }, target.domain.id))).toBe('-EPERM');
    // Foreign mappings: the toolstack's, with the owner named.
    expect(name(toolstack.updateVa(A, pte(target.mfns[B], RW)))).toBe('-EBUSY');
    const map = (g: Guest) =>
      g.try('update_va_mapping_otherdomain', g.va(A), pte(target.mfns[B], RW), 2, target.domain.id);
    expect(map(toolstack)).toBe('0');
    expect(map(other)).toBe('-EPERM');
    // While it is mapped for writing there it cannot become a table here.
    target.protect(B);
    expect(name(target.pin(1, B))).toBe('-EINVAL');
    expect(toolstack.updateVa(A, 0n)).toBe(0);
    expect(target.pin(1, B)).toBe(0);
    expect(
      name(toolstack.call('update_va_mapping_otherdomain', toolstack.va(A), pte(1, RO), 2, DOMID_IO) as number),
    ).toBe('-EBUSY');
  });

  it('counts what was done before an error', () => {
    const ops = [0, 14, 0].map(cmd => ({
      cmd,
      arg1: { mfn: BigInt(guest.mfns[A]), linearAddr: BigInt(guest.mfns[A]) },
      arg2: { nrEnts: 0, vcpumask: 0n, srcMfn: 0n },
    }));
    guest.protect(A);
    const pointer = guest.put(mmuextOp, ops);
    const done = guest.put(u32, [0], 4000);
    expect(guest.try('mmuext_op', pointer, 3, done, 0x7ff0)).toBe('-ENOSYS');
    expect(guest.got(u32, 4000)).toBe(1);
  });
});
