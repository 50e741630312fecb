// What the hypervisor itself knows of a grant that is in use: who uses it, how often, and which frame it was when the use began.
import type { Mfn } from '../../cpu/memory.ts';
import type { DomId } from '../domain.ts';
import type { GrantRef } from './shared-entries.ts';

/** Kinds of use. Host: a processor's mappings and copies; device: a device's access. */
export type PinKind = 'hostRead' | 'hostWrite' | 'deviceRead' | 'deviceWrite';

/** A kind's count may not grow beyond this (half of what Xen's 8-bit counters hold). */
const MAX_PINS = 128;

/** One grant's uses. While `isPinned` the fields below are fixed, whatever the guest writes to its entry. */
export class ActiveGrant {
  hostRead = 0;
  hostWrite = 0;
  deviceRead = 0;
  deviceWrite = 0;

  /** The domain that uses it. */
  domid: DomId = 0;
  mfn: Mfn = 0;
  /** Part of the page that may be copied. */
  start = 0;
  length = 0;
  isSubPage = false;
  /** Where the page comes from: itself, or the next grant of a transitive one. */
  sourceDomain: DomId = 0;
  sourceRef: GrantRef = 0;

  get isPinned(): boolean {
    return this.hostRead + this.hostWrite + this.deviceRead + this.deviceWrite !== 0;
  }

  get isPinnedForWriting(): boolean {
    return this.hostWrite + this.deviceWrite !== 0;
  }

  /** True where another use of this kind would overflow its counter. */
  isFull(kind: PinKind): boolean {
    return this[kind] >= MAX_PINS;
  }
}
