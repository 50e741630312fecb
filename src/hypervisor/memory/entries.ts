// Single page-table entries: the references that a present entry holds, and how a validated table's entry changes.
// Source: xen/arch/x86/mm.c, get_page_from_l1e() to mod_l4_entry(). Results are 0 or -errno, as hot paths do not throw.
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { DOMID_IO } from '../domain-ids.ts';
import type { FrameTable } from './frame-table.ts';
import { adjustL1High, adjustL1Low, differsHarmlessly, l1Disallowed, mfnOf, Pte, UPPER_DISALLOWED } from './pte.ts';
import { isGuestL4Slot } from './validate.ts';

const EPERM = -1;
const EBUSY = -16;
const EINVAL = -22;
const EOPNOTSUPP = -95;
const WRITABLE = 7;
const VALIDATED = 4;
/** Entries of the PAT (Xen's: WB WT UC- UC WC WP UC UC) that allow caching, and the flags of UC. */
const CACHEABLE = new Set([0, 1, 5]);
const UNCACHEABLE = Pte.pwt | Pte.pcd;
const CACHE_ATTRIBUTES = Pte.pwt | Pte.pcd | Pte.pse;
/** Frame number of an all-ones address: "no frame", which is refused without calling it an attempt on device space. */
const ALL_ONES_MFN = 2 ** 40 - 1;

/** True where the domain may choose the caching of its mappings: it has device memory. */
export function mayChooseCaching(domain: Domain): boolean {
  return domain.ioMemory.length > 0;
}

function mayMapDevice(domain: Domain | undefined, mfn: number): boolean {
  return domain?.ioMemory.some(([first, last]) => mfn >= first && mfn <= last) ?? false;
}

/**
 * Takes the references of a present L1 entry of `tableOwner` whose frame is to belong to `pageOwner` (a domain id). 0, -errno, or flags
 * that must be flipped in the entry.
 */
export function getL1(frames: FrameTable, low: number, high: number, tableOwner: Domain, pageOwner: number): number {
  if (low & l1Disallowed(mayChooseCaching(tableOwner))) return EINVAL;
  const mfn = mfnOf(low, high);
  if (mfn >= frames.count || frames.owner[mfn] === DOMID_IO) return getDevice(frames, mfn, low, tableOwner, pageOwner);
  if (frames.refCount[mfn] === 0) return EBUSY;
  const realOwner = frames.owner[mfn];
  if (realOwner !== pageOwner) {
    // Only the toolstack's domain maps what belongs to others, and says whose it is.
    const { domains } = frames.hypervisor;
    if (pageOwner === tableOwner.id || !domains.get(pageOwner)?.isPrivileged || !domains.get(realOwner)) return EBUSY;
  }
  frames.refCount[mfn]++;
  if (low & Pte.rw) {
    // A frame that is used as something else is EBUSY; there is nothing to validate in a writable one.
    if (frames.getPageType(mfn, WRITABLE) !== 0) {
      frames.putPage(mfn);
      return EBUSY;
    }
  }
  return 0;
}

/** Device memory: no references, but rights; what would be cacheable is made uncacheable. 0, -errno, or flags to flip. */
function getDevice(frames: FrameTable, mfn: number, low: number, tableOwner: Domain, pageOwner: number): number {
  const { domains } = frames.hypervisor;
  const refused = mfn === ALL_ONES_MFN ? EINVAL : EPERM;
  // DOMID_XEN, which is no domain, may map none.
  const asked = pageOwner === DOMID_IO ? frames.hypervisor.loaded?.domain : domains.get(pageOwner);
  if (!mayMapDevice(asked, mfn) || !mayMapDevice(tableOwner, mfn)) return refused;
  const patIndex = (low & Pte.pse ? 4 : 0) | (low & Pte.pcd ? 2 : 0) | (low & Pte.pwt ? 1 : 0);
  return CACHEABLE.has(patIndex) ? (low & CACHE_ATTRIBUTES) ^ UNCACHEABLE : 0;
}

/** Gives back what getL1 took. */
export function putL1(frames: FrameTable, low: number, high: number, tableOwner: Domain | undefined): void {
  if (!(low & Pte.present)) return;
  const mfn = mfnOf(low, high);
  if (mfn >= frames.count || frames.owner[mfn] === DOMID_IO) return;
  // Translations of a frame that is somebody else's may not outlive the mapping.
  if (frames.owner[mfn] !== tableOwner?.id) frames.hypervisor.processor.dropFrame(mfn);
  if (low & Pte.rw) frames.putPageType(mfn);
  frames.putPage(mfn);
}

/** Takes the references of a present entry of a table of level 2, 3 or 4. */
export function getUpper(
  frames: FrameTable,
  level: number,
  low: number,
  high: number,
  table: Mfn,
  domain: Domain,
): number {
  if (low & UPPER_DISALLOWED) return EINVAL;
  const mfn = mfnOf(low, high);
  const rc = frames.getPageAndType(mfn, domain.id, level - 1);
  if (rc === EINVAL && getLinear(frames, level, low, mfn, table, domain)) return 0;
  return rc;
}

/**
 * A linear page table: an entry that points at a table of the entry's own level. It must be read-only, the other table valid, and
 * neither be part of a longer chain, so that taking a table apart ends. A table's entry for itself holds no reference.
 */
function getLinear(frames: FrameTable, level: number, low: number, mfn: number, table: Mfn, domain: Domain): boolean {
  if (low & Pte.rw) return false;
  if (mfn === table) return true;
  if (frames.owner[table] !== domain.id || !frames.getPage(mfn, domain.id)) return false;
  if (
    frames.type[mfn] !== level ||
    !(frames.flags[mfn] & VALIDATED) ||
    frames.typeCount[mfn] === 0 ||
    frames.linear[table] < 0 ||
    frames.linear[mfn] > 0
  ) {
    frames.putPage(mfn);
    return false;
  }
  frames.linear[table]++;
  frames.linear[mfn]--;
  frames.typeCount[mfn]++;
  return true;
}

/** Gives back what getUpper took. */
export function putUpper(frames: FrameTable, low: number, high: number, table: Mfn): void {
  if (!(low & Pte.present)) return;
  const mfn = mfnOf(low, high);
  if (mfn === table) return;
  frames.putPageAndType(mfn, table);
}

/** What an entry update is to do. */
export interface EntryUpdate {
  /** Index of the entry's low half in EngineMemory.u32. */
  at: number;
  table: Mfn;
  low: number;
  high: number;
  /** Keep the accessed and dirty bits that are set (MMU_PT_UPDATE_PRESERVE_AD). */
  preserveAd: boolean;
  /** Whose the table is. */
  domain: Domain;
  /** Whose the mapped frame is to be: a domain id, or DOMID_IO. L1 entries only. */
  pageOwner: number;
}

function store(frames: FrameTable, update: EntryUpdate, low: number, high: number): void {
  const words = frames.hypervisor.memory.u32;
  const kept = update.preserveAd ? words[update.at] & (Pte.accessed | Pte.dirty) : 0;
  words[update.at] = low | kept;
  words[update.at + 1] = high;
  frames.wrote(update.table, (update.at * 4) & 0xff8, 8);
}

/** Changes an entry of a validated L1 table. */
export function updateL1(frames: FrameTable, update: EntryUpdate): number {
  const words = frames.hypervisor.memory.u32;
  const oldLow = words[update.at];
  const oldHigh = words[update.at + 1];
  const { domain } = update;
  let { low, high } = update;
  if (low & Pte.present) {
    if (low & l1Disallowed(mayChooseCaching(domain))) return EINVAL;
    const owner = update.pageOwner === domain.id ? domain : frames.hypervisor.domains.get(update.pageOwner);
    // Frames of HVM domains are named by guest frame numbers, which their page tables (not built yet) translate.
    if (owner && !owner.isPv) return EOPNOTSUPP;
    const asked = low;
    low = adjustL1Low(asked, high);
    high = adjustL1High(asked, high);
    if (differsHarmlessly(oldLow, oldHigh, low, high)) {
      store(frames, update, low, high);
      reportChange(frames, oldLow, oldHigh);
      return 0;
    }
    const rc = getL1(frames, low, high, domain, update.pageOwner);
    if (rc < 0) return rc;
    low ^= rc;
  }
  store(frames, update, low, high);
  reportChange(frames, oldLow, oldHigh);
  putL1(frames, oldLow, oldHigh, domain);
  return 0;
}

/** Translations through an entry that was present may be cached. */
function reportChange(frames: FrameTable, oldLow: number, oldHigh: number): void {
  if (oldLow & Pte.present) frames.hypervisor.processor.mappingChanged(mfnOf(oldLow, oldHigh), oldHigh >= 0);
}

/** Changes an entry of a validated table of level 2, 3 or 4. */
export function updateUpper(frames: FrameTable, level: number, update: EntryUpdate): number {
  if (level === 4 && !isGuestL4Slot((update.at >> 1) & 511)) return EINVAL;
  const words = frames.hypervisor.memory.u32;
  const oldLow = words[update.at];
  const oldHigh = words[update.at + 1];
  let { low } = update;
  const { high, domain, table } = update;
  if (low & Pte.present) {
    if (low & UPPER_DISALLOWED) return EINVAL;
    low |= level === 4 ? Pte.user | Pte.accessed : Pte.user;
    if (differsHarmlessly(oldLow, oldHigh, low, high)) {
      store(frames, update, low, high);
      if ((oldHigh ^ high) < 0) frames.tablesChanged = true; // NX
      return 0;
    }
    const rc = getUpper(frames, level, low, high, table, domain);
    if (rc !== 0) return rc;
  }
  store(frames, update, low, high);
  if (oldLow & Pte.present) {
    putUpper(frames, oldLow, oldHigh, table);
    // Translations through the old entry must end, as Xen flushes after such updates; what was not present left none.
    frames.tablesChanged = true;
  }
  return 0;
}
