// A logical processor as hardware has it: registers, the interrupt controller in front of them, and what it is doing: running, halted,
// waiting for a Start-Up IPI. Bare machines are made of these, and so are the vCPUs of HVM domains.
// Sources: SDM Vol. 3A, 9.4 (multiple-processor initialization), 6.8 and 6.7.1 (masking), Vol. 2A "HLT".
import { Exit, Vector } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { S } from '../../cpu/layout.ts';
import { monitorTriggered } from '../../cpu/monitor.ts';
import type { PhysicalMap } from '../../cpu/physical-map.ts';
import { CpuState } from '../../cpu/state.ts';
import type { Bus, Processor, Registers } from '../../cpu/types.ts';
import type { Schedulable } from '../schedule.ts';
import { initProcessor, resetProcessor, startUpAt } from './reset.ts';

/** What external interrupts come from: a local APIC. */
export interface InterruptSource {
  /** The vector that would be delivered now; negative where there is none. */
  pending(): number;
  /** Takes it, as an INTA cycle does. */
  acknowledge(): number;
  /** The task priority, 0 to 15. */
  cr8: number;
}

/** Bit of MWAIT's extensions in S.exitInfo. */
const MWAIT_BREAKS_ON_INTERRUPT = 1n;

export type Activity = 'running' | 'halted' | 'waiting for start-up' | 'shut down';

export interface LogicalProcessorOptions {
  readonly id: number;
  readonly processor: Processor;
  /** Which machine frames its physical addresses are. */
  readonly map: PhysicalMap;
  readonly bus: Bus;
  /** MSRs of the platform, and CPUID. */
  readonly registers: Registers;
  readonly interrupts: InterruptSource;
  /** The processor that runs after a reset; the others wait for a Start-Up IPI. */
  readonly isBootProcessor: boolean;
  /** A triple fault: the processor does nothing more until it is reset. */
  onShutdown(): void;
  /** Our own mistake was met while it ran. */
  onFailure(error: unknown): void;
  /** INIT has reached it: its local APIC is reset too, but for its id. */
  onInit?(): void;
  /** Its time-stamp counter has been moved. */
  onTscMove?(): void;
  /** VMCALL or VMMCALL; where there is no hypervisor the instruction is undefined. RIP is at the instruction, S.nextRip behind it. */
  onVmcall?(): void;
}

export class LogicalProcessor implements Schedulable {
  readonly id: number;
  /** Its registers while they are not on the processor. */
  readonly stored = new CpuState();
  activity: Activity;
  mustYield = false;
  private initPending = false;
  /** Halted by MWAIT: stores to the line that is watched end it too, and with the extension also interrupts while IF is 0. */
  private waitsForStore = false;
  private anyInterruptWakes = false;
  /** An NMI waits; while the registers are on the processor, Processor.nmiPending says so. */
  private nmiWaits = false;
  private onProcessor = false;
  private readonly options: LogicalProcessorOptions;

  constructor(options: LogicalProcessorOptions) {
    this.options = options;
    this.id = options.id;
    this.activity = options.isBootProcessor ? 'running' : 'waiting for start-up';
    resetProcessor(this.stored, options.processor.model);
  }

  /** Its registers are the processor's live ones. */
  get isLoaded(): boolean {
    return this.onProcessor;
  }

  /** Its registers, wherever they are. */
  get cpu(): CpuState {
    return this.onProcessor ? this.options.processor.live : this.stored;
  }

  /** Its time-stamp counter. */
  get tsc(): bigint {
    return BigInt.asUintN(64, this.options.processor.cycles() + this.cpu.get(S.tscOffset));
  }

  private get nmiPending(): boolean {
    return this.onProcessor ? this.options.processor.nmiPending : this.nmiWaits;
  }
  private set nmiPending(pending: boolean) {
    if (this.onProcessor) this.options.processor.nmiPending = pending;
    else this.nmiWaits = pending;
  }

  /** As RESET does. */
  reset(): void {
    const { processor, isBootProcessor } = this.options;
    resetProcessor(this.cpu, processor.model);
    if (this.onProcessor) processor.modeChanged();
    this.activity = isBootProcessor ? 'running' : 'waiting for start-up';
    this.initPending = this.waitsForStore = this.anyInterruptWakes = false;
    this.nmiPending = false;
    this.inputsChanged();
  }

  // ---- inputs: from the local APIC and from the machine

  /** What the interrupt source answers may be another now. */
  inputsChanged(): void {
    const { processor, interrupts } = this.options;
    const { cpu } = this;
    const pending = interrupts.pending() >= 0;
    cpu.set(S.cr8, BigInt(interrupts.cr8));
    if (pending && (this.anyInterruptWakes || cpu.get32(S.rflags) & Flag.IF)) this.wake();
    if (this.onProcessor) processor.interruptPending = pending;
  }

  nmi(): void {
    this.nmiPending = true;
    this.wake();
  }

  init(): void {
    this.initPending = true;
    // Even a processor that has shut down hears it.
    if (this.activity !== 'running') this.takeInit();
    else if (this.onProcessor) this.options.processor.stop?.();
  }

  /** Start-Up IPI: only a processor that waits for one takes notice. */
  startUp(vector: number): void {
    if (this.initPending) this.takeInit();
    if (this.activity !== 'waiting for start-up') return;
    startUpAt(this.cpu, vector);
    if (this.onProcessor) this.options.processor.modeChanged();
    this.activity = 'running';
  }

  private takeInit(): void {
    const { processor, isBootProcessor, onInit } = this.options;
    this.initPending = this.waitsForStore = this.anyInterruptWakes = false;
    this.nmiPending = false;
    initProcessor(this.cpu, processor.model);
    if (this.onProcessor) {
      processor.modeChanged();
      processor.flushAll();
    }
    this.activity = isBootProcessor ? 'running' : 'waiting for start-up';
    onInit?.();
  }

  // ---- turns on the processor

  get isRunnable(): boolean {
    if (this.waitsForStore && monitorTriggered(this.options.processor.memory, this.cpu)) this.wake();
    return this.activity === 'running';
  }

  resume(): void {}

  failed(error: unknown): void {
    this.options.onFailure(error);
  }

  /** The machine is off: nothing runs any more. */
  stop(): void {
    this.activity = 'shut down';
    if (this.onProcessor) this.options.processor.stop();
  }

  load(): void {
    const { processor, map, bus, registers, interrupts, onTscMove } = this.options;
    processor.registers = registers;
    processor.bus = bus;
    processor.selectPhysicalMap(map);
    processor.load(this.stored);
    processor.interruptPending = interrupts.pending() >= 0;
    processor.nmiPending = this.nmiWaits;
    processor.onTaskPriority = priority => {
      interrupts.cr8 = priority;
    };
    processor.onTscMove = onTscMove ?? null;
    this.onProcessor = true;
  }

  unload(): void {
    if (!this.onProcessor) return;
    const { processor } = this.options;
    processor.store(this.stored);
    this.onProcessor = false;
    this.nmiWaits = processor.nmiPending;
    processor.interruptPending = processor.nmiPending = false;
    processor.onTaskPriority = processor.onTscMove = null;
  }

  /** Before a run(): what waits and can be delivered is delivered. False: there is nothing to run. */
  enter(): boolean {
    if (this.initPending) this.takeInit();
    if (this.activity !== 'running') return false;
    const { processor, interrupts } = this.options;
    const { live } = processor;
    if (interrupts.pending() >= 0 && !live.get32(S.shadow) && live.get32(S.rflags) & Flag.IF) {
      if (!processor.deliver(interrupts.acknowledge(), { source: 'interrupt' })) return this.shutDown();
      processor.interruptPending = interrupts.pending() >= 0;
    }
    return true;
  }

  handleExit(exit: number): void {
    switch (exit) {
      case Exit.halt:
        this.halt();
        return;
      case Exit.mwait:
        this.waitsForStore = true;
        this.anyInterruptWakes = (this.cpu.get(S.exitInfo) & MWAIT_BREAKS_ON_INTERRUPT) !== 0n;
        this.halt();
        return;
      case Exit.shutdown:
        this.shutDown();
        return;
      case Exit.vmcall:
        if (this.options.onVmcall) this.options.onVmcall();
        else if (!this.options.processor.deliver(Vector.UD, { source: 'fault' })) this.shutDown();
        return;
    }
  }

  /** HLT lasts until something comes that the processor takes: an NMI, or an interrupt while IF is 1. */
  private halt(): void {
    this.activity = 'halted';
    if (this.nmiPending) this.wake();
    else this.inputsChanged();
  }

  private wake(): void {
    if (this.activity !== 'halted') return;
    this.activity = 'running';
    this.waitsForStore = this.anyInterruptWakes = false;
  }

  private shutDown(): false {
    this.activity = 'shut down';
    this.options.onShutdown();
    return false;
  }
}
