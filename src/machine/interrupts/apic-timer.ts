// The local APIC's timer: a counter that counts down at the bus clock over a divisor, once or again and again, or a deadline of the
// time-stamp counter (SDM Vol. 3A, 11.5.4).
import { type ChipClock, type Saveable, SHORTEST_PERIOD_NS } from '../chip.ts';
import type { Timer } from '../time/timers.ts';

/** LVT timer register, bits 17 and 18. */
export const TimerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

/** 100 MHz. */
export const BUS_CYCLE_NS = 10n;
const NS_PER_SECOND = 1_000_000_000n;

export interface ApicTimerState {
  mode: number;
  initialCount: number;
  divide: number;
  running: boolean;
  /** System time at which the counter was (re)loaded. */
  loadedAt: bigint;
  /** TSC value; 0 is none. */
  deadline: bigint;
}

export interface ApicTimerOptions {
  clock: ChipClock;
  /** The processor's time-stamp counter, as RDTSC gives it. */
  tsc: () => bigint;
  tscHz: bigint;
  expired: () => void;
}

export class ApicTimer implements Saveable<ApicTimerState> {
  private readonly options: ApicTimerOptions;
  private readonly timer: Timer;
  private state: ApicTimerState = initial();

  constructor(options: ApicTimerOptions) {
    this.options = options;
    this.timer = options.clock.timer(now => this.fire(now));
  }

  reset(): void {
    this.state = initial();
    this.timer.stop();
  }

  /** A change to or from deadline mode stops it. */
  setMode(mode: number): void {
    const { state } = this;
    const wasDeadline = state.mode === TimerMode.tscDeadline;
    state.mode = mode;
    if (wasDeadline === (mode === TimerMode.tscDeadline)) return;
    state.running = false;
    state.deadline = 0n;
    state.initialCount = 0;
    this.timer.stop();
  }

  get initialCount(): number {
    return this.state.initialCount;
  }

  setInitialCount(count: number): void {
    const { state } = this;
    if (state.mode === TimerMode.tscDeadline) return;
    state.initialCount = count;
    state.running = count !== 0;
    state.loadedAt = this.options.clock.nowNs();
    this.arm();
  }

  get currentCount(): number {
    const { state } = this;
    if (!state.running || state.mode === TimerMode.tscDeadline) return 0;
    const count = BigInt(state.initialCount);
    const elapsed = (this.options.clock.nowNs() - state.loadedAt) / this.tickNs;
    if (state.mode === TimerMode.periodic) return Number(count - (elapsed % count));
    return elapsed < count ? Number(count - elapsed) : 0;
  }

  /** The divide configuration register: bits 0, 1 and 3. */
  get divide(): number {
    return this.state.divide;
  }

  setDivide(value: number): void {
    const { state } = this;
    const left = BigInt(this.currentCount);
    state.divide = value & 0xb;
    if (!state.running || state.mode === TimerMode.tscDeadline) return;
    state.loadedAt = this.options.clock.nowNs() - (BigInt(state.initialCount) - left) * this.tickNs;
    this.arm();
  }

  /** IA32_TSC_DEADLINE: 0 where no deadline is set. */
  get deadline(): bigint {
    return this.state.deadline;
  }

  setDeadline(tsc: bigint): void {
    if (this.state.mode !== TimerMode.tscDeadline) return;
    this.state.deadline = tsc;
    this.armDeadline();
  }

  /** Somebody has written the time-stamp counter. */
  tscChanged(): void {
    if (this.state.mode === TimerMode.tscDeadline) this.armDeadline();
  }

  save(): ApicTimerState {
    return { ...this.state };
  }

  load(state: ApicTimerState): void {
    this.state = { ...state };
    if (state.mode !== TimerMode.tscDeadline) this.arm();
    else if (state.deadline === 0n) this.timer.stop();
    else this.timer.set(this.deadlineNs());
  }

  private get tickNs(): bigint {
    const { divide } = this.state;
    const power = ((divide & 3) | ((divide & 8) >> 1)) + 1;
    return BUS_CYCLE_NS << BigInt(power & 7);
  }

  private get periodNs(): bigint {
    return BigInt(this.state.initialCount) * this.tickNs;
  }

  private arm(): void {
    const { running, mode, loadedAt } = this.state;
    const { periodNs } = this;
    const tooShort = mode === TimerMode.periodic && periodNs < SHORTEST_PERIOD_NS;
    if (running) this.timer.set(loadedAt + (tooShort ? SHORTEST_PERIOD_NS : periodNs));
    else this.timer.stop();
  }

  private armDeadline(): void {
    const { deadline } = this.state;
    if (deadline === 0n) this.timer.stop();
    else if (deadline <= this.options.tsc()) this.reachDeadline();
    else this.timer.set(this.deadlineNs());
  }

  private deadlineNs(): bigint {
    const { clock, tsc, tscHz } = this.options;
    const left = this.state.deadline - tsc();
    return clock.nowNs() + (left > 0n ? (left * NS_PER_SECOND + tscHz - 1n) / tscHz : 0n);
  }

  private reachDeadline(): void {
    this.state.deadline = 0n;
    this.timer.stop();
    this.options.expired();
  }

  private fire(now: bigint): void {
    const { state } = this;
    if (state.mode === TimerMode.tscDeadline) {
      // system time is rounded down: the counter may need a moment more
      if (this.options.tsc() >= state.deadline) this.reachDeadline();
      else this.timer.set(this.deadlineNs() > now ? this.deadlineNs() : now + 1n);
      return;
    }
    if (state.mode === TimerMode.periodic) {
      // periods that have passed unseen are one interrupt
      state.loadedAt += ((now - state.loadedAt) / this.periodNs) * this.periodNs;
      this.arm();
    } else state.running = false;
    this.options.expired();
  }
}

function initial(): ApicTimerState {
  return { mode: TimerMode.oneShot, initialCount: 0, divide: 0, running: false, loadedAt: 0n, deadline: 0n };
}
