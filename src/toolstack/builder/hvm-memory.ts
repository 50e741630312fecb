// What PVH and PVHVM domains have in common before their firmware or kernel is put in: RAM on both sides of the hole below 4 GiB, Xen's
// special pages in the hole, and the parameters that tell of them.
// Source: tools/libs/guest/xg_dom_x86.c (alloc_magic_pages_hvm, bootlate_hvm), tools/libs/light/libxl_x86.c (domain_construct_memmap).
import { HVM_PARAM } from '../../abi/xen/hvm.ts';
import { E820 } from '../../abi/xen/memory.ts';
import type { Domain, MemoryMapEntry } from '../../hypervisor/domain.ts';
import { setUpSharedInfo } from '../../hypervisor/shared-info.ts';
import { PhysicalMemory } from '../../machine/physical-memory.ts';
import { BuildError } from './error.ts';

const PAGE = 4096;
const PAGES_PER_MIB = 256;
const GIB4_PAGES = 1 << 20;

/** Special pages stand just below this guest frame. */
const SPECIAL_END = 0xff000;
const SPECIAL_PAGES = 8;
const SPECIAL_FIRST = SPECIAL_END - SPECIAL_PAGES;
/** Which special page is which. */
const SPECIAL = {
  paging: 0,
  access: 1,
  sharing: 2,
  bufioreq: 3,
  xenstore: 4,
  ioreq: 5,
  identPt: 6,
  console: 7,
} as const;
export const STORE_GFN = SPECIAL_FIRST + SPECIAL.xenstore;
export const CONSOLE_GFN = SPECIAL_FIRST + SPECIAL.console;

/** Grant references that every toolstack seeds for its daemons. */
const GNTTAB_RESERVED_CONSOLE = 0;
const GNTTAB_RESERVED_XENSTORE = 1;

/** Pages that an HVM domain owns beside its RAM. */
export const HVM_SPECIAL_PAGES = SPECIAL_PAGES;

export interface HvmMemoryOptions {
  /** Pages of RAM. */
  pages: number;
  /** End of RAM below 4 GiB at the latest, in pages: devices and special pages stand from there on. */
  holeStart: number;
  /** Pages for tables of firmware beside its RAM: first guest frame and count. */
  tables?: { readonly first: number; readonly count: number };
  storePort: number;
  consolePort: number;
}

export interface HvmMemory {
  /** By guest-physical address. */
  physical: PhysicalMemory;
  /** First addresses after the RAM below 4 GiB and above it; the latter is 4 GiB where there is none. */
  lowEnd: number;
  highEnd: number;
}

/** Gives an empty HVM domain its memory. Throws BuildError where the host has not so much. */
export function populateHvm(domain: Domain, options: HvmMemoryOptions): HvmMemory {
  const { hypervisor } = domain;
  const { physmap } = domain.hvm!;
  const { frames, memory, processor } = hypervisor;
  const low = Math.min(options.pages, options.holeStart);
  const high = options.pages - low;
  const { tables = { first: 0, count: 0 } } = options;
  const wanted = options.pages + SPECIAL_PAGES + tables.count;
  if (frames.free < wanted) {
    const mib = (n: number): number => Math.floor(n / PAGES_PER_MIB);
    throw new BuildError(`the host has only ${mib(frames.free)} MiB free for a domain of ${mib(wanted)} MiB`);
  }
  setUpSharedInfo(domain);
  const populate = (first: number, count: number): void => {
    for (let gfn = first; gfn < first + count; gfn++) physmap.add(gfn, frames.allocate(domain));
  };
  populate(0, low);
  populate(GIB4_PAGES, high);
  populate(SPECIAL_FIRST, SPECIAL_PAGES);
  populate(tables.first, tables.count);
  setParams(domain, options);
  domain.grants.seed(GNTTAB_RESERVED_CONSOLE, 0, CONSOLE_GFN);
  domain.grants.seed(GNTTAB_RESERVED_XENSTORE, 0, STORE_GFN);
  const physical = new PhysicalMemory(memory, physmap.map, (mfn, offset, length) =>
    processor.wroteFrame(mfn, offset, length),
  );
  writeIdentityTable(physical);
  return { physical, lowEnd: low * PAGE, highEnd: (GIB4_PAGES + high) * PAGE };
}

function setParams({ hvm }: Domain, { storePort, consolePort }: HvmMemoryOptions): void {
  const special = (page: number): bigint => BigInt(SPECIAL_FIRST + page);
  const values: [number, bigint][] = [
    [HVM_PARAM.store_pfn, special(SPECIAL.xenstore)],
    [HVM_PARAM.store_evtchn, BigInt(storePort)],
    [HVM_PARAM.console_pfn, special(SPECIAL.console)],
    [HVM_PARAM.console_evtchn, BigInt(consolePort)],
    [HVM_PARAM.bufioreq_pfn, special(SPECIAL.bufioreq)],
    [HVM_PARAM.ioreq_pfn, special(SPECIAL.ioreq)],
    [HVM_PARAM.paging_ring_pfn, special(SPECIAL.paging)],
    [HVM_PARAM.monitor_ring_pfn, special(SPECIAL.access)],
    [HVM_PARAM.sharing_ring_pfn, special(SPECIAL.sharing)],
    [HVM_PARAM.ident_pt, special(SPECIAL.identPt) << 12n],
  ];
  for (const [index, value] of values) hvm!.params.poke(index, value);
}

/** The page directory by which VT-x runs code without paging: nobody needs it here, but it is in the guest's memory on Xen. */
function writeIdentityTable(physical: PhysicalMemory): void {
  const flags = 0xe7; // present, writable, user, accessed, dirty, 4 MiB
  const at = (SPECIAL_FIRST + SPECIAL.identPt) * PAGE;
  for (let i = 0; i < 1024; i++) physical.setU32(at + i * 4, ((i << 22) | flags) >>> 0);
}

/** What the special pages are in a memory map that says so. */
export const SPECIAL_RANGE: MemoryMapEntry = {
  address: BigInt(SPECIAL_FIRST * PAGE),
  size: BigInt(SPECIAL_PAGES * PAGE),
  type: E820.reserved,
};

/** RAM above 4 GiB as an entry of a memory map, where there is any. */
export function highRam({ highEnd }: HvmMemory): MemoryMapEntry[] {
  const start = GIB4_PAGES * PAGE;
  return highEnd > start ? [{ address: BigInt(start), size: BigInt(highEnd - start), type: E820.ram }] : [];
}
