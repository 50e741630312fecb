// XENMEM_acquire_resource: the control domain gets at another domain's grant table, as the toolstack does that seeds it.
import { beforeEach, describe, expect, it } from 'vitest';
import { ulong } from '../../../src/abi/struct.ts';
import { RESOURCE, RESOURCE_GRANT_TABLE, XENMEM, xenMemAcquireResource } from '../../../src/abi/xen/memory.ts';
import { type Guest, pte, RW, TestHost } from '../harness.ts';
import { HvmGuest } from '../hvm/hvm-guest.ts';
import { checkInvariants } from '../memory/invariants.ts';

const LIST = 1024;
const HOLE = 0x100;
const MAX_FRAMES = 64;
const { shared, status } = RESOURCE_GRANT_TABLE;
const BASE = {
  type: RESOURCE.grantTable as number,
  id: shared as number,
  nrFrames: 0,
  pad: 0,
  frame: 0n,
  frameList: 0n,
};

let host: TestHost;
let target: Guest;
beforeEach(() => {
  host = new TestHost();
  target = host.guest({ id: 5 });
});

function acquire(g: Guest | HvmGuest, more: Partial<typeof BASE>, domid = 5): string {
  const value = { ...BASE, domid, ...more };
  return g.try('memory_op', XENMEM.acquire_resource, g.put(xenMemAcquireResource, [value]));
}

describe.each(['PV', 'HVM'] as const)('a %s caller', kind => {
  let caller: Guest | HvmGuest;
  beforeEach(() => {
    const config = { id: 0, isPrivileged: true };
    caller = kind === 'PV' ? host.guest(config) : new HvmGuest(host, config);
  });

  it('hears how many frames there are', () => {
    expect(acquire(caller, {})).toBe('0');
    expect(caller.got(xenMemAcquireResource).nrFrames).toBe(MAX_FRAMES);
    expect(acquire(caller, { id: status })).toBe('0');
    expect(caller.got(xenMemAcquireResource).nrFrames).toBe(8); // a word of 2 bytes for each of 256 entries a frame
    expect(acquire(caller, { nrFrames: 1 })).toBe('-EINVAL');
  });

  it('is refused what there is not', () => {
    const frameList = caller.put(ulong, [BigInt(HOLE)], LIST);
    expect(acquire(caller, { pad: 1 })).toBe('-EINVAL');
    expect(acquire(caller, { id: 2 })).toBe('-EINVAL');
    expect(acquire(caller, { type: 9 })).toBe('-EINVAL');
    expect(acquire(caller, { frameList })).toBe('-EINVAL'); // no frames of it
    expect(acquire(caller, { frameList, nrFrames: 1, frame: BigInt(MAX_FRAMES) })).toBe('-EINVAL');
    expect(acquire(caller, { frameList, nrFrames: 1, frame: 0xffff_ffffn }, 77)).toBe('-EINVAL');
    expect(acquire(caller, { frameList, nrFrames: 2, frame: (1n << 64n) - 1n })).toBe('-EINVAL');
    expect(acquire(caller, { frameList, nrFrames: 0x4000000 })).toBe('-EINVAL');
    expect(acquire(caller, { frameList, nrFrames: 1, id: status })).toBe('-EINVAL'); // the table is of version 1
    expect(acquire(caller, {}, 77)).toBe('-ESRCH');
    expect(acquire(caller, {}, 0)).toBe('-EPERM');
  });
});

it('gives a PV caller machine frames, made as needed, which it maps as the other domain’s', () => {
  const dom0 = host.guest({ id: 0, isPrivileged: true });
  expect(acquire(dom0, { nrFrames: 3, frameList: dom0.put(ulong, [0n, 0n, 0n], LIST) })).toBe('0');
  const mfns = [0, 1, 2].map(i => Number(dom0.got(ulong, LIST, i)));
  expect(mfns).toEqual([0, 1, 2].map(i => target.domain.grants.sharedFrameAt(i)));
  const map = (va: bigint, entry: bigint) => dom0.try('update_va_mapping_otherdomain', va, entry, 2, 5);
  expect(map(dom0.va(9), pte(mfns[1], RW))).toBe('0');
  host.processor.guestStore(dom0.va(9), 0x55n);
  expect(host.memory.u8[host.memory.frameOffset(mfns[1])]).toBe(0x55);
  target.domain.grants.setVersion(2);
  expect(acquire(dom0, { id: status, nrFrames: 1, frameList: dom0.put(ulong, [0n], LIST) })).toBe('0');
  expect(Number(dom0.got(ulong, LIST))).toBe(target.domain.grants.statusFrameAt(0));
  // The domain may go while they are mapped: the frame does when it is not.
  host.hypervisor.destroyDomain(target.domain);
  expect(host.hypervisor.frames.refCount[mfns[0]]).toBe(0);
  expect(host.hypervisor.frames.refCount[mfns[1]]).toBe(1);
  expect(dom0.updateVa(9, 0n)).toBe(0);
  host.hypervisor.reap();
  expect(host.hypervisor.frames.refCount[mfns[1]]).toBe(0);
  checkInvariants(host);
});

it('maps them for an HVM caller at the frames that it lists', () => {
  const dom0 = new HvmGuest(host, { id: 0, isPrivileged: true });
  const frameList = dom0.put(ulong, [BigInt(HOLE), 5n], LIST);
  expect(acquire(dom0, { nrFrames: 2, frame: 1n, frameList })).toBe('0');
  const { grants } = target.domain;
  expect([dom0.mfn(HOLE), dom0.mfn(5)]).toEqual([grants.sharedFrameAt(1), grants.sharedFrameAt(2)]);
  dom0.setByte(HOLE, 0x77);
  expect(host.memory.u8[host.memory.frameOffset(grants.sharedFrameAt(1))]).toBe(0x77);
  checkInvariants(host);
  host.hypervisor.destroyDomain(dom0.domain);
  checkInvariants(host);
});

it('is the control domain’s: an HVM guest is refused before its argument is read', () => {
  const guest = new HvmGuest(host);
  expect(guest.try('memory_op', XENMEM.acquire_resource, 0xfffff000)).toBe('-EACCES');
  expect(acquire(host.guest(), {})).toBe('-EPERM');
});
