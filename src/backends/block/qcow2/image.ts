// A qcow2 image as the top of an overlay: docs/interop/qcow2.rst in QEMU. Read: versions 2 and 3, clusters compressed by zlib. Written: version 3 without internal
// snapshots. Not built: encryption, external data files, subclusters, bitmaps.
import { inflateSync } from 'fflate';
import type { BlockFile } from '../file-source.ts';
import type { OverlayTop } from '../overlay-source.ts';
import { lengthOf, sliceOf } from '../vectors.ts';
import { Clusters } from './clusters.ts';
import {
  type Backing,
  encodeHeader,
  HEADER_BYTES,
  headerChange,
  parseHeader,
  Qcow2Error,
  type Qcow2Header,
} from './header.ts';
import { type Entry, Tables } from './tables.ts';

const CLUSTER_BITS = 16;
const MOST_HEADER = 1 << 16;
const REFCOUNT_ORDER = 4;

/** Writes an empty image, of `size` bytes, into an empty file; what it stands on is where `backing` says. Throws Qcow2Error. */
export function createQcow2(file: BlockFile, size: number, backing: Backing | null): void {
  const cluster = 2 ** CLUSTER_BITS;
  const l1Entries = Math.ceil(size / (cluster * (cluster / 8)));
  const clusters = new Clusters(cluster);
  clusters.useBytes(0, cluster);
  const l1Offset = cluster;
  clusters.useBytes(l1Offset, Math.max(1, l1Entries * 8));
  file.write(l1Offset, [new Uint8Array(l1Entries * 8)]);
  const refcounts = { offset: clusters.length * cluster, clusters: 1 };
  clusters.useBytes(refcounts.offset, cluster);
  const { offset: refcountsOffset, clusters: refcountsClusters } = clusters.write(file, refcounts);
  // Without its beginning it is not an image yet.
  file.sync();
  const header = encodeHeader({
    ...{ version: 3, size, clusterBits: CLUSTER_BITS, refcountOrder: REFCOUNT_ORDER, backing },
    ...{ l1Offset, l1Entries, refcountsOffset, refcountsClusters },
    ...{ snapshots: 0, bitmaps: 0, isDirty: false, isCorrupt: false },
  });
  file.write(0, [header]);
  file.sync();
}

/** The header of an image in a file. Throws Qcow2Error. */
export function readHeader(file: BlockFile): Qcow2Header {
  const bytes = new Uint8Array(MOST_HEADER);
  file.read(0, [bytes]);
  return parseHeader(bytes);
}

export class Qcow2Image implements OverlayTop {
  readonly size: number;
  readonly isReadOnly: boolean;
  readonly blockSize: number;
  readonly backing: Backing | null;
  private readonly file: BlockFile;
  private readonly tables: Tables;
  private readonly clusters: Clusters;
  private refcounts: { offset: number; clusters: number };
  /** The header says that reference counts are to be looked after. */
  private isDirty: boolean;
  private isClosed = false;
  private inflated: { offset: number; bytes: Uint8Array } | null = null;

  /** The file is the image's from now on, and is written to where it can be. Throws Qcow2Error where the image cannot be used like this. */
  constructor(file: BlockFile, header = readHeader(file)) {
    this.file = file;
    this.size = header.size;
    this.isReadOnly = !file.isWritable;
    this.blockSize = 2 ** header.clusterBits;
    this.backing = header.backing;
    this.isDirty = header.isDirty;
    this.refcounts = { offset: header.refcountsOffset, clusters: header.refcountsClusters };
    this.tables = new Tables(file, header);
    this.clusters = new Clusters(this.blockSize);
    if (!this.isReadOnly) this.countAll(header);
  }

  has(block: number): boolean {
    return this.tables.entry(block).kind !== 'none';
  }

  read(offset: number, into: readonly Uint8Array[]): void {
    for (const { cluster, start, from, length } of this.pieces(offset, lengthOf(into)))
      this.readPiece(this.tables.entry(cluster), start, sliceOf(into, from, length));
  }

  write(offset: number, from: readonly Uint8Array[]): void {
    for (const { cluster, start, from: at, length } of this.pieces(offset, lengthOf(from)))
      this.writePiece(cluster, start, sliceOf(from, at, length));
  }

  writeZeroes(offset: number, length: number): void {
    for (const piece of this.pieces(offset, length)) {
      if (this.isWhole(piece)) this.clear(piece.cluster);
      else this.writePiece(piece.cluster, piece.start, [new Uint8Array(piece.length)]);
    }
  }

  /** Whole clusters are given back, and are zeros afterwards. */
  discard(offset: number, length: number): void {
    for (const piece of this.pieces(offset, length))
      if (this.isWhole(piece) && this.has(piece.cluster)) this.clear(piece.cluster);
  }

  flush(): void {
    if (this.tables.isDirty) {
      this.file.sync();
      this.tables.write();
    }
    this.file.sync();
    this.clusters.settle();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    try {
      if (!this.isReadOnly && this.isDirty) this.settle();
    } finally {
      this.file.close();
    }
  }

  /** Brings the reference counts in the file up to date. */
  private settle(): void {
    this.flush();
    this.refcounts = this.clusters.write(this.file, this.refcounts);
    this.file.sync();
    this.changeHeader(false);
  }

  private readPiece(entry: Entry, start: number, into: readonly Uint8Array[]): void {
    switch (entry.kind) {
      case 'data':
        this.file.read(entry.offset + start, into);
        return;
      case 'compressed': {
        const content = this.inflate(entry);
        let at = start;
        for (const buffer of into) {
          buffer.set(content.subarray(at, at + buffer.length));
          at += buffer.length;
        }
        return;
      }
      default:
        for (const buffer of into) buffer.fill(0);
    }
  }

  private writePiece(cluster: number, start: number, from: readonly Uint8Array[]): void {
    const entry = this.tables.entry(cluster);
    if (entry.kind === 'data') {
      this.file.write(entry.offset + start, from);
      return;
    }
    this.makeRoom();
    const length = lengthOf(from);
    const content = new Uint8Array(this.blockSize);
    if (length < this.blockSize) this.readPiece(entry, 0, [content]);
    const place = this.clusters.allocate() * this.blockSize;
    try {
      const { blockSize } = this;
      this.file.write(place, [content.subarray(0, start), ...from, content.subarray(start + length, blockSize)]);
    } catch (error) {
      this.clusters.release(place, this.blockSize);
      throw error;
    }
    this.point(cluster, place, entry);
  }

  /** The cluster is zeros, and takes no place. */
  private clear(cluster: number): void {
    const entry = this.tables.entry(cluster);
    if (entry.kind === 'zeros') return;
    this.makeRoom();
    this.point(cluster, null, entry);
  }

  private point(cluster: number, place: number | null, before: Entry): void {
    this.tables.set(cluster, place, () => this.clusters.allocate() * this.blockSize);
    if (before.kind === 'none' || before.offset === 0) return;
    this.clusters.release(before.offset, before.kind === 'compressed' ? before.length : this.blockSize);
  }

  /** Before tables or clusters change. */
  private makeRoom(): void {
    if (!this.isDirty) this.changeHeader(true);
    if (this.tables.isFull) this.flush();
  }

  private changeHeader(isDirty: boolean): void {
    const { refcounts } = this;
    for (const { offset, bytes } of headerChange({ isDirty, refcounts })) this.file.write(offset, [bytes]);
    this.file.sync();
    this.isDirty = isDirty;
  }

  private inflate({ offset, length }: { offset: number; length: number }): Uint8Array {
    if (this.inflated?.offset === offset) return this.inflated.bytes;
    const bytes = new Uint8Array(length);
    this.file.read(offset, [bytes]);
    try {
      const content = inflateSync(bytes, { out: new Uint8Array(this.blockSize) });
      this.inflated = { offset, bytes: content };
      return content;
    } catch {
      throw new Qcow2Error('a compressed cluster of it is damaged');
    }
  }

  /** Finds what is in use by what refers to it. */
  private countAll(header: Qcow2Header): void {
    if (header.version === 2)
      throw new Qcow2Error('it is of version 2: "qemu-img amend -o compat=1.1" makes it writable');
    if (header.isCorrupt) throw new Qcow2Error('it is marked as damaged: "qemu-img check -r all" may mend it');
    if (header.snapshots > 0) throw new Qcow2Error('it has snapshots, and cannot be written to');
    if (header.bitmaps > 0) throw new Qcow2Error('it has bitmaps, and cannot be written to');
    if (header.refcountOrder !== REFCOUNT_ORDER) throw new Qcow2Error('its reference counts are not of 16 bits');
    const { clusters, blockSize } = this;
    const end = this.file.size() + blockSize;
    const take = (offset: number, length: number, isShared = false): void => {
      if (offset + length > end) throw new Qcow2Error('its tables lead behind its end');
      const isTaken = clusters.count(Math.floor(offset / blockSize)) !== 0;
      clusters.useBytes(offset, length);
      if (!isShared && isTaken)
        throw new Qcow2Error('a cluster of it is used twice: "qemu-img check -r all" may mend it');
    };
    take(0, Math.max(HEADER_BYTES, blockSize));
    if (header.l1Entries > 0) take(header.l1Offset, header.l1Entries * 8);
    take(this.refcounts.offset, this.refcounts.clusters * blockSize);
    for (const block of clusters.readTable(this.file, this.refcounts))
      if (block !== 0) take(block * blockSize, blockSize);
    for (const { offset, length, isShared } of this.tables.references()) take(offset, length, isShared);
  }

  private isWhole({ cluster, start, length }: Piece): boolean {
    return start === 0 && (length === this.blockSize || cluster * this.blockSize + length === this.size);
  }

  private *pieces(offset: number, length: number): Generator<Piece, void> {
    for (let from = 0; from < length; ) {
      const start = (offset + from) % this.blockSize;
      const part = Math.min(this.blockSize - start, length - from);
      yield { cluster: Math.floor((offset + from) / this.blockSize), start, from, length: part };
      from += part;
    }
  }
}

/** The part of a range in one cluster. */
interface Piece {
  readonly cluster: number;
  /** Where in the cluster, and where in the range. */
  readonly start: number;
  readonly from: number;
  readonly length: number;
}
