// What the processor's out-of-line instruction helpers are given: the live registers and linear memory.
import type { EngineMemory } from '../memory.ts';
import type { CpuModel } from '../models/model.ts';
import type { CpuState } from '../state.ts';
import type { Access, Bus, Registers } from '../types.ts';

export interface HelperCore {
  /** The registers of the vCPU that runs. */
  readonly state: CpuState;
  readonly memory: EngineMemory;
  /** Copy linear memory, by default with the privilege of the running code. Throw GuestFault; a partial copy may remain. */
  readLinear(linear: bigint, into: Uint8Array, access?: Access): void;
  writeLinear(linear: bigint, from: Uint8Array, access?: Access): void;
}

/** What helpers of system instructions are given beyond that: the whole processor. */
export interface SystemCore extends HelperCore {
  readonly model: CpuModel;
  registers: Registers;
  bus: Bus;
  cycles: () => bigint;
  /** An external interrupt waits. */
  readonly interruptPending: boolean;
  /** PV: a SYSCALL that the hypervisor deals with at once. False: it is an exit. */
  systemCallTaken(): boolean;
  readonly onTaskPriority: ((priority: number) => void) | null;
  readonly onTscMove: (() => void) | null;
  /** To be called before the platform is: throws RunAlone where the instruction that runs now is one of several. */
  requireAlone(): void;
  /** RIP of the instruction that runs now, and of the one after it. */
  instructionRip(): bigint;
  nextInstructionRip(): bigint;
  /** Leaves run() with an Exit and S.exitInfo once the helper has returned (RIP stays at the instruction, S.nextRip is after it). */
  exit(kind: number, info?: bigint): void;
  /** RIP of whatever is left or delivered from now on: the helper has moved to another task and may still fault there. */
  restartAt(rip: bigint): void;
  /** After RFLAGS.IF or TF were set in another way than by modeChanged(). */
  flagsChanged(): void;
  /** The instruction is not followed by the trap of RFLAGS.TF. */
  suppressStep(): void;
  /** After CS, CPL, CR0, CR4, EFER, RFLAGS.VM/TF/AC changed. */
  modeChanged(): void;
  /** By explicit privilege: descriptor tables and TSS are read as supervisor. -1: not RAM. Throws GuestFault. */
  translate(linear: bigint, access: Access): number;
  readLinear(linear: bigint, into: Uint8Array, access?: Access): void;
  writeLinear(linear: bigint, from: Uint8Array, access?: Access): void;
  /** Engine-memory address of a guest-physical one, valid to the end of the page; -1: not RAM. */
  physical(address: number): number;
  /** Drops what is not global: of the context that CR3 names. */
  flushContext(): void;
  /** Likewise of a PCID; of all contexts for null. */
  flushPcid(pcid: number | null): void;
  flushAll(): void;
  invalidatePage(linear: bigint): void;
  /**
   * Engine-memory address of a linear address in 32-bit halves, or 0 where an access would fault or be special: for bulk operations
   * within a page. write: the page may be written inline.
   */
  cachedAddress(lo: number, hi: number, write: boolean): number;
}

/** As Helper, for system instructions. */
// biome-ignore lint/suspicious/noConfusingVoidType: helpers that give nothing return nothing
export type SystemHelper = (core: SystemCore, ...args: bigint[]) => bigint | void;

/** Arguments and results are unsigned 64-bit integers. May throw GuestFault. */
// biome-ignore lint/suspicious/noConfusingVoidType: helpers that give nothing return nothing
export type Helper = (core: HelperCore, ...args: bigint[]) => bigint | void;
