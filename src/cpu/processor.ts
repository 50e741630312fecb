// The processor: its parts put together, and the face that its users see (types.ts) and that instructions' helpers see (helpers/core.ts).
import { Breakpoints } from './breakpoints.ts';
import { CurrentInstruction } from './current-instruction.ts';
import { Decoder } from './decode/decoder.ts';
import { createEncodingTable } from './encodings/index.ts';
import { GuestFault, RunAlone, Vector } from './exits.ts';
import { bindHelper, callHelper, guarded } from './helper-calls.ts';
import { Cr4 } from './helpers/control-registers.ts';
import type { SystemCore } from './helpers/core.ts';
import { deliver, type EventSource } from './helpers/interrupts.ts';
import { readProcessorMsr, writeProcessorMsr } from './helpers/msrs.ts';
import { BlockCache } from './interp/blocks.ts';
import { CodeLookup } from './interp/code-lookup.ts';
import { type Core, instantiateCore } from './interp/core.ts';
import { Handlers } from './interp/handlers.ts';
import { hotVariants } from './interp/hot.ts';
import { FIRST_REGION, JIT_DEFAULTS, Jit, type JitOptions, TABLE_SIZE } from './jit/jit.ts';
import { FRAME_SIZE, S, STATE } from './layout.ts';
import type { EngineMemory, Mfn } from './memory.ts';
import { DataAccess } from './mmu/data-access.ts';
import { LinearMemory } from './mmu/linear-memory.ts';
import { Mmu } from './mmu/mmu.ts';
import { AccessKind } from './mmu/paging.ts';
import { accessRules, checksAlignment, modeOf, pcidOf, rootOf, setPagingControls, unitTrapsOf } from './mode.ts';
import { hasFeature } from './models/features.ts';
import type { CpuModel } from './models/model.ts';
import { NOT_RAM, type PhysicalMap } from './physical-map.ts';
import { RunLoop } from './run-loop.ts';
import { CpuState } from './state.ts';
import type { Access, Bus, Processor, ProtectedStore, Registers } from './types.ts';

const USER_CPL = 3;

/**
 * Creates a processor on an engine memory. Its registers are all zero: the user sets them up.
 * @param jit how hot code is compiled; null: everything is interpreted. Guests see no difference
 */
export function createProcessor(
  memory: EngineMemory,
  model: CpuModel,
  jit: JitOptions | null = JIT_DEFAULTS,
): Processor {
  return new InterpretingProcessor(memory, model, jit);
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
  cycles: () => bigint = () => this.loop.executed();
  onProtectedStore: ProtectedStore | null = null;
  onSystemCall: (() => boolean) | null = null;
  private readonly breakpoints: Breakpoints;
  onTaskPriority: ((priority: number) => void) | null = null;
  onTscMove: (() => void) | null = null;

  /** The parts, for the evaluating back end, tests and profiles. */
  readonly instruction: CurrentInstruction;
  readonly data: DataAccess;
  readonly blocks: BlockCache;
  readonly handlers: Handlers;
  readonly loop: RunLoop;
  readonly jit: Jit | null;
  private readonly mmu: Mmu;
  private readonly linear: LinearMemory;
  private readonly code: CodeLookup;

  constructor(memory: EngineMemory, model: CpuModel, jit: JitOptions | null = null) {
    this.memory = memory;
    this.model = model;
    this.live = new CpuState(memory.memory.buffer, STATE);
    const breakpoints = new Breakpoints(this.live);
    this.breakpoints = breakpoints;
    this.instruction = new CurrentInstruction(this.live, memory);
    this.mmu = new Mmu(memory, breakpoints);
    this.data = new DataAccess(this.live, memory, this.mmu, breakpoints, this);
    this.linear = new LinearMemory(memory, this.mmu, breakpoints, this);
    const table = createEncodingTable();
    const functions = new WebAssembly.Table({ element: 'anyfunc', initial: TABLE_SIZE });
    const hot = hotVariants(table);
    const helper = (name: string): CallableFunction => bindHelper(this, this.instruction, name);
    const core = this.makeCore(functions, hot, helper, jit?.minFuel ?? JIT_DEFAULTS.minFuel);
    this.handlers = new Handlers(
      memory.memory,
      functions,
      hot,
      name => core.functions[name] ?? helper(name),
      FIRST_REGION,
    );
    const decoder = new Decoder(table, model.vendor);
    this.blocks = new BlockCache(memory, decoder, this.handlers, name => hasFeature(model, name));
    const { live: state, blocks } = this;
    const enter = core.functions.enter!;
    this.jit = jit && new Jit({ memory, state, tlb: this.mmu.tlb, decoder, blocks, table: functions, enter }, jit);
    this.code = new CodeLookup(this.live, memory, this.mmu, this.blocks, this.instruction);
    this.loop = new RunLoop(this, core, this.instruction, this.code, breakpoints);
    this.setConstants();
    this.modeChanged();
  }

  private makeCore(
    functions: WebAssembly.Table,
    hot: ReturnType<typeof hotVariants>,
    helper: (name: string) => CallableFunction,
    minFuel: number,
  ): Core {
    const { data, instruction } = this;
    const unsigned = (linear: bigint): bigint => BigInt.asUintN(64, linear);
    return instantiateCore(
      this.memory.memory,
      functions,
      hot,
      {
        fill: (lo, hi, bytes, kind) => data.fill(lo, hi, bytes, kind),
        loadSpecial: guarded(instruction, (linear, bytes, hint) => data.load(unsigned(linear), bytes, hint, false)),
        updateSpecial: guarded(instruction, (linear, bytes, hint) => data.load(unsigned(linear), bytes, hint, true)),
        storeSpecial: guarded(instruction, (linear, value, bytes, hint) =>
          data.store(unsigned(linear), value, bytes, hint),
        ),
        store128: guarded(instruction, (linear, low, high, hint) => data.store128(unsigned(linear), low, high, hint)),
        lookup: () => this.code.lookup(),
        link: record => this.code.link(record),
        checkPage: record => this.code.checkPage(record),
        hot: header => this.jit?.hot(header),
      },
      helper,
      minFuel,
    );
  }

  // ---- registers and modes

  get state(): CpuState {
    return this.live;
  }

  private setConstants(): void {
    this.live.set(S.zero, 0n);
    this.live.set(S.pageSize, BigInt(FRAME_SIZE));
  }

  load(from: CpuState): void {
    this.live.bytes.set(from.bytes);
    this.setConstants();
    this.modeChanged();
  }

  store(to: CpuState): void {
    to.bytes.set(this.live.bytes);
  }

  modeChanged(): void {
    const { live, mmu } = this;
    const { controls } = mmu.paging;
    live.set32(S.mode, modeOf(live));
    live.set32(S.unitTrap, unitTrapsOf(live));
    setPagingControls(controls, live, this.model);
    mmu.user = live.cpl === USER_CPL;
    mmu.alignment = checksAlignment(live);
    // a PV guest's address spaces are the hypervisor's choice
    if (!live.get32(S.pv))
      mmu.select(rootOf(live, controls), pcidOf(live), accessRules(controls, mmu.user, mmu.alignment));
    this.code.syncSalt();
  }

  flagsChanged(): void {
    this.code.syncSalt();
  }

  loadSegment(index: number, selector: number): void {
    callHelper(this, 'loadSegment', [BigInt(index), BigInt(selector)]);
  }

  // ---- running

  get interruptPending(): boolean {
    return this.code.interruptPending;
  }
  set interruptPending(pending: boolean) {
    this.code.interruptPending = pending;
  }

  get nmiPending(): boolean {
    return this.code.nmiPending;
  }
  set nmiPending(pending: boolean) {
    this.code.nmiPending = pending;
  }

  stop(): void {
    this.code.stopping = true;
  }

  requireAlone(): void {
    if (!this.loop.alone) throw new RunAlone();
  }

  run(fuel: number): number {
    return this.loop.run(fuel);
  }

  instructionRip(): bigint {
    return this.instruction.rip;
  }

  nextInstructionRip(): bigint {
    return this.instruction.nextRip;
  }

  restartAt(rip: bigint): void {
    this.instruction.restartAt(rip);
  }

  exit(kind: number, info?: bigint): void {
    this.instruction.exit(kind, info);
  }

  systemCallTaken(): boolean {
    // What MOV SS held off is discarded by an exit (XSA-260); a trap of this very instruction is the run loop's to raise.
    if (!this.onSystemCall || this.breakpoints.watching) return false;
    this.live.set(S.nextRip, this.instruction.nextRip);
    if (!this.onSystemCall()) return false;
    // the hypervisor may have called stop()
    this.code.syncSalt();
    return true;
  }

  suppressStep(): void {
    this.loop.stepTaken = true;
  }

  deliver(vector: number, event: { source: EventSource; code?: number | null; address?: bigint }): boolean {
    return deliver(this, vector, event);
  }

  readOwnMsr(index: number): bigint | null {
    return readProcessorMsr(this, index);
  }

  writeOwnMsr(index: number, value: bigint): boolean {
    return writeProcessorMsr(this, index, value);
  }

  // ---- address spaces

  selectPhysicalMap(map: PhysicalMap | null): void {
    this.mmu.selectMap(map);
  }

  selectAddressSpace(root: bigint, user: boolean): void {
    this.live.set(S.cr3, root);
    this.mmu.select(root, 0, user ? 1 : 0);
    this.code.syncSalt();
  }

  flushAddressSpace(root: bigint): void {
    this.mmu.tlb.flushRoot(Number(root));
    this.code.syncSalt();
  }

  flushContext(): void {
    const { live, mmu } = this;
    if (live.get(S.cr4) & Cr4.PCIDE) mmu.tlb.flushLocal({ pcid: pcidOf(live) });
    else mmu.tlb.flushLocal({ root: mmu.paging.controls.root });
    this.code.syncSalt();
  }

  flushPcid(pcid: number | null): void {
    this.mmu.tlb.flushLocal(pcid === null ? {} : { pcid });
    this.code.syncSalt();
  }

  flushAll(): void {
    this.mmu.tlb.flushAll();
    this.code.syncSalt();
  }

  invalidatePage(linear: bigint): void {
    this.mmu.invalidatePage(linear);
    this.code.syncSalt();
  }

  mappingChanged(mfn: Mfn, executable: boolean): void {
    this.mmu.tlb.mappingChanged(mfn, executable);
  }

  flushChanged(): void {
    if (this.mmu.tlb.flushChanged()) this.code.syncSalt();
  }

  dropWriteAccess(mfn: Mfn): void {
    this.mmu.tlb.dropWrites(mfn);
  }

  dropFrame(mfn: Mfn): void {
    this.mmu.tlb.dropFrame(mfn);
    this.code.drop(mfn);
    this.code.syncSalt();
  }

  wroteFrame(mfn: Mfn, offset: number, length: number): void {
    this.code.wrote(mfn, offset, length);
  }

  // ---- memory

  physical(address: number): number {
    const mfn = this.mmu.paging.machineFrame(Math.floor(address / FRAME_SIZE));
    return mfn === NOT_RAM ? -1 : this.memory.frameOffset(mfn) + (address & (FRAME_SIZE - 1));
  }

  translate(linear: bigint, access: Access): number {
    return this.linear.translate(linear, access);
  }

  readLinear(linear: bigint, into: Uint8Array, access?: Access): void {
    this.linear.read(linear, into, access);
  }

  writeLinear(linear: bigint, from: Uint8Array, access?: Access): void {
    this.linear.write(linear, from, access);
  }

  fetch(linear: bigint, max: number): Uint8Array {
    return this.linear.fetch(linear, max);
  }

  cachedAddress(lo: number, hi: number, write: boolean): number {
    const kind = write ? AccessKind.write : AccessKind.read;
    return this.mmu.tlb.probe(kind, lo, hi) || this.data.fill(lo, hi, 1, kind) >>> 0;
  }
}
