// What chips and whoever wires them agree on. A chip is a state machine: registers are read and written, lines go up and down, time comes
// from a clock. It knows neither where in the address space it stands nor who listens to its lines.
import type { Timer } from './time/timers.ts';

/** Width of an access in bytes. */
export type AccessSize = 1 | 2 | 4;

/**
 * Registers in a range of I/O ports or of device memory. Offsets count from the range's start; values are unsigned; an access lies wholly
 * in the range. Never throws, whatever a guest reads or writes.
 */
export interface RegisterSpace {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
}

/** The input at the other end of a wire; called with the level whenever it changes (a call without a change does no harm). */
export type Line = (level: boolean) => void;

/** A wire that leads nowhere. */
export const unconnected: Line = () => {};

/** What chips need of machine/time/clock.ts. */
export interface ChipClock {
  /** System time in ns since the machine's start; never goes back. */
  nowNs(): bigint;
  /** A stopped timer. Its handler gets the system time at which it fires. */
  timer(handler: (now: bigint) => void): Timer;
}

/**
 * Interrupts that repeat by themselves come no more often (ns), however short a period a guest sets: the host and other guests would get
 * nothing done. What falls in between becomes one. Xen has the same limit (create_periodic_time in xen/arch/x86/hvm/vpt.c).
 */
export const SHORTEST_PERIOD_NS = 100_000n;

/** State is plain data (structuredClone can copy it): snapshots and moves of machines depend on it. */
export interface Saveable<State> {
  save(): State;
  /** Takes over a saved state, timers included; outputs are driven as the state says. */
  load(state: State): void;
}

/** What a read of nothing gives: the lines float high. */
export const floating = (size: number): number => (size === 4 ? 0xffffffff : (1 << (8 * size)) - 1);
