// Regions: what is compiled as one function. From a hot block on, the blocks that direct jumps lead to, into functions that are called and
// back to where they return, as far as the interpreter has been there.
//
// A block of a region is a piece of straight code up to its first jump. It starts where a block of the interpreter starts and has its
// records, so that the interpreter can take over before any instruction. Offsets count from the first byte of the page in which the
// region's entry stands: code that is mapped at several addresses is compiled once.
import type { Decoder, Instruction } from '../decode/decoder.ts';
import { HANDLER_CHECK_PAGE, HANDLER_CONTINUE, HANDLER_FAULT, HEAD_SIZE, Head, Rec } from '../interp/record.ts';
import { FRAME_SIZE, RECORD_SIZE } from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { callIndirect, callRelative, ret, retPop } from '../semantics/stack.ts';
import type { Effects, Ending } from './jit-ops.ts';

const MAX_BLOCKS = 96;
const MAX_CALL_DEPTH = 4;
/** Share of the entry's entries below which a block is left out. */
const RARE = 1 / 64;

/** How an instruction is done: in place, by its out-of-line handler, or by the interpreter, which the region is left for. */
export type Means = 'inline' | 'call' | 'leave';

export interface Step {
  instruction: Instruction | null;
  /** Address of its record, and of the header of the interpreter's block that has it. */
  record: number;
  header: number;
  /** Offset from the region's page. */
  position: number;
  means: Means;
  effects: Effects;
}

/** Where control is: the calls it is in are part of a block's identity, so that a return is known to lead back. */
interface CallChain {
  caller: CallChain | null;
  /** Offset of the instruction behind the call. */
  returnTo: number;
  /** Offset of the function that was called. */
  callee: number;
  depth: number;
}

export interface RegionBlock {
  index: number;
  offset: number;
  /** Address of the interpreter's block. */
  header: number;
  /** Instructions in the interpreter's block. */
  count: number;
  steps: Step[];
  /** What ends it; null: it goes on at `next`, or is left for the interpreter. */
  ending: 'jump' | 'branch' | 'indirect' | null;
  /** Offsets of where it goes on: behind the last instruction, and where a jump leads. */
  nextOffset: number;
  targetOffset: number;
  /**
   * Blocks of the region there; null where the region is left. For an indirect jump: where a return leads if it goes back to its call. A call of
   * what is not in the region goes on at `next` when other regions have done it.
   */
  next: RegionBlock | null;
  target: RegionBlock | null;
  calls: CallChain | null;
  /** How often the interpreter has come here, roughly. */
  entries: number;
}

export interface Region {
  entry: RegionBlock;
  blocks: RegionBlock[];
  /** Frames of the pages that it has code of, by their distance in pages from the entry's. */
  pages: Map<number, Mfn>;
  instructions: number;
}

/** What the discovery asks of its surroundings. */
export interface CodeSources {
  memory: EngineMemory;
  decoder: Decoder;
  /** The interpreter has a block there. */
  has(mfn: Mfn, offset: number): boolean;
  /** Header of the interpreter's block there, decoding it if need be; 0 where there is no room. Its first instruction is in one page. */
  find(mfn: Mfn, offset: number): number;
  /** Frame of the page so many pages from the entry's, if the interpreter has lately executed there; else null. */
  frameOf(page: number): Mfn | null;
  /** How often the interpreter has entered its block there, as far as it counts; 0 where it has none. */
  entries(mfn: Mfn, offset: number): number;
  /** What an instruction does when translated; `ending` says how it goes on. */
  plan(instruction: Instruction, position: number): { means: Means; effects: Effects; ending: Ending | null };
}

const LEAVES: Effects = { readsFlags: true, setsFlags: false, mayLeave: true };

/**
 * @param offset of the entry's first instruction in its page
 * @param limit most instructions
 */
export function discover(sources: CodeSources, offset: number, mode: number, limit: number): Region | null {
  return new Discovery(sources, mode, limit).run(offset);
}

class Discovery {
  private readonly sources: CodeSources;
  private readonly mode: number;
  private readonly limit: number;
  private readonly known = new Map<string, RegionBlock>();
  private readonly blocks: RegionBlock[] = [];
  private readonly pages = new Map<number, Mfn | null>();
  private readonly queue: RegionBlock[] = [];
  private instructions = 0;

  constructor(sources: CodeSources, mode: number, limit: number) {
    this.limit = limit;
    this.sources = sources;
    this.mode = mode;
  }

  run(offset: number): Region | null {
    const entry = this.blockAt(offset, null, this.sources.entries(this.frameOf(0)!, offset & (FRAME_SIZE - 1)));
    if (!entry) return null;
    for (let block = this.queue.shift(); block; block = this.queue.shift()) this.extend(block);
    const pages = new Map<number, Mfn>();
    for (const { steps } of this.blocks) {
      const page = pageOf(steps[0].position);
      pages.set(page, this.frameOf(page)!);
    }
    return { entry, blocks: this.blocks, pages, instructions: this.instructions };
  }

  private frameOf(page: number): Mfn | null {
    let mfn = this.pages.get(page);
    if (mfn === undefined) this.pages.set(page, (mfn = this.sources.frameOf(page)));
    return mfn;
  }

  /**
   * The region's block there, new if need be; null where it has no place.
   * @param entries how often the interpreter has been there; if less than now and then, code is not worth its compilation
   */
  private blockAt(offset: number, calls: CallChain | null, entries: number): RegionBlock | null {
    const key = `${offset} ${keyOf(calls)}`;
    const known = this.known.get(key);
    if (known) return known;
    if (this.blocks.length >= MAX_BLOCKS || this.instructions >= this.limit) return null;
    if (entries < (this.blocks[0]?.entries ?? 0) * RARE) return null;
    const mfn = this.frameOf(pageOf(offset));
    if (mfn === null) return null;
    const { decoder, memory } = this.sources;
    const inPage = offset & (FRAME_SIZE - 1);
    if (!this.sources.has(mfn, inPage)) {
      const at = memory.frameOffset(mfn);
      const first = decoder.decode(memory.u8, at + inPage, at + FRAME_SIZE, this.mode);
      if (first === 'more' || 'fault' in first) return null;
    }
    const header = this.sources.find(mfn, inPage);
    if (header === 0) return null;
    const block = this.read(offset, header, mfn, calls, entries);
    if (!block) return null;
    this.known.set(key, block);
    this.blocks.push(block);
    this.queue.push(block);
    return block;
  }

  private read(offset: number, header: number, mfn: Mfn, calls: CallChain | null, entries: number): RegionBlock | null {
    const { memory, decoder } = this.sources;
    const { u16, u32 } = memory;
    const host = memory.frameOffset(mfn);
    const pageStart = offset & ~(FRAME_SIZE - 1);
    const block: RegionBlock = {
      index: this.blocks.length,
      offset,
      header,
      count: u32[(header + Head.count) >> 2],
      steps: [],
      ending: null,
      nextOffset: offset,
      targetOffset: 0,
      next: null,
      target: null,
      calls,
      entries,
    };
    for (let i = 0; i < block.count && block.ending === null; i++) {
      if (this.instructions >= this.limit) break;
      const record = header + HEAD_SIZE + i * RECORD_SIZE;
      const handler = u16[(record + Rec.handler) >> 1];
      const inPage = u16[(record + Rec.offset) >> 1];
      const position = pageStart + inPage;
      if (handler === HANDLER_CHECK_PAGE || handler === HANDLER_CONTINUE) break;
      this.instructions++;
      block.nextOffset = position;
      const decoded =
        handler === HANDLER_FAULT ? 'more' : decoder.decode(memory.u8, host + inPage, host + FRAME_SIZE, this.mode);
      if (decoded === 'more' || 'fault' in decoded) {
        block.steps.push({ instruction: null, record, header, position, means: 'leave', effects: LEAVES });
        break;
      }
      const { means, effects, ending } = this.sources.plan(decoded, position);
      block.steps.push({ instruction: decoded, record, header, position, means, effects });
      block.nextOffset = position + decoded.length;
      if (means === 'leave') break;
      if (ending) {
        block.ending = ending.kind;
        if (ending.kind !== 'indirect') block.targetOffset = ending.target;
      }
    }
    return block.steps.length > 0 ? block : null;
  }

  /** Finds the blocks that follow. */
  private extend(block: RegionBlock): void {
    const { ending, calls, entries } = block;
    const last = block.steps[block.steps.length - 1];
    if (last.means === 'leave') return;
    if (ending === null) block.next = this.blockAt(block.nextOffset, calls, entries);
    else if (ending === 'branch') {
      // the interpreter counts where branches lead to, not what it runs into behind them
      const taken = this.entriesAt(block.targetOffset);
      block.next = this.blockAt(block.nextOffset, calls, Math.max(entries - taken, this.entriesAt(block.nextOffset)));
      block.target = this.blockAt(block.targetOffset, calls, taken);
    } else if (ending === 'jump') {
      const known = this.entriesAt(block.targetOffset) > 0 ? entries : 0;
      const call = last.instruction?.row.semantic === callRelative;
      if (!call) block.target = this.blockAt(block.targetOffset, calls, known);
      else if (this.isWorthInlining(block.targetOffset, calls)) {
        const chain = {
          caller: calls,
          returnTo: block.nextOffset,
          callee: block.targetOffset,
          depth: calls ? calls.depth + 1 : 1,
        };
        block.target = this.blockAt(block.targetOffset, chain, known);
      }
      if (call && !block.target) block.next = this.blockAt(block.nextOffset, calls, entries);
    } else if (last.instruction?.row.semantic === callIndirect) {
      block.next = this.blockAt(block.nextOffset, calls, entries);
    } else if (calls && isReturn(last)) {
      block.targetOffset = calls.returnTo;
      block.target = this.blockAt(calls.returnTo, calls.caller, entries);
    }
  }

  /** Calls within calls are inlined so deep, recursion is not: other regions do it. */
  private isWorthInlining(callee: number, calls: CallChain | null): boolean {
    if (calls && calls.depth >= MAX_CALL_DEPTH) return false;
    for (let c = calls; c; c = c.caller) if (c.callee === callee) return false;
    return callee !== this.blocks[0].offset;
  }

  private entriesAt(offset: number): number {
    const mfn = this.frameOf(pageOf(offset));
    return mfn === null ? 0 : this.sources.entries(mfn, offset & (FRAME_SIZE - 1));
  }
}

const isReturn = (step: Step): boolean =>
  step.instruction?.row.semantic === ret || step.instruction?.row.semantic === retPop;

export const pageOf = (offset: number): number => Math.floor(offset / FRAME_SIZE);

const keyOf = (calls: CallChain | null): string => (calls ? `${calls.returnTo} ${keyOf(calls.caller)}` : '');
