// The processor: runs vCPUs on an engine memory by the interpreter, translates addresses, and tells its user why it stopped.
import { Breakpoints } from './breakpoints.ts';
import { Decoder } from './decode/decoder.ts';
import { createEncodingTable } from './encodings/index.ts';
import { Exit, GuestFault, Vector } from './exits.ts';
import { Flag } from './flags.ts';
import type { SystemCore } from './helpers/core.ts';
import { helpers } from './helpers/index.ts';
import { deliverRecorded } from './helpers/interrupts.ts';
import { BlockCache } from './interp/blocks.ts';
import { Handlers } from './interp/handlers.ts';
import { hotVariants } from './interp/hot.ts';
import { type Core, instantiateCore, RunResult } from './interp/main.ts';
import { HEAD_SIZE, Head, Rec } from './interp/record.ts';
import { HINT_GENERAL, HINT_STACK } from './interp/wasm-ops.ts';
import {
  FRAME_FLAGS,
  FRAME_SIZE,
  FrameFlag,
  JUMP_CACHE,
  JUMP_CACHE_ENTRIES,
  ModeBit,
  S,
  SEG,
  SEG_FIELD,
  SEGMENT_SIZE,
  STATE,
  STATE_SIZE,
  UnitTrap,
} from './layout.ts';
import type { EngineMemory, Mfn } from './memory.ts';
import { AccessKind, PageFault, Paging } from './mmu/paging.ts';
import { SMAP_LIFTED, TlbBanks } from './mmu/tlb.ts';
import { hasFeature } from './models/features.ts';
import type { CpuModel } from './models/model.ts';
import { CpuState } from './state.ts';
import type { Access, Bus, Processor, ProtectedStore, Registers } from './types.ts';

const CR0_MP = 2n;
const CR0_EM = 4n;
const CR0_TS = 8n;
const CR0_WP = 1n << 16n;
const CR0_PE = 1n;
const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const CR4_OSFXSR = 1n << 9n;
const CR4_SMEP = 1n << 20n;
const CR4_SMAP = 1n << 21n;
const PAE_ROOT = 0xffffffe0n;
const ROOT = 0xffffffffff000n;
const EFER_LMA = 1n << 10n;
const EFER_NXE = 1n << 11n;
const ATTRIBUTE_L = 1 << 13;
const ATTRIBUTE_DB = 1 << 14;
/** Salt of jump cache entries is the bank's generation and the mode; all ones match no entry. */
const NO_SALT = 0xffffffff;
const MODE_BITS = 10;
const RECORD_SHIFT = 5;
const DR6_BS = 1n << 14n;
const MAX_FUEL = 0x3fffffff;
/** S.shadow after MOV SS: debug traps are held off as well. */
const SHADOW_TRAPS = 2;

/** Creates a processor on an engine memory. Its registers are all zero: the user sets them up. */
export function createProcessor(memory: EngineMemory, model: CpuModel): Processor {
  return new InterpretingProcessor(memory, model);
}

const noRegisters: Registers = {
  rdmsr: () => {
    throw new GuestFault(Vector.GP, 0);
  },
  wrmsr: () => {
    throw new GuestFault(Vector.GP, 0);
  },
  cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
};

const noBus: Bus = {
  read: (_address, size) => BigInt.asUintN(size * 8, -1n),
  write: () => {},
  portRead: (_port, size) => (size === 4 ? 0xffffffff : (1 << (size * 8)) - 1),
  portWrite: () => {},
};

export class InterpretingProcessor implements Processor, SystemCore {
  readonly memory: EngineMemory;
  readonly model: CpuModel;
  readonly live: CpuState;
  registers: Registers = noRegisters;
  bus: Bus = noBus;
  cycles: () => bigint = () => this.executed();
  onProtectedStore: ProtectedStore | null = null;
  readonly blocks: BlockCache;
  readonly handlers: Handlers;
  readonly tlb: TlbBanks;
  readonly paging: Paging;
  private readonly breakpoints: Breakpoints;

  private readonly core: Core;
  private readonly u8: Uint8Array;
  private readonly view: DataView;
  private readonly features: (feature: string) => boolean;
  /** Only blocks made for one use, of exactly as many instructions as fuel is left. */
  private exact = false;
  private userMode = true;

  constructor(memory: EngineMemory, model: CpuModel) {
    this.memory = memory;
    this.model = model;
    this.u8 = memory.u8;
    this.view = memory.view;
    this.live = new CpuState(memory.memory.buffer, STATE);
    this.breakpoints = new Breakpoints(this.live);
    this.tlb = new TlbBanks(memory);
    this.paging = new Paging(memory);
    this.features = hasFeature(model);
    const table = createEncodingTable();
    const functions = new WebAssembly.Table({ element: 'anyfunc', initial: 1024 });
    const inline = hotVariants(table);
    const helper = (name: string): CallableFunction => this.bindHelper(name);
    this.core = instantiateCore(
      memory.memory,
      functions,
      inline,
      {
        fill: (lo, hi, bytes, kind) => this.fill(lo, hi, bytes, kind),
        loadSpecial: (linear, bytes, hint) =>
          this.guarded(() => this.loadSpecial(BigInt.asUintN(64, linear), bytes, hint, false)),
        updateSpecial: (linear, bytes, hint) =>
          this.guarded(() => this.loadSpecial(BigInt.asUintN(64, linear), bytes, hint, true)),
        storeSpecial: (linear, value, bytes, hint) => {
          this.guarded(() => this.storeSpecial(BigInt.asUintN(64, linear), value, bytes, hint));
        },
        store128: (linear, low, high, hint) => {
          this.guarded(() => this.store128(BigInt.asUintN(64, linear), low, high, hint));
        },
        lookup: () => this.lookup(),
        link: record => this.link(record),
        checkPage: record => this.checkPage(record),
      },
      helper,
    );
    this.handlers = new Handlers(memory.memory, functions, inline, name => {
      const known = this.core.functions[name];
      return (known ?? helper(name)) as (...args: never[]) => unknown;
    });
    this.blocks = new BlockCache(memory, new Decoder(table, model.vendor), this.handlers, {
      has: this.features,
      stackWidth: mode => (mode & ModeBit.long64 ? 64 : mode & ModeBit.stack32 ? 32 : 16),
    });
    this.setConstants();
    this.modeChanged();
  }

  get state(): CpuState {
    return this.live;
  }

  private setConstants(): void {
    this.live.set(S.zero, 0n);
    this.live.set(S.pageSize, BigInt(FRAME_SIZE));
  }

  private stackIs32(): boolean {
    return (this.live.get32(S.segments + SEG.ss * SEGMENT_SIZE + SEG_FIELD.attributes) & ATTRIBUTE_DB) !== 0;
  }

  load(from: CpuState): void {
    this.u8.set(from.bytes, STATE);
    this.setConstants();
    this.modeChanged();
  }

  store(to: CpuState): void {
    to.bytes.set(this.u8.subarray(STATE, STATE + STATE_SIZE));
  }

  modeChanged(): void {
    const { live } = this;
    const cr0 = live.get(S.cr0);
    const cr4 = live.get(S.cr4);
    const efer = live.get(S.efer);
    const lma = (efer & EFER_LMA) !== 0n;
    const cs = live.get32(S.segments + SEG.cs * SEGMENT_SIZE + SEG_FIELD.attributes);
    const v86 = (live.get(S.rflags) & BigInt(Flag.VM)) !== 0n;
    const long64 = lma && (cs & ATTRIBUTE_L) !== 0;
    const cpl = live.cpl;
    let mode = 0;
    if (long64) mode |= ModeBit.long64;
    else if (cs & ATTRIBUTE_DB) mode |= ModeBit.default32;
    if (cr0 & CR0_PE) mode |= ModeBit.protected;
    if (lma) mode |= ModeBit.longActive;
    if (cr0 & CR0_PG) mode |= ModeBit.paging;
    if (v86) mode |= ModeBit.v86;
    if (cpl === 3) mode |= ModeBit.user;
    if (!long64 && this.stackIs32()) mode |= ModeBit.stack32;
    live.set32(S.mode, mode);
    const { controls } = this.paging;
    controls.mode = !(cr0 & CR0_PG) ? 'none' : lma ? 'long' : cr4 & CR4_PAE ? 'pae' : 'bits32';
    controls.wp = (cr0 & CR0_WP) !== 0n;
    controls.nxe = (efer & EFER_NXE) !== 0n;
    controls.smep = (cr4 & CR4_SMEP) !== 0n;
    controls.smap = (cr4 & CR4_SMAP) !== 0n && (live.get(S.rflags) & BigInt(Flag.AC)) === 0n;
    controls.pse = (cr4 & (CR4_PSE | CR4_PAE)) !== 0n;
    controls.reservedHigh = 0xfffff & ~((1 << Math.max(0, this.model.physicalAddressBits - 32)) - 1);
    const em = (cr0 & CR0_EM) !== 0n;
    const ts = (cr0 & CR0_TS) !== 0n;
    const mp = (cr0 & CR0_MP) !== 0n;
    const osfxsr = (cr4 & CR4_OSFXSR) !== 0n;
    live.set32(
      S.unitTrap,
      (em || ts ? UnitTrap.x87 : 0) |
        (ts && mp ? UnitTrap.wait : 0) |
        (em || ts ? UnitTrap.mmx : 0) |
        (em || ts || !osfxsr ? UnitTrap.sse : 0),
    );
    this.userMode = cpl === 3;
    if (!live.get32(S.pv)) this.selectOwnBank();
    this.syncSalt();
  }

  /** Outside PV the processor keeps track of its address space itself. With SMAP lifted, the kernel's bank is another one. */
  private selectOwnBank(): void {
    const { live } = this;
    const { controls } = this.paging;
    const root = live.get(S.cr3) & (controls.mode === 'pae' ? PAE_ROOT : ROOT);
    controls.root = Number(root);
    const open = !this.userMode && (live.get(S.cr4) & CR4_SMAP) !== 0n && !controls.smap;
    this.tlb.select(open ? root | SMAP_LIFTED : root, this.userMode);
  }

  /** The jump cache answers for this bank, its generation and the mode only. */
  private syncSalt(): void {
    const { current } = this.tlb;
    const uncached = this.exact || this.wantsAttention() || this.codeBase() !== 0n;
    const mode = this.live.get32(S.mode) & ((1 << MODE_BITS) - 1);
    const salt = uncached ? NO_SALT : (current.generation << MODE_BITS) | mode;
    this.live.set32(S.jumpSalt, salt >>> 0);
    this.live.set32(S.tlb, current.address);
  }

  /** What CS adds to RIP: the jump cache, which goes by RIP, is left out where it is not 0. */
  private codeBase(): bigint {
    const { live } = this;
    return live.get32(S.mode) & ModeBit.long64 ? 0n : live.get(S.segments + SEG.cs * SEGMENT_SIZE + SEG_FIELD.base);
  }

  /** Blocks must not be entered without run() having a look first: RFLAGS.TF, or an interrupt that can be taken now. */
  private wantsAttention(): boolean {
    const flags = this.live.get32(S.rflags);
    return (flags & Flag.TF) !== 0 || (this.interruptPending && (flags & Flag.IF) !== 0 && !this.live.get32(S.pv));
  }

  /** See Processor.interruptPending. */
  interruptPending = false;
  /** The one instruction that run() has asked for is looked up, whatever wants attention. */
  private single = false;
  /** The instruction did itself what RFLAGS.TF asks for after it. */
  private stepTaken = false;

  flagsChanged(): void {
    this.syncSalt();
  }

  suppressStep(): void {
    this.stepTaken = true;
  }

  restartAt(rip: bigint): void {
    const { live } = this;
    live.rip = rip;
    if (this.evaluating) {
      const moved = rip - this.evaluating.rip;
      this.evaluating = { rip, nextRip: BigInt.asUintN(64, this.evaluating.nextRip + moved) };
      return;
    }
    // leave() takes RIP from the record
    live.set(S.ripBase, BigInt.asUintN(64, live.get(S.ripBase) + rip - this.instructionRip()));
  }

  // ---- running

  /** Instructions executed so far by the vCPU that is loaded, also in the middle of run(). */
  private executed(): bigint {
    const { live } = this;
    if (this.budget === 0 || this.evaluating) return live.get(S.retired);
    const block = live.get32(S.block);
    const unpaid =
      this.view.getUint32(block + Head.count, true) - ((live.get32(S.record) - block) >>> RECORD_SHIFT) + 1;
    return live.get(S.retired) + BigInt(this.budget - unpaid) - BigInt.asIntN(64, live.get(S.fuel));
  }
  /** Fuel given to the core's run() that is under way, 0 outside. */
  private budget = 0;
  /** Some breakpoint is armed: set when run() starts. */
  private watching = false;

  run(fuel: number): number {
    const { live, breakpoints } = this;
    let left = Math.min(fuel, MAX_FUEL);
    for (;;) {
      if (left <= 0) {
        live.set32(S.exit, Exit.fuel);
        return Exit.fuel;
      }
      const native = live.get32(S.pv) === 0;
      const shadow = live.get32(S.shadow);
      if (native && this.interruptPending && !shadow && live.get32(S.rflags) & Flag.IF) {
        live.set32(S.exit, Exit.interruptWindow);
        return Exit.interruptWindow;
      }
      if (this.watching || breakpoints.armed) {
        this.watching = breakpoints.armed;
        if (breakpoints.refresh()) this.flushAll();
        if (shadow !== SHADOW_TRAPS) breakpoints.hits = 0n;
        const hit = breakpoints.atExecution(BigInt.asUintN(64, live.rip + this.codeBase()));
        if (hit && !(live.get32(S.rflags) & Flag.RF) && shadow !== SHADOW_TRAPS) {
          left--;
          live.set(S.retired, live.get(S.retired) + 1n);
          if (this.raiseDebug(hit, native)) continue;
          return live.get32(S.exit);
        }
      }
      const resuming = this.watching && (live.get32(S.rflags) & Flag.RF) !== 0;
      live.set32(S.shadow, 0);
      const step = (live.get32(S.rflags) & Flag.TF) !== 0;
      this.single = step || shadow !== 0 || this.watching;
      this.stepTaken = false;
      const budget = this.single || this.substitute ? 1 : left;
      this.exact = this.single;
      this.syncSalt();
      live.set(S.fuel, BigInt(budget));
      this.budget = budget;
      let result = this.substitute ? this.runSubstitute(this.substitute) : this.core.run(budget);
      let rest = Number(BigInt.asIntN(64, live.get(S.fuel)));
      if (result === RunResult.fuel && rest > 0) {
        this.exact = true;
        this.syncSalt();
        result = this.core.run(rest);
        rest = Number(BigInt.asIntN(64, live.get(S.fuel)));
      }
      this.exact = false;
      this.budget = 0;
      let used = budget - rest;
      this.single = false;
      if (result === RunResult.left && live.get32(S.pending) === 0) {
        // lookup() has handed over
        live.set(S.retired, live.get(S.retired) + BigInt(used));
        left -= used;
        continue;
      }
      if (result === RunResult.left) {
        // an exit costs at least one instruction, so that a guest that only faults does not stop time
        if (used === 0) used = 1;
        live.set(S.retired, live.get(S.retired) + BigInt(used));
        left -= used;
        this.leave();
        if (native && live.get32(S.exit) === Exit.exception && this.delivers()) continue;
        return live.get32(S.exit);
      }
      live.set(S.retired, live.get(S.retired) + BigInt(used));
      left -= used;
      if (used === 0 || live.get32(S.shadow) === SHADOW_TRAPS) continue;
      // RF holds for one instruction
      if (resuming && !this.stepTaken) live.set32(S.rflags, live.get32(S.rflags) & ~Flag.RF);
      const debug = breakpoints.hits | (step && !this.stepTaken ? DR6_BS : 0n);
      if (debug) {
        breakpoints.hits = 0n;
        if (!this.raiseDebug(debug, native)) return live.get32(S.exit);
      }
    }
  }

  /** Raises #DB at RIP with these DR6 bits; true where it has been delivered and run() may go on. */
  private raiseDebug(bits: bigint, native: boolean): boolean {
    const { live } = this;
    this.raise(new GuestFault(Vector.DB, null, bits));
    live.set32(S.pending, 0);
    live.set(S.nextRip, live.rip);
    return native && this.delivers();
  }

  /** Executes one instruction by the evaluating back end: what the core's run(1) would leave. */
  private runSubstitute(step: () => void): number {
    const { live } = this;
    live.set(S.fuel, 0n);
    step();
    if (live.get32(S.pending)) return RunResult.left;
    this.evaluating = null;
    return RunResult.fuel;
  }

  /** Delivers the exception just recorded; false: S.exit says that the processor has shut down. */
  private delivers(): boolean {
    if (deliverRecorded(this)) return true;
    this.live.set32(S.exit, Exit.shutdown);
    return false;
  }

  /** After an exit in the middle of a block: RIP of the instruction and of the next. */
  private leave(): void {
    const { live } = this;
    live.set32(S.pending, 0);
    if (this.evaluating || live.get32(S.block) !== 0) {
      const rip = this.instructionRip();
      live.set(S.nextRip, this.nextInstructionRip());
      this.evaluating = null;
      const exit = live.get32(S.exit);
      live.rip = exit === Exit.halt || exit === Exit.mwait ? live.get(S.nextRip) : rip;
    } else live.set(S.nextRip, live.rip);
  }

  /** Set while an instruction runs outside of the interpreter, until it has been left. */
  evaluating: { rip: bigint; nextRip: bigint } | null = null;
  /** Executes the instruction at RIP in the interpreter's place: see eval/evaluator.ts. It sets `evaluating`, and S.rip or S.pending. */
  substitute: (() => void) | null = null;

  /** RIP of the instruction that runs a helper now, and of the one after it. */
  instructionRip(): bigint {
    if (this.evaluating) return this.evaluating.rip;
    const record = this.live.get32(S.record);
    return BigInt.asUintN(64, this.live.get(S.ripBase) + BigInt(this.view.getUint16(record + Rec.offset, true)));
  }
  nextInstructionRip(): bigint {
    if (this.evaluating) return this.evaluating.nextRip;
    const next = BigInt.asUintN(64, this.instructionRip() + BigInt(this.u8[this.live.get32(S.record) + Rec.length]));
    return this.live.get32(S.mode) & ModeBit.long64 ? next : next & 0xffffffffn;
  }

  /** Records an exception as why the instruction is left. */
  raise(fault: GuestFault): void {
    const { live } = this;
    live.set32(S.pending, 1);
    live.set32(S.exit, Exit.exception);
    live.set32(S.faultVector, fault.vector);
    live.set32(S.faultCode, fault.code ?? 0);
    live.set32(S.faultHasCode, fault.code === null ? 0 : 1);
    live.set(S.faultAddress, BigInt.asUintN(64, fault.address));
  }

  exit(kind: number, info = 0n): void {
    this.live.set32(S.pending, 1);
    this.live.set32(S.exit, kind);
    this.live.set(S.exitInfo, info);
  }

  /** Runs a part written in TypeScript; a guest fault is recorded for the handler to leave by. */
  private guarded(body: () => bigint | undefined): bigint {
    try {
      return body() ?? 0n;
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      this.raise(error);
      return 0n;
    }
  }

  private bindHelper(name: string): CallableFunction {
    if (name === 'segment') {
      return (segment: number, offset: bigint, sizeAndWrite: number) =>
        this.guarded(
          () => helpers.segment(this, BigInt(segment), BigInt.asUintN(64, offset), BigInt(sizeAndWrite)) as bigint,
        );
    }
    const f = helpers[name.replace('helper:', '')];
    if (!f) throw new Error(`the processor has no helper ${name}`);
    return (...args: bigint[]) => {
      try {
        return f(this, ...args.map(a => BigInt.asUintN(64, a))) ?? 0n;
      } catch (error) {
        if (!(error instanceof GuestFault)) throw error;
        this.raise(error);
        return 0n;
      }
    };
  }

  // ---- code

  private lookup(): number {
    const { live, view } = this;
    if (!this.single && this.wantsAttention()) return 0;
    const ripLow = view.getInt32(STATE + S.rip, true);
    const ripHigh = view.getInt32(STATE + S.rip + 4, true);
    const mode = live.get32(S.mode);
    let lo = ripLow;
    let hi = ripHigh;
    if (!(mode & ModeBit.long64)) {
      lo = (ripLow + view.getInt32(STATE + S.segments + SEG.cs * SEGMENT_SIZE + SEG_FIELD.base, true)) | 0;
      hi = 0;
    }
    try {
      if (!(mode & ModeBit.long64) && ripLow >>> 0 > live.get32(S.segments + SEG.cs * SEGMENT_SIZE + SEG_FIELD.limit)) {
        throw new GuestFault(Vector.GP, 0);
      }
      const offset = lo & 0xfff;
      const mfn = this.codeFrame(lo, hi);
      this.codeLow = lo;
      this.codeHigh = hi;
      this.source.mfn = mfn;
      let header: number;
      if (this.exact) {
        const count = Number(BigInt.asIntN(64, live.get(S.fuel)));
        header =
          count > 0
            ? this.blocks.scratch(this.source, offset, mode, count)
            : this.blocks.find(this.source, offset, mode);
      } else {
        header = this.blocks.find(this.source, offset, mode);
        const salt = live.get32(S.jumpSalt);
        if (salt !== NO_SALT) {
          const index = jumpIndex(ripLow, ripHigh);
          view.setInt32(index, ripLow, true);
          view.setInt32(index + 4, ripHigh, true);
          view.setUint32(index + 8, header, true);
          this.tlb.noteJumpInto(lo);
          view.setUint32(index + 12, salt, true);
        }
      }
      this.tlb.dropWrites(mfn);
      return header;
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      this.raise(error);
      return 0;
    }
  }
  /** Linear address of the block that is looked up, for its source. */
  private codeLow = 0;
  private codeHigh = 0;
  private readonly source = {
    mfn: 0,
    nextPage: (): Mfn => {
      const lo = ((this.codeLow & ~0xfff) + FRAME_SIZE) | 0;
      const next = this.codeFrame(lo, lo === 0 ? (this.codeHigh + 1) | 0 : this.codeHigh);
      this.tlb.dropWrites(next);
      return next;
    },
  };

  /** Frame that code at a linear address is fetched from. Throws GuestFault. */
  private codeFrame(lo: number, hi: number): Mfn {
    const host = this.tlb.probe(AccessKind.execute, lo, hi);
    if (host) return (host - this.memory.ramBase) >>> 12;
    const linear = join(lo, hi);
    this.requireCanonical(linear, hi, Vector.GP);
    if (!this.paging.walk(lo, hi, AccessKind.execute, this.userMode)) {
      throw new GuestFault(Vector.PF, this.paging.errorCode, linear);
    }
    const { mfn } = this.paging;
    if (mfn >= this.memory.frames) throw new GuestFault(Vector.GP, 0);
    this.tlb.fill(AccessKind.execute, lo, hi, this.memory.frameOffset(mfn), mfn);
    return mfn;
  }

  private link(record: number): void {
    if (this.exact) return;
    const { live } = this;
    const target = BigInt.asUintN(64, live.get(S.ripBase) + this.view.getBigUint64(record + Rec.immediate, true));
    const saved = live.rip;
    live.rip = target;
    const statistics = this.blocks.statistics.resets;
    const header = this.lookup();
    live.rip = saved;
    if (header === 0) live.set32(S.pending, 0);
    else if (this.blocks.statistics.resets === statistics) this.view.setUint32(record + Rec.link, header, true);
  }

  private checkPage(record: number): number {
    const { live, view } = this;
    let lo = (view.getInt32(STATE + S.ripBase, true) + FRAME_SIZE) | 0;
    let hi = view.getInt32(STATE + S.ripBase + 4, true);
    if (live.get32(S.mode) & ModeBit.long64) {
      if (lo === 0) hi = (hi + 1) | 0;
    } else {
      lo = (lo + view.getInt32(STATE + S.segments + SEG.cs * SEGMENT_SIZE + SEG_FIELD.base, true)) | 0;
      hi = 0;
    }
    try {
      if (this.codeFrame(lo, hi) === view.getUint32(record + Rec.immediate, true)) return 1;
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
    }
    // Decoded afresh it meets the page that is there now, or the fault. The record is the first behind its block's header.
    this.dropCode(view.getUint32(record - HEAD_SIZE + Head.page, true));
    return 0;
  }

  // ---- data

  private requireCanonical(linear: bigint, hi: number, vector: number): void {
    if (this.paging.controls.mode !== 'long') return;
    const top = hi >> 15;
    if (top !== 0 && top !== -1) throw new GuestFault(vector, 0, linear);
  }

  /** See CoreImports.fill. */
  private fill(lo: number, hi: number, bytes: number, kind: number): number {
    const top = hi >> 15;
    if (top !== 0 && top !== -1) return 0;
    if ((lo & 0xfff) + bytes > FRAME_SIZE) return 0;
    if (!this.paging.walk(lo, hi, kind, this.userMode)) return 0;
    const { mfn } = this.paging;
    if (mfn >= this.memory.frames) return 0;
    if (kind === AccessKind.write && this.u8[FRAME_FLAGS + mfn] & FrameFlag.code) return 0;
    if (this.watching && this.breakpoints.watchesPage(join(lo, hi))) return 0;
    const host = this.memory.frameOffset(mfn);
    this.tlb.fill(kind, lo, hi, host, mfn);
    return (host + (lo & 0xfff)) | 0;
  }

  /** The vector for addresses that are not canonical: #SS for the stack segment. */
  private addressVector(hint: number): number {
    if (hint === HINT_STACK) return Vector.SS;
    if (hint === HINT_GENERAL) return Vector.GP;
    return this.u8[this.live.get32(S.record) + Rec.segment] === SEG.ss ? Vector.SS : Vector.GP;
  }

  /** Engine-memory offset of one byte's page for an access; -1 beyond RAM (the address stands in deviceAddress). Throws GuestFault. */
  private locate(linear: bigint, kind: number, hint: number): number {
    const lo = Number(linear & 0xffffffffn) | 0;
    const hi = Number((linear >> 32n) & 0xffffffffn) | 0;
    this.requireCanonical(linear, hi, hint < 0 ? Vector.GP : this.addressVector(hint));
    const cached = this.tlb.probe(kind, lo, hi);
    if (cached) return cached;
    if (!this.paging.walk(lo, hi, kind, this.userMode)) throw new GuestFault(Vector.PF, this.paging.errorCode, linear);
    const { mfn } = this.paging;
    if (mfn >= this.memory.frames) {
      this.deviceAddress = BigInt(mfn) * 4096n + (linear & 0xfffn);
      return -1;
    }
    const host = this.memory.frameOffset(mfn);
    const watched = this.watching && this.breakpoints.watchesPage(linear);
    if (!watched && (kind !== AccessKind.write || !(this.u8[FRAME_FLAGS + mfn] & FrameFlag.code)))
      this.tlb.fill(kind, lo, hi, host, mfn);
    return host + (lo & 0xfff);
  }
  private deviceAddress = 0n;

  private loadSpecial(linear: bigint, bytes: number, hint: number, update: boolean): bigint {
    if (this.watching) this.breakpoints.note(linear, bytes, false);
    const inPage = Number(linear & 0xfffn) + bytes <= FRAME_SIZE;
    if (inPage) {
      if (update && !this.writableOrOffered(linear, bytes, hint))
        throw new GuestFault(Vector.PF, this.paging.errorCode, linear);
      const host = this.locate(linear, update && !this.offered ? AccessKind.write : AccessKind.read, hint);
      if (host < 0) return this.bus.read(this.deviceAddress, bytes);
      return this.readBytes(host, bytes);
    }
    // both pages are checked before the first byte is taken
    let value = 0n;
    const kind = update ? AccessKind.write : AccessKind.read;
    this.locate(linear, kind, hint);
    this.locate(BigInt.asUintN(64, linear + BigInt(bytes - 1)) & ~0xfffn, kind, hint);
    for (let i = 0; i < bytes; i++) {
      const host = this.locate(this.wrap(linear + BigInt(i)), kind, hint);
      const byte = host < 0 ? this.bus.read(this.deviceAddress, 1) : BigInt(this.u8[host]);
      value |= byte << BigInt(8 * i);
    }
    return value;
  }

  private wrap(linear: bigint): bigint {
    return BigInt.asUintN(this.paging.controls.mode === 'long' ? 64 : 32, linear);
  }

  /** Set by writableOrOffered: the page is read-only, but stores to it are the hypervisor's business. */
  private offered = false;

  /** True where a write may go ahead: the page is writable, or (PV) read-only with a hypervisor that takes such stores. */
  private writableOrOffered(linear: bigint, bytes: number, hint: number): boolean {
    this.offered = false;
    const lo = Number(linear & 0xffffffffn) | 0;
    const hi = Number((linear >> 32n) & 0xffffffffn) | 0;
    this.requireCanonical(linear, hi, this.addressVector(hint));
    if (this.paging.walk(lo, hi, AccessKind.write, this.userMode)) return true;
    const protectedPage = (this.paging.errorCode & (PageFault.present | PageFault.reserved)) === PageFault.present;
    if (!this.onProtectedStore || !protectedPage) return false;
    // the page can be read: whether the store is taken shows when it comes with its value
    const code = this.paging.errorCode;
    this.offered = this.paging.walk(lo, hi, AccessKind.read, this.userMode);
    this.paging.errorCode = code;
    void bytes;
    return this.offered;
  }

  private storeSpecial(linear: bigint, value: bigint, bytes: number, hint: number): undefined {
    if (this.watching) this.breakpoints.note(linear, bytes, true);
    if (Number(linear & 0xfffn) + bytes <= FRAME_SIZE) {
      if (!this.writableOrOffered(linear, bytes, hint)) throw new GuestFault(Vector.PF, this.paging.errorCode, linear);
      if (this.offered) {
        const code = this.paging.errorCode;
        const taken = this.onProtectedStore?.(linear, bytes as 1 | 2 | 4 | 8, BigInt.asUintN(bytes * 8, value));
        if (!taken) throw new GuestFault(Vector.PF, code, linear);
        return;
      }
      const host = this.locate(linear, AccessKind.write, hint);
      if (host < 0) this.bus.write(this.deviceAddress, bytes, BigInt.asUintN(bytes * 8, value));
      else this.writeBytes(host, value, bytes);
      return;
    }
    this.locate(linear, AccessKind.write, hint);
    this.locate(BigInt.asUintN(64, linear + BigInt(bytes - 1)) & ~0xfffn, AccessKind.write, hint);
    for (let i = 0; i < bytes; i++) {
      const host = this.locate(this.wrap(linear + BigInt(i)), AccessKind.write, hint);
      const byte = (value >> BigInt(8 * i)) & 0xffn;
      if (host < 0) this.bus.write(this.deviceAddress, 1, byte);
      else this.writeBytes(host, byte, 1);
    }
  }

  // ---- operands and helpers for the evaluating back end

  /** 1, 2, 4 or 8 bytes as an instruction reads them. Throws GuestFault. @param stack addresses that are not canonical are #SS, else #GP */
  loadOperand(linear: bigint, bytes: number, stack: boolean): bigint {
    return this.loadSpecial(linear, bytes, stack ? HINT_STACK : HINT_GENERAL, false);
  }

  /** As loadOperand, checked for writing. */
  loadOperandForUpdate(linear: bigint, bytes: number, stack: boolean): bigint {
    return this.loadSpecial(linear, bytes, stack ? HINT_STACK : HINT_GENERAL, true);
  }

  storeOperand(linear: bigint, bytes: number, value: bigint, stack: boolean): void {
    this.storeSpecial(linear, value, bytes, stack ? HINT_STACK : HINT_GENERAL);
  }

  /** Runs a helper. Throws GuestFault, or Error for an unknown one. */
  callHelper(name: string, args: readonly bigint[]): bigint {
    const f = helpers[name];
    if (!f) throw new Error(`the processor has no helper ${name}`);
    return f(this, ...args) ?? 0n;
  }

  private store128(linear: bigint, low: bigint, high: bigint, hint: number): undefined {
    const second = this.wrap(linear + 8n);
    // nothing is written before both halves may be
    this.loadSpecial(linear, 8, hint, true);
    this.loadSpecial(second, 8, hint, true);
    this.storeSpecial(linear, low, 8, hint);
    this.storeSpecial(second, high, 8, hint);
  }

  private readBytes(host: number, bytes: number): bigint {
    switch (bytes) {
      case 1:
        return BigInt(this.u8[host]);
      case 2:
        return BigInt(this.view.getUint16(host, true));
      case 4:
        return BigInt(this.view.getUint32(host, true));
      default:
        return this.view.getBigUint64(host, true);
    }
  }

  /** Writes to RAM, dropping code decoded from these bytes. */
  private writeBytes(host: number, value: bigint, bytes: number): void {
    const at = host - this.memory.ramBase;
    this.wroteFrame(at >>> 12, at & 0xfff, bytes);
    switch (bytes) {
      case 1:
        this.u8[host] = Number(value & 0xffn);
        return;
      case 2:
        this.view.setUint16(host, Number(value & 0xffffn), true);
        return;
      case 4:
        this.view.setUint32(host, Number(value & 0xffffffffn), true);
        return;
      default:
        this.view.setBigUint64(host, BigInt.asUintN(64, value), true);
    }
  }

  // ---- what users call

  selectAddressSpace(root: bigint, user: boolean): void {
    this.paging.controls.root = Number(root & 0xffffffffffn);
    this.live.set(S.cr3, root);
    this.tlb.select(root, user);
    this.syncSalt();
  }

  flushAddressSpace(root: bigint): void {
    this.tlb.flushRoot(root);
    this.syncSalt();
  }

  flushAll(): void {
    this.tlb.flushAll();
    this.syncSalt();
  }

  invalidatePage(linear: bigint): void {
    this.tlb.invalidatePage(Number(linear & 0xffffffffn) | 0, Number((linear >> 32n) & 0xffffffffn) | 0);
    this.syncSalt();
  }

  mappingChanged(mfn: Mfn, executable: boolean): void {
    this.tlb.mappingChanged(mfn, executable);
  }

  flushChanged(): void {
    if (this.tlb.flushChanged()) this.syncSalt();
  }

  dropWriteAccess(mfn: Mfn): void {
    this.tlb.dropWrites(mfn);
  }

  dropFrame(mfn: Mfn): void {
    this.tlb.dropFrame(mfn);
    this.dropCode(mfn);
    this.syncSalt();
  }

  wroteFrame(mfn: Mfn, offset: number, length: number): void {
    if (this.u8[FRAME_FLAGS + mfn] & FrameFlag.code && this.blocks.isCode(mfn, offset, length)) this.dropCode(mfn);
  }

  private dropCode(mfn: Mfn): void {
    if (!(this.u8[FRAME_FLAGS + mfn] & FrameFlag.code)) return;
    this.blocks.dropFrame(mfn);
    this.tlb.voidJumps();
    this.syncSalt();
    const reaching = this.blocks.reaching(mfn);
    if (reaching) for (const other of reaching) this.blocks.dropFrame(other);
  }

  translate(linear: bigint, access: Access): number {
    const lo = Number(linear & 0xffffffffn) | 0;
    const hi = Number((linear >> 32n) & 0xffffffffn) | 0;
    this.requireCanonical(linear, hi, Vector.GP);
    const kind = access.write ? AccessKind.write : access.execute ? AccessKind.execute : AccessKind.read;
    if (access.user === this.userMode) {
      const cached = this.tlb.probe(kind, lo, hi);
      if (cached) return cached;
    }
    if (!this.paging.walk(lo, hi, kind, access.user)) throw new GuestFault(Vector.PF, this.paging.errorCode, linear);
    const { mfn } = this.paging;
    return mfn < this.memory.frames ? this.memory.frameOffset(mfn) + (lo & 0xfff) : -1;
  }

  readLinear(linear: bigint, into: Uint8Array, access?: Access): void {
    if (this.watching) this.breakpoints.note(linear, into.length, false);
    this.eachPage(linear, into.length, access ?? { write: false, user: this.userMode }, (host, at, length) => {
      if (host < 0) into.fill(0xff, at, at + length);
      else into.set(this.u8.subarray(host, host + length), at);
    });
  }

  writeLinear(linear: bigint, from: Uint8Array, access?: Access): void {
    if (this.watching) this.breakpoints.note(linear, from.length, true);
    this.eachPage(linear, from.length, { write: true, user: access?.user ?? this.userMode }, (host, at, length) => {
      if (host < 0) return;
      const ram = host - this.memory.ramBase;
      this.wroteFrame(ram >>> 12, ram & 0xfff, length);
      this.u8.set(from.subarray(at, at + length), host);
    });
  }

  private eachPage(
    linear: bigint,
    length: number,
    access: Access,
    visit: (host: number, at: number, length: number) => void,
  ): void {
    let done = 0;
    while (done < length) {
      const address = this.wrap(linear + BigInt(done));
      const size = Math.min(length - done, FRAME_SIZE - Number(address & 0xfffn));
      visit(this.translate(address, access), done, size);
      done += size;
    }
  }

  cachedAddress(lo: number, hi: number, write: boolean): number {
    const kind = write ? AccessKind.write : AccessKind.read;
    return this.tlb.probe(kind, lo, hi) || this.fill(lo, hi, 1, kind) >>> 0;
  }

  loadSegment(index: number, selector: number): void {
    helpers.loadSegment(this, BigInt(index), BigInt(selector));
  }

  fetch(linear: bigint, max: number): Uint8Array {
    const out = new Uint8Array(max);
    const first = Math.min(max, FRAME_SIZE - Number(linear & 0xfffn));
    const access: Access = { write: false, user: this.userMode, execute: true };
    this.readLinear(linear, out.subarray(0, first), access);
    if (first === max) return out;
    try {
      this.readLinear(linear + BigInt(first), out.subarray(first), access);
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      return out.subarray(0, first);
    }
    return out;
  }
}

/** Place of a RIP's entry in the jump cache; run() computes the same. */
function jumpIndex(lo: number, hi: number): number {
  const shifted = (lo >>> 12) | (hi << 20);
  return JUMP_CACHE + (((lo ^ shifted) & (JUMP_CACHE_ENTRIES - 1)) << 4);
}

/** An unsigned 64-bit address from its halves. */
function join(lo: number, hi: number): bigint {
  return (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0);
}
