// Page tables of a PV guest's start of day, by guest frame number: which tables are needed for which addresses, and what stands in them.
// Flags as libxenguest writes them (tools/libs/guest/xg_dom_x86.c, get_pg_prot).

/** PAGE_PRESENT, RW, USER, ACCESSED, DIRTY. */
const LEAF = 0x23n;
const LEAF_READ_ONLY = 0x21n;
const TABLE = 0x67n;
const TOP_LEVEL = 4;
const PAGE_BITS = 12n;
const INDEX_BITS = 9n;

/** Lowest address bit that a table's index is above: an L1 table covers 2 MiB. */
const coverage = (level: number): bigint => PAGE_BITS + INDEX_BITS * BigInt(level);

interface Table {
  level: number;
  /** Address bits above what the table covers. */
  prefix: bigint;
  pfn: number;
}

interface Mapping {
  from: bigint;
  /** Exclusive. */
  to: bigint;
  pfn: number;
}

/** Grows by one range of addresses after the other; each new table takes the next frame. */
export class PageTablePlan {
  private readonly tables = new Map<string, Table>();
  private readonly mappings: Mapping[] = [];

  /** Frames that tables for [from, to) would need beside those that there are. */
  needed(from: bigint, to: bigint): number {
    let count = 0;
    this.missing(from, to, () => count++);
    return count;
  }

  /** Places the missing tables for [from, to) from `firstPfn` on, topmost level first. Returns how many. */
  addTables(from: bigint, to: bigint, firstPfn: number): number {
    let next = firstPfn;
    this.missing(from, to, (level, prefix) => {
      this.tables.set(key(level, prefix), { level, prefix, pfn: next++ });
    });
    return next - firstPfn;
  }

  /** Maps [from, to) to frames from `pfn` on; its tables have been added. */
  map(from: bigint, to: bigint, pfn: number): void {
    this.mappings.push({ from, to, pfn });
  }

  private missing(from: bigint, to: bigint, found: (level: number, prefix: bigint) => void): void {
    for (let level = TOP_LEVEL; level >= 1; level--) {
      const bits = level === TOP_LEVEL ? 64n : coverage(level);
      for (let prefix = from >> bits; prefix <= (to - 1n) >> bits; prefix++) {
        if (!this.tables.has(key(level, prefix))) found(level, prefix);
      }
    }
  }

  /** Frame of the top-level table. */
  get rootPfn(): number {
    return this.tables.get(key(TOP_LEVEL, 0n))!.pfn;
  }

  /**
   * Every entry that is not empty: `write(table, index, entry)` with the table's guest frame. Frames that are tables are mapped
   * read-only, as Xen demands.
   */
  entries(mfnOf: (pfn: number) => number, write: (table: number, index: number, entry: bigint) => void): void {
    const isTable = new Set([...this.tables.values()].map(table => table.pfn));
    const entry = (pfn: number, flags: bigint): bigint => (BigInt(mfnOf(pfn)) << PAGE_BITS) | flags;
    for (const { level, prefix, pfn } of this.tables.values()) {
      if (level === TOP_LEVEL) continue;
      const bits = level + 1 === TOP_LEVEL ? 64n : coverage(level + 1);
      const parent = this.tables.get(key(level + 1, (prefix << coverage(level)) >> bits))!;
      write(parent.pfn, Number(prefix & 0x1ffn), entry(pfn, TABLE));
    }
    for (const { from, to, pfn } of this.mappings) {
      for (let va = from, page = pfn; va < to; va += 4096n, page++) {
        const table = this.tables.get(key(1, va >> coverage(1)))!;
        write(table.pfn, Number((va >> PAGE_BITS) & 0x1ffn), entry(page, isTable.has(page) ? LEAF_READ_ONLY : LEAF));
      }
    }
  }
}

function key(level: number, prefix: bigint): string {
  return `${level}:${prefix}`;
}
