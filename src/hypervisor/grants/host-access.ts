// Grants used by a backend in the host: pinned and counted like a guest's mapping, reached by offset in the engine memory.
import type { Domain, DomId } from '../domain.ts';
import { holdFrame, pinGrant, releaseFrame } from './mapping.ts';
import type { GrantRef } from './shared-entries.ts';

/** A granted page that a backend may use until it releases it. */
export interface HostMapping {
  /** Byte offset in the engine memory of the page's 4096 bytes. */
  readonly offset: number;
  readonly readonly: boolean;
  /** To be called after writing, so that code decoded from these bytes is dropped. Offset within the page. */
  wrote(offset: number, length: number): void;
  /** Ends the use; calling it again does nothing. */
  release(): void;
}

/**
 * Maps a page that `domain` grants to domain `as` (dom0 in Xen's usual arrangement).
 * @throws GrantError, as a backend in dom0 would get its status
 */
export function mapForHost(domain: Domain, ref: GrantRef, readonly: boolean, as: DomId = 0): HostMapping {
  const kinds = [readonly ? 'hostRead' : 'hostWrite'] as const;
  const active = pinGrant(domain.grants, ref, as, kinds, readonly);
  const { mfn } = active;
  const { hypervisor } = domain;
  const use = { owner: domain.id, ref, readonly };
  try {
    holdFrame(domain, mfn, readonly);
  } catch (error) {
    domain.grants.unpin(ref, active, kinds, readonly);
    throw error;
  }
  hypervisor.tracer?.grant(null, 'map', use, '');
  let isMapped = true;
  return {
    offset: hypervisor.memory.frameOffset(mfn),
    readonly,
    wrote: (offset, length) => {
      hypervisor.tracer?.grant(null, 'write', use, `bytes ${offset}-${offset + length - 1}`);
      hypervisor.frames.wrote(mfn, offset, length);
    },
    release: () => {
      if (!isMapped) return;
      isMapped = false;
      hypervisor.tracer?.grant(null, 'unmap', use, '');
      domain.grants.unpin(ref, active, kinds, readonly);
      releaseFrame(hypervisor.frames, mfn, readonly);
    },
  };
}
