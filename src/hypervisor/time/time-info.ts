// vcpu_time_info and the wall clock in guest memory. Source: xen/include/public/xen.h (struct vcpu_time_info, wc_* of shared_info).
// Both have a version that is odd while an update is under way; guests read until they see the same even version twice.

import type { Clock } from '../../machine/time/clock.ts';
import type { Domain } from '../domain.ts';

/** Byte offsets in vcpu_time_info. */
const TIME = { version: 0, tscTimestamp: 8, systemTime: 16, multiplier: 24, shift: 28, flags: 29 } as const;
export const TIME_INFO_SIZE = 32;
/** XEN_PVCLOCK_TSC_STABLE_BIT: all vCPUs' TSCs run in step, so readers need no check of their own against going back. */
const TSC_STABLE = 1;

const NS_PER_SECOND = 1_000_000_000n;

/** Byte offsets of the wall clock in shared_info. */
const WALLCLOCK = {
  32: { version: 2304, seconds: 2308, nanoseconds: 2312, secondsHigh: 2340 },
  64: { version: 3072, seconds: 3076, nanoseconds: 3080, secondsHigh: 3084 },
} as const;

const nextVersion = (version: number): number => (((version + 1) | 1) + 1) >>> 0;

/**
 * Writes what turns a TSC reading into system time. The stamp is always the clock's start: the scale is exact by definition of the
 * clock, so a later stamp could only add rounding. Returns false where the guest's copy says so already and `force` is false.
 * @param tscOffset what is added to the host's TSC for this vCPU
 */
export function writeTimeInfo(view: DataView, at: number, clock: Clock, tscOffset: bigint, force: boolean): boolean {
  const { multiplier, shift } = clock.scale;
  const stamp = BigInt.asUintN(64, tscOffset);
  const same =
    view.getBigUint64(at + TIME.tscTimestamp, true) === stamp &&
    view.getBigUint64(at + TIME.systemTime, true) === 0n &&
    view.getUint32(at + TIME.multiplier, true) === Number(multiplier) &&
    view.getInt8(at + TIME.shift) === shift &&
    view.getUint8(at + TIME.flags) === TSC_STABLE;
  if (same && !force) return false;
  view.setBigUint64(at + TIME.tscTimestamp, stamp, true);
  view.setBigUint64(at + TIME.systemTime, 0n, true);
  view.setUint32(at + TIME.multiplier, Number(multiplier), true);
  view.setInt8(at + TIME.shift, shift);
  view.setUint8(at + TIME.flags, TSC_STABLE);
  // No vCPU runs between these stores, so the odd version need not be shown.
  view.setUint32(at + TIME.version, nextVersion(view.getUint32(at + TIME.version, true)), true);
  return true;
}

/** Writes the wall clock at system time 0 to the domain's shared_info: at its creation, and when the clock is set. */
export function writeWallclock(domain: Domain): void {
  const { memory, clock } = domain.hypervisor;
  if (domain.sharedInfoMfn === 0) return;
  const { view } = memory;
  const page = memory.frameOffset(domain.sharedInfoMfn);
  const at = WALLCLOCK[domain.width];
  const seconds = clock.wallClockAtBoot / NS_PER_SECOND;
  view.setUint32(page + at.seconds, Number(seconds & 0xffffffffn), true);
  view.setUint32(page + at.nanoseconds, Number(clock.wallClockAtBoot % NS_PER_SECOND), true);
  view.setUint32(page + at.secondsHigh, Number(seconds >> 32n), true);
  view.setUint32(page + at.version, nextVersion(view.getUint32(page + at.version, true)), true);
}
