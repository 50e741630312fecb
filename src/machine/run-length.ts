// How long one run() of the processor may be, so that timers are looked at in time. On a virtual clock a timer is due after a known number of
// instructions. On a real clock it is not, and a run is kept well under a millisecond: how many instructions that is differs a
// hundredfold between interpreted code and compiled loops, and is measured.
import type { Clock } from './time/clock.ts';

/** Instructions of one run() at most, so that the caller can look at its own clock now and then. */
export const LONGEST_RUN = 1_000_000;
const SHORTEST_RUN = 30_000;
const TARGET_NS = 200_000;

export interface RunLength {
  /** Instructions that the next run may take. */
  readonly longest: number;
  /** A run begins. */
  begin(): void;
  /** It has ended, after so many instructions. */
  end(instructions: number): void;
}

export const constantRunLength: RunLength = { longest: LONGEST_RUN, begin: () => {}, end: () => {} };

/** Runs of about 0.2 ms, by the pace of the one before. */
export class RealTimeRunLength implements RunLength {
  longest = SHORTEST_RUN;
  private readonly clock: Clock;
  private begunNs = 0n;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  begin(): void {
    this.begunNs = this.clock.nowNs();
  }

  end(instructions: number): void {
    // what ended early says little of the pace
    if (instructions < this.longest / 2) return;
    const ns = Math.max(1, Number(this.clock.nowNs() - this.begunNs));
    const paced = (instructions / ns) * TARGET_NS;
    this.longest = Math.round(Math.min(LONGEST_RUN, Math.max(SHORTEST_RUN, Math.min(paced, 2 * this.longest))));
  }
}
