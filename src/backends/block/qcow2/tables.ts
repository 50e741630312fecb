// Where the clusters of a qcow2 image's disk are: the tables of two levels. Changes stay in memory until they are written out, the second level before the first, and
// both after what they refer to: whenever power is lost, the tables on the medium are those of some moment, and refer to what was there then.
import type { BlockFile } from '../file-source.ts';
import { Qcow2Error, type Qcow2Header } from './header.ts';

export type Entry =
  /** As the base has it. */
  | { readonly kind: 'none' }
  | { readonly kind: 'zeros'; readonly offset: number }
  | { readonly kind: 'data'; readonly offset: number }
  | { readonly kind: 'compressed'; readonly offset: number; readonly length: number };

interface Table {
  /** Offset in the file. */
  offset: number;
  readonly view: DataView;
  isDirty: boolean;
}

const NONE: Entry = { kind: 'none' };
const SECTOR = 512;
/** Of the entry's upper half. */
const COPIED = 0x80000000;
const COMPRESSED = 0x40000000;
const OFFSET_HIGH = 0x00ffffff;
/** Offsets are safe integers up to this bit of the upper half. */
const OFFSET_SAFE = 0x001fffff;
const ZEROS = 1;
/** Tables kept in memory: of clusters of 64 KiB, for 32 GiB of the disk. */
const MOST_TABLES = 64;

export class Tables {
  private readonly file: BlockFile;
  private readonly header: Qcow2Header;
  private readonly clusterSize: number;
  private readonly perTable: number;
  private readonly first: DataView;
  private firstIsDirty = false;
  /** By their place in the first level, the one used longest ago first. */
  private readonly kept = new Map<number, Table>();

  constructor(file: BlockFile, header: Qcow2Header) {
    this.file = file;
    this.header = header;
    this.clusterSize = 2 ** header.clusterBits;
    this.perTable = this.clusterSize / 8;
    const bytes = new Uint8Array(header.l1Entries * 8);
    file.read(header.l1Offset, [bytes]);
    this.first = new DataView(bytes.buffer);
  }

  get isDirty(): boolean {
    return this.firstIsDirty || [...this.kept.values()].some(({ isDirty }) => isDirty);
  }

  /** Too many changes to keep in memory: flush, before more are made. */
  get isFull(): boolean {
    return this.kept.size >= MOST_TABLES && [...this.kept.values()].every(({ isDirty }) => isDirty);
  }

  /** Where a cluster of the disk is. Throws Qcow2Error where that makes no sense. */
  entry(cluster: number): Entry {
    const table = this.table(Math.floor(cluster / this.perTable));
    return table === null ? NONE : this.decode(table.view, cluster % this.perTable);
  }

  /** A second table has no place before `allocate` gives it one. `offset` null: zeros without any. */
  set(cluster: number, offset: number | null, allocate: () => number): void {
    const index = Math.floor(cluster / this.perTable);
    const table = this.table(index) ?? this.addTable(index, allocate());
    const at = (cluster % this.perTable) * 8;
    table.view.setUint32(at, offset === null ? 0 : high(offset) | COPIED);
    table.view.setUint32(at + 4, offset === null ? ZEROS : low(offset));
    table.isDirty = true;
  }

  /** Everything that the tables refer to, themselves too: once for every reference. */
  *references(): Generator<{ offset: number; length: number; isShared: boolean }, void> {
    const { clusterSize } = this;
    for (let index = 0; index < this.header.l1Entries; index++) {
      const table = this.table(index);
      if (table === null) continue;
      yield { offset: table.offset, length: clusterSize, isShared: false };
      for (let i = 0; i < this.perTable; i++) {
        const entry = this.decode(table.view, i);
        if (entry.kind === 'compressed') yield { offset: entry.offset, length: entry.length, isShared: true };
        else if (entry.kind !== 'none' && entry.offset !== 0)
          yield { offset: entry.offset, length: clusterSize, isShared: false };
      }
    }
  }

  /** Writes what has changed; what it refers to has to be on the medium. */
  write(): void {
    for (const table of this.kept.values()) {
      if (!table.isDirty) continue;
      this.file.write(table.offset, [bytesOf(table.view)]);
      table.isDirty = false;
    }
    if (!this.firstIsDirty) return;
    this.file.sync();
    this.file.write(this.header.l1Offset, [bytesOf(this.first)]);
    this.firstIsDirty = false;
  }

  private table(index: number): Table | null {
    const known = this.kept.get(index);
    if (known) {
      this.kept.delete(index);
      this.kept.set(index, known);
      return known;
    }
    const offset = this.offsetAt(this.first, index * 8);
    if (offset === 0) return null;
    const bytes = new Uint8Array(this.clusterSize);
    this.file.read(offset, [bytes]);
    return this.keep(index, { offset, view: new DataView(bytes.buffer), isDirty: false });
  }

  private addTable(index: number, offset: number): Table {
    this.first.setUint32(index * 8, high(offset) | COPIED);
    this.first.setUint32(index * 8 + 4, low(offset));
    this.firstIsDirty = true;
    return this.keep(index, { offset, view: new DataView(new ArrayBuffer(this.clusterSize)), isDirty: true });
  }

  private keep(index: number, table: Table): Table {
    for (const [other, { isDirty }] of this.kept) {
      if (this.kept.size < MOST_TABLES) break;
      if (!isDirty) this.kept.delete(other);
    }
    this.kept.set(index, table);
    return table;
  }

  private decode(table: DataView, index: number): Entry {
    const at = index * 8;
    const upper = table.getUint32(at);
    if (upper & COMPRESSED) return this.compressed(table.getBigUint64(at));
    const offset = this.offsetAt(table, at);
    // Images of version 2 have no zeros of their own.
    if (this.header.version === 3 && table.getUint32(at + 4) & ZEROS) return { kind: 'zeros', offset };
    return offset === 0 ? NONE : { kind: 'data', offset };
  }

  private compressed(entry: bigint): Entry {
    const bits = BigInt(62 - (this.header.clusterBits - 8));
    const offset = Number(entry & ((1n << bits) - 1n));
    const sectors = Number((entry & ((1n << 62n) - 1n)) >> bits);
    const length = (sectors + 1) * SECTOR - (offset % SECTOR);
    if (!Number.isSafeInteger(offset + length)) throw new Qcow2Error('its tables are damaged');
    return { kind: 'compressed', offset, length };
  }

  private offsetAt(table: DataView, at: number): number {
    const upper = table.getUint32(at) & OFFSET_HIGH;
    const lower = (table.getUint32(at + 4) & ~(SECTOR - 1)) >>> 0;
    const offset = upper * 2 ** 32 + lower;
    if (upper > OFFSET_SAFE || offset % this.clusterSize !== 0) throw new Qcow2Error('its tables are damaged');
    return offset;
  }
}

const high = (offset: number): number => Math.floor(offset / 2 ** 32);
const low = (offset: number): number => offset >>> 0;
const bytesOf = (view: DataView): Uint8Array => new Uint8Array(view.buffer);
