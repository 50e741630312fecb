// Page-table walks: none, 32-bit, PAE and 4-level paging with accessed and dirty bits (SDM Vol. 3A, chapter 4).
import { FRAME_SIZE, S, STATE } from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { type Gfn, NOT_RAM, type PhysicalMap } from '../physical-map.ts';

/** PTE bits in the low word. */
const P = 1;
const RW = 2;
const US = 4;
const A = 0x20;
const D = 0x40;
const PS = 0x80;
const G = 0x100;
/** Of an entry that maps 4 MiB: beyond PSE-36. */
const PSE_RESERVED = 1 << 21;
/** Bit 63 in the high word. */
const NX = 0x80000000;

/** Index of the running processor's top entries of PAE paging. */
const PDPTES = (STATE + S.pdptes) >> 2;

/** Error code bits of #PF. */
export const PageFault = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

export const AccessKind = { read: 0, write: 1, execute: 2 } as const;

export type PagingMode = 'none' | 'bits32' | 'pae' | 'long';

/** What walks depend on beside the tables: set by the processor whenever control registers change. */
export interface PagingControls {
  mode: PagingMode;
  /** Guest frames are translated by it; null: they are machine frames. */
  map: PhysicalMap | null;
  /** Physical address of the top table (outside PAE paging of its frame: the low bits do not count). */
  root: number;
  wp: boolean;
  nxe: boolean;
  smep: boolean;
  /** SMAP is on and RFLAGS.AC does not lift it. */
  smap: boolean;
  pse: boolean;
  pge: boolean;
  /** Entries of page-directory-pointer tables may map a page of 1 GiB. */
  gigabytePages: boolean;
  /** High words' bits that must be 0 in an entry (beyond MAXPHYADDR). */
  reservedHigh: number;
}

/** Walks the tables of one processor; results of the last walk stand in its fields. */
export class Paging {
  readonly controls: PagingControls = {
    mode: 'none',
    map: null,
    root: 0,
    wp: false,
    nxe: false,
    smep: false,
    smap: false,
    pse: false,
    pge: false,
    gigabytePages: true,
    reservedHigh: 0xfff00,
  };
  /** Guest frame of the page found, and the machine frame that stands there: NOT_RAM for device space. */
  gfn: Gfn = 0;
  mfn: Mfn = 0;
  /** The page is global. */
  global = false;
  /** #PF error code of the last walk that failed. */
  errorCode = 0;

  private readonly memory: EngineMemory;
  private readonly u32: Uint32Array;
  private readonly ramWords: number;

  constructor(memory: EngineMemory) {
    this.memory = memory;
    this.u32 = memory.u32;
    this.ramWords = memory.ramBase >> 2;
  }

  /**
   * Translates a linear page (canonical; 32 bits outside long mode). True: gfn and mfn are its frame, accessed and, for a write, dirty bits are set. False: errorCode is set.
   * @param lo low 32 bits of the linear address, hi its high bits
   */
  walk(lo: number, hi: number, kind: number, user: boolean): boolean {
    switch (this.controls.mode) {
      case 'none':
        return this.found(lo >>> 12, 0);
      case 'long':
        return this.walkLong(lo, hi, kind, user);
      case 'pae':
        return this.walkPae(lo, kind, user);
      default:
        return this.walk32(lo, kind, user);
    }
  }

  private fault(code: number, kind: number, user: boolean): boolean {
    const fetch = kind === AccessKind.execute && (this.controls.nxe || this.controls.smep) ? PageFault.fetch : 0;
    this.errorCode = code | (kind === AccessKind.write ? PageFault.write : 0) | (user ? PageFault.user : 0) | fetch;
    return false;
  }

  /** The machine frame behind a guest frame, or NOT_RAM. */
  machineFrame(gfn: Gfn): Mfn {
    const { map } = this.controls;
    if (map) return map.get(gfn);
    return gfn < this.memory.frames ? gfn : NOT_RAM;
  }

  /** @param leaf low half of the entry that maps the page */
  private found(gfn: Gfn, leaf: number): true {
    this.global = this.controls.pge && (leaf & G) !== 0;
    this.gfn = gfn;
    this.mfn = this.machineFrame(gfn);
    return true;
  }

  /** Index into u32 of an entry, or -1 where the table lies beyond RAM. */
  private entryAt(table: Gfn, index: number, entryWords: number): number {
    const mfn = this.machineFrame(table);
    if (mfn === NOT_RAM) return -1;
    return this.ramWords + mfn * (FRAME_SIZE / 4) + index * entryWords;
  }

  /** Of a walk by levels: each level's index, and where its entry is. */
  private readonly indices = new Int32Array(4);
  private readonly path = new Int32Array(4);

  private get rootFrame(): number {
    return Math.floor(this.controls.root / FRAME_SIZE);
  }

  private walkLong(lo: number, hi: number, kind: number, user: boolean): boolean {
    this.indices[0] = (hi >>> 7) & 0x1ff;
    this.indices[1] = ((hi & 0x7f) << 2) | (lo >>> 30);
    return this.descend(this.rootFrame, 0, lo, kind, user);
  }

  private walkPae(lo: number, kind: number, user: boolean): boolean {
    // the four top entries have neither rights nor accessed bits
    const at = PDPTES + (lo >>> 30) * 2;
    if (!(this.u32[at] & P)) return this.fault(0, kind, user);
    const table = frameOf(this.u32[at], this.u32[at + 1]);
    return this.descend(table, 2, lo, kind, user);
  }

  /** Levels of 64-bit entries: level 0 is the PML4, 3 the page table. */
  private descend(top: number, first: number, lo: number, kind: number, user: boolean): boolean {
    const { u32, path, indices, controls } = this;
    indices[2] = (lo >>> 21) & 0x1ff;
    indices[3] = (lo >>> 12) & 0x1ff;
    let table = top;
    let rights = RW | US;
    let nx = 0;
    let level = first;
    let low = 0;
    let high = 0;
    const reserved = controls.reservedHigh | (controls.nxe ? 0 : NX);
    for (; ; level++) {
      const at = this.entryAt(table, indices[level], 2);
      if (at < 0) return this.fault(PageFault.present | PageFault.reserved, kind, user);
      low = u32[at];
      high = u32[at + 1];
      if (!(low & P)) return this.fault(0, kind, user);
      if (high & reserved || (low & PS && (level === 0 || (level === 1 && !controls.gigabytePages))))
        return this.fault(PageFault.present | PageFault.reserved, kind, user);
      path[level] = at;
      rights &= low;
      nx |= high & NX;
      table = frameOf(low, high);
      if (level === 3 || (low & PS && level > 0)) break;
    }
    const inPage = level === 3 ? 0 : level === 2 ? (lo >>> 12) & 0x1ff : (lo >>> 12) & 0x3ffff;
    if (level < 3) {
      const mask = level === 2 ? 0x1ff : 0x3ffff;
      // bit 12 of a large page's entry is PAT; the frame bits below its size are reserved
      if (table & mask & ~1) return this.fault(PageFault.present | PageFault.reserved, kind, user);
      table = (table & ~mask) >>> 0;
    }
    if (!this.permitted(rights, nx !== 0, kind, user)) return this.fault(PageFault.present, kind, user);
    for (let i = first; i < level; i++) if (!(u32[path[i]] & A)) u32[path[i]] |= A;
    const wanted = kind === AccessKind.write ? A | D : A;
    if ((low & wanted) !== wanted) u32[path[level]] |= wanted;
    return this.found(table + inPage, low);
  }

  private walk32(lo: number, kind: number, user: boolean): boolean {
    const { u32, controls } = this;
    const directory = this.entryAt(this.rootFrame, lo >>> 22, 1);
    if (directory < 0) return this.fault(PageFault.present | PageFault.reserved, kind, user);
    const pde = u32[directory];
    if (!(pde & P)) return this.fault(0, kind, user);
    let leaf = directory;
    let entry = pde;
    let rights = pde & (RW | US);
    let gfn: Gfn;
    if (pde & PS && controls.pse) {
      if (pde & PSE_RESERVED) return this.fault(PageFault.present | PageFault.reserved, kind, user);
      // PSE-36: bits 13-20 are address bits 32-39
      gfn = ((pde >>> 13) & 0xff) * 0x100000 + ((pde >>> 22) << 10) + ((lo >>> 12) & 0x3ff);
    } else {
      leaf = this.entryAt(pde >>> 12, (lo >>> 12) & 0x3ff, 1);
      if (leaf < 0) return this.fault(PageFault.present | PageFault.reserved, kind, user);
      entry = u32[leaf];
      if (!(entry & P)) return this.fault(0, kind, user);
      rights &= entry;
      gfn = entry >>> 12;
    }
    if (!this.permitted(rights, false, kind, user)) return this.fault(PageFault.present, kind, user);
    if (!(u32[directory] & A)) u32[directory] |= A;
    const wanted = kind === AccessKind.write ? A | D : A;
    if ((entry & wanted) !== wanted) u32[leaf] |= wanted;
    return this.found(gfn, entry);
  }

  /** Rights rules (SDM Vol. 3A, 4.6.1). */
  private permitted(rights: number, nx: boolean, kind: number, user: boolean): boolean {
    const { controls } = this;
    const userPage = (rights & US) !== 0;
    if (kind === AccessKind.execute) return !nx && !(user ? !userPage : userPage && controls.smep);
    const reach = user ? userPage : !(userPage && controls.smap);
    if (kind === AccessKind.read) return reach;
    return reach && ((rights & RW) !== 0 || (!user && !controls.wp));
  }
}

function frameOf(low: number, high: number): number {
  return (low >>> 12) + (high & 0xfffff) * 0x100000;
}
