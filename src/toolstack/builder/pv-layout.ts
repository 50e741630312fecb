// Where everything stands in a PV guest at its start: which guest frames, at which virtual addresses.
// Order and rounding as libxenguest's (tools/libs/guest/xg_dom_core.c xc_dom_build_image, xg_dom_x86.c): kernel, initrd, p2m,
// start_info, XenStore page, console page, page tables, boot stack; then what is not in the initial mapping: initrd, p2m.
import { BuildError } from './error.ts';
import { PageTablePlan } from './page-tables.ts';

const PAGE = 4096;
const PAGE_BYTES = 4096n;
/** The initial mapping ends on a multiple of 4 MiB with at least 512 KiB to spare. */
const MAP_ALIGN = 4n << 20n;
const SPARE_PAGES = (512 << 10) / PAGE;
const P2M_ENTRY = 8;

/** What of the kernel decides about the layout. */
export interface LayoutImage {
  /** VIRT_BASE of the notes, 0 where unset: the address of guest frame 0. */
  virtBase: bigint;
  paddrOffset: bigint;
  /** Virtual range of its loaded segments: [start, end). */
  virtStart: bigint;
  virtEnd: bigint;
  /** INIT_P2M; null: the p2m list stands in the initial mapping. */
  initP2m: bigint | null;
  /** MOD_START_PFN: the initrd need not be mapped. */
  modStartPfn: boolean;
}

/** Consecutive guest frames. `va` is null for what the initial mapping does not show. */
export interface Part {
  pfn: number;
  pages: number;
  va: bigint | null;
}

export interface MappedPart extends Part {
  va: bigint;
}

export interface PvLayout {
  /** Pages of the domain. */
  pages: number;
  virtBase: bigint;
  /** End of the initial mapping, exclusive. */
  virtEnd: bigint;
  kernel: MappedPart;
  initrd: Part | null;
  p2m: MappedPart;
  /** p2m frames, and the tables that map them at INIT_P2M; 0 where it is in the initial mapping. */
  p2mFrames: number;
  startInfo: MappedPart;
  /** Null for a domain that has none: the initial domain on genuine Xen. */
  xenstore: MappedPart | null;
  console: MappedPart | null;
  pageTables: MappedPart;
  bootStack: MappedPart;
  tables: PageTablePlan;
}

const pagesOf = (bytes: number): number => Math.ceil(bytes / PAGE);
const alignUp = (value: bigint, to: bigint): bigint => ((value + to - 1n) / to) * to;

/** Which rings to the toolstack's daemons the domain starts with. */
export interface Rings {
  xenstore: boolean;
  console: boolean;
}

/** @param pages memory of the domain in pages; throws BuildError where that is too little to start with */
export function layOutPv(
  image: LayoutImage,
  pages: number,
  initrdBytes: number,
  rings: Rings = { xenstore: true, console: true },
): PvLayout {
  const base = image.virtBase;
  if (base % PAGE_BYTES !== 0n) throw new BuildError('the kernel wants a virtual base that is not on a page boundary');
  const initP2m = usableP2mBase(image);
  let next = 0;
  const take = (count: number): MappedPart => {
    const part = { pfn: next, pages: count, va: BigInt.asUintN(64, base + BigInt(next) * PAGE_BYTES) };
    next += count;
    return part;
  };

  if (image.virtStart < base) throw new BuildError('the kernel has a segment below its virtual base');
  next = Number((image.virtStart - base) / PAGE_BYTES);
  const kernelStart = image.virtStart - (image.virtStart % PAGE_BYTES);
  const kernel = take(pagesOf(Number(image.virtEnd - kernelStart)));
  const initrdPages = pagesOf(initrdBytes);
  let initrd: Part | null = initrdBytes > 0 && !image.modStartPfn ? take(initrdPages) : null;
  const p2mPages = pagesOf(pages * P2M_ENTRY);
  let p2m = initP2m === null ? take(p2mPages) : null;
  const startInfo = take(1);
  const xenstore = rings.xenstore ? take(1) : null;
  const console = rings.console ? take(1) : null;

  const tables = new PageTablePlan();
  const virtEnd = endOfMapping(tables, base, base + BigInt(next) * PAGE_BYTES);
  const count = tables.addTables(base, virtEnd, next);
  const pageTables = take(count);
  const bootStack = take(1);
  next = Number((virtEnd - base) / PAGE_BYTES);
  tables.map(base, virtEnd, 0);

  if (initrdBytes > 0 && !initrd) initrd = { ...take(initrdPages), va: null };
  let p2mFrames = 0;
  if (initP2m !== null) {
    const list = take(p2mPages);
    const end = initP2m + BigInt(p2mPages) * PAGE_BYTES;
    const more = tables.addTables(initP2m, end, next);
    next += more;
    p2mFrames = p2mPages + more;
    tables.map(initP2m, end, list.pfn);
    p2m = { ...list, va: initP2m };
  }
  if (next > pages) {
    const mib = (n: number): number => Math.ceil(n / 256);
    const initrdText = initrdBytes > 0 ? ` and an initrd of ${mib(initrdPages)} MiB` : '';
    throw new BuildError(
      `${mib(pages)} MiB of memory are too little: a kernel of ${mib(kernel.pages)} MiB${initrdText} needs at least ${mib(next)} MiB to be loaded`,
    );
  }
  return {
    pages,
    virtBase: base,
    virtEnd,
    kernel,
    initrd,
    p2m: p2m!,
    p2mFrames,
    startInfo,
    xenstore,
    console,
    pageTables,
    bootStack,
    tables,
  };
}

/** Tables are part of what they map, so their number and the end of the mapping depend on each other. */
function endOfMapping(tables: PageTablePlan, base: bigint, allocated: bigint): bigint {
  let extra = 1 + SPARE_PAGES;
  for (;;) {
    const end = alignUp(allocated + BigInt(extra) * PAGE_BYTES, MAP_ALIGN);
    extra = tables.needed(base, end) + 1 + SPARE_PAGES;
    if (allocated + BigInt(extra) * PAGE_BYTES <= end) return end;
  }
}

/** Xen takes INIT_P2M only below the kernel's mapping and on a page boundary. */
function usableP2mBase(image: LayoutImage): bigint | null {
  const { initP2m, virtBase } = image;
  return initP2m === null || initP2m >= virtBase || initP2m % PAGE_BYTES !== 0n ? null : initP2m;
}
