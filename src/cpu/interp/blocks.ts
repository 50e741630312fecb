// The cache of decoded blocks: instruction bytes become records on first execution, and are dropped when their bytes are written to.
import type { Decoder, Instruction } from '../decode/decoder.ts';
import { Vector } from '../exits.ts';
import { clearJumps } from '../jump-cache.ts';
import { FRAME_FLAGS, FRAME_SIZE, FrameFlag, RECORD_SIZE, RECORDS, RECORDS_SIZE } from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { BlockIndex } from './block-index.ts';
import type { Handlers } from './handlers.ts';
import { HANDLER_STALE, HEAD_SIZE, Head, Rec } from './record.ts';
import { RecordWriter } from './record-writer.ts';

/** Blocks go on behind conditional branches: longer ones decode more that never runs, shorter ones are left more often. */
const MAX_BLOCK = 24;
/** A block takes a header, its instructions and two records that are none. */
const BLOCK_ROOM = (MAX_BLOCK + 3) * RECORD_SIZE;
/** Room for the block of exactly as many instructions as fuel is left, at the arena's end: used once, never cached. */
const SCRATCH_BLOCK = RECORDS + RECORDS_SIZE - BLOCK_ROOM - RECORD_SIZE;
/** Head.heat of what is not to be compiled. */
export const NEVER = 0x7fffffff;
const MAX_INSTRUCTION = 15;
/** What a crossing instruction is taken to have in its second page, and how much of that page the decoder is shown. */
const CROSSING_BYTES = 16;
const GRANULE_SHIFT = 6;

/** Where code is fetched: frame of the first byte, and the frame of the next page when an instruction reaches into it (throws GuestFault). */
export interface CodeSource {
  mfn: Mfn;
  nextPage: () => Mfn;
}

export class BlockCache {
  private readonly memory: EngineMemory;
  private readonly decoder: Decoder;
  private readonly records: RecordWriter;
  private readonly u8: Uint8Array;
  private readonly u16: Uint16Array;
  private readonly u32: Uint32Array;
  private readonly u64: BigUint64Array;
  /** Headers by frame, offset and mode. */
  private readonly blocks = new BlockIndex();
  /** The last block made on a frame, which leads to the others (Head.nextInPage); 0 where only instructions of the page before reach in. */
  private readonly blocksOfFrame = new Map<Mfn, number>();
  /** Frames by the frame that an instruction at their end reaches into. */
  private readonly reachedFrom = new Map<Mfn, Set<Mfn>>();
  private arena = RECORDS;
  /** Entries of a block until the JIT is told of it. */
  heat = NEVER;
  /** Told of frames whose blocks are dropped, and of null where all are. */
  onDrop: (mfn: Mfn | null) => void = () => {};
  private readonly crossing = new Uint8Array(2 * CROSSING_BYTES);
  /** Counters for profiles. */
  readonly statistics = { blocks: 0, instructions: 0, dropped: 0, resets: 0 };

  /** @param has which CPUID features there are: instructions of others are undefined */
  constructor(memory: EngineMemory, decoder: Decoder, handlers: Handlers, has: (feature: string) => boolean) {
    this.memory = memory;
    this.decoder = decoder;
    this.records = new RecordWriter(memory, handlers, has);
    this.u8 = memory.u8;
    this.u16 = memory.u16;
    this.u32 = memory.u32;
    this.u64 = memory.u64;
  }

  /** Header of the cached block at (frame, offset) in a mode, decoding it where it is new. */
  find(source: CodeSource, offset: number, mode: number): number {
    const { mfn } = source;
    const known = this.blocks.get(mfn, offset, mode);
    if (known !== undefined) return known;
    if (this.full) this.reset();
    const header = this.arena;
    this.arena = this.decodeBlock(source, offset, mode, header, MAX_BLOCK);
    this.blocks.set(mfn, offset, mode, header);
    this.statistics.blocks++;
    this.u32[(header + Head.nextInPage) >> 2] = this.blocksOfFrame.get(mfn) ?? 0;
    this.blocksOfFrame.set(mfn, header);
    return header;
  }

  get(mfn: Mfn, offset: number, mode: number): number | undefined {
    return this.blocks.get(mfn, offset, mode);
  }

  /** Another block would empty the cache. */
  get full(): boolean {
    return this.arena + BLOCK_ROOM > SCRATCH_BLOCK;
  }

  /** A block of at most `count` instructions for one use. */
  scratch(source: CodeSource, offset: number, mode: number, count: number): number {
    this.decodeBlock(source, offset, mode, SCRATCH_BLOCK, Math.min(count, MAX_BLOCK));
    return SCRATCH_BLOCK;
  }

  /** Empties the cache: no run() may be inside a block that goes on (the core calls lookup only between blocks). */
  reset(): void {
    this.statistics.resets++;
    this.onDrop(null);
    this.blocks.clear();
    for (const mfn of this.blocksOfFrame.keys()) this.unmarkCode(mfn);
    this.blocksOfFrame.clear();
    this.reachedFrom.clear();
    clearJumps(this.memory);
    this.arena = RECORDS;
  }

  // ---- decoding

  /** Writes a block's records; gives the address behind them. */
  private decodeBlock(source: CodeSource, offset: number, mode: number, header: number, limit: number): number {
    const { mfn } = source;
    const host = this.memory.frameOffset(mfn);
    let at = header + HEAD_SIZE;
    let position = offset;
    let count = 0;
    for (let open = true; open; ) {
      let decoded = this.decoder.decode(this.u8, host + position, host + FRAME_SIZE, mode);
      if (decoded === 'more') {
        // an instruction that crosses is a block of its own, behind a record that checks the second page
        if (count > 0) break;
        const next = source.nextPage();
        decoded = this.decodeCrossing(host + position, FRAME_SIZE - position, next, mode);
        this.records.writeCheckPage(at, position, next);
        at += RECORD_SIZE;
        this.markReach(mfn, next);
        open = false;
      }
      count++;
      if (decoded === 'more' || 'fault' in decoded) {
        this.records.writeFault(at, position, decoded === 'more' ? Vector.GP : decoded.fault);
        at += RECORD_SIZE;
        this.markCode(mfn, position, MAX_INSTRUCTION);
        return this.finish(header, at, mfn, offset, mode, count);
      }
      const runs = this.records.write(at, decoded, position, mode);
      at += RECORD_SIZE;
      this.markCode(mfn, position, decoded.length);
      position += decoded.length;
      if (!runs || decoded.row.ends) return this.finish(header, at, mfn, offset, mode, count);
      if (count === limit || position >= FRAME_SIZE) open = false;
    }
    this.records.writeContinue(at, position, header !== SCRATCH_BLOCK);
    return this.finish(header, at + RECORD_SIZE, mfn, offset, mode, count);
  }

  /** @param at engine-memory address of the bytes that are left of the first page */
  private decodeCrossing(at: number, left: number, next: Mfn, mode: number): Instruction | { fault: number } | 'more' {
    const second = this.memory.frameOffset(next);
    this.crossing.set(this.u8.subarray(at, at + left));
    this.crossing.set(this.u8.subarray(second, second + CROSSING_BYTES), left);
    return this.decoder.decode(this.crossing, 0, left + CROSSING_BYTES, mode);
  }

  private finish(header: number, end: number, mfn: Mfn, offset: number, mode: number, count: number): number {
    this.u8.fill(0, header, header + HEAD_SIZE);
    this.u32[(header + Head.heat) >> 2] = header === SCRATCH_BLOCK ? NEVER : this.heat;
    this.u32[(header + Head.count) >> 2] = count;
    this.u32[(header + Head.offset) >> 2] = offset;
    this.u32[(header + Head.page) >> 2] = mfn;
    this.u32[(header + Head.mode) >> 2] = mode;
    this.u32[(header + Head.bytes) >> 2] = end - header;
    this.statistics.instructions += count;
    return end;
  }

  // ---- code that is written to

  /** True where bytes [offset, offset + length) of a frame overlap 64-byte granules that code was decoded from. */
  isCode(mfn: Mfn, offset: number, length: number): boolean {
    if (!(this.u8[FRAME_FLAGS + mfn] & FrameFlag.code)) return false;
    const first = offset >> GRANULE_SHIFT;
    const last = (offset + length - 1) >> GRANULE_SHIFT;
    const words = (this.memory.codeBitmap >> 2) + mfn * 2;
    for (let g = first; g <= last; g++) if ((this.u32[words + (g >> 5)] >>> (g & 31)) & 1) return true;
    return false;
  }

  /** Drops every block of a frame and of the frames that reach into it. Their records lead back to lookup, wherever links to them stand. */
  dropFrame(mfn: Mfn): void {
    const reaching = this.reachedFrom.get(mfn);
    this.reachedFrom.delete(mfn);
    this.dropBlocks(mfn);
    if (reaching) for (const other of reaching) this.dropBlocks(other);
  }

  private markStale(header: number): void {
    const end = header + this.u32[(header + Head.bytes) >> 2];
    for (let at = header + HEAD_SIZE; at < end; at += RECORD_SIZE) this.u16[(at + Rec.handler) >> 1] = HANDLER_STALE;
  }

  private dropBlocks(mfn: Mfn): void {
    if (this.u32[(SCRATCH_BLOCK + Head.page) >> 2] === mfn) this.markStale(SCRATCH_BLOCK);
    const first = this.blocksOfFrame.get(mfn);
    if (first === undefined) return;
    this.statistics.dropped++;
    this.onDrop(mfn);
    for (let header = first; header; header = this.u32[(header + Head.nextInPage) >> 2]) {
      const offset = this.u32[(header + Head.offset) >> 2];
      this.blocks.delete(mfn, offset, this.u32[(header + Head.mode) >> 2]);
      this.markStale(header);
    }
    this.blocksOfFrame.delete(mfn);
    this.unmarkCode(mfn);
    // what reaches in from another frame is still there
    if (this.reachedFrom.has(mfn)) this.markReached(mfn);
  }

  private markReach(from: Mfn, into: Mfn): void {
    const known = this.reachedFrom.get(into);
    if (known) known.add(from);
    else this.reachedFrom.set(into, new Set([from]));
    this.markReached(into);
  }

  private markReached(mfn: Mfn): void {
    if (!this.blocksOfFrame.has(mfn)) this.blocksOfFrame.set(mfn, 0);
    this.markCode(mfn, 0, CROSSING_BYTES);
  }

  /** Bytes beyond the frame do not count. */
  private markCode(mfn: Mfn, offset: number, length: number): void {
    this.u8[FRAME_FLAGS + mfn] |= FrameFlag.code;
    const words = (this.memory.codeBitmap >> 2) + mfn * 2;
    const last = Math.min(offset + length, FRAME_SIZE) - 1;
    for (let g = offset >> GRANULE_SHIFT; g <= last >> GRANULE_SHIFT; g++) this.u32[words + (g >> 5)] |= 1 << (g & 31);
  }

  private unmarkCode(mfn: Mfn): void {
    this.u8[FRAME_FLAGS + mfn] &= ~FrameFlag.code;
    this.u64[(this.memory.codeBitmap >> 3) + mfn] = 0n;
  }
}
