// Who runs when: virtual processors take turns on the one processor by instruction count, timers fire at exact instruction counts on the
// virtual clock, and idle time is skipped there. Two runs of the same machines are the same run.
import { Exit } from '../cpu/exits.ts';
import { S } from '../cpu/layout.ts';
import type { Processor } from '../cpu/types.ts';
import type { HostEvents } from './host-events.ts';
import { constantRunLength, type RunLength } from './run-length.ts';
import type { Clock } from './time/clock.ts';

/** Instructions of a turn where several want to run. */
const SLICE = 50_000;
/** How long to wait for something outside where no timer runs. */
const LONGEST_WAIT_NS = 1_000_000_000n;

/** What leaving the guest costs in ticks of a virtual clock and of a turn, beside what the machine's `work` counts. */
const EXIT_COST = 20;

/** Ticks that an access to a device takes: half a microsecond where a tick is a nanosecond, as on hardware. Kernels wait by counting such accesses. */
const ACCESS_COST = 500;

/** Something whose registers take turns on the processor: a guest's vCPU, a logical processor of a bare machine. */
export interface Schedulable {
  /** It has instructions to execute now. */
  readonly isRunnable: boolean;
  /** Let the next one have its turn, whatever is left of this one's. */
  mustYield: boolean;
  /** Puts registers, address space and surroundings on the processor. */
  load(): void;
  /** It is on the processor already, and a new turn begins. */
  resume(): void;
  /** Takes its registers off the processor, if they are still there. */
  unload(): void;
  /** Before every run(): delivers what waits for it. False: it cannot run on now. */
  enter(): boolean;
  /** Deals with the Exit that ended run(). */
  handleExit(exit: number): void;
  /** Our own mistake was met while it had its turn. It must not be runnable for ever afterwards. */
  failed(error: unknown): void;
}

/** All that takes turns on one processor, and what goes with it. */
export interface Schedule {
  readonly processor: Processor;
  readonly clock: Clock;
  readonly hostEvents: HostEvents;
  /** What has been done for guests since the start, in the measure of instructions: the virtual clock is charged for it. */
  readonly work: number;
  /** In the order of their turns; they may come and go. */
  runners(): Schedulable[];
}

/** Why step() returned. */
export type StepResult =
  /** Guests ran, or timers fired: call again. */
  | { kind: 'ran' }
  /** Nobody can run before this system time, and it is not to be skipped: wait, or until something from outside wakes one. */
  | { kind: 'wait'; untilNs: bigint }
  /** Nobody can ever run again unless something from outside wakes one. */
  | { kind: 'idle' };

const RAN: StepResult = { kind: 'ran' };
const IDLE: StepResult = { kind: 'idle' };

export class Scheduler {
  private readonly schedule: Schedule;
  /** Instructions retired by all, up to the last exit. */
  retired = 0n;
  /** Ticks for what was done for guests: one of nothing but hypercalls must not stop time for the others. */
  private charged = 0;
  /** The loaded one's count of executed instructions, exact also in the middle of run(). */
  private readonly executed: () => bigint;
  /** That count at the start of the present run(), or -1 between runs. */
  private startedAt = -1n;
  /** Whose registers are on the processor. */
  private loaded: Schedulable | null = null;
  /** Who had the last turn: the next one's comes after it. */
  private last: Schedulable | null = null;
  private sliceLeft = 0;

  /** Each says whether it waits for something outside of the machine (a network's answer): idle time must really pass then, also on a virtual clock. */
  readonly outside = new Set<() => boolean>();
  private readonly runLength: RunLength;

  /** @param runLength after how many instructions timers are looked at, at the latest */
  constructor(schedule: Schedule, runLength: RunLength = constantRunLength) {
    this.schedule = schedule;
    this.runLength = runLength;
    const { processor, clock } = schedule;
    // What a processor counts by until it is told a clock.
    this.executed = processor.cycles;
    processor.cycles = () => clock.cycles();
  }

  /** Instructions retired, exact also while the processor runs. */
  retiredNow(): bigint {
    return this.startedAt < 0n ? this.retired : this.retired + this.executed() - this.startedAt;
  }

  /** What a virtual clock ticks by: instructions, and work for guests in their measure. */
  ticksNow(): bigint {
    return this.retiredNow() + BigInt(this.charged);
  }

  /** To be called for every access to a device of a machine: on a virtual clock time passes, and a timer may be due at once. */
  deviceAccessed(): void {
    const { clock, processor } = this.schedule;
    this.charged += ACCESS_COST;
    const deadline = clock.nextDeadline();
    if (deadline !== null && clock.ticksUntil(deadline) === 0n) processor.stop();
  }

  /** Lets guests run for about a million instructions, or to the next thing that ends a turn. */
  step(): StepResult {
    const { clock, hostEvents } = this.schedule;
    hostEvents.deliver();
    clock.fireDue();
    const runner = this.choose();
    if (!runner) return this.idle();
    this.turn(runner);
    return RAN;
  }

  private get waitsForOutside(): boolean {
    for (const waits of this.outside) if (waits()) return true;
    return false;
  }

  private idle(): StepResult {
    const { clock, hostEvents } = this.schedule;
    if (!hostEvents.isEmpty) return RAN;
    this.unload();
    const deadline = clock.nextDeadline();
    if (this.waitsForOutside) return { kind: 'wait', untilNs: deadline ?? clock.nowNs() + LONGEST_WAIT_NS };
    if (deadline === null) return IDLE;
    return clock.advanceTo(deadline) ? RAN : { kind: 'wait', untilNs: deadline };
  }

  /** Whose turn it is: the present one's while its slice lasts, then the next runnable one's. */
  private choose(): Schedulable | null {
    const all = this.schedule.runners();
    const at = this.last ? all.indexOf(this.last) : -1;
    if (at >= 0 && this.sliceLeft > 0 && all[at].isRunnable && !all[at].mustYield) return all[at];
    for (let i = 1; i <= all.length; i++) {
      const runner = all[(at + i) % all.length];
      if (!runner.isRunnable) continue;
      runner.mustYield = false;
      this.sliceLeft = SLICE;
      this.last = runner;
      return runner;
    }
    return null;
  }

  /** Runs one until its slice is used up, it stops being runnable, or the caller should look around. */
  private turn(runner: Schedulable): void {
    const { schedule, runLength } = this;
    const { processor, clock, hostEvents } = schedule;
    try {
      this.load(runner);
      let budget = runLength.longest;
      while (budget > 0 && runner.isRunnable && !runner.mustYield) {
        if (!runner.enter()) break;
        const slice = this.othersWait(runner) ? Math.max(this.sliceLeft, 1) : runLength.longest;
        const fuel = Math.min(budget, slice, this.untilDeadline());
        const before = processor.live.get(S.retired);
        this.startedAt = before;
        runLength.begin();
        const exit = processor.run(fuel);
        this.startedAt = -1n;
        // Every exit costs something, or a guest that only faults would stop the clock.
        const ran = Math.max(1, Number(processor.live.get(S.retired) - before));
        this.retired += BigInt(ran);
        runLength.end(ran);
        let spent = ran;
        if (exit !== Exit.fuel) {
          const workBefore = schedule.work;
          runner.handleExit(exit);
          const cost = EXIT_COST + schedule.work - workBefore;
          this.charged += cost;
          spent += cost;
        }
        budget -= spent;
        this.sliceLeft -= spent;
        if (!hostEvents.isEmpty) hostEvents.deliver();
        clock.fireDue();
        if (this.sliceLeft <= 0) {
          if (this.othersWait(runner)) break;
          this.sliceLeft = SLICE;
        }
      }
    } catch (error) {
      this.startedAt = -1n;
      runner.failed(error);
    }
  }

  private untilDeadline(): number {
    const { clock } = this.schedule;
    const { longest } = this.runLength;
    const deadline = clock.nextDeadline();
    if (deadline === null) return longest;
    const ticks = clock.ticksUntil(deadline);
    return ticks > BigInt(longest) ? longest : Math.max(1, Number(ticks));
  }

  private othersWait(runner: Schedulable): boolean {
    for (const other of this.schedule.runners()) if (other !== runner && other.isRunnable) return true;
    return false;
  }

  /** Puts one on the processor. */
  load(runner: Schedulable): void {
    if (this.loaded === runner) {
      runner.resume();
      return;
    }
    this.unload();
    this.loaded = runner;
    runner.load();
  }

  /** Takes the present one off the processor. */
  unload(): void {
    const { loaded } = this;
    this.loaded = null;
    loaded?.unload();
  }
}
