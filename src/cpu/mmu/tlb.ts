// TLB banks: direct-mapped tables of read, write and execute translations in the engine memory, a bank an address space.
//
// An entry {tag i64, addend i32, flags i32}: tag is the linear page, addend turns a linear address (low 32 bits) into an engine-memory
// address; flags are 1 for a global page (SDM Vol. 3A, 4.10.2.4), which outlives what only one address space has. Generated code compares the page of an access's last byte with the tag of its first: one comparison for hit and page crossing.
import { clearJumps, GENERATIONS } from '../jump-cache.ts';
import {
  FRAME_FLAGS,
  FrameFlag,
  TLB_BANK_COUNT,
  TLB_BANK_SIZE,
  TLB_BANKS,
  TLB_ENTRY_SIZE,
  TLB_EXEC_ENTRIES,
  TLB_EXEC_OFFSET,
  TLB_READ_ENTRIES,
  TLB_WRITE_ENTRIES,
  TLB_WRITE_OFFSET,
} from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { AccessKind } from './paging.ts';

interface Bank {
  address: number;
  /** What its translations depend on: see select(). */
  map: number;
  root: number;
  pcid: number;
  rules: number;
  used: number;
  /** Changes with every invalidation that reaches executable pages: jump cache entries of older generations are void. */
  generation: number;
  /** Nothing was filled since the last flush. */
  empty: boolean;
  /** Where entries that are not global were put since the last time that such were dropped; more than fit are not listed. */
  local: Int32Array;
  locals: number;
  /** Code was among them. */
  localCode: boolean;
  /** Pages that jump cache entries of one generation may lead into: a filter by page number. */
  jumpPages: Uint8Array;
  jumpPagesGeneration: number;
}

/** Offset and size of the table for an access kind. */
const TABLES: Record<number, { offset: number; entries: number }> = {
  [AccessKind.read]: { offset: 0, entries: TLB_READ_ENTRIES },
  [AccessKind.write]: { offset: TLB_WRITE_OFFSET, entries: TLB_WRITE_ENTRIES },
  [AccessKind.execute]: { offset: TLB_EXEC_OFFSET, entries: TLB_EXEC_ENTRIES },
};
/** A tag that no page has: its low bits are set. */
const NO_TAG = -1;
const JUMP_PAGES = 1024;
/** Dropping more entries than this goes through the whole bank. */
const LISTED = 256;
/** More changed frames than this are not looked for one by one: everything is dropped. */
const MANY_CHANGES = 12;

export class TlbBanks {
  current: Bank;
  /** What was current before. */
  private previous: Bank;
  /** PhysicalMap.id of the guest, 0 for machine frames. */
  map = 0;
  private readonly banks: Bank[] = [];
  private readonly memory: EngineMemory;
  private readonly i32: Int32Array;
  private clock = 0;
  private generations = 0;

  constructor(memory: EngineMemory) {
    this.memory = memory;
    this.i32 = memory.i32;
    for (let i = 0; i < TLB_BANK_COUNT; i++) {
      const address = TLB_BANKS + i * TLB_BANK_SIZE;
      this.banks.push({
        address,
        map: 0,
        root: -1,
        pcid: 0,
        rules: 0,
        used: 0,
        generation: this.nextGeneration(),
        empty: true,
        local: new Int32Array(LISTED),
        locals: 0,
        localCode: false,
        jumpPages: new Uint8Array(JUMP_PAGES),
        jumpPagesGeneration: 0,
      });
      this.i32.fill(NO_TAG, address >> 2, (address + TLB_BANK_SIZE) >> 2);
    }
    this.current = this.banks[0];
    this.previous = this.current;
  }

  /** When the generations that salts have room for are used up the jump cache is cleared and counting starts again. */
  private nextGeneration(): number {
    if (++this.generations < GENERATIONS) return this.generations;
    clearJumps(this.memory);
    this.generations = 0;
    for (const bank of this.banks) bank.generation = ++this.generations;
    return ++this.generations;
  }

  /**
   * Makes the bank of an address space current, taking the least recently used one where there is none.
   * @param root physical address of the top table
   * @param rules of access beside the tables: whatever number tells them apart
   */
  select(root: number, pcid: number, rules: number): void {
    const { map, previous } = this;
    if (previous.root === root && previous.rules === rules && previous.pcid === pcid && previous.map === map) {
      // system calls go to and fro between two
      this.previous = this.current;
      previous.used = ++this.clock;
      this.current = previous;
      return;
    }
    this.previous = this.current;
    let oldest = this.banks[0];
    for (const bank of this.banks) {
      if (bank.root === root && bank.rules === rules && bank.pcid === pcid && bank.map === map) {
        bank.used = ++this.clock;
        this.current = bank;
        return;
      }
      if (bank.used < oldest.used) oldest = bank;
    }
    this.flush(oldest);
    oldest.map = map;
    oldest.root = root;
    oldest.pcid = pcid;
    oldest.rules = rules;
    oldest.used = ++this.clock;
    this.current = oldest;
  }

  private flush(bank: Bank): void {
    if (bank.empty) return;
    this.i32.fill(NO_TAG, bank.address >> 2, (bank.address + TLB_BANK_SIZE) >> 2);
    bank.empty = true;
    bank.locals = 0;
    bank.localCode = false;
    bank.generation = this.nextGeneration();
  }

  flushAll(): void {
    for (const bank of this.banks) this.flush(bank);
  }

  /** Drops what the guest's tables at this root translate. */
  flushRoot(root: number): void {
    for (const bank of this.banks) if (bank.root === root && bank.map === this.map) this.flush(bank);
  }

  /** Drops what is not global: of the guest's tables at a root, of one of its PCIDs, or all that it has. */
  flushLocal(which: { root?: number; pcid?: number }): void {
    for (const bank of this.banks) {
      if (bank.map !== this.map || bank.empty) continue;
      if ((which.root ?? bank.root) === bank.root && (which.pcid ?? bank.pcid) === bank.pcid) this.dropLocal(bank);
    }
  }

  private dropLocal(bank: Bank): void {
    const { i32 } = this;
    const drop = (at: number): void => {
      if (i32[at + 3] === 0) i32[at] = i32[at + 1] = NO_TAG;
    };
    if (bank.locals <= LISTED) for (let i = 0; i < bank.locals; i++) drop(bank.local[i]);
    else {
      const end = (bank.address + TLB_BANK_SIZE) >> 2;
      for (let at = bank.address >> 2; at < end; at += TLB_ENTRY_SIZE >> 2) drop(at);
    }
    if (bank.localCode) bank.generation = this.nextGeneration();
    bank.locals = 0;
    bank.localCode = false;
  }

  /** Fills the current bank. `host` is the engine-memory address of the frame. */
  fill(kind: number, lo: number, hi: number, host: number, mfn: Mfn, global: boolean): void {
    const { offset, entries } = TABLES[kind];
    const page = lo & ~0xfff;
    const at = (this.current.address + offset + ((lo >>> 12) & (entries - 1)) * TLB_ENTRY_SIZE) >> 2;
    this.i32[at] = page;
    this.i32[at + 1] = hi;
    this.i32[at + 2] = host - page;
    this.i32[at + 3] = global ? 1 : 0;
    if (!global) this.noteLocal(at, kind === AccessKind.execute);
    this.memory.u8[FRAME_FLAGS + mfn] |=
      kind === AccessKind.write ? FrameFlag.cached | FrameFlag.writeCached : FrameFlag.cached;
    this.current.empty = false;
  }

  private noteLocal(at: number, code: boolean): void {
    const bank = this.current;
    if (bank.locals < LISTED) bank.local[bank.locals] = at;
    if (bank.locals <= LISTED) bank.locals++;
    if (code) bank.localCode = true;
  }

  /** Engine-memory address for a linear address that the current bank translates, or 0. */
  probe(kind: number, lo: number, hi: number): number {
    const { offset, entries } = TABLES[kind];
    const at = (this.current.address + offset + ((lo >>> 12) & (entries - 1)) * TLB_ENTRY_SIZE) >> 2;
    if (this.i32[at] !== (lo & ~0xfff) || this.i32[at + 1] !== hi) return 0;
    return (this.i32[at + 2] + lo) >>> 0;
  }

  /** Drops one page from all banks of the guest. */
  invalidatePage(lo: number, hi: number): void {
    const page = lo & ~0xfff;
    for (const bank of this.banks) {
      if (bank.empty || bank.map !== this.map) continue;
      for (const kind of [AccessKind.read, AccessKind.write, AccessKind.execute]) {
        const { offset, entries } = TABLES[kind];
        const at = (bank.address + offset + ((lo >>> 12) & (entries - 1)) * TLB_ENTRY_SIZE) >> 2;
        if (this.i32[at] === page && this.i32[at + 1] === hi) this.i32[at] = this.i32[at + 1] = NO_TAG;
      }
      if (this.mayHaveJumps(bank, lo)) bank.generation = this.nextGeneration();
    }
  }

  /** Notes that the jump cache has entries into this page for the current bank. */
  noteJumpInto(lo: number): void {
    const bank = this.current;
    if (bank.jumpPagesGeneration !== bank.generation) {
      bank.jumpPagesGeneration = bank.generation;
      bank.jumpPages.fill(0);
    }
    bank.jumpPages[(lo >>> 12) & (JUMP_PAGES - 1)] = 1;
    bank.empty = false;
  }

  private mayHaveJumps(bank: Bank, lo: number): boolean {
    return bank.jumpPagesGeneration === bank.generation && bank.jumpPages[(lo >>> 12) & (JUMP_PAGES - 1)] === 1;
  }

  /** Drops the write entries of a frame from all banks. */
  dropWrites(mfn: Mfn): void {
    const flags = FRAME_FLAGS + mfn;
    if (!(this.memory.u8[flags] & FrameFlag.writeCached)) return;
    this.memory.u8[flags] &= ~FrameFlag.writeCached;
    this.dropByHost(AccessKind.write, this.memory.frameOffset(mfn));
  }

  /** Drops every entry of a frame from all banks. */
  dropFrame(mfn: Mfn): void {
    const flags = FRAME_FLAGS + mfn;
    if (!(this.memory.u8[flags] & FrameFlag.cached)) return;
    this.memory.u8[flags] &= ~(FrameFlag.cached | FrameFlag.writeCached);
    const host = this.memory.frameOffset(mfn);
    this.dropByHost(AccessKind.read, host);
    this.dropByHost(AccessKind.write, host);
    this.dropByHost(AccessKind.execute, host);
    this.voidJumps();
  }

  /** Frames whose mappings changed since the last flushChanged(): value = an executable mapping was among them. */
  private readonly changed = new Map<Mfn, boolean>();

  /** See Processor.mappingChanged. */
  mappingChanged(mfn: Mfn, executable: boolean): void {
    if (mfn >= this.memory.frames || !(this.memory.u8[FRAME_FLAGS + mfn] & FrameFlag.cached)) return;
    if (this.changed.size <= MANY_CHANGES) this.changed.set(mfn, executable || this.changed.get(mfn) === true);
  }

  /** See Processor.flushChanged. True where the jump cache's salt may be another now. */
  flushChanged(): boolean {
    if (this.changed.size === 0) return false;
    if (this.changed.size > MANY_CHANGES) this.flushAll();
    else for (const [mfn, executable] of this.changed) this.dropTranslations(mfn, executable);
    this.changed.clear();
    return true;
  }

  private dropTranslations(mfn: Mfn, executable: boolean): void {
    const host = this.memory.frameOffset(mfn);
    this.memory.u8[FRAME_FLAGS + mfn] &= ~FrameFlag.writeCached;
    this.dropByHost(AccessKind.read, host);
    this.dropByHost(AccessKind.write, host);
    if (!executable || !(this.memory.u8[FRAME_FLAGS + mfn] & FrameFlag.code)) return;
    this.dropByHost(AccessKind.execute, host);
    this.voidJumps();
  }

  /** Makes every jump cache entry void: blocks that they lead to were dropped. */
  voidJumps(): void {
    for (const bank of this.banks) bank.generation = this.nextGeneration();
  }

  private dropByHost(kind: number, host: number): void {
    const { offset, entries } = TABLES[kind];
    const { i32 } = this;
    const target = host | 0;
    for (const bank of this.banks) {
      if (bank.empty) continue;
      let at = (bank.address + offset) >> 2;
      const end = at + entries * (TLB_ENTRY_SIZE >> 2);
      for (; at < end; at += TLB_ENTRY_SIZE >> 2) {
        if (((i32[at] + i32[at + 2]) | 0) === target && i32[at] !== NO_TAG) i32[at] = i32[at + 1] = NO_TAG;
      }
    }
  }
}
