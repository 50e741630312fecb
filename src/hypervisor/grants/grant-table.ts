// One domain's grant table: what it grants to others, and what of others' it has mapped. Source: xen/include/public/grant_table.h;
// behaviour of xen/common/grant_table.c.
import { GTF } from '../../abi/xen/grant-table.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain, DomId } from '../domain.ts';
import { XenError } from '../errors.ts';
import { INVALID_PFN } from '../memory/m2p.ts';
import { Maptrack } from './maptrack.ts';
import { ActiveGrant, type PinKind } from './pins.ts';
import { type GrantRef, type GrantVersion, grantFramesFor, SharedEntries, statusFramesFor } from './shared-entries.ts';
import { GrantError } from './status.ts';

/** Entries that the toolstack may have filled and that survive a change of version. */
const RESERVED_ENTRIES = 8;
const DEFAULT_MAX_FRAMES = 64;
const DEFAULT_MAX_MAPTRACK_FRAMES = 1024;

export class GrantTable {
  readonly domain: Domain;
  readonly entries: SharedEntries;
  readonly maptrack = new Maptrack(DEFAULT_MAX_MAPTRACK_FRAMES);
  readonly maxFrames: number;
  private readonly active = new Map<GrantRef, ActiveGrant>();

  constructor(domain: Domain) {
    this.domain = domain;
    this.maxFrames = domain.config.maxGrantFrames ?? DEFAULT_MAX_FRAMES;
    this.entries = new SharedEntries(domain.hypervisor.memory);
    this.grow(1);
  }

  get version(): GrantVersion {
    return this.entries.version;
  }

  // The table itself.

  /** GNTTABOP_setup_table: the first `count` frames, made as needed. */
  setup(count: number): readonly Mfn[] {
    if (count > this.maxFrames) throw new GrantError('general_error');
    this.grow(count);
    return this.entries.frames.slice(0, count);
  }

  /** GNTTABOP_get_status_frames. */
  statusFrames(count: number): readonly Mfn[] {
    if (count > this.entries.statusFrames.length) throw new GrantError('general_error');
    return this.entries.statusFrames.slice(0, count);
  }

  /** A frame by its number, made as needed. Throws EINVAL beyond the table's maximum. */
  sharedFrameAt(index: number): Mfn {
    if (index >= this.maxFrames) throw new XenError('EINVAL');
    this.grow(index + 1);
    return this.entries.frames[index];
  }

  /** A frame of status words, made with the table's frames that need it. Throws EINVAL beyond the table's maximum. */
  statusFrameAt(index: number): Mfn {
    if (index >= statusFramesFor(this.maxFrames)) throw new XenError('EINVAL');
    if (index >= this.entries.statusFrames.length) this.grow(grantFramesFor(index + 1));
    return this.entries.statusFrames[index];
  }

  /**
   * GNTTABOP_set_version: EINVAL for a version that does not exist, EBUSY while any entry but the reserved ones is in use or the status
   * frames are mapped, ERANGE where a reserved entry cannot be said in version 1.
   */
  setVersion(version: number): void {
    if (version !== 1 && version !== 2) throw new XenError('EINVAL');
    const { entries } = this;
    if (version === entries.version) return;
    for (const [ref, active] of this.active) {
      if (ref >= RESERVED_ENTRIES && active.isPinned) throw new XenError('EBUSY');
    }
    const kept = version === 1 ? this.reservedAsVersion1() : this.reservedAsTheyAre();
    if (version === 1) this.dropStatusFrames();
    else this.growStatus(entries.frames.length);
    for (const mfn of entries.frames) this.domain.hypervisor.memory.frame(mfn).fill(0);
    entries.version = version;
    kept.forEach(({ flags, domid, frame }, ref) => {
      const status = flags & (GTF.reading | GTF.writing);
      entries.permit(ref, domid, frame, flags & ~status);
      entries.setStatus(ref, status);
    });
  }

  /** GNTTABOP_swap_grant_ref: neither may be in use. */
  swap(a: GrantRef, b: GrantRef): void {
    if (a >= this.entries.count || b >= this.entries.count) throw new GrantError('bad_gntref');
    if (a === b) return;
    if (this.active.get(a)?.isPinned || this.active.get(b)?.isPinned) throw new GrantError('eagain');
    this.entries.swap(a, b);
  }

  /** Fills an entry for the guest: the toolstack grants a backend the console's and XenStore's pages so. */
  seed(ref: GrantRef, domid: DomId, frame: Mfn, readonly = false): void {
    this.entries.permit(ref, domid, BigInt(frame), GTF.permit_access | (readonly ? GTF.readonly : 0));
  }

  // Use of the domain's grants by others.

  /** The grant's present use; made where there is none yet. Throws bad_gntref. */
  grantAt(ref: GrantRef): ActiveGrant {
    if (ref >= this.entries.count) throw new GrantError('bad_gntref');
    let active = this.active.get(ref);
    if (!active) this.active.set(ref, (active = new ActiveGrant()));
    return active;
  }

  /**
   * Checks that `user` may use the grant so, and shows it in the entry's status. The caller has made sure that a pin of the same domain,
   * if there is any, allows one more; it pins afterwards, or calls `reduceStatus`.
   * @param forMapping sub-page and transitive grants can only be copied
   */
  claim(ref: GrantRef, active: ActiveGrant, user: DomId, readonly: boolean, forMapping: boolean): void {
    const { entries } = this;
    const flags = entries.flags(ref);
    if (!active.isPinned) {
      const type = flags & (GTF.type_mask | (forMapping ? GTF.sub_page : 0));
      const usable = type === GTF.permit_access || (entries.version === 2 && !forMapping && type === GTF.transitive);
      if (!usable || entries.domid(ref) !== user) throw new GrantError('general_error');
    }
    if (!readonly && flags & GTF.readonly) throw new GrantError('general_error');
    entries.setStatus(ref, readonly ? GTF.reading : GTF.reading | GTF.writing);
  }

  /** Takes back from the entry's status what no pin needs any more. */
  reduceStatus(ref: GrantRef, active: ActiveGrant, readonly: boolean): void {
    // After a change of version the entry may be gone.
    if (ref >= this.entries.count) return;
    let clear = active.isPinned ? 0 : GTF.reading;
    if (!readonly && !active.isPinnedForWriting) clear |= GTF.writing;
    if (clear) this.entries.clearStatus(ref, clear);
  }

  pin(active: ActiveGrant, kinds: readonly PinKind[]): void {
    for (const kind of kinds) active[kind]++;
  }

  unpin(ref: GrantRef, active: ActiveGrant, kinds: readonly PinKind[], readonly: boolean): void {
    for (const kind of kinds) active[kind]--;
    this.reduceStatus(ref, active, readonly);
    if (!active.isPinned) this.active.delete(ref);
  }

  /** True where another domain uses this frame of ours by a grant. */
  isFrameGrantedTo(user: DomId, mfn: Mfn): boolean {
    for (const active of this.active.values()) {
      if (active.isPinned && active.domid === user && active.mfn === mfn) return true;
    }
    return false;
  }

  /** Uses of this domain's grants, for dumps and checks. */
  *uses(): Generator<[GrantRef, ActiveGrant]> {
    for (const use of this.active) if (use[1].isPinned) yield use;
  }

  /** The domain goes away: its frames are free as soon as nobody maps them. */
  destroy(): void {
    const { frames } = this.domain.hypervisor;
    for (const mfn of this.entries.statusFrames.splice(0)) frames.freeXen(mfn);
    for (const mfn of this.entries.frames.splice(0)) frames.freeXen(mfn);
  }

  // Growing and shrinking.

  private grow(count: number): void {
    const { entries } = this;
    while (entries.frames.length < count) {
      entries.frames.push(this.newFrame());
    }
    if (entries.version === 2) this.growStatus(entries.frames.length);
  }

  private growStatus(grantFrames: number): void {
    const wanted = statusFramesFor(grantFrames);
    while (this.entries.statusFrames.length < wanted) this.entries.statusFrames.push(this.newFrame());
  }

  private newFrame(): Mfn {
    return this.domain.hypervisor.frames.allocateXen(this.domain.id, true);
  }

  private dropStatusFrames(): void {
    const { frames, m2p } = this.domain.hypervisor;
    const { hvm } = this.domain;
    // An HVM guest's mappings of them are in its physmap, where they can be found.
    for (const mfn of hvm ? this.entries.statusFrames : []) {
      const gfn = m2p.get(mfn);
      if (gfn !== INVALID_PFN) hvm?.physmap.remove(Number(gfn));
    }
    // The guest may not keep a mapping of a page that becomes something else's.
    if (this.entries.statusFrames.some(mfn => frames.refCount[mfn] !== 1)) throw new XenError('EBUSY');
    for (const mfn of this.entries.statusFrames.splice(0)) frames.freeXen(mfn);
  }

  private reservedAsTheyAre(): Reserved[] {
    const { entries } = this;
    return Array.from({ length: RESERVED_ENTRIES }, (_, ref) => ({
      flags: entries.flags(ref),
      domid: entries.domid(ref),
      frame: entries.body(ref).frame,
    }));
  }

  private reservedAsVersion1(): Reserved[] {
    const { entries } = this;
    const all = this.reservedAsTheyAre();
    for (const { flags, frame } of all) {
      const type = flags & GTF.type_mask;
      if (type === GTF.transitive || (type === GTF.permit_access && frame >> 32n !== 0n)) throw new XenError('ERANGE');
    }
    return all.map((entry, ref) =>
      (entry.flags & GTF.type_mask) === GTF.permit_access
        ? { ...entry, flags: entry.flags | entries.status(ref) }
        : { flags: 0, domid: 0, frame: 0n },
    );
  }
}

interface Reserved {
  flags: number;
  domid: number;
  frame: bigint;
}
