// virtio-blk (virtio 1.2, 5.2): a disk. Requests go to a block source; with one that is immediate they are done within the notification, at that
// very instruction, else whenever the source says so.
import type { BlockDone, BlockSource } from '../../backends/block/source.ts';
import type { Chain } from './chain.ts';
import { VirtioDevice, type VirtioMachine } from './device.ts';
import type { Virtqueue } from './virtqueue.ts';

export interface VirtioBlockOptions {
  readonly source: BlockSource;
  /** What GET_ID answers, up to 20 bytes of ASCII: /dev/disk/by-id/virtio-SERIAL. */
  readonly serial?: string;
  /** Request queues, 1 (default) to 16. */
  readonly queues?: number;
}

const BLOCK = { name: 'block', type: 2, classCode: 0x010000 } as const;

const Feature = {
  sizeMax: 1n << 1n,
  segMax: 1n << 2n,
  readOnly: 1n << 5n,
  blockSize: 1n << 6n,
  flush: 1n << 9n,
  topology: 1n << 10n,
  configWce: 1n << 11n,
  multiQueue: 1n << 12n,
  discard: 1n << 13n,
  writeZeroes: 1n << 14n,
} as const;

/** Offsets in the configuration (5.2.4). */
const Config = {
  capacity: 0,
  sizeMax: 8,
  segMax: 12,
  blockSize: 20,
  minIoSize: 26,
  optIoSize: 28,
  writeback: 32,
  numQueues: 34,
  maxDiscardSectors: 36,
  maxDiscardSeg: 40,
  discardAlignment: 44,
  maxWriteZeroesSectors: 48,
  maxWriteZeroesSeg: 52,
  writeZeroesMayUnmap: 56,
} as const;
const CONFIG_SIZE = 60;

const Request = { in: 0, out: 1, flush: 4, getId: 8, discard: 11, writeZeroes: 13 } as const;
const Status = { ok: 0, ioError: 1, unsupported: 2 } as const;

const SECTOR = 512;
const QUEUE_SIZE = 256;
const MAX_QUEUES = 16;
const HEADER = 16;
const ID_LENGTH = 20;
/** A segment's bytes and a request's segments at most: with header and status they fit the queue also where descriptors are not indirect. */
const SIZE_MAX = 64 * 1024;
const SEG_MAX = QUEUE_SIZE - 2;
const MAX_DATA = SIZE_MAX * SEG_MAX;
/** Bytes of requests that wait for a source which is not immediate. */
const MAX_IN_FLIGHT = 2 * MAX_DATA;
/** Ranges of a request to discard, their length in bytes, and sectors of each at most. */
const RANGE = 16;
const MAX_RANGES = 16;
const MAX_RANGE_SECTORS = (64 << 20) / SECTOR;
const UNMAP = 1;
/** The driver's mistake, not the source's. */
const NO_RAM = new RangeError('buffer outside of RAM');

export class VirtioBlock extends VirtioDevice {
  private readonly source: BlockSource;
  private readonly serial = new Uint8Array(ID_LENGTH);
  private inFlight = 0;
  /** Counts resets: what was asked before one does not count any more. */
  private life = 0;
  private readonly stalled = new Set<Virtqueue>();
  private serving = false;

  constructor(machine: VirtioMachine, { source, serial = '', queues = 1 }: VirtioBlockOptions) {
    if (queues < 1 || queues > MAX_QUEUES) throw new RangeError(`${queues} queues of a block device`);
    const features =
      Feature.sizeMax |
      Feature.segMax |
      Feature.blockSize |
      Feature.flush |
      Feature.topology |
      Feature.configWce |
      (queues > 1 ? Feature.multiQueue : 0n) |
      (source.isReadOnly ? Feature.readOnly : Feature.writeZeroes | (source.canDiscard ? Feature.discard : 0n));
    super(machine, BLOCK, features, new Array<number>(queues).fill(QUEUE_SIZE), CONFIG_SIZE);
    this.source = source;
    new TextEncoder().encodeInto(serial, this.serial);
    const { configView: view } = this;
    view.setBigUint64(Config.capacity, BigInt(source.size / SECTOR), true);
    view.setUint32(Config.sizeMax, SIZE_MAX, true);
    view.setUint32(Config.segMax, SEG_MAX, true);
    view.setUint32(Config.blockSize, source.sectorSize, true);
    view.setUint16(Config.minIoSize, 1, true);
    view.setUint8(Config.writeback, 1);
    view.setUint16(Config.numQueues, queues, true);
    view.setUint32(Config.maxDiscardSectors, MAX_RANGE_SECTORS, true);
    view.setUint32(Config.maxDiscardSeg, MAX_RANGES, true);
    view.setUint32(Config.discardAlignment, source.sectorSize / SECTOR, true);
    view.setUint32(Config.maxWriteZeroesSectors, MAX_RANGE_SECTORS, true);
    view.setUint32(Config.maxWriteZeroesSeg, MAX_RANGES, true);
    view.setUint8(Config.writeZeroesMayUnmap, 1);
  }

  /** The source has another size now. */
  resized(): void {
    this.configView.setBigUint64(Config.capacity, BigInt(this.source.size / SECTOR), true);
    this.configChanged();
  }

  override writeConfig(offset: number, value: number): void {
    if (offset === Config.writeback && this.has(Feature.configWce)) this.config[offset] = value & 1;
  }

  protected override stopped(): void {
    this.life++;
    this.inFlight = 0;
    this.stalled.clear();
    this.config[Config.writeback] = 1;
  }

  protected serve(queue: Virtqueue): void {
    this.serving = true;
    this.takeEach(queue, chain => this.begin(queue, chain));
    this.serving = false;
  }

  /** Writes reach the medium before they are done: the driver cannot flush, or has turned the cache off (5.2.5.2). */
  private get isWriteThrough(): boolean {
    return !this.has(Feature.flush) || (this.has(Feature.configWce) && this.config[Config.writeback] === 0);
  }

  /** False where the request has to wait for others. */
  private begin(queue: Virtqueue, chain: Chain): boolean {
    const header = new Uint8Array(HEADER);
    if (!chain.read(0, header) || chain.writableLength < 1) {
      queue.fail('request without header or status');
      return true;
    }
    const bytes = Math.min(MAX_DATA, chain.readableLength + chain.writableLength);
    if (this.inFlight > 0 && this.inFlight + bytes > MAX_IN_FLIGHT) {
      this.stalled.add(queue);
      return false;
    }
    this.inFlight += bytes;
    const { life } = this;
    const view = new DataView(header.buffer);
    this.run(chain, view.getUint32(0, true), view.getBigUint64(8, true), status => {
      if (life !== this.life) return;
      this.inFlight -= bytes;
      chain.write(chain.writableLength - 1, Uint8Array.of(status));
      queue.use(chain, chain.writableLength);
      if (!this.serving) this.resume(queue);
    });
    return true;
  }

  private resume(queue: Virtqueue): void {
    queue.signal();
    const stalled = [...this.stalled];
    this.stalled.clear();
    for (const other of stalled) this.notify(other.index);
  }

  private run(chain: Chain, type: number, sector: bigint, done: (status: number) => void): void {
    const { source } = this;
    const isWrite = type === Request.out || type === Request.discard || type === Request.writeZeroes;
    if (isWrite && source.isReadOnly) return done(Status.ioError);
    const finish: BlockDone = error => {
      if (error && error !== NO_RAM) this.complain(error.message);
      done(error ? Status.ioError : Status.ok);
    };
    const durable: BlockDone = error => {
      if (error || !this.isWriteThrough) finish(error);
      else source.flush(finish);
    };
    switch (type) {
      case Request.in:
        return this.transfer(sector, chain.writableLength - 1, done, (offset, length) => {
          this.readInto(chain, offset, length, finish);
        });
      case Request.out:
        return this.transfer(sector, chain.readableLength - HEADER, done, (offset, length) => {
          this.writeFrom(chain, offset, length, durable);
        });
      case Request.flush:
        return source.flush(finish);
      case Request.getId:
        chain.write(0, this.serial.subarray(0, Math.min(ID_LENGTH, chain.writableLength - 1)));
        return done(Status.ok);
      case Request.discard:
      case Request.writeZeroes:
        return this.clearRanges(chain, type, done, durable);
      default:
        return done(Status.unsupported);
    }
  }

  /** Goes on with a range in bytes if it is one of the disk's. */
  private transfer(
    sector: bigint,
    length: number,
    done: (status: number) => void,
    go: (offset: number, length: number) => void,
  ): void {
    if (length % SECTOR !== 0 || length > MAX_DATA || !this.isOnDisk(sector, length)) return done(Status.ioError);
    go(Number(sector) * SECTOR, length);
  }

  private isOnDisk(sector: bigint, length: number): boolean {
    return sector * BigInt(SECTOR) + BigInt(length) <= BigInt(this.source.size);
  }

  private readInto(chain: Chain, offset: number, length: number, done: BlockDone): void {
    const { source } = this;
    if (source.isImmediate) {
      const views = chain.writeViews(0, length);
      if (!views) return done(NO_RAM);
      source.read(offset, views, done);
      chain.wrote(0, length);
      return;
    }
    // the guest's memory may be somebody else's by the time when the answer comes
    const { life } = this;
    const buffer = new Uint8Array(length);
    source.read(offset, [buffer], error => {
      if (life !== this.life) return;
      done(error ?? (chain.write(0, buffer) ? null : NO_RAM));
    });
  }

  private writeFrom(chain: Chain, offset: number, length: number, done: BlockDone): void {
    const { source } = this;
    if (source.isImmediate) {
      const views = chain.readViews(HEADER, length);
      if (!views) return done(NO_RAM);
      return source.write(offset, views, done);
    }
    const buffer = new Uint8Array(length);
    if (!chain.read(HEADER, buffer)) return done(NO_RAM);
    source.write(offset, [buffer], done);
  }

  /** A list of ranges (5.2.6), all checked before the first is touched. */
  private clearRanges(chain: Chain, type: number, done: (status: number) => void, finish: BlockDone): void {
    const length = chain.readableLength - HEADER;
    if (length < RANGE || length % RANGE !== 0 || length > RANGE * MAX_RANGES) return done(Status.ioError);
    const bytes = new Uint8Array(length);
    if (!chain.read(HEADER, bytes)) return done(Status.ioError);
    const view = new DataView(bytes.buffer);
    const ranges: [offset: number, length: number][] = [];
    for (let at = 0; at < length; at += RANGE) {
      const sector = view.getBigUint64(at, true);
      const sectors = view.getUint32(at + 8, true);
      const flags = view.getUint32(at + 12, true);
      if (flags & ~UNMAP || (type === Request.discard && flags)) return done(Status.unsupported);
      if (sectors > MAX_RANGE_SECTORS || !this.isOnDisk(sector, sectors * SECTOR)) return done(Status.ioError);
      ranges.push([Number(sector) * SECTOR, sectors * SECTOR]);
      this.spend(sectors * SECTOR);
    }
    const next = (error: Error | null): void => {
      const range = ranges.shift();
      if (error || !range) return finish(error);
      if (type === Request.discard) this.source.discard(range[0], range[1], next);
      else this.source.writeZeroes(range[0], range[1], next);
    };
    next(null);
  }
}
