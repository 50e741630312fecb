// Mappings of other domains' grants that a domain holds, by handle. Source: xen/common/grant_table.c (struct grant_mapping).
import type { Mfn } from '../../cpu/memory.ts';
import type { DomId } from '../domain.ts';
import type { GrantRef } from './shared-entries.ts';

/** One mapping. flags 0: the handle is free. */
export interface Mapping {
  /** The granting domain. */
  domid: DomId;
  ref: GrantRef;
  /** The frame, which stays mapped even if the granting domain is gone. */
  mfn: Mfn;
  /** GNTMAP_*, of which host_map and device_map go as their halves are unmapped. */
  flags: number;
}

/** Handles that come into being at once: Xen's entries in a frame. */
const PER_FRAME = 256;

export class Maptrack {
  private readonly mappings: Mapping[] = [];
  private readonly freeHandles: number[] = [];
  private readonly limit: number;

  /** @param maxFrames Xen's max_maptrack_frames: 256 mappings each. */
  constructor(maxFrames: number) {
    this.limit = maxFrames * PER_FRAME;
  }

  /** A handle for a new mapping, or null when there are too many. */
  allocate(): number | null {
    const handle = this.freeHandles.pop();
    if (handle !== undefined) return handle;
    if (this.mappings.length >= this.limit) return null;
    this.mappings.push({ domid: 0, ref: 0, mfn: 0, flags: 0 });
    return this.mappings.length - 1;
  }

  free(handle: number): void {
    this.mappings[handle].flags = 0;
    this.freeHandles.push(handle);
  }

  /** The slot of an allocated handle. */
  at(handle: number): Mapping {
    return this.mappings[handle];
  }

  /** A mapping that exists, by a handle that a guest gave. */
  find(handle: number): Mapping | null {
    const mapping = this.mappings[handle];
    return mapping && mapping.flags !== 0 ? mapping : null;
  }

  /** All mappings that exist, with their handles. */
  *entries(): Generator<[number, Mapping]> {
    for (let handle = 0; handle < this.mappings.length; handle++) {
      if (this.mappings[handle].flags !== 0) yield [handle, this.mappings[handle]];
    }
  }
}
