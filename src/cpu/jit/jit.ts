// The second tier: which code is compiled when, and for how long it is entered.
//
// The interpreter counts the entries of its blocks (Head.heat) and reports those that get hot. Regions that begin at them are compiled in
// batches, several to a module, and entered by run() through Head.compiled. A region ends with the first of its blocks that is dropped.
import { ModuleBuilder } from '../../wasm/module.ts';
import type { Decoder } from '../decode/decoder.ts';
import { type BlockCache, NEVER } from '../interp/blocks.ts';
import { ENTER_SIGNATURE } from '../interp/core.ts';
import { Head } from '../interp/record.ts';
import { ModeBit } from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { highHalf, lowHalf } from '../mmu/linear.ts';
import { AccessKind } from '../mmu/paging.ts';
import type { TlbBanks } from '../mmu/tlb.ts';
import type { CpuState } from '../state.ts';
import { type CodeSources, discover, type Region } from './region.ts';
import type { Touched } from './registers.ts';
import { plan, REGION_SIGNATURE, type Translated, translate } from './translate.ts';

export interface JitOptions {
  /** Entries of a block before it is compiled. */
  heat: number;
  /** Regions to a module. */
  batch: number;
  /** Fuel that a region wants on entry and at every turn of a loop; no more instructions are in a region, so that none runs out between. */
  minFuel: number;
  /** Told of every region that is compiled: for dumps. */
  onCompile?: (region: Region, translated: Translated, memory: EngineMemory) => void;
}

export const JIT_DEFAULTS: JitOptions = { heat: 100_000, batch: 8, minFuel: 512 };

/** Elements of the function table from here on are regions; handlers stand below, with room for every variant of every row. */
export const FIRST_REGION = 32768;
export const TABLE_SIZE = FIRST_REGION + 4096;
/** Entries that a reported block is given until it is compiled without waiting for others. */
const PATIENCE = 200;

interface Request {
  header: number;
  /** RIP of the first byte of its page, when it was reported. */
  base: bigint;
}

interface Compiled {
  header: number;
  slot: number;
  frames: readonly Mfn[];
}

/** What the JIT needs of the processor. */
export interface JitParts {
  memory: EngineMemory;
  state: CpuState;
  tlb: TlbBanks;
  decoder: Decoder;
  blocks: BlockCache;
  table: WebAssembly.Table;
  /** The core's function `enter`. */
  enter: CallableFunction;
}

export class Jit {
  /** Counters for profiles. */
  readonly statistics = { modules: 0, regions: 0, instructions: 0, bytes: 0, dropped: 0, refused: 0 };
  private readonly parts: JitParts;
  private readonly options: JitOptions;
  private readonly requests = new Map<number, Request>();
  private readonly byHeader = new Map<number, Compiled>();
  private readonly byFrame = new Map<Mfn, Set<Compiled>>();
  private readonly freeSlots: number[] = [];
  private nextSlot = FIRST_REGION;

  constructor(parts: JitParts, options: JitOptions) {
    this.parts = parts;
    this.options = options;
    parts.blocks.heat = options.heat;
    parts.blocks.onDrop = mfn => this.drop(mfn);
  }

  private setHead(header: number, field: number, value: number): void {
    this.parts.memory.u32[(header + field) >> 2] = value;
  }
  private head(header: number, field: number): number {
    return this.parts.memory.u32[(header + field) >> 2];
  }

  /** The interpreter is about to enter a block, at S.rip, whose heat is used up. */
  hot(header: number): void {
    const waits = this.requests.has(header);
    if (!(this.head(header, Head.mode) & ModeBit.long64)) {
      this.setHead(header, Head.heat, NEVER);
      return;
    }
    if (!waits) {
      const base = BigInt.asUintN(64, this.parts.state.rip - BigInt(this.head(header, Head.offset)));
      this.requests.set(header, { header, base });
      this.setHead(header, Head.heat, Math.max(1, Math.min(PATIENCE, this.options.heat)));
    }
    if (waits || this.requests.size >= this.options.batch) this.compileRequests();
  }

  private compileRequests(): void {
    const requests = [...this.requests.values()];
    const found: { region: Region; touched: Touched }[] = [];
    for (const request of requests) {
      const touched: Touched = { used: 0, modified: 0 };
      const region = this.regionAt(request, touched);
      if (region && region.instructions >= Math.min(2, this.options.minFuel)) found.push({ region, touched });
      else {
        this.statistics.refused++;
        this.setHead(request.header, Head.heat, NEVER);
      }
    }
    this.requests.clear();
    if (this.nextSlot - this.freeSlots.length + found.length > TABLE_SIZE) this.dropAll();
    if (found.length > 0) this.compile(found);
  }

  private regionAt({ header, base }: Request, touched: Touched): Region | null {
    const { memory, decoder, blocks, tlb } = this.parts;
    const mode = this.head(header, Head.mode);
    const entryFrame = this.head(header, Head.page);
    const sources: CodeSources = {
      memory,
      decoder,
      has: (mfn, offset) => blocks.get(mfn, offset, mode) !== undefined,
      find: (mfn, offset) => {
        if (blocks.full) return 0;
        tlb.dropWrites(mfn);
        return blocks.find({ mfn, nextPage: noNextPage }, offset, mode);
      },
      frameOf: page => {
        if (page === 0) return entryFrame;
        const linear = BigInt.asUintN(64, base + BigInt(page) * 4096n);
        const host = tlb.probe(AccessKind.execute, lowHalf(linear), highHalf(linear));
        return host ? (host - memory.ramBase) >>> 12 : null;
      },
      entries: (mfn, offset) => {
        const found = blocks.get(mfn, offset, mode);
        if (found === undefined) return 0;
        const heat = this.head(found, Head.heat);
        const counts = heat <= this.options.heat && !this.requests.has(found);
        return Math.max(1, counts ? this.options.heat - heat : this.options.heat);
      },
      plan: (instruction, position) => {
        const planned = plan(instruction, position);
        touched.used |= planned.touched.used;
        touched.modified |= planned.touched.modified;
        return planned;
      },
    };
    return discover(sources, this.head(header, Head.offset), mode, this.options.minFuel);
  }

  private compile(found: readonly { region: Region; touched: Touched }[]): void {
    const { memory, table, enter } = this.parts;
    const m = new ModuleBuilder();
    const environment: Record<string, WebAssembly.ImportValue> = {
      memory: memory.memory,
      enter: enter as WebAssembly.ImportValue,
    };
    const enterIndex = m.importFunction('e', 'enter', ENTER_SIGNATURE);
    const handlers = new Map<number, number>();
    for (const { region } of found) {
      for (const { steps } of region.blocks) {
        for (const { means, record } of steps) {
          const id = memory.u16[record >> 1];
          if (means !== 'call' || handlers.has(id)) continue;
          environment[`h${id}`] = table.get(id) as WebAssembly.ImportValue;
          handlers.set(id, m.importFunction('e', `h${id}`, REGION_SIGNATURE));
        }
      }
    }
    const pages = memory.memory.buffer.byteLength >>> 16;
    m.importMemory('e', 'memory', pages, pages);
    const callees = { enter: enterIndex, handler: (id: number) => handlers.get(id) ?? null };
    found.forEach(({ region, touched }, i) => {
      const translated = translate(region, memory, touched, callees, this.options.minFuel);
      const { locals, code } = translated;
      this.options.onCompile?.(region, translated, memory);
      const name = `region ${region.entry.header.toString(16)}`;
      m.export(`r${i}`, m.define({ name, signature: REGION_SIGNATURE, locals, code }));
      this.statistics.instructions += region.instructions;
    });
    const bytes = m.build();
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { e: environment });
    this.statistics.modules++;
    this.statistics.bytes += bytes.length;
    found.forEach(({ region }, i) => {
      this.install(region, instance.exports[`r${i}`] as CallableFunction);
    });
  }

  private install(region: Region, run: CallableFunction): void {
    const { header } = region.entry;
    const slot = this.freeSlots.pop() ?? this.nextSlot++;
    this.parts.table.set(slot, run);
    const compiled: Compiled = { header, slot, frames: [...new Set(region.pages.values())] };
    this.byHeader.set(header, compiled);
    for (const mfn of compiled.frames) {
      const known = this.byFrame.get(mfn);
      if (known) known.add(compiled);
      else this.byFrame.set(mfn, new Set([compiled]));
    }
    this.setHead(header, Head.compiled, slot);
    this.setHead(header, Head.heat, 0);
    this.statistics.regions++;
  }

  private remove(compiled: Compiled): void {
    const { header, slot, frames } = compiled;
    this.parts.table.set(slot, null);
    this.freeSlots.push(slot);
    this.setHead(header, Head.compiled, 0);
    this.setHead(header, Head.heat, this.options.heat);
    this.byHeader.delete(header);
    for (const mfn of frames) this.byFrame.get(mfn)?.delete(compiled);
    this.statistics.dropped++;
  }

  /** A frame's blocks are dropped; null: all blocks are. */
  private drop(mfn: Mfn | null): void {
    if (mfn === null) {
      this.dropAll();
      this.requests.clear();
      return;
    }
    for (const header of this.requests.keys()) if (this.head(header, Head.page) === mfn) this.requests.delete(header);
    const regions = this.byFrame.get(mfn);
    if (!regions) return;
    for (const compiled of [...regions]) this.remove(compiled);
    this.byFrame.delete(mfn);
  }

  /** Drops every region; the interpreter finds its own blocks unchanged. */
  dropAll(): void {
    for (const compiled of [...this.byHeader.values()]) this.remove(compiled);
    this.byFrame.clear();
  }
}

const noNextPage = (): never => {
  throw new Error('a region has no instruction that reaches into another page');
};
