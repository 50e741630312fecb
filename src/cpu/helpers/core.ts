// What the processor's out-of-line instruction helpers are given: the live registers and linear memory.
import type { EngineMemory } from '../memory.ts';
import type { CpuState } from '../state.ts';

export interface HelperCore {
  /** The registers of the vCPU that runs. */
  readonly state: CpuState;
  readonly memory: EngineMemory;
  /** Copy linear memory with the privilege of the running code. Throw GuestFault; nothing is promised about a partial copy. */
  readLinear(linear: bigint, into: Uint8Array): void;
  writeLinear(linear: bigint, from: Uint8Array): void;
}

/** Arguments and results are unsigned 64-bit integers. May throw GuestFault. */
// biome-ignore lint/suspicious/noConfusingVoidType: helpers that give nothing return nothing
export type Helper = (core: HelperCore, ...args: bigint[]) => bigint | void;
