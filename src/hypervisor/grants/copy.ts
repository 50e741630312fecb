// GNTTABOP_copy: bytes from page to page, each given by a grant or as a frame of the caller's own; within one page each.
// Source: xen/common/grant_table.c, acquire_grant_for_copy() and gnttab_copy_one().
import { GNTCOPY, GTF } from '../../abi/xen/grant-table.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain, DomId } from '../domain.ts';
import { DOMID_SELF } from '../domain-ids.ts';
import { XenError } from '../errors.ts';
import { PageType } from '../memory/frame-table.ts';
import { ownFrame } from '../memory/own-frame.ts';
import type { Tracer } from '../tracer.ts';
import type { ActiveGrant } from './pins.ts';
import type { GrantRef } from './shared-entries.ts';
import { GrantError } from './status.ts';

const PAGE_SIZE = 4096;

export interface CopySide {
  /** Grant reference, or frame number of the caller's own, as the flags say. */
  u: { ref?: number; gmfn?: bigint };
  domid: DomId;
  offset: number;
}

export interface CopyRequest {
  source: CopySide;
  dest: CopySide;
  len: number;
  flags: number;
}

/** A page while bytes are copied: where, which part of it may be used, and how to let go of it. */
interface Held {
  mfn: Mfn;
  start: number;
  length: number;
  release(): void;
}

/** Carries out one copy for a domain. Throws GrantError. */
export function copyGrant(caller: Domain, { source, dest, len, flags }: CopyRequest): void {
  const fromDomain = domainOf(caller, source.domid, (flags & GNTCOPY.source_gref) !== 0);
  const toDomain = domainOf(caller, dest.domid, (flags & GNTCOPY.dest_gref) !== 0);
  const from = hold(caller, fromDomain, source, (flags & GNTCOPY.source_gref) !== 0, true);
  try {
    const to = hold(caller, toDomain, dest, (flags & GNTCOPY.dest_gref) !== 0, false);
    try {
      if (source.offset + len > PAGE_SIZE || dest.offset + len > PAGE_SIZE) throw new GrantError('bad_copy_arg');
      requireWithin(from, source.offset, len);
      requireWithin(to, dest.offset, len);
      const { memory, frames } = caller.hypervisor;
      const at = memory.frameOffset(from.mfn) + source.offset;
      memory.u8.copyWithin(memory.frameOffset(to.mfn) + dest.offset, at, at + len);
      frames.wrote(to.mfn, dest.offset, len);
      const { tracer } = caller.hypervisor;
      if (tracer) traceCopy(tracer, caller, { source, dest, len, flags });
    } finally {
      to.release();
    }
  } finally {
    from.release();
  }
}

/** The sides that are grants; the other one is the caller's own page. */
function traceCopy(tracer: Tracer, caller: Domain, { source, dest, len, flags }: CopyRequest): void {
  const sides = [
    { side: source, isGrant: flags & GNTCOPY.source_gref, readonly: true },
    { side: dest, isGrant: flags & GNTCOPY.dest_gref, readonly: false },
  ];
  for (const { side, isGrant, readonly } of sides) {
    if (!isGrant) continue;
    const owner = side.domid === DOMID_SELF ? caller.id : side.domid;
    const detail = `${readonly ? 'from' : 'to'} bytes ${side.offset}-${side.offset + len - 1}`;
    tracer.grant(caller, 'copy', { owner, ref: side.u.ref ?? 0, readonly }, detail);
  }
}

/** Only one's own frames can be given by number. */
function domainOf(caller: Domain, id: DomId, isGrant: boolean): Domain {
  if (id !== DOMID_SELF && !isGrant) throw new GrantError('permission_denied');
  try {
    return caller.hypervisor.resolve(caller, id);
  } catch (error) {
    if (error instanceof XenError) throw new GrantError('bad_domain');
    throw error;
  }
}

function requireWithin(page: Held, offset: number, len: number): void {
  if (offset < page.start || offset + len > page.start + page.length) throw new GrantError('general_error');
}

function hold(caller: Domain, domain: Domain, side: CopySide, isGrant: boolean, readonly: boolean): Held {
  const page = isGrant
    ? acquire(domain, side.u.ref ?? 0, caller.id, readonly, true)
    : ownPage(domain, side.u.gmfn ?? 0n);
  if (readonly) return page;
  const { frames } = domain.hypervisor;
  if (!frames.tryGetPageType(page.mfn, PageType.writable)) {
    page.release();
    throw new GrantError('general_error');
  }
  const release = (): void => {
    frames.putPageType(page.mfn);
    page.release();
  };
  return { ...page, release };
}

function ownPage(domain: Domain, gmfn: bigint): Held {
  const { frames } = domain.hypervisor;
  const mfn = ownFrame(domain, gmfn);
  if (mfn === null || !frames.getPage(mfn, domain.id)) throw new GrantError('bad_page');
  return { mfn, start: 0, length: PAGE_SIZE, release: () => frames.putPage(mfn) };
}

/** Pins a grant for a copy, with a reference on its page. Transitive grants lead one step further, never two. */
function acquire(domain: Domain, ref: GrantRef, user: DomId, readonly: boolean, mayBeTransitive: boolean): Held {
  const { grants, hypervisor } = domain;
  const { entries } = grants;
  const { frames } = hypervisor;
  const kind = readonly ? 'hostRead' : 'hostWrite';
  const active = grants.grantAt(ref);
  if (active.isPinned && (active.domid !== user || active.isFull(kind))) throw new GrantError('general_error');

  const mustClaim = !active.isPinned || (!readonly && !active.isPinnedForWriting);
  const flags = entries.flags(ref);
  const isTransitive = entries.version === 2 && (flags & GTF.type_mask) === GTF.transitive;
  if (mustClaim) grants.claim(ref, active, user, readonly, false);
  let inner: Held | null = null;
  try {
    const use = { mfn: 0, start: 0, length: PAGE_SIZE, isSubPage: false, sourceDomain: domain.id, sourceRef: ref };
    if (isTransitive) {
      const { transDomid, transRef } = entries.body(ref);
      const next = hypervisor.domains.get(transDomid);
      if (!mayBeTransitive || transDomid === domain.id || !next) throw new GrantError('general_error');
      inner = acquire(next, transRef, domain.id, readonly, false);
      // Taken for a part of a page, which keeps it from being mapped.
      Object.assign(use, { mfn: inner.mfn, start: inner.start, length: inner.length, isSubPage: true });
      Object.assign(use, { sourceDomain: transDomid, sourceRef: transRef });
    } else if (mustClaim) {
      const body = entries.body(ref);
      const mfn = ownFrame(domain, body.frame);
      if (mfn === null) throw new GrantError('bad_page');
      use.mfn = mfn;
      if (entries.version === 2 && flags & GTF.sub_page) {
        Object.assign(use, { isSubPage: true, start: body.pageOffset, length: body.length });
      }
    } else {
      Object.assign(use, pick(active));
    }
    if (!active.isPinned) Object.assign(active, use, { domid: user });
    // A grant in use stays what it was when its use began.
    else if (!isSameUse(active, use)) throw new GrantError('general_error');
    if (!inner && !frames.getPage(active.mfn, domain.id)) throw new GrantError('bad_domain');
  } catch (error) {
    inner?.release();
    if (mustClaim) grants.reduceStatus(ref, active, readonly);
    throw error;
  }
  grants.pin(active, [kind]);
  const { mfn, start, length } = active;
  const release = (): void => {
    grants.unpin(ref, active, [kind], readonly);
    if (inner) inner.release();
    else frames.putPage(mfn);
  };
  return { mfn, start, length, release };
}

type Use = Pick<ActiveGrant, 'mfn' | 'start' | 'length' | 'isSubPage' | 'sourceDomain' | 'sourceRef'>;

function pick({ mfn, start, length, isSubPage, sourceDomain, sourceRef }: Use): Use {
  return { mfn, start, length, isSubPage, sourceDomain, sourceRef };
}

function isSameUse(a: Use, b: Use): boolean {
  return (
    a.mfn === b.mfn &&
    a.sourceDomain === b.sourceDomain &&
    a.sourceRef === b.sourceRef &&
    (!a.isSubPage || (b.isSubPage && a.start === b.start && a.length === b.length))
  );
}
