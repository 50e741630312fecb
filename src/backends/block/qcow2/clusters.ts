// Which clusters of a qcow2 image's file are in use, how often, and the reference counts in the file that say so. In the file they are brought up to date when the
// image is closed; until then its header says that they are not, and whoever opens it next counts again. So nothing has to be in order but the tables.
import type { BlockFile } from '../file-source.ts';
import { Qcow2Error } from './header.ts';

const MOST_REFERENCES = 0xffff;
/** Of counts of 16 bits. */
const COUNT_BYTES = 2;

export class Clusters {
  readonly clusterSize: number;
  private counts = new Uint16Array(1024);
  /** Clusters of the file, by what is in use. */
  private end = 0;
  /** No cluster before this one is free. */
  private firstFree = 0;
  /** Still referred to by tables on the medium. */
  private released: number[] = [];

  constructor(clusterSize: number) {
    this.clusterSize = clusterSize;
  }

  /** Clusters that the file has. */
  get length(): number {
    return this.end;
  }

  count(cluster: number): number {
    return cluster < this.end ? this.counts[cluster] : 0;
  }

  /** One more reference to a cluster. */
  use(cluster: number): void {
    if (cluster >= this.counts.length) {
      const counts = new Uint16Array(Math.max(this.counts.length * 2, cluster + 1));
      counts.set(this.counts);
      this.counts = counts;
    }
    if (this.counts[cluster] === MOST_REFERENCES) throw new Qcow2Error('a cluster of it has too many references');
    this.counts[cluster]++;
    this.end = Math.max(this.end, cluster + 1);
  }

  /** Bytes from `offset` on: references to all clusters that they touch. */
  useBytes(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / this.clusterSize);
    for (let cluster = Math.floor(offset / this.clusterSize); cluster <= last; cluster++) this.use(cluster);
  }

  /** A cluster that was free. */
  allocate(): number {
    let cluster = this.firstFree;
    while (cluster < this.end && this.counts[cluster] !== 0) cluster++;
    this.firstFree = cluster + 1;
    this.use(cluster);
    return cluster;
  }

  /** Gives back a reference once nothing on the medium stands for it any more: at the next settle(). */
  release(offset: number, length: number): void {
    const last = Math.floor((offset + length - 1) / this.clusterSize);
    for (let cluster = Math.floor(offset / this.clusterSize); cluster <= last; cluster++) this.released.push(cluster);
  }

  /** The tables on the medium are those in memory. */
  settle(): void {
    for (const cluster of this.released) {
      this.counts[cluster]--;
      if (this.counts[cluster] === 0) this.firstFree = Math.min(this.firstFree, cluster);
    }
    this.released = [];
  }

  /**
   * Writes all counts. The table's clusters at `at` are used further as far as they suffice, and so are the blocks that it names.
   * Returns where the table is now.
   */
  write(file: BlockFile, at: { offset: number; clusters: number }): { offset: number; clusters: number } {
    const { clusterSize } = this;
    const perBlock = clusterSize / COUNT_BYTES;
    let table = at;
    const left: (typeof at)[] = [];
    const blocks = this.readTable(file, at);
    // What the counts themselves take has to be counted too.
    for (;;) {
      const needed = Math.ceil(this.end / perBlock);
      if (needed > blocks.length) blocks.push(0);
      else if (needed * 8 > table.clusters * clusterSize) {
        left.push(table);
        table = this.newTable(needed);
      } else break;
      for (const [i, block] of blocks.entries()) if (block === 0) blocks[i] = this.allocate();
    }
    // Not before: the header still names it.
    for (const { offset, clusters } of left) for (let i = 0; i < clusters; i++) this.counts[offset / clusterSize + i]--;
    const names = new DataView(new ArrayBuffer(table.clusters * clusterSize));
    for (const [i, block] of blocks.entries()) names.setBigUint64(i * 8, BigInt(block * clusterSize));
    const content = new DataView(new ArrayBuffer(clusterSize));
    for (const [i, block] of blocks.entries()) {
      for (let j = 0; j < perBlock; j++) content.setUint16(j * COUNT_BYTES, this.count(i * perBlock + j));
      file.write(block * clusterSize, [new Uint8Array(content.buffer)]);
    }
    file.write(table.offset, [new Uint8Array(names.buffer)]);
    return table;
  }

  /** Which clusters the blocks are in that a table names. */
  readTable(file: BlockFile, { offset, clusters }: { offset: number; clusters: number }): number[] {
    const bytes = new Uint8Array(clusters * this.clusterSize);
    file.read(offset, [bytes]);
    const names = new DataView(bytes.buffer);
    const blocks: number[] = [];
    for (let i = 0; i < bytes.length / 8; i++)
      blocks.push(Math.floor(Number(names.getBigUint64(i * 8)) / this.clusterSize));
    while (blocks.at(-1) === 0) blocks.pop();
    return blocks;
  }

  /** A table for this many blocks and more, behind everything. */
  private newTable(blocks: number): { offset: number; clusters: number } {
    const { clusterSize } = this;
    const clusters = Math.ceil((blocks * 16) / clusterSize);
    const offset = this.end * clusterSize;
    this.useBytes(offset, clusters * clusterSize);
    return { offset, clusters };
  }
}
