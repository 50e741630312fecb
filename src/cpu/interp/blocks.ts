// The cache of decoded blocks: instruction bytes become records on first execution, and are dropped when their bytes are written to.
import type { Decoder, Instruction } from '../decode/decoder.ts';
import { Vector } from '../exits.ts';
import {
  FRAME_FLAGS,
  FRAME_SIZE,
  FrameFlag,
  JUMP_CACHE,
  JUMP_CACHE_ENTRIES,
  JUMP_ENTRY_SIZE,
  ModeBit,
  RECORD_SIZE,
  RECORDS,
  RECORDS_SIZE,
  S,
  SEG_FIELD,
  SEGMENT_SIZE,
  STATE,
} from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { boundOperands, displacementOverflows, type Handlers, registerAddress, variantOf } from './handlers.ts';
import { HANDLER_CHECK_PAGE, HANDLER_CONTINUE, HANDLER_FAULT, HANDLER_STALE, Head, LINK_NEVER, Rec } from './record.ts';

/** Blocks go on behind conditional branches: longer ones decode more that never runs, shorter ones are left more often. */
const MAX_BLOCK = 24;
/** Room for the block of exactly as many instructions as fuel is left, at the arena's end: used once, never cached. */
const SCRATCH_BLOCK = RECORDS + RECORDS_SIZE - (MAX_BLOCK + 4) * RECORD_SIZE;
const BLOCK_ROOM = (MAX_BLOCK + 3) * RECORD_SIZE;
const GRANULE_SHIFT = 6;
const ZERO_ADDRESS = STATE + S.zero;
const RIP_BASE_ADDRESS = STATE + S.ripBase;
const PAGE_SIZE_ADDRESS = STATE + S.pageSize;
const MODES = 1024;

/** Where code is fetched: frame of the first byte, and the frame of the next page when an instruction reaches into it (throws GuestFault). */
export interface CodeSource {
  mfn: Mfn;
  nextPage: () => Mfn;
}

/** Features and privileges that decide at decode time whether an instruction is undefined here. */
export interface DecodeRules {
  has(feature: string): boolean;
  stackWidth(mode: number): 16 | 32 | 64;
}

export class BlockCache {
  private readonly memory: EngineMemory;
  private readonly decoder: Decoder;
  private readonly handlers: Handlers;
  private readonly rules: DecodeRules;
  private readonly u8: Uint8Array;
  private readonly u16: Uint16Array;
  private readonly u32: Uint32Array;
  private readonly u64: BigUint64Array;
  private readonly blocks = new Map<number, number>();
  private readonly blocksOfFrame = new Map<Mfn, number>();
  private arena = RECORDS;
  private readonly crossing = new Uint8Array(32);
  /** Counters for profiles. */
  readonly statistics = { blocks: 0, instructions: 0, dropped: 0, resets: 0 };

  constructor(memory: EngineMemory, decoder: Decoder, handlers: Handlers, rules: DecodeRules) {
    this.memory = memory;
    this.decoder = decoder;
    this.handlers = handlers;
    this.rules = rules;
    this.u8 = memory.u8;
    this.u16 = memory.u16;
    this.u32 = memory.u32;
    this.u64 = memory.u64;
  }

  /** Header of the cached block at (frame, offset) in a mode, decoding it where it is new. */
  find(source: CodeSource, offset: number, mode: number): number {
    const key = (source.mfn * FRAME_SIZE + offset) * MODES + mode;
    const known = this.blocks.get(key);
    if (known !== undefined) return known;
    if (this.arena + BLOCK_ROOM > SCRATCH_BLOCK) this.reset();
    const header = this.arena;
    this.arena = this.decodeBlock(source, offset, mode, header, MAX_BLOCK);
    this.blocks.set(key, header);
    this.statistics.blocks++;
    this.u32[(header + Head.nextInPage) >> 2] = this.blocksOfFrame.get(source.mfn) ?? 0;
    this.blocksOfFrame.set(source.mfn, header);
    return header;
  }

  /** A block of at most `count` instructions for one use. */
  scratch(source: CodeSource, offset: number, mode: number, count: number): number {
    this.decodeBlock(source, offset, mode, SCRATCH_BLOCK, Math.min(count, MAX_BLOCK));
    return SCRATCH_BLOCK;
  }

  /** Empties the cache: no run() may be inside a block that goes on (the core calls lookup only between blocks). */
  reset(): void {
    this.statistics.resets++;
    this.blocks.clear();
    for (const mfn of this.blocksOfFrame.keys()) {
      this.u8[FRAME_FLAGS + mfn] &= ~FrameFlag.code;
      this.u64[(this.memory.codeBitmap >> 3) + mfn] = 0n;
    }
    this.blocksOfFrame.clear();
    this.u8.fill(0, JUMP_CACHE, JUMP_CACHE + JUMP_CACHE_ENTRIES * JUMP_ENTRY_SIZE);
    this.arena = RECORDS;
  }

  /** True where bytes [offset, offset + length) of a frame overlap 64-byte granules that code was decoded from. */
  isCode(mfn: Mfn, offset: number, length: number): boolean {
    if (!(this.u8[FRAME_FLAGS + mfn] & FrameFlag.code)) return false;
    const first = offset >> GRANULE_SHIFT;
    const last = (offset + length - 1) >> GRANULE_SHIFT;
    const words = (this.memory.codeBitmap >> 2) + mfn * 2;
    for (let g = first; g <= last; g++) if ((this.u32[words + (g >> 5)] >>> (g & 31)) & 1) return true;
    return false;
  }

  /** Drops every block of a frame: their records lead back to lookup, wherever links to them stand. */
  dropFrame(mfn: Mfn): void {
    let header = this.blocksOfFrame.get(mfn);
    if (header === undefined) return;
    this.blocksOfFrame.delete(mfn);
    this.statistics.dropped++;
    while (header) {
      const key =
        (mfn * FRAME_SIZE + this.u32[(header + Head.offset) >> 2]) * MODES + this.u32[(header + Head.mode) >> 2];
      // a block that begins in the frame before and reaches into this one has another key
      const owner = this.u32[(header + Head.page) >> 2];
      this.blocks.delete(owner === mfn ? key : key + (owner - mfn) * FRAME_SIZE * MODES);
      const end = header + this.u32[(header + Head.bytes) >> 2];
      for (let at = header + RECORD_SIZE; at < end; at += RECORD_SIZE) {
        this.u16[(at + Rec.handler) >> 1] = HANDLER_STALE;
      }
      header = this.u32[(header + Head.nextInPage) >> 2];
    }
    this.u8[FRAME_FLAGS + mfn] &= ~FrameFlag.code;
    this.u64[(this.memory.codeBitmap >> 3) + mfn] = 0n;
  }

  private markCode(mfn: Mfn, offset: number, length: number): void {
    this.u8[FRAME_FLAGS + mfn] |= FrameFlag.code;
    const words = (this.memory.codeBitmap >> 2) + mfn * 2;
    for (let g = offset >> GRANULE_SHIFT; g <= (offset + length - 1) >> GRANULE_SHIFT; g++) {
      this.u32[words + (g >> 5)] |= 1 << (g & 31);
    }
  }

  /** Writes a block's records; gives the address behind them. */
  private decodeBlock(source: CodeSource, offset: number, mode: number, header: number, limit: number): number {
    const host = this.memory.frameOffset(source.mfn);
    this.u8.fill(0, header, header + RECORD_SIZE);
    let at = header + RECORD_SIZE;
    let position = offset;
    let count = 0;
    let ended = false;
    while (!ended && count < limit && position < FRAME_SIZE) {
      let decoded = this.decoder.decode(this.u8, host + position, host + FRAME_SIZE, mode);
      if (decoded === 'more') {
        if (count > 0) break;
        const next = source.nextPage();
        const tail = FRAME_SIZE - position;
        this.crossing.set(this.u8.subarray(host + position, host + FRAME_SIZE));
        this.crossing.set(this.u8.subarray(this.memory.frameOffset(next), this.memory.frameOffset(next) + 16), tail);
        decoded = this.decoder.decode(this.crossing, 0, tail + 16, mode);
        this.u16[(at + Rec.handler) >> 1] = HANDLER_CHECK_PAGE;
        this.u16[(at + Rec.offset) >> 1] = position;
        this.u32[(at + Rec.immediate) >> 2] = next;
        this.u32[(at + Head.count) >> 2] = 1;
        at += RECORD_SIZE;
        this.markCode(next, 0, 16);
        this.chainIntoFrame(next, header, source.mfn);
        ended = true;
      }
      count++;
      if (decoded === 'more' || 'fault' in decoded) {
        this.writeFault(at, position, decoded === 'more' ? Vector.GP : decoded.fault);
        at += RECORD_SIZE;
        this.markCode(source.mfn, position, Math.min(15, FRAME_SIZE - position));
        ended = true;
        break;
      }
      if (!this.allowed(decoded, mode)) this.writeFault(at, position, Vector.UD);
      else if (decoded.row.cpl0 && mode & ModeBit.user) this.writeFault(at, position, Vector.GP);
      else this.writeRecord(at, decoded, position, mode);
      at += RECORD_SIZE;
      this.markCode(source.mfn, position, Math.min(decoded.length, FRAME_SIZE - position));
      position += decoded.length;
      if (decoded.row.ends || this.u16[(at - RECORD_SIZE) >> 1] === HANDLER_FAULT) {
        this.statistics.instructions += count;
        return this.finish(header, at, source.mfn, offset, mode, count);
      }
    }
    this.u8.fill(0, at, at + RECORD_SIZE);
    this.u16[(at + Rec.handler) >> 1] = HANDLER_CONTINUE;
    this.u16[(at + Rec.offset) >> 1] = position;
    this.u64[(at + Rec.immediate) >> 3] = BigInt(position);
    this.u32[(at + Rec.link) >> 2] = position < FRAME_SIZE && header !== SCRATCH_BLOCK ? 0 : LINK_NEVER;
    this.statistics.instructions += count;
    return this.finish(header, at + RECORD_SIZE, source.mfn, offset, mode, count);
  }

  private finish(header: number, end: number, mfn: Mfn, offset: number, mode: number, count: number): number {
    this.u32[(header + Head.count) >> 2] = count;
    this.u32[(header + Head.offset) >> 2] = offset;
    this.u32[(header + Head.page) >> 2] = mfn;
    this.u32[(header + Head.mode) >> 2] = mode;
    this.u32[(header + Head.bytes) >> 2] = end - header;
    return end;
  }

  /** Frames that a crossing instruction reaches into: writes there drop the frames its block begins in. */
  private readonly reachedFrom = new Map<Mfn, Set<Mfn>>();

  private chainIntoFrame(next: Mfn, _header: number, from: Mfn): void {
    let set = this.reachedFrom.get(next);
    if (!set) this.reachedFrom.set(next, (set = new Set()));
    set.add(from);
    if (!this.blocksOfFrame.has(next)) this.blocksOfFrame.set(next, 0);
  }

  /** Frames whose blocks reach into this one. */
  reaching(mfn: Mfn): Set<Mfn> | undefined {
    const set = this.reachedFrom.get(mfn);
    if (set) this.reachedFrom.delete(mfn);
    return set;
  }

  private allowed(i: Instruction, mode: number): boolean {
    void mode;
    return i.row.feature === undefined || this.rules.has(i.row.feature);
  }

  private writeFault(at: number, offset: number, vector: number): void {
    this.u8.fill(0, at, at + RECORD_SIZE);
    this.u16[(at + Rec.handler) >> 1] = HANDLER_FAULT;
    this.u16[(at + Rec.offset) >> 1] = offset;
    this.u16[(at + Rec.a) >> 1] = vector;
    this.u16[(at + Rec.c) >> 1] = vector === Vector.GP ? 1 : 0;
  }

  private writeRecord(at: number, i: Instruction, offset: number, mode: number): void {
    const { u8, u16, u32, u64 } = this;
    const long64 = (mode & ModeBit.long64) !== 0;
    u8.fill(0, at, at + RECORD_SIZE);
    u16[(at + Rec.offset) >> 1] = offset;
    u8[at + Rec.length] = i.length;
    const bound = boundOperands(i.row, i.memory !== null && hasMemoryRm(i));
    for (let n = 0; n < bound.length; n++) {
      const operand = i.operands[n];
      const b = bound[n];
      if (operand.spec.source === 'relative') {
        const target = offset + i.length + Number(BigInt.asIntN(64, operand.immediate));
        u64[(at + Rec.immediate) >> 3] = BigInt.asUintN(64, BigInt(target));
        u32[(at + Rec.link) >> 2] = target >= 0 && target < FRAME_SIZE ? 0 : LINK_NEVER;
      } else if (operand.spec.source === 'moffs' || operand.spec.source === 'far')
        u64[(at + Rec.immediate) >> 3] = operand.immediate;
      else if (b.kind === 'reg' && b.field !== null)
        u16[(at + b.field) >> 1] = registerAddress(operand.spec, operand.register);
      else if (b.kind === 'imm' && b.field === Rec.immediate) u64[(at + Rec.immediate) >> 3] = operand.immediate;
      else if (b.kind === 'imm' && b.field === Rec.c) u16[(at + Rec.c) >> 1] = Number(operand.immediate & 0xffffn);
    }
    const m = i.memory;
    if (m) {
      let displacement = m.displacement;
      u16[(at + Rec.base) >> 1] = m.base >= 0 ? STATE + S.gpr + m.base * 8 : ZERO_ADDRESS;
      u16[(at + Rec.index) >> 1] = m.index >= 0 ? STATE + S.gpr + m.index * 8 : ZERO_ADDRESS;
      u8[at + Rec.scale] = m.scale;
      if (m.ripRelative) {
        u16[(at + Rec.base) >> 1] = RIP_BASE_ADDRESS;
        displacement += offset + i.length;
        if (displacementOverflows(i)) {
          // the page's start plus 8192 by an index, so that the displacement fits 32 bits
          u16[(at + Rec.index) >> 1] = PAGE_SIZE_ADDRESS;
          u8[at + Rec.scale] = 1;
          displacement -= 2 * FRAME_SIZE;
        }
      }
      u32[(at + Rec.displacement) >> 2] = displacement;
      u8[at + Rec.segment] = m.segment;
      const usesBase = !long64 || m.segment === 4 || m.segment === 5;
      u16[(at + Rec.segmentBase) >> 1] = usesBase
        ? STATE + S.segments + m.segment * SEGMENT_SIZE + SEG_FIELD.base
        : ZERO_ADDRESS;
    }
    u16[(at + Rec.handler) >> 1] = this.handlers.idOf(i.row, variantOf(i, long64, this.rules.stackWidth(mode)));
  }
}

function hasMemoryRm(i: Instruction): boolean {
  for (const o of i.operands) if (o.kind === 'mem' && o.spec.source === 'rm') return true;
  return false;
}
