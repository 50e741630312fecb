import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Of } from '../../../src/abi/struct.ts';
import * as abi from '../../../src/abi/xen/grant-table.ts';
import { GNTMAP, GNTST, GNTTABOP, GTF } from '../../../src/abi/xen/grant-table.ts';
import type { Domain } from '../../../src/hypervisor/domain.ts';
import { mapForHost } from '../../../src/hypervisor/grants/host-access.ts';
import { releaseMappings } from '../../../src/hypervisor/grants/mapping.ts';
import { PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import type { Vcpu } from '../../../src/hypervisor/vcpu.ts';
import { FakeHost } from '../fake-host.ts';

const NR = 20;
const SELF = 0x7ff0;
const EINVAL = -22;
const RW_PTE = 3;

let host: FakeHost;
/** Grants pages; `user` uses them. */
let owner: Domain;
let user: Domain;
let vcpu: Vcpu;
/** A page of the owner's that is granted. */
let page: number;
/** An L1 table of the user's, in place at linear address 0x40000000. */
let l1: number;

const LINEAR = 0x4000_0000n;

/** Builds the user's page tables: one L1 table, empty. */
function makeTables(domain: Domain): number {
  const { frames } = host.hypervisor;
  const [l4, l3, l2, table] = [0, 0, 0, 0].map(() => host.frame(domain));
  const link = (from: number, slot: number, to: number): void =>
    host.memory.view.setBigUint64(host.memory.frameOffset(from) + slot * 8, (BigInt(to) << 12n) | 7n, true);
  link(l4, 0, l3);
  link(l3, 1, l2);
  link(l2, 0, table);
  expect(frames.getPageAndType(l4, domain.id, PageType.l4)).toBe(0);
  domain.vcpus[0].pv.guestTable = l4;
  return table;
}

const pteAt = (slot: number): bigint => host.memory.view.getBigUint64(host.memory.frameOffset(l1) + slot * 8, true);

type Map = Of<typeof abi.gnttabMapGrantRef>;
const map = (values: Partial<Map>, v = vcpu): Map => {
  const [rc, a] = host.op(v, NR, GNTTABOP.map_grant_ref, abi.gnttabMapGrantRef, { dom: owner.id, ...values }, 1);
  expect(rc).toBe(0);
  return a;
};
const unmap = (values: Partial<Of<typeof abi.gnttabUnmapGrantRef>>): number => {
  const [rc, a] = host.op(vcpu, NR, GNTTABOP.unmap_grant_ref, abi.gnttabUnmapGrantRef, values, 1);
  expect(rc).toBe(0);
  return a.status;
};
const copy = (values: Partial<Of<typeof abi.gnttabCopy>>, v = vcpu): number => {
  const [rc, a] = host.op(v, NR, GNTTABOP.copy, abi.gnttabCopy, values, 1);
  expect(rc).toBe(0);
  return a.status;
};
const setVersion = (d: Domain, version: number): [number, number] => {
  const [rc, a] = host.op(d.vcpus[0], NR, GNTTABOP.set_version, abi.gnttabSetVersion, { version }, 1);
  return [rc, a.version];
};

/** The guest's own write of a version 1 entry. */
function grant(ref: number, to: number, frame: number, flags: number = GTF.permit_access): void {
  owner.grants.entries.permit(ref, to, BigInt(frame), flags);
}
const flagsOf = (ref: number): number => owner.grants.entries.flags(ref);

/** The union of a copy's side: a frame number or a grant reference. */
const frame = (n: number) => ({ ref: n, gmfn: BigInt(n) });

/** References and type references of the granted page. */
const counts = (mfn = page): [number, number] => {
  const { frames } = host.hypervisor;
  return [frames.refCount[mfn], frames.typeCount[mfn]];
};

beforeEach(() => {
  host = new FakeHost();
  owner = host.domain();
  user = host.domain();
  [vcpu] = user.vcpus;
  l1 = makeTables(user);
  page = host.frame(owner);
});

describe('the table', () => {
  const setup = (values: Partial<Of<typeof abi.gnttabSetupTable>>, count = 1): [number, number] => {
    const [rc, a] = host.op(vcpu, NR, GNTTABOP.setup_table, abi.gnttabSetupTable, { dom: SELF, ...values }, count);
    return [rc, a.status];
  };

  it('gives its frames, growing as asked, up to the limit', () => {
    const list = host.frame(user);
    expect(setup({ nrFrames: 3, frameList: host.address(list) })).toEqual([0, 0]);
    const { view } = host.memory;
    const frames = [0, 8, 16].map(o => Number(view.getBigUint64(host.memory.frameOffset(list) + o, true)));
    expect(frames).toEqual(user.grants.entries.frames);
    for (const mfn of frames) expect(host.hypervisor.frames.owner[mfn]).toBe(user.id);
    const [, size] = host.op(vcpu, NR, GNTTABOP.query_size, abi.gnttabQuerySize, { dom: SELF }, 1);
    expect(size).toMatchObject({ nrFrames: 3, maxNrFrames: 64, status: 0 });
    expect(setup({ nrFrames: 65, frameList: host.address(list) })).toEqual([0, GNTST.general_error]);
    expect(setup({ nrFrames: 0, frameList: 0n })).toEqual([0, 0]);
  });

  it('refuses wrong counts, other domains and lists that cannot be written', () => {
    const list = host.address(host.frame(user));
    expect(setup({ nrFrames: 1, frameList: list }, 2)[0]).toBe(EINVAL);
    expect(setup({ nrFrames: 1, frameList: list }, 0)[0]).toBe(EINVAL);
    expect(setup({ nrFrames: 1, frameList: list, dom: owner.id })).toEqual([0, GNTST.permission_denied]);
    expect(setup({ nrFrames: 1, frameList: list, dom: 99 })).toEqual([0, GNTST.bad_domain]);
    expect(setup({ nrFrames: 1, frameList: 0xffff_8000_0000_0000n })[0]).toBe(-14);
    expect(setup({ nrFrames: 1, frameList: 0x7f00_0000n })).toEqual([0, GNTST.bad_virt_addr]);
  });
});

describe('mapping', () => {
  it('puts the page into the page table, counts it, and shows it in the entry', () => {
    grant(9, user.id, page);
    const a = map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR + 0x5000n });
    expect(a).toMatchObject({ status: 0, devBusAddr: BigInt(page) << 12n });
    // Present, writable, accessed, dirty, no-execute; a kernel page: bit 52 and U.
    expect(pteAt(5)).toBe((BigInt(page) << 12n) | 0x67n | (1n << 52n) | (1n << 63n));
    expect(counts()).toEqual([2, 1]);
    expect(flagsOf(9)).toBe(GTF.permit_access | GTF.reading | GTF.writing);
    expect(unmap({ handle: a.handle, hostAddr: LINEAR + 0x5000n })).toBe(0);
    expect(pteAt(5)).toBe(0n);
    expect(counts()).toEqual([1, 0]);
    expect(flagsOf(9)).toBe(GTF.permit_access);
    expect(host.dropped).toContain(page);
    expect(unmap({ handle: a.handle, hostAddr: LINEAR + 0x5000n })).toBe(GNTST.bad_handle);
  });

  it('by a machine address of an entry; user pages and bits for the guest', () => {
    grant(9, user.id, page, GTF.permit_access | GTF.readonly);
    const flags = GNTMAP.host_map | GNTMAP.readonly | GNTMAP.contains_pte | GNTMAP.application_map | (5 << 16);
    const hostAddr = host.address(l1, 8 * 7);
    const a = map({ ref: 9, flags, hostAddr });
    expect(a.status).toBe(0);
    expect(pteAt(7)).toBe((BigInt(page) << 12n) | 0x65n | 0x100n | (5n << 9n) | (1n << 63n));
    expect(counts()).toEqual([2, 0]);
    expect(flagsOf(9)).toBe(GTF.permit_access | GTF.readonly | GTF.reading);
    expect(unmap({ handle: a.handle, hostAddr })).toBe(0);
    expect(pteAt(7)).toBe(0n);
  });

  it("refuses a misaligned entry (XSA-227), one outside of an L1 table, and another domain's", () => {
    grant(9, user.id, page);
    const flags = GNTMAP.host_map | GNTMAP.contains_pte;
    const data = host.frame(user);
    for (const hostAddr of [
      host.address(l1, 4),
      host.address(l1, 4095),
      host.address(data),
      host.address(page),
      host.address(user.vcpus[0].pv.guestTable),
      1n << 60n,
    ]) {
      expect(map({ ref: 9, flags, hostAddr }).status).toBe(GNTST.general_error);
    }
    for (const hostAddr of [0x8000_0000n, 0xffff_8000_0000_0000n, 1n << 47n, 0xffff_ffff_ffff_f000n]) {
      expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr }).status).toBe(GNTST.general_error);
    }
    expect(counts()).toEqual([1, 0]);
    expect(flagsOf(9)).toBe(GTF.permit_access);
  });

  it('drops what the entry mapped before', () => {
    const old = host.frame(user);
    const { frames } = host.hypervisor;
    host.memory.view.setBigUint64(host.memory.frameOffset(l1) + 8, (BigInt(old) << 12n) | BigInt(RW_PTE), true);
    frames.getPageAndType(old, user.id, PageType.writable);
    grant(9, user.id, page);
    expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR + 0x1000n }).status).toBe(0);
    expect(counts(old)).toEqual([1, 0]);
  });

  it('device and host parts go separately, and the page is free only after both (XSA-224)', () => {
    grant(9, user.id, page);
    const a = map({ ref: 9, flags: GNTMAP.host_map | GNTMAP.device_map, hostAddr: LINEAR });
    expect(counts()).toEqual([3, 2]);
    expect(unmap({ handle: a.handle, devBusAddr: a.devBusAddr + 4096n })).toBe(GNTST.bad_dev_addr);
    expect(unmap({ handle: a.handle, devBusAddr: a.devBusAddr })).toBe(0);
    expect(counts()).toEqual([2, 1]);
    expect(flagsOf(9) & GTF.writing).toBeTruthy();
    expect(unmap({ handle: a.handle, devBusAddr: a.devBusAddr })).toBe(0); // nothing left to do for it
    expect(counts()).toEqual([2, 1]);
    expect(host.hypervisor.frames.tryGetPageType(page, PageType.l1)).toBe(false);
    expect(unmap({ handle: a.handle, hostAddr: LINEAR })).toBe(0);
    expect(counts()).toEqual([1, 0]);
    expect(flagsOf(9)).toBe(GTF.permit_access);
  });

  it('checks the entry: who it is for, what kind, and whether it may be written', () => {
    const status = (ref: number, flags: number = GNTMAP.host_map): number =>
      map({ ref, flags, hostAddr: LINEAR }).status;
    expect(status(8)).toBe(GNTST.general_error); // granted to nobody (XSA-316)
    grant(9, 77, page);
    expect(status(9)).toBe(GNTST.general_error);
    grant(9, user.id, page, GTF.permit_access | GTF.readonly);
    expect(status(9)).toBe(GNTST.general_error);
    grant(9, user.id, page, GTF.accept_transfer);
    expect(status(9)).toBe(GNTST.general_error);
    grant(9, user.id, host.frame(user));
    expect(status(9)).toBe(GNTST.bad_page); // not the owner's page
    expect(flagsOf(9)).toBe(GTF.permit_access);
    grant(9, user.id, 0x7fffffff);
    expect(status(9)).toBe(GNTST.bad_page);
    expect(status(512)).toBe(GNTST.bad_gntref);
    expect(status(0xffffffff)).toBe(GNTST.bad_gntref);
    expect(status(9, 0)).toBe(GNTST.bad_gntref);
    // nobody is domain 0 here, so it stands for the host, which grants nothing (XSA-316)
    expect(map({ ref: 8, dom: 0, flags: GNTMAP.host_map }).status).toBe(GNTST.general_error);
    expect(map({ ref: 9, dom: 99, flags: GNTMAP.host_map }).status).toBe(GNTST.bad_domain);
    expect(map({ ref: 9, dom: SELF, flags: GNTMAP.host_map }).status).toBe(GNTST.bad_domain);
  });

  it('a frame that is a page table cannot be mapped writable, only read', () => {
    const { frames } = host.hypervisor;
    const table = host.frame(owner);
    frames.getPageAndType(table, owner.id, PageType.l1);
    grant(9, user.id, table);
    expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR }).status).toBe(GNTST.general_error);
    expect(flagsOf(9)).toBe(GTF.permit_access);
    const a = map({ ref: 9, flags: GNTMAP.host_map | GNTMAP.readonly, hostAddr: LINEAR });
    expect(a.status).toBe(0);
    expect(counts(table)).toEqual([3, 1]);
  });

  it('while in use the page stays what it was, whatever the guest writes to its entry', () => {
    grant(9, user.id, page);
    const first = map({ ref: 9, flags: GNTMAP.host_map | GNTMAP.readonly, hostAddr: LINEAR });
    owner.grants.entries.permit(9, user.id, BigInt(host.frame(owner)), GTF.permit_access);
    const second = map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR + 0x1000n });
    expect(second.devBusAddr).toBe(first.devBusAddr);
    const other = host.domain();
    other.vcpus[0].pv.guestTable = vcpu.pv.guestTable;
    owner.grants.entries.permit(9, other.id, BigInt(page), GTF.permit_access);
    expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR }, other.vcpus[0]).status).toBe(-1);
  });

  it('at most 128 of a kind', () => {
    grant(9, user.id, page);
    for (let i = 0; i < 128; i++) {
      expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR + BigInt(i) * 4096n }).status).toBe(0);
    }
    expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR + 0x80000n }).status).toBe(GNTST.general_error);
    expect(map({ ref: 9, flags: GNTMAP.host_map | 4, hostAddr: LINEAR + 0x80000n }).status).toBe(0);
  });

  it('unmapping at the wrong place changes nothing', () => {
    grant(9, user.id, page);
    const a = map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR });
    expect(unmap({ handle: a.handle, hostAddr: LINEAR + 0x1000n })).toBe(GNTST.general_error);
    expect(counts()).toEqual([2, 1]);
    for (const handle of [a.handle + 1, 0xffffffff, 0x80000000]) {
      expect(unmap({ handle, hostAddr: LINEAR })).toBe(GNTST.bad_handle);
    }
    expect(unmap({ handle: a.handle, hostAddr: LINEAR })).toBe(0);
  });

  it('unmap_and_replace moves another mapping in its place', () => {
    grant(9, user.id, page);
    const a = map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR });
    const own = host.frame(user);
    host.hypervisor.frames.getPageAndType(own, user.id, PageType.writable);
    const pte = (BigInt(own) << 12n) | BigInt(RW_PTE);
    host.memory.view.setBigUint64(host.memory.frameOffset(l1) + 8, pte, true);
    const replace = (newAddr: bigint): number =>
      host.op(
        vcpu,
        NR,
        GNTTABOP.unmap_and_replace,
        abi.gnttabUnmapAndReplace,
        { hostAddr: LINEAR, newAddr, handle: a.handle },
        1,
      )[1].status;
    expect(replace(LINEAR)).toBe(GNTST.general_error);
    expect(replace(0x8000_0000n)).toBe(GNTST.general_error);
    expect(replace(LINEAR + 0x1000n)).toBe(0);
    expect(pteAt(0)).toBe(pte);
    expect(pteAt(1)).toBe(0n);
    expect(counts(own)).toEqual([2, 1]);
    expect(counts()).toEqual([1, 0]);
  });

  it('a failing operation does not stop its batch, and long batches are cut', () => {
    grant(9, user.id, page);
    const args = host.frame(user);
    const at = host.memory.frameOffset(args);
    const write = (i: number, ref: number): void =>
      abi.gnttabMapGrantRef.update(
        host.memory.view,
        at + 32 * i,
        { ref, dom: owner.id, flags: GNTMAP.host_map, hostAddr: LINEAR + BigInt(i) * 4096n },
        64,
      );
    write(0, 9);
    write(1, 10);
    write(2, 9);
    expect(host.call(vcpu, NR, GNTTABOP.map_grant_ref, host.address(args), 3)).toBe(0);
    const results = [0, 1, 2].map(i => abi.gnttabMapGrantRef.read(host.memory.view, at + 32 * i, 64).status);
    expect(results).toEqual([0, -1, 0]);
    expect(host.call(vcpu, NR, GNTTABOP.map_grant_ref, host.address(args), 0)).toBe(0);
    host.call(vcpu, NR, GNTTABOP.map_grant_ref, 0n, 0x7fffffff);
    expect(vcpu.continuation?.[2]).toBe(BigInt(0x7fffffff - 512));
    vcpu.continuation = null;
  });

  it('a domain that goes away gives back what it had mapped for devices', () => {
    grant(9, user.id, page);
    map({ ref: 9, flags: GNTMAP.device_map, hostAddr: 0n });
    expect(counts()).toEqual([2, 1]);
    releaseMappings(user);
    expect(counts()).toEqual([1, 0]);
    expect(flagsOf(9)).toBe(GTF.permit_access);
  });

  it('a mapping outlives the domain that granted it', () => {
    grant(9, user.id, page);
    const a = map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR });
    host.hypervisor.domains.delete(owner.id);
    expect(unmap({ handle: a.handle, hostAddr: LINEAR })).toBe(0);
    expect(counts()).toEqual([1, 0]);
  });
});

describe('versions', () => {
  it('switch while nothing but the reserved entries is in use, keeping those', () => {
    owner.grants.seed(0, 0, page);
    const console = mapForHost(owner, 0, false);
    expect(setVersion(owner, 2)).toEqual([0, 2]);
    expect(owner.grants.entries.frames.length * 256).toBe(owner.grants.entries.count);
    expect(owner.grants.entries).toMatchObject({ version: 2 });
    expect(owner.grants.entries.body(0).frame).toBe(BigInt(page));
    expect(flagsOf(0)).toBe(GTF.permit_access);
    expect(owner.grants.entries.status(0)).toBe(GTF.reading | GTF.writing);
    console.release();
    expect(owner.grants.entries.status(0)).toBe(0);
    expect(setVersion(owner, 1)).toEqual([0, 1]);
    expect(flagsOf(0)).toBe(GTF.permit_access);
    expect(owner.grants.entries.body(0).frame).toBe(BigInt(page));
  });

  it('refuse while another entry is in use, and versions that do not exist', () => {
    grant(9, user.id, page);
    const a = map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR });
    expect(setVersion(owner, 2)).toEqual([-16, 1]);
    unmap({ handle: a.handle, hostAddr: LINEAR });
    expect(setVersion(owner, 2)).toEqual([0, 2]);
    expect(setVersion(owner, 0)).toEqual([EINVAL, 2]);
    expect(setVersion(owner, 3)).toEqual([EINVAL, 2]);
  });

  it('go not back while the guest maps status frames (XSA-255), or an entry cannot be said', () => {
    setVersion(owner, 2);
    const [status] = owner.grants.entries.statusFrames;
    host.hypervisor.frames.getPage(status, owner.id);
    expect(setVersion(owner, 1)).toEqual([-16, 2]);
    host.hypervisor.frames.putPage(status);
    owner.grants.entries.permit(3, 0, 1n << 32n, GTF.permit_access);
    expect(setVersion(owner, 1)).toEqual([-34, 2]);
    owner.grants.entries.permit(3, 0, 0n, GTF.transitive);
    expect(setVersion(owner, 1)).toEqual([-34, 2]);
    owner.grants.entries.permit(3, 0, 0n, GTF.accept_transfer);
    expect(setVersion(owner, 1)).toEqual([0, 1]);
    expect(flagsOf(3)).toBe(0);
  });

  it('2 has its status apart, in frames of its own', () => {
    setVersion(owner, 2);
    const [rc, v] = host.op(owner.vcpus[0], NR, GNTTABOP.get_version, abi.gnttabGetVersion, { dom: SELF }, 1);
    expect([rc, v.version]).toEqual([0, 2]);
    const list = host.frame(owner);
    const get = (nrFrames: number) =>
      host.op(
        owner.vcpus[0],
        NR,
        GNTTABOP.get_status_frames,
        abi.gnttabGetStatusFrames,
        { dom: SELF, nrFrames, frameList: host.address(list) },
        1,
      )[1].status;
    expect(get(1)).toBe(0);
    expect(get(2)).toBe(GNTST.general_error);
    grant(9, user.id, page);
    const a = map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR });
    expect(a.status).toBe(0);
    expect(flagsOf(9)).toBe(GTF.permit_access);
    const frame = Number(host.memory.view.getBigUint64(host.memory.frameOffset(list), true));
    const word = (): number => host.memory.view.getUint16(host.memory.frameOffset(frame) + 18, true);
    expect(word()).toBe(GTF.reading | GTF.writing);
    unmap({ handle: a.handle, hostAddr: LINEAR });
    expect(word()).toBe(0);
  });

  it('a sub-page grant cannot be mapped', () => {
    setVersion(owner, 2);
    grant(9, user.id, page, GTF.permit_access | GTF.sub_page);
    expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR }).status).toBe(GNTST.general_error);
  });
});

describe('copy', () => {
  let mine: number;
  beforeEach(() => {
    mine = host.frame(user);
    host.bytes(page).forEach((_, i, all) => {
      all[i] = i & 0xff;
    });
  });

  const own = (offset: number) => ({ u: frame(mine), domid: SELF, offset });
  const theirs = (ref: number, offset: number) => ({ u: frame(ref), domid: owner.id, offset });
  /** From the owner's grant to a page of ours. */
  const fetch = (ref: number, from: number, to: number, len: number, flags = 1): number =>
    copy({ source: theirs(ref, from), dest: own(to), len, flags });

  it('moves bytes from a grant and into one', () => {
    grant(9, user.id, page, GTF.permit_access | GTF.readonly);
    expect(fetch(9, 16, 100, 50)).toBe(0);
    expect([...host.bytes(mine).subarray(100, 150)]).toEqual(Array.from({ length: 50 }, (_, i) => i + 16));
    expect(flagsOf(9)).toBe(GTF.permit_access | GTF.readonly);
    expect(copy({ source: own(0), dest: theirs(9, 0), len: 1, flags: 2 })).toBe(GNTST.general_error);
    grant(9, user.id, page);
    host.bytes(mine).fill(7, 0, 4);
    expect(copy({ source: own(0), dest: theirs(9, 4092), len: 4, flags: 2 })).toBe(0);
    expect([...host.bytes(page).subarray(4090)]).toEqual([0xfa, 0xfb, 7, 7, 7, 7]);
    expect(counts()).toEqual([1, 0]);
    expect(counts(mine)).toEqual([1, 0]);
    expect(flagsOf(9)).toBe(GTF.permit_access);
  });

  it('stays within a page, and only numbers own frames', () => {
    grant(9, user.id, page);
    expect(fetch(9, 4000, 0, 97)).toBe(GNTST.bad_copy_arg);
    expect(fetch(9, 0, 4095, 2)).toBe(GNTST.bad_copy_arg);
    expect(fetch(9, 0, 0, 0)).toBe(0);
    expect(fetch(9, 0, 0, 8, 0)).toBe(GNTST.permission_denied);
    expect(fetch(700, 0, 0, 8)).toBe(GNTST.bad_gntref);
    expect(
      copy({ source: theirs(9, 0), dest: { u: frame(0x7fffffff), domid: SELF, offset: 0 }, len: 8, flags: 1 }),
    ).toBe(GNTST.bad_page);
    const foreign = { u: frame(page), domid: SELF, offset: 0 };
    expect(copy({ source: foreign, dest: own(0), len: 8, flags: 0 })).toBe(GNTST.bad_page);
    const nobody = { u: frame(0), domid: 99, offset: 0 };
    expect(copy({ source: nobody, dest: own(0), len: 8, flags: 1 })).toBe(GNTST.bad_domain);
  });

  it('while the grant is mapped, copies use the mapped page or nothing', () => {
    grant(9, user.id, page);
    map({ ref: 9, flags: GNTMAP.host_map | GNTMAP.readonly, hostAddr: LINEAR });
    const other = host.frame(owner);
    owner.grants.entries.permit(9, user.id, BigInt(other), GTF.permit_access);
    expect(fetch(9, 16, 0, 1)).toBe(0);
    expect(host.bytes(mine)[0]).toBe(16);
    expect(copy({ source: own(0), dest: theirs(9, 0), len: 1, flags: 2 })).toBe(GNTST.general_error);
    expect([counts(other), counts()]).toEqual([
      [1, 0],
      [2, 0],
    ]);
    expect(flagsOf(9) & GTF.writing).toBe(0);
  });

  it('does not write to page tables', () => {
    expect(copy({ source: own(0), dest: { u: frame(l1), domid: SELF, offset: 0 }, len: 8, flags: 0 })).toBe(
      GNTST.general_error,
    );
  });

  it('sub-page grants give only their part', () => {
    setVersion(owner, 2);
    grant(9, user.id, page, GTF.permit_access | GTF.sub_page);
    const entry = host.memory.frameOffset(owner.grants.entries.frames[0]) + 9 * 16;
    host.memory.view.setUint16(entry + 4, 64, true);
    host.memory.view.setUint16(entry + 6, 32, true);
    expect(fetch(9, 64, 0, 32)).toBe(0);
    expect(fetch(9, 63, 0, 2)).toBe(GNTST.general_error);
    expect(fetch(9, 64, 0, 33)).toBe(GNTST.general_error);
    expect(owner.grants.entries.status(9)).toBe(0);
  });

  it('transitive grants lead one step on', () => {
    const third = host.domain();
    const far = host.frame(third);
    host.bytes(far).fill(0x5a);
    third.grants.entries.permit(4, owner.id, BigInt(far), GTF.permit_access);
    setVersion(owner, 2);
    const write = (ref: number, domid: number, transRef: number): void => {
      grant(ref, user.id, 0, GTF.transitive);
      const entry = host.memory.frameOffset(owner.grants.entries.frames[0]) + ref * 16;
      host.memory.view.setUint16(entry + 4, domid, true);
      host.memory.view.setUint32(entry + 8, transRef, true);
    };
    write(9, third.id, 4);
    expect(fetch(9, 0, 0, 4)).toBe(0);
    expect([...host.bytes(mine).subarray(0, 5)]).toEqual([0x5a, 0x5a, 0x5a, 0x5a, 0]);
    expect(third.grants.entries.flags(4)).toBe(GTF.permit_access);
    expect(counts(far)).toEqual([1, 0]);
    expect(map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR }).status).toBe(GNTST.general_error);
    write(10, owner.id, 9);
    expect(fetch(10, 0, 0, 4)).toBe(GNTST.general_error);
    write(11, 99, 0);
    expect(fetch(11, 0, 0, 4)).toBe(GNTST.general_error);
    // Two steps are too many.
    setVersion(third, 2);
    third.grants.entries.permit(4, owner.id, 0n, GTF.transitive);
    expect(fetch(9, 0, 0, 4)).toBe(GNTST.general_error);
    for (const ref of [9, 10, 11]) expect(owner.grants.entries.status(ref)).toBe(0);
    expect([...owner.grants.uses()]).toEqual([]);
  });
});

describe('other operations', () => {
  it('swap exchanges entries that are not in use', () => {
    const swap = (refA: number, refB: number): number =>
      host.op(owner.vcpus[0], NR, GNTTABOP.swap_grant_ref, abi.gnttabSwapGrantRef, { refA, refB }, 1)[1].status;
    grant(9, user.id, page);
    expect(swap(9, 12)).toBe(0);
    expect([flagsOf(9), flagsOf(12)]).toEqual([0, 1]);
    expect(swap(12, 12)).toBe(0);
    expect(swap(12, 512)).toBe(GNTST.bad_gntref);
    map({ ref: 12, flags: GNTMAP.host_map, hostAddr: LINEAR });
    expect(swap(9, 12)).toBe(GNTST.eagain);
  });

  it('cache_flush takes own and granted frames, and fails cleanly for all others (XSA-232)', () => {
    const flush = (mfn: number | bigint, offset = 0, length = 64, op = 1): number =>
      host.op(
        vcpu,
        NR,
        GNTTABOP.cache_flush,
        abi.gnttabCacheFlush,
        { a: BigInt(mfn) << 12n, offset, length, op },
        1,
      )[0];
    expect(flush(host.frame(user))).toBe(0);
    expect(flush(page)).toBe(EINVAL);
    grant(9, user.id, page);
    map({ ref: 9, flags: GNTMAP.host_map, hostAddr: LINEAR });
    expect(flush(page)).toBe(0);
    expect(flush(2047)).toBe(-1); // nobody's
    expect(flush(host.hypervisor.frames.allocateXen(0x7ff2, false))).toBe(-1);
    expect(flush(1n << 30n)).toBe(EINVAL);
    expect(flush(page, 4096)).toBe(EINVAL);
    expect(flush(page, 4000, 97)).toBe(EINVAL);
    expect(flush(page, 0, 64, 4)).toBe(EINVAL);
    expect(flush(page, 0, 64, 0x80000001)).toBe(EINVAL);
    expect(flush(1n << 30n, 0, 0)).toBe(0);
  });

  it('transfer, dump and unknown commands are refused', () => {
    expect(host.call(vcpu, NR, GNTTABOP.transfer, 0, 1)).toBe(-95);
    expect(host.call(vcpu, NR, GNTTABOP.dump_table, 0, 1)).toBe(-38);
    expect(host.call(vcpu, NR, 13, 0, 1)).toBe(-38);
    expect(host.call(vcpu, NR, 0x1000, 0, 1)).toBe(EINVAL);
    expect(host.call(vcpu, NR, 0, 0, -1)).toBe(EINVAL);
  });
});

describe('backends in the host', () => {
  it('use a granted page like a guest of their domain, and give it back', () => {
    owner.grants.seed(1, 0, page);
    const mapping = mapForHost(owner, 1, false);
    expect(mapping.offset).toBe(host.memory.frameOffset(page));
    expect(counts()).toEqual([2, 1]);
    expect(flagsOf(1)).toBe(GTF.permit_access | GTF.reading | GTF.writing);
    expect(host.hypervisor.frames.tryGetPageType(page, PageType.l1)).toBe(false);
    mapping.release();
    mapping.release();
    expect(counts()).toEqual([1, 0]);
    expect(flagsOf(1)).toBe(GTF.permit_access);
  });

  it('are refused what is not granted to them', () => {
    expect(() => mapForHost(owner, 1, false)).toThrow('GNTST_general_error');
    owner.grants.seed(1, 0, page, true);
    expect(() => mapForHost(owner, 1, false)).toThrow('GNTST_general_error');
    expect(() => mapForHost(owner, 1, true, 5)).toThrow('GNTST_general_error');
    expect(() => mapForHost(owner, 4096, true)).toThrow('GNTST_bad_gntref');
    mapForHost(owner, 1, true).release();
    expect(counts()).toEqual([1, 0]);
  });
});

describe('references', () => {
  it('are all given back after any sequence of operations', () => {
    const step = fc.oneof(
      fc.record({ map: fc.nat(3), flags: fc.nat(31), slot: fc.nat(7) }),
      fc.record({ unmap: fc.nat(20), host: fc.boolean(), device: fc.boolean() }),
      fc.record({ copyFrom: fc.nat(3), into: fc.boolean() }),
      fc.record({ change: fc.nat(3), flags: fc.nat(7) }),
    );
    const pages = Array.from({ length: 4 }, () => host.frame(owner));
    const mine = host.frame(user);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        pages.forEach((mfn, i) => {
          grant(10 + i, user.id, mfn);
        });
        const open: { handle: number; hostAddr: bigint; devBusAddr: bigint }[] = [];
        const used = new Set<bigint>();
        for (const s of steps) {
          if ('map' in s) {
            const pte = (s.flags & GNTMAP.contains_pte) !== 0;
            const hostAddr = pte ? host.address(l1, s.slot * 8) : LINEAR + BigInt(s.slot * 4096);
            // A mapping over a mapping cannot be undone by its handle: real guests do not do it.
            const key = BigInt(s.slot);
            if (s.flags & GNTMAP.host_map && used.has(key)) continue;
            const a = map({ ref: 10 + s.map, flags: s.flags, hostAddr });
            if (a.status !== 0) continue;
            if (s.flags & GNTMAP.host_map) used.add(key);
            open.push({ handle: a.handle, hostAddr, devBusAddr: a.devBusAddr });
          } else if ('unmap' in s) {
            const target = open[s.unmap];
            if (!target) continue;
            unmap({
              handle: target.handle,
              hostAddr: s.host ? target.hostAddr : 0n,
              devBusAddr: s.device ? target.devBusAddr : 0n,
            });
          } else if ('copyFrom' in s) {
            const here = { u: frame(mine), domid: SELF, offset: 0 };
            const there = { u: frame(10 + s.copyFrom), domid: owner.id, offset: 0 };
            copy(
              s.into
                ? { source: here, dest: there, len: 16, flags: 2 }
                : { source: there, dest: here, len: 16, flags: 1 },
            );
          } else grant(10 + s.change, user.id, pages[(s.change + 1) % 4], s.flags);
        }
        for (const { handle, hostAddr, devBusAddr } of open) unmap({ handle, hostAddr, devBusAddr });
        for (const mfn of pages) expect(counts(mfn)).toEqual([1, 0]);
        expect([...owner.grants.uses()]).toEqual([]);
        for (let slot = 0; slot < 8; slot++) expect(pteAt(slot)).toBe(0n);
      }),
      { numRuns: 100 },
    );
  });
});
