// What RDMSR, WRMSR and CPUID of a bare machine's logical processor find beyond the processor's own registers: those of its local APIC, its
// memory types, its machine checks, and what its vendor's firmware leaves for kernels to read. All else is #GP.
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { S } from '../../cpu/layout.ts';
import type { CpuModel } from '../../cpu/models/model.ts';
import type { CpuState } from '../../cpu/state.ts';
import type { Registers } from '../../cpu/types.ts';
import type { ChipClock, Saveable } from '../chip.ts';
import type { LocalApic } from '../interrupts/local-apic.ts';
import { ActiveCycles } from './active-cycles.ts';
import { apicMsrs } from './apic-msrs.ts';
import { Cpuid, type CpuidResult } from './cpuid.ts';
import { MachineCheck, type MachineCheckState } from './machine-check.ts';
import { microcodeRevision } from './microcode.ts';
import { type MsrPart, MsrTable } from './msr-table.ts';
import { amdRows, HWCR, HWCR_STATUS_WRITABLE } from './msrs-amd.ts';
import { intelRows } from './msrs-intel.ts';
import { speculationRows } from './msrs-speculation.ts';
import { type MtrrState, Mtrrs } from './mtrr.ts';
import { PerformanceCounters } from './performance-counters.ts';

/** Where RAM ends, in bytes. */
export interface MemoryEnds {
  /** Under 4 GiB. */
  low: number;
  /** Above it; 0 where there is none. */
  high: number;
}

export interface MachineRegistersOptions {
  model: CpuModel;
  apic: LocalApic;
  clock: ChipClock;
  tscHz: bigint;
  /** Processors of the machine. */
  processors: number;
  memory: MemoryEnds;
  /** Where devices begin under 4 GiB: nothing is cached from here on. */
  holeStart: number;
  /** The processor's registers, wherever they are. */
  cpu: () => CpuState;
}

export interface MachineRegistersState {
  mtrrs: MtrrState;
  machineCheck: MachineCheckState;
  activeCycles: bigint[];
  performance: ReturnType<PerformanceCounters['save']>;
  table: [index: number, value: bigint][];
}

export class MachineRegisters implements Registers, Saveable<MachineRegistersState> {
  private readonly options: MachineRegistersOptions;
  private readonly identity: Cpuid;
  private readonly mtrrs: Mtrrs;
  private readonly machineCheck: MachineCheck;
  private readonly activeCycles: ActiveCycles;
  private readonly performance: PerformanceCounters;
  private readonly table: MsrTable;
  private readonly parts: readonly MsrPart[];

  constructor(options: MachineRegistersOptions) {
    const { model, apic, processors, memory, cpu } = options;
    this.options = options;
    this.identity = new Cpuid(model, { apicId: apic.initialId, processors });
    const microcode = microcodeRevision(model);
    const vendorRows =
      model.vendor === 'AuthenticAMD' ? amdRows(model, microcode, memory) : intelRows(model, microcode);
    this.table = new MsrTable([...vendorRows, ...speculationRows(model)]);
    this.mtrrs = new Mtrrs(model.physicalAddressBits);
    this.machineCheck = new MachineCheck(
      model.vendor,
      () => ((this.table.read(HWCR) ?? 0n) & HWCR_STATUS_WRITABLE) !== 0n,
    );
    const active = (): bigint => cpu().get(S.retired);
    this.activeCycles = new ActiveCycles(model, active);
    this.performance = new PerformanceCounters({
      model,
      active,
      clock: options.clock,
      hz: options.tscHz,
      overflow: () => apic.performanceOverflow(),
    });
    this.parts = [apicMsrs(apic), this.table, this.mtrrs, this.machineCheck, this.activeCycles, this.performance];
    this.mtrrs.setUpAsFirmware(options.holeStart);
  }

  /** Power-up, and what firmware does then. INIT changes none of these. */
  reset(): void {
    this.table.reset();
    this.machineCheck.reset();
    this.activeCycles.reset();
    this.performance.reset();
    this.mtrrs.reset();
    this.mtrrs.setUpAsFirmware(this.options.holeStart);
  }

  rdmsr(index: number): bigint {
    for (const part of this.parts) {
      const value = part.read(index);
      if (value !== null) return value;
    }
    throw new GuestFault(Vector.GP, 0);
  }

  wrmsr(index: number, value: bigint): void {
    if (!this.parts.some(part => part.write(index, value))) throw new GuestFault(Vector.GP, 0);
  }

  rdpmc(counter: number): bigint {
    const value = this.performance.readCounter(counter);
    if (value === null) throw new GuestFault(Vector.GP, 0);
    return value;
  }

  cpuid(leaf: number, subleaf: number): CpuidResult {
    const { apic, cpu } = this.options;
    const state = cpu();
    return this.identity.read(leaf, subleaf, {
      cr4: state.get(S.cr4),
      xcr0: state.get(S.xcr0),
      xss: state.get(S.xss),
      apicEnabled: apic.base.enabled,
    });
  }

  save(): MachineRegistersState {
    return {
      mtrrs: this.mtrrs.save(),
      machineCheck: this.machineCheck.save(),
      activeCycles: this.activeCycles.save(),
      performance: this.performance.save(),
      table: this.table.save(),
    };
  }

  load(state: MachineRegistersState): void {
    this.mtrrs.load(state.mtrrs);
    this.machineCheck.load(state.machineCheck);
    this.activeCycles.load(state.activeCycles);
    this.performance.load(state.performance);
    this.table.load(state.table);
  }
}
