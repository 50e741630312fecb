// The physmap of an HVM domain through its hypercalls: what stands where, who holds it, and what happens to what stood there before.
import { beforeEach, describe, expect, it } from 'vitest';
import { i32, ulong } from '../../../src/abi/struct.ts';
import {
  GNTMAP,
  GNTTABOP,
  gnttabMapGrantRef,
  gnttabSetVersion,
  gnttabUnmapGrantRef,
} from '../../../src/abi/xen/grant-table.ts';
import * as abi from '../../../src/abi/xen/memory.ts';
import { XENMAPSPACE, XENMEM } from '../../../src/abi/xen/memory.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { INVALID_PFN } from '../../../src/hypervisor/memory/m2p.ts';
import { TestHost } from '../harness.ts';
import { checkInvariants } from '../memory/invariants.ts';
import { HvmGuest } from './hvm-guest.ts';

const LIST = 1024;
const HOLE = 0x100;

let host: TestHost;
let guest: HvmGuest;
beforeEach(() => {
  host = new TestHost();
  guest = new HvmGuest(host);
});

function add(g: HvmGuest, space: number, idx: bigint, gpfn: number, size = 0): string {
  const value = { domid: DOMID_SELF, size, space, idx, gpfn: BigInt(gpfn) };
  return g.op('memory_op', XENMEM.add_to_physmap, abi.xenAddToPhysmap, value);
}

function reserve(g: HvmGuest, op: number, gfns: number[], order = 0): number {
  const extentStart = g.put(ulong, gfns.map(BigInt), LIST);
  const value = { extentStart, nrExtents: BigInt(gfns.length), extentOrder: order, memFlags: 0, domid: DOMID_SELF };
  return g.call('memory_op', op, g.put(abi.xenMemoryReservation, [value]));
}

describe('reservations', () => {
  it('gives a frame up once, and no hole (XSA-277)', () => {
    const { frames } = host.hypervisor;
    const free = frames.free;
    expect(reserve(guest, XENMEM.decrease_reservation, [5])).toBe(1);
    expect(reserve(guest, XENMEM.decrease_reservation, [5])).toBe(0);
    expect(reserve(guest, XENMEM.decrease_reservation, [5])).toBe(0);
    expect(frames.free).toBe(free + 1);
    expect(guest.mfn(5)).toBe(-1);
    checkInvariants(host);
  });

  it('populates holes with zeroed frames and leaves the list as it was', () => {
    guest.setByte(5, 0xaa);
    expect(reserve(guest, XENMEM.decrease_reservation, [5])).toBe(1);
    expect(reserve(guest, XENMEM.populate_physmap, [HOLE, 5])).toBe(2);
    expect(guest.got(ulong, LIST)).toBe(BigInt(HOLE));
    expect(guest.byte(5)).toBe(0);
    expect(host.hypervisor.m2p.get(guest.mfn(HOLE))).toBe(BigInt(HOLE));
    expect(guest.call('memory_op', XENMEM.maximum_gpfn, guest.put(ulong, [BigInt(DOMID_SELF)]))).toBe(HOLE);
    checkInvariants(host);
  });

  it('populates over RAM: the old frame stays the domain’s until it ends, reachable by nothing', () => {
    const old = guest.mfn(5);
    const before = guest.domain.pages;
    expect(reserve(guest, XENMEM.populate_physmap, [5])).toBe(1);
    expect(guest.mfn(5)).not.toBe(old);
    expect(guest.domain.pages).toBe(before + 1);
    expect(host.hypervisor.m2p.get(old)).toBe(INVALID_PFN);
    checkInvariants(host);
  });

  it('has no room for frames beyond the largest map, and takes none for them', () => {
    const { pages } = guest.domain;
    const value = {
      extentStart: guest.put(ulong, [1n << 51n], LIST),
      nrExtents: 1n,
      extentOrder: 0,
      memFlags: 0,
      domid: DOMID_SELF,
    };
    expect(guest.call('memory_op', XENMEM.populate_physmap, guest.put(abi.xenMemoryReservation, [value]))).toBe(0);
    expect(guest.domain.pages).toBe(pages);
  });

  it('knows nothing of the machine', () => {
    expect(guest.try('memory_op', XENMEM.machphys_mapping, 0x1000)).toBe('-ENOSYS');
    expect(guest.try('memory_op', XENMEM.machine_memory_map, 0x1000)).toBe('-ENOSYS');
  });
});

describe('add_to_physmap', () => {
  it('maps shared_info in place of RAM, which is freed', () => {
    const { free } = host.hypervisor.frames;
    expect(add(guest, XENMAPSPACE.sharedInfo, 0n, 5)).toBe('0');
    expect(guest.mfn(5)).toBe(guest.domain.sharedInfoMfn);
    expect(host.hypervisor.frames.free).toBe(free + 1);
    expect(add(guest, XENMAPSPACE.sharedInfo, 1n, 6)).toBe('-EINVAL');
    checkInvariants(host);
  });

  it('moves shared_info, leaving a hole', () => {
    expect(add(guest, XENMAPSPACE.sharedInfo, 0n, HOLE)).toBe('0');
    expect(add(guest, XENMAPSPACE.sharedInfo, 0n, HOLE + 1)).toBe('0');
    expect(guest.mfn(HOLE)).toBe(-1);
    expect(guest.mfn(HOLE + 1)).toBe(guest.domain.sharedInfoMfn);
    // It is Xen's: what replaces it does not free it.
    expect(add(guest, XENMAPSPACE.gmfn, 5n, HOLE + 1)).toBe('0');
    expect(add(guest, XENMAPSPACE.sharedInfo, 0n, HOLE)).toBe('0');
    checkInvariants(host);
  });

  it('cannot give shared_info back', () => {
    expect(add(guest, XENMAPSPACE.sharedInfo, 0n, HOLE)).toBe('0');
    expect(reserve(guest, XENMEM.decrease_reservation, [HOLE])).toBe(1);
    expect(host.hypervisor.frames.owner[guest.domain.sharedInfoMfn]).toBe(guest.domain.id);
    checkInvariants(host);
  });

  it('maps grant frames as they are asked for, up to the maximum', () => {
    expect(add(guest, XENMAPSPACE.grantTable, 3n, HOLE)).toBe('0');
    expect(guest.domain.grants.entries.frames).toHaveLength(4);
    expect(guest.mfn(HOLE)).toBe(guest.domain.grants.entries.frames[3]);
    expect(add(guest, XENMAPSPACE.grantTable, 64n, HOLE)).toBe('-EINVAL');
    // In version 1 there are no status frames.
    expect(add(guest, XENMAPSPACE.grantTable, 1n << 31n, HOLE)).toBe('-EINVAL');
    checkInvariants(host);
  });

  it('unmaps status frames where the guest goes back to version 1', () => {
    const setVersion = (version: number): string =>
      guest.op('grant_table_op', GNTTABOP.set_version, gnttabSetVersion, { version }, 1);
    expect(setVersion(2)).toBe('0');
    expect(add(guest, XENMAPSPACE.grantTable, 1n << 31n, HOLE)).toBe('0');
    expect(guest.mfn(HOLE)).toBe(guest.domain.grants.entries.statusFrames[0]);
    expect(setVersion(1)).toBe('0');
    expect(guest.mfn(HOLE)).toBe(-1);
    checkInvariants(host);
  });

  it('moves RAM, singly and by ranges', () => {
    guest.setByte(5, 0x55);
    expect(add(guest, XENMAPSPACE.gmfn, 5n, HOLE)).toBe('0');
    expect([guest.mfn(5), guest.byte(HOLE)]).toEqual([-1, 0x55]);
    expect(add(guest, XENMAPSPACE.gmfnRange, 6n, HOLE + 1, 3)).toBe('0');
    expect(guest.mfn(6)).toBe(-1);
    expect(guest.mfn(HOLE + 3)).not.toBe(-1);
    expect(add(guest, XENMAPSPACE.gmfn, 5n, HOLE)).toBe('-EINVAL');
    expect(add(guest, XENMAPSPACE.gmfn, BigInt(HOLE), HOLE)).toBe('0');
    checkInvariants(host);
  });

  it('refuses what is not for this operation or this domain', () => {
    expect(add(guest, XENMAPSPACE.gmfnForeign, 0n, HOLE)).toBe('-ENOSYS');
    expect(add(guest, XENMAPSPACE.devMmio, 0n, HOLE)).toBe('-EACCES');
    expect(add(guest, 9, 0n, HOLE)).toBe('-EINVAL');
    const other = new HvmGuest(host);
    const value = { domid: other.domain.id, size: 0, space: XENMAPSPACE.sharedInfo, idx: 0n, gpfn: 5n };
    expect(guest.op('memory_op', XENMEM.add_to_physmap, abi.xenAddToPhysmap, value)).toBe('-EPERM');
    expect(guest.op('memory_op', XENMEM.add_to_physmap, abi.xenAddToPhysmap, { ...value, domid: 77 })).toBe('-ESRCH');
    const pv = host.guest();
    expect(guest.op('memory_op', XENMEM.add_to_physmap, abi.xenAddToPhysmap, { ...value, domid: pv.domain.id })).toBe(
      '-EACCES',
    );
  });
});

describe('add_to_physmap_batch and remove_from_physmap', () => {
  function batch(g: HvmGuest, space: number, foreignDomid: number, pairs: [bigint, number][]): [string, number[]] {
    const n = pairs.length;
    const idxs = g.put(ulong, pairs.map(([index]) => index), 1024); // biome-ignore format: columns
    const gpfns = g.put(ulong, pairs.map(([, gfn]) => BigInt(gfn)), 1280); // biome-ignore format: columns
    const errs = g.put(i32, new Array(n).fill(99), 1536);
    const u = { foreignDomid, res0: foreignDomid };
    const value = { domid: DOMID_SELF, space, size: n, u, idxs, gpfns, errs };
    const result = g.op('memory_op', XENMEM.add_to_physmap_batch, abi.xenAddToPhysmapBatch, value);
    return [result, pairs.map((_, i) => g.got(i32, 1536, i))];
  }
  const remove = (g: HvmGuest, gfn: number): string =>
    g.op('memory_op', XENMEM.remove_from_physmap, abi.xenRemoveFromPhysmap, { domid: DOMID_SELF, gpfn: BigInt(gfn) });

  it('reports each entry', () => {
    const [result, errs] = batch(guest, XENMAPSPACE.grantTable, 0, [[0n, HOLE], [99n, HOLE + 1], [1n, HOLE + 2]]); // biome-ignore format: pairs
    expect([result, errs]).toEqual(['0', [0, -22, 0]]);
    expect(batch(guest, XENMAPSPACE.gmfnRange, 0, [[0n, HOLE]])[0]).toBe('-EOPNOTSUPP');
  });

  it('maps other domains’ pages for the control domain alone', () => {
    const other = new HvmGuest(host);
    other.setByte(3, 0x77);
    expect(batch(guest, XENMAPSPACE.gmfnForeign, other.domain.id, [[3n, HOLE]])).toEqual(['0', [-1]]);
    const control = new HvmGuest(host, { id: 0, isPrivileged: true });
    expect(batch(control, XENMAPSPACE.gmfnForeign, other.domain.id, [[3n, HOLE], [99n, 5], [3n, 6]])).toEqual([
      '0',
      [0, -22, 0],
    ]); // biome-ignore format: pairs
    expect([control.byte(HOLE), control.byte(6)]).toEqual([0x77, 0x77]);
    checkInvariants(host);
    host.hypervisor.destroyDomain(other.domain);
    expect(host.hypervisor.domains.has(other.domain.id)).toBe(true);
    expect(remove(control, HOLE)).toBe('0');
    // decrease_reservation is for one's own pages
    expect(reserve(control, XENMEM.decrease_reservation, [6])).toBe(0);
    host.hypervisor.destroyDomain(control.domain);
    host.hypervisor.reap();
    expect(host.hypervisor.domains.has(other.domain.id)).toBe(false);
  });

  it('removes a mapping but not the page', () => {
    const { pages } = guest.domain;
    expect(remove(guest, 5)).toBe('0');
    expect(remove(guest, 5)).toBe('-ENOENT');
    expect(guest.domain.pages).toBe(pages);
    checkInvariants(host);
  });
});

describe('grants', () => {
  const GRANTED = 7;
  let owner: HvmGuest;
  beforeEach(() => {
    owner = new HvmGuest(host);
    owner.setByte(GRANTED, 0x33);
    owner.domain.grants.seed(8, guest.domain.id, GRANTED);
    owner.domain.grants.seed(9, guest.domain.id, GRANTED, true);
    owner.domain.grants.seed(10, guest.domain.id, HOLE);
  });

  function map(gfn: number, ref: number, flags: number = GNTMAP.host_map): { status: number; handle: number } {
    const value = { ...gnttabMapGrantRef.zero(), hostAddr: BigInt(gfn) << 12n, flags, ref, dom: owner.domain.id };
    expect(guest.op('grant_table_op', GNTTABOP.map_grant_ref, gnttabMapGrantRef, value, 1)).toBe('0');
    return guest.got(gnttabMapGrantRef);
  }
  function unmap(gfn: number, handle: number): number {
    const value = { ...gnttabUnmapGrantRef.zero(), hostAddr: BigInt(gfn) << 12n, handle };
    expect(guest.op('grant_table_op', GNTTABOP.unmap_grant_ref, gnttabUnmapGrantRef, value, 1)).toBe('0');
    return guest.got(gnttabUnmapGrantRef).status;
  }

  it('come into the physmap and leave a hole', () => {
    const { handle, status } = map(HOLE, 8);
    expect([status, guest.byte(HOLE), guest.hvm.physmap.typeOf(HOLE)]).toEqual([0, 0x33, 'grant']);
    checkInvariants(host);
    expect(unmap(HOLE + 1, handle)).toBe(-1);
    expect(unmap(HOLE, handle)).toBe(0);
    expect(guest.mfn(HOLE)).toBe(-1);
    checkInvariants(host);
  });

  it('that are read-only are nothing that the processor could write to', () => {
    const { handle } = map(HOLE, 9, GNTMAP.host_map | GNTMAP.readonly);
    expect(guest.hvm.physmap.map.get(HOLE)).toBe(-1);
    expect(guest.hvm.physmap.readOnlyAt(HOLE)).toBe(owner.mfn(GRANTED));
    expect(map(HOLE + 1, 9).status).toBe(-1);
    checkInvariants(host);
    expect(unmap(HOLE, handle)).toBe(0);
    expect(guest.hvm.physmap.typeOf(HOLE)).toBe('none');
  });

  it('replace RAM, which stays the domain’s; neither freed nor moved by what follows', () => {
    const { pages } = guest.domain;
    map(5, 8);
    expect(guest.domain.pages).toBe(pages);
    expect(reserve(guest, XENMEM.decrease_reservation, [5])).toBe(0);
    expect(add(guest, XENMAPSPACE.gmfn, 5n, HOLE)).toBe('-EINVAL');
    expect(add(guest, XENMAPSPACE.sharedInfo, 0n, 5)).toBe('-ENXIO');
    checkInvariants(host);
  });

  it('mapped over one another crash the domain that does it, alone', () => {
    map(HOLE, 8);
    expect(map(HOLE, 8).status).toBe(-1);
    expect(guest.domain.crashReason).toMatch(/mapped over/);
    expect(owner.domain.shutdown).toBeNull();
    host.hypervisor.destroyDomain(guest.domain);
    checkInvariants(host);
  });

  it('of frames that are none are bad pages; device and page-table flags are for PV guests', () => {
    expect(map(HOLE, 10).status).toBe(-9);
    for (const flag of [GNTMAP.device_map, GNTMAP.application_map, GNTMAP.contains_pte]) {
      expect(map(HOLE, 8, GNTMAP.host_map | flag).status).toBe(-1);
    }
  });

  it('end with either domain', () => {
    const { free } = host.hypervisor.frames;
    map(HOLE, 8);
    map(HOLE + 1, 9, GNTMAP.host_map | GNTMAP.readonly);
    host.hypervisor.destroyDomain(owner.domain);
    expect(host.hypervisor.domains.has(owner.domain.id)).toBe(true);
    host.hypervisor.destroyDomain(guest.domain);
    host.hypervisor.reap();
    expect(host.hypervisor.domains.size).toBe(0);
    expect(host.hypervisor.frames.free).toBeGreaterThan(free + 30);
    checkInvariants(host);
  });
});

it('gives everything back when the domain ends', () => {
  const fresh = new TestHost();
  const { free } = fresh.hypervisor.frames;
  const only = new HvmGuest(fresh);
  expect(add(only, XENMAPSPACE.sharedInfo, 0n, 5)).toBe('0');
  expect(add(only, XENMAPSPACE.grantTable, 2n, HOLE)).toBe('0');
  expect(reserve(only, XENMEM.populate_physmap, [6])).toBe(1);
  fresh.hypervisor.destroyDomain(only.domain);
  expect(fresh.hypervisor.frames.free).toBe(free);
  expect(fresh.hypervisor.domains.size).toBe(0);
});
