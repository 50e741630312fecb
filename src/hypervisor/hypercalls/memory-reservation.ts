// XENMEM_increase_reservation, _decrease_reservation, _populate_physmap: a domain's frames come and go. Results are counts of extents,
// never errors: a balloon driver asks for more than there is and takes what it gets. Source: xen/common/memory.c.

import type { Of } from '../../abi/struct.ts';
import { ulong } from '../../abi/struct.ts';
import {
  xenMemoryReservation as reservationStruct,
  XENMEM,
  XENMEMF,
  type xenMemoryReservation,
} from '../../abi/xen/memory.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { PageFlag } from '../memory/frame-table.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { resolveTarget } from './permissions.ts';

type Reservation = Of<typeof xenMemoryReservation>;

/** Largest extents: of an unprivileged domain and of the control domain. */
const DOMU_MAX_ORDER = 9;
const CONTROL_MAX_ORDER = 18;
/** Extents must be countable in a command beside the operation. */
const MAX_EXTENTS = 0xffffffff >>> 6;
const EXTENT_SHIFT = 6;
/** Frames that one call handles before others get their turn. */
const FRAMES_AT_ONCE = 16384;

export function maxOrder(domain: Domain): number {
  return domain.isPrivileged ? CONTROL_MAX_ORDER : DOMU_MAX_ORDER;
}

/** There is one node: number 0, said as 1. Others only matter to those who insist (XSA-231). */
export function mayAskForNode(caller: Domain, memFlags: number): boolean {
  const node = (memFlags >>> 8) & 0xff;
  if (!(memFlags & XENMEMF.exactNodeRequest)) return true;
  return node === 0 || (node === 1 && caller.isPrivileged);
}

/** What a reservation asks of frames; null where nothing can satisfy it. */
function allocationFlags(caller: Domain, memFlags: number): { addressBits?: number } | null {
  if (!mayAskForNode(caller, memFlags) || memFlags & XENMEMF.vnode) return null;
  const bits = memFlags & XENMEMF.addressBitsMask;
  if (bits === 0) return {};
  return bits <= 12 ? null : { addressBits: bits };
}

/** Does extents one by one until `step` says no; returns the count, or the call to be made again. */
function eachExtent(
  vcpu: Vcpu,
  command: number,
  pointer: bigint,
  start: number,
  step: (target: Domain, reservation: Reservation, index: number) => boolean,
): number | bigint {
  let done = start;
  try {
    const reservation = vcpu.guest.readStruct(pointer, reservationStruct);
    if (reservation.nrExtents > BigInt(MAX_EXTENTS)) return start;
    const count = Number(reservation.nrExtents);
    if (start >= count) return start;
    const target = resolveTarget(vcpu.domain, reservation.domid);
    if (reservation.extentOrder > maxOrder(vcpu.domain)) return start;
    const limit = Math.max(1, FRAMES_AT_ONCE >> reservation.extentOrder);
    while (done < count) {
      if (done - start === limit) return continueWith(vcpu, [BigInt(command + done * 2 ** EXTENT_SHIFT), pointer]);
      if (!step(target, reservation, done)) break;
      done++;
    }
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
  }
  return done;
}

/** New frames whose numbers go into the list; a PV guest places them itself, for an HVM guest they are of no use. */
export function increaseReservation(vcpu: Vcpu, pointer: bigint, start: number): number | bigint {
  return eachExtent(vcpu, XENMEM.increase_reservation, pointer, start, (target, a, i) => {
    const flags = allocationFlags(vcpu.domain, a.memFlags);
    if (!flags) return false;
    const mfn = target.hypervisor.frames.allocate(target, { ...flags, order: a.extentOrder });
    if (a.extentStart !== 0n && target.isPv) vcpu.guest.writeElement(a.extentStart, ulong, i, BigInt(mfn));
    return true;
  });
}

/** New frames for the guest frame numbers in the list. PV: the M2P says so, and the list then has the machine frames. HVM: the physmap. */
export function populatePhysmap(vcpu: Vcpu, pointer: bigint, start: number): number | bigint {
  return eachExtent(vcpu, XENMEM.populate_physmap, pointer, start, (target, a, i) => {
    // Nobody may leave the population of his own memory to others; of no effect for PV domains, and not built for HVM ones.
    if (a.memFlags & XENMEMF.populateOnDemand) return target !== vcpu.domain && target.isPv;
    const flags = allocationFlags(vcpu.domain, a.memFlags);
    if (!flags) return false;
    const { frames, m2p } = target.hypervisor;
    const pfn = vcpu.guest.readElement(a.extentStart, ulong, i);
    if (target.hvm && !target.hvm.physmap.hasRoomFor(Number(pfn) + 2 ** a.extentOrder - 1)) return false;
    const mfn = frames.allocate(target, { ...flags, order: a.extentOrder });
    if (target.hvm) {
      for (let n = 0; n < 2 ** a.extentOrder; n++) target.hvm.physmap.add(Number(pfn) + n, mfn + n);
      return true;
    }
    for (let n = 0; n < 2 ** a.extentOrder; n++) m2p.set(mfn + n, BigInt.asUintN(64, pfn + BigInt(n)));
    vcpu.guest.writeElement(a.extentStart, ulong, i, BigInt(mfn));
    return true;
  });
}

/** Gives frames back. One that is still mapped or pinned goes when its last use does; until then it stays the domain's. */
export function decreaseReservation(vcpu: Vcpu, pointer: bigint, start: number): number | bigint {
  return eachExtent(vcpu, XENMEM.decrease_reservation, pointer, start, (target, a, i) => {
    const mfn = vcpu.guest.readElement(a.extentStart, ulong, i);
    if (mfn > 0xffffffffn) return false;
    if (target.hvm) {
      for (let n = 0; n < 2 ** a.extentOrder; n++) target.hvm.physmap.release(Number(mfn) + n);
      return true;
    }
    for (let n = 0; n < 2 ** a.extentOrder; n++) if (!removePage(target, Number(mfn) + n)) return false;
    return true;
  });
}

function removePage(domain: Domain, mfn: Mfn): boolean {
  const { frames } = domain.hypervisor;
  if (!frames.getPage(mfn, domain.id)) return false;
  // What Xen itself shares with the domain is not the domain's to give.
  const given = !(frames.flags[mfn] & PageFlag.xenHeap);
  if (given) frames.putAllocation(mfn);
  frames.putPage(mfn);
  return given;
}
