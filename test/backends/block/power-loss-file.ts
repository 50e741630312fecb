// A file on a medium that may lose power: what was not synced by then is on it or not, sector by sector.
import type { BlockFile } from '../../../src/backends/block/file-source.ts';

const SECTOR = 512;

export class PowerLost extends Error {}

export class PowerLossFile implements BlockFile {
  readonly isWritable = true;
  /** As it is read now. */
  private bytes = new Uint8Array(0);
  private length = 0;
  private durable = new Uint8Array(0);
  private readonly unsynced: { offset: number; sector: Uint8Array }[] = [];

  /** Writes and syncs until power is lost in the middle of one: it throws PowerLost. */
  private left = Number.POSITIVE_INFINITY;

  constructor(content: Uint8Array = new Uint8Array(0)) {
    this.put(0, content);
    this.sync();
  }

  losePowerAfter(operations: number): void {
    this.left = operations;
  }

  size(): number {
    return this.length;
  }

  read(offset: number, into: readonly Uint8Array[]): void {
    let at = offset;
    for (const buffer of into) {
      buffer.fill(0);
      buffer.set(this.bytes.subarray(Math.min(at, this.length), Math.min(at + buffer.length, this.length)));
      at += buffer.length;
    }
  }

  write(offset: number, from: readonly Uint8Array[]): void {
    let at = offset;
    for (const buffer of from) {
      this.put(at, buffer);
      at += buffer.length;
    }
    const isLast = this.left-- === 0;
    for (let sector = Math.floor(offset / SECTOR); sector * SECTOR < at; sector++) {
      const start = sector * SECTOR;
      this.unsynced.push({ offset: start, sector: this.bytes.slice(start, Math.min(start + SECTOR, this.length)) });
    }
    if (isLast) throw new PowerLost('in the middle of a write');
  }

  sync(): void {
    if (this.left-- === 0) throw new PowerLost('in the middle of a sync');
    this.unsynced.length = 0;
    this.durable = this.bytes.slice(0, this.length);
  }

  close(): void {}

  /** What is on the medium when power comes back; each sector that was not synced is there where `keeps` says so. */
  afterLoss(keeps: () => boolean): Uint8Array {
    const kept = this.unsynced.filter(() => keeps());
    const size = kept.reduce((most, { offset, sector }) => Math.max(most, offset + sector.length), this.durable.length);
    const bytes = new Uint8Array(size);
    bytes.set(this.durable);
    for (const { offset, sector } of kept) bytes.set(sector, offset);
    return bytes;
  }

  /** All of it, as it is read now. */
  content(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  private put(offset: number, content: Uint8Array): void {
    const end = offset + content.length;
    if (end > this.bytes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.bytes.length));
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes.set(content, offset);
    this.length = Math.max(this.length, end);
  }
}
