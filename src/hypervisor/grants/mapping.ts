// map_grant_ref, unmap_grant_ref, unmap_and_replace: another domain's page in this domain's address space.
// Source: xen/common/grant_table.c, map_grant_ref() and unmap_common().
import { GNTMAP } from '../../abi/xen/grant-table.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain, DomId } from '../domain.ts';
import { type FrameTable, PageType } from '../memory/frame-table.ts';
import { ownFrame } from '../memory/own-frame.ts';
import type { Vcpu } from '../vcpu.ts';
import type { GrantTable } from './grant-table.ts';
import { createPhysmapEntry, removePhysmapEntry } from './hvm-entries.ts';
import type { Mapping } from './maptrack.ts';
import type { ActiveGrant, PinKind } from './pins.ts';
import { createMapping, replaceMapping } from './pv-entries.ts';
import type { GrantRef } from './shared-entries.ts';
import { GrantError } from './status.ts';

const PAGE_SIZE = 4096;
/** What an HVM guest cannot ask for: its devices' addresses are its own physical ones, and page tables are its own affair. */
const NOT_FOR_HVM = GNTMAP.device_map | GNTMAP.application_map | GNTMAP.contains_pte;
const CONTROL_DOMAIN = 0;

export interface MapRequest {
  hostAddr: bigint;
  flags: number;
  ref: GrantRef;
  dom: DomId;
}

export interface UnmapRequest {
  hostAddr: bigint;
  devBusAddr: bigint;
  /** unmap_and_replace: where the new mapping is taken from. */
  newAddr: bigint;
  handle: number;
}

/** Maps a grant for the caller's domain. Throws GrantError. */
export function mapGrant(
  vcpu: Vcpu,
  { hostAddr, flags, ref, dom }: MapRequest,
): { handle: number; devBusAddr: bigint } {
  const user = vcpu.domain;
  const readonly = (flags & GNTMAP.readonly) !== 0;
  const kinds = pinKinds(flags);
  if (kinds.length === 0) throw new GrantError('bad_gntref');
  if (!user.isPv && flags & NOT_FOR_HVM) throw new GrantError('general_error');
  const owner = user.hypervisor.domains.get(dom);
  // where no guest is the control domain the host's daemons are: it exists, and has granted nothing
  if (!owner) throw new GrantError(dom === CONTROL_DOMAIN ? 'general_error' : 'bad_domain');
  const handle = user.grants.maptrack.allocate();
  if (handle === null) throw new GrantError('no_space');
  try {
    const mfn = mapFrame(vcpu, owner, ref, kinds, readonly, flags, hostAddr);
    Object.assign(user.grants.maptrack.at(handle), { domid: dom, ref, mfn, flags } satisfies Mapping);
    user.hypervisor.tracer?.grant(user, 'map', { owner: dom, ref, readonly }, `handle=${handle}`);
    return { handle, devBusAddr: BigInt(mfn) * BigInt(PAGE_SIZE) };
  } catch (error) {
    user.grants.maptrack.free(handle);
    throw error;
  }
}

function mapFrame(
  vcpu: Vcpu,
  owner: Domain,
  ref: GrantRef,
  kinds: PinKind[],
  readonly: boolean,
  flags: number,
  hostAddr: bigint,
): Mfn {
  const active = pinGrant(owner.grants, ref, vcpu.domain.id, kinds, readonly);
  const { mfn } = active;
  let held = 0;
  try {
    // One reference, and one of the writable type, a kind of mapping.
    for (const kind of kinds) {
      holdFrame(owner, mfn, readonly);
      held++;
      if (kind === 'deviceRead' || kind === 'deviceWrite') continue;
      if (vcpu.domain.hvm) createPhysmapEntry(vcpu.domain.hvm, hostAddr, mfn, flags);
      else createMapping(vcpu, hostAddr, mfn, flags);
    }
    return mfn;
  } catch (error) {
    while (held-- > 0) releaseFrame(owner.hypervisor.frames, mfn, readonly);
    owner.grants.unpin(ref, active, kinds, readonly);
    throw error;
  }
}

/** Checks a grant for mapping and counts the new use. Also for backends in the host, which map without page tables. */
export function pinGrant(
  grants: GrantTable,
  ref: GrantRef,
  user: DomId,
  kinds: readonly PinKind[],
  readonly: boolean,
): ActiveGrant {
  const active = grants.grantAt(ref);
  if (active.isPinned && (active.domid !== user || active.isSubPage || kinds.some(kind => active.isFull(kind)))) {
    throw new GrantError('general_error');
  }
  if (!active.isPinned || (!readonly && !active.isPinnedForWriting)) {
    grants.claim(ref, active, user, readonly, true);
    if (!active.isPinned) {
      const mfn = ownFrame(grants.domain, grants.entries.body(ref).frame);
      if (mfn === null) {
        grants.reduceStatus(ref, active, readonly);
        throw new GrantError('bad_page');
      }
      const { id } = grants.domain;
      Object.assign(active, { domid: user, mfn, start: 0, length: PAGE_SIZE, isSubPage: false });
      Object.assign(active, { sourceDomain: id, sourceRef: ref });
    }
  }
  grants.pin(active, kinds);
  return active;
}

/** A reference to a frame of its owner's, and for writing one of the writable type. */
export function holdFrame(owner: Domain, mfn: Mfn, readonly: boolean): void {
  const { frames } = owner.hypervisor;
  if (!frames.getPage(mfn, owner.id)) throw new GrantError('general_error');
  if (readonly || frames.tryGetPageType(mfn, PageType.writable)) return;
  frames.putPage(mfn);
  throw new GrantError('general_error');
}

export function releaseFrame(frames: FrameTable, mfn: Mfn, readonly: boolean): void {
  if (!readonly) frames.putPageType(mfn);
  frames.putPage(mfn);
}

/**
 * Unmaps what the request names of a mapping: by host address the processor's, by bus address the device's. Either may go first; the
 * handle lives until both are gone (XSA-224). Throws GrantError, having changed nothing.
 */
export function unmapGrant(vcpu: Vcpu, { hostAddr, devBusAddr, newAddr, handle }: UnmapRequest): void {
  const user = vcpu.domain;
  const { maptrack } = user.grants;
  const mapping = maptrack.find(handle);
  if (!mapping) throw new GrantError('bad_handle');
  const { flags, mfn } = mapping;
  const readonly = (flags & GNTMAP.readonly) !== 0;
  const device = devBusAddr !== 0n && (flags & GNTMAP.device_map) !== 0;
  const host = hostAddr !== 0n && (flags & GNTMAP.host_map) !== 0;

  if (device && devBusAddr !== BigInt(mfn) * BigInt(PAGE_SIZE)) throw new GrantError('bad_dev_addr');
  if (host && user.hvm) removePhysmapEntry(user.hvm, hostAddr, mfn, newAddr, flags);
  else if (host) replaceMapping(vcpu, hostAddr, mfn, newAddr, flags);
  // From here on nothing fails.
  const { domid: owner, ref } = mapping;
  user.hypervisor.tracer?.grant(user, 'unmap', { owner, ref, readonly }, `handle=${handle}`);
  const done: PinKind[] = [];
  if (device) done.push(readonly ? 'deviceRead' : 'deviceWrite');
  if (host) done.push(readonly ? 'hostRead' : 'hostWrite');
  mapping.flags &= ~((device ? GNTMAP.device_map : 0) | (host ? GNTMAP.host_map : 0));
  if (!(mapping.flags & (GNTMAP.device_map | GNTMAP.host_map))) maptrack.free(handle);
  unpinMapping(user, mapping, done);
  for (let i = 0; i < done.length; i++) releaseFrame(user.hypervisor.frames, mfn, readonly);
}

/**
 * The domain goes away: gives back what it has mapped. The references of entries in its page tables or its physmap go when those are taken
 * apart, so only device mappings are released here.
 */
export function releaseMappings(domain: Domain): void {
  for (const [handle, mapping] of domain.grants.maptrack.entries()) {
    const { flags, mfn } = mapping;
    unpinMapping(domain, mapping, pinKinds(flags));
    domain.grants.maptrack.free(handle);
    if (flags & GNTMAP.device_map) releaseFrame(domain.hypervisor.frames, mfn, (flags & GNTMAP.readonly) !== 0);
  }
}

/** Counts uses back in the granting domain's table, if that domain is still the one that granted. */
function unpinMapping(user: Domain, { domid, ref, mfn, flags }: Mapping, kinds: readonly PinKind[]): void {
  const grants = user.hypervisor.domains.get(domid)?.grants;
  if (!grants || ref >= grants.entries.count) return;
  const active = grants.grantAt(ref);
  if (active.domid !== user.id || active.mfn !== mfn || kinds.some(kind => active[kind] === 0)) return;
  grants.unpin(ref, active, kinds, (flags & GNTMAP.readonly) !== 0);
}

function pinKinds(flags: number): PinKind[] {
  const readonly = (flags & GNTMAP.readonly) !== 0;
  const kinds: PinKind[] = [];
  if (flags & GNTMAP.device_map) kinds.push(readonly ? 'deviceRead' : 'deviceWrite');
  if (flags & GNTMAP.host_map) kinds.push(readonly ? 'hostRead' : 'hostWrite');
  return kinds;
}
