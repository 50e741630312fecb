// The host's clock, from which TSC, Xen's system time, wall clock and every timer derive. Two kinds: virtual (time is retired
// instructions, idle time is skipped) and real (the host's own clock).
import { scaleOf, type TimeScale, ticksFor, toNs } from './scale.ts';
import { type Timer, TimerQueue } from './timers.ts';

/** What advances a clock. Ticks are TSC ticks since the host's start and never go back. */
export interface TickSource {
  ticks(): bigint;
  /** Jumps over idle time by this many ticks; false where time cannot be skipped and the caller has to wait. */
  skip(ticks: bigint): boolean;
}

/** TSC rate where nobody chose one: a tick a nanosecond makes all conversions exact. */
export const DEFAULT_TSC_HZ = 1_000_000_000n;

export class Clock {
  readonly tscHz: bigint;
  readonly scale: TimeScale;
  readonly timers = new TimerQueue();
  /** Nanoseconds since 1970 at system time 0. */
  wallClockAtBoot: bigint;
  private readonly source: TickSource;
  private askedNs = -1n;
  private askedTicks = 0n;

  constructor(source: TickSource, options: { tscHz?: bigint; wallClockAtBoot?: bigint } = {}) {
    this.source = source;
    this.tscHz = options.tscHz ?? DEFAULT_TSC_HZ;
    this.scale = scaleOf(this.tscHz);
    this.wallClockAtBoot = options.wallClockAtBoot ?? 0n;
  }

  /** TSC ticks since the start of the host: what RDTSC derives from. */
  cycles(): bigint {
    return this.source.ticks();
  }

  /** Xen's system time: ns since the start of the host. */
  nowNs(): bigint {
    return toNs(this.source.ticks(), this.scale);
  }

  /** Arms a new timer. For one that is set again and again, keep the result of `timer`. */
  at(ns: bigint, handler: (now: bigint) => void): Timer {
    const timer = this.timers.create(handler);
    timer.set(ns);
    return timer;
  }

  /** A stopped timer. */
  timer(handler: (now: bigint) => void): Timer {
    return this.timers.create(handler);
  }

  /** The earliest deadline in system time; null when nothing is armed. */
  nextDeadline(): bigint | null {
    return this.timers.next();
  }

  /** Ticks until system time `ns`; 0 when it has passed. On a virtual clock: instructions that may run until then. */
  ticksUntil(ns: bigint): bigint {
    const left = this.ticksAt(ns) - this.source.ticks();
    return left > 0n ? left : 0n;
  }

  /** The tick at which system time `ns` comes. The run loop asks for the same deadline again and again. */
  private ticksAt(ns: bigint): bigint {
    if (ns !== this.askedNs) {
      this.askedNs = ns;
      this.askedTicks = ticksFor(ns, this.scale);
    }
    return this.askedTicks;
  }

  /** Fires all timers that are due. Returns how many. */
  fireDue(): number {
    const next = this.timers.next();
    if (next === null || this.source.ticks() < this.ticksAt(next)) return 0;
    return this.timers.fire(this.nowNs());
  }

  /** Idle: jumps to system time `ns`. False on a real clock, where the caller has to wait instead. */
  advanceTo(ns: bigint): boolean {
    return this.source.skip(this.ticksUntil(ns));
  }

  /** Idle: jumps over `ns` nanoseconds. False on a real clock. */
  advance(ns: bigint): boolean {
    return this.advanceTo(this.nowNs() + ns);
  }
}

/** Time is retired instructions: one a tick. Skipped idle time is added. Results are the same on every machine and load. */
export class VirtualTicks implements TickSource {
  private readonly retired: () => bigint;
  /** Ticks skipped so far: with the retired instructions, the clock's whole state. */
  skipped = 0n;

  /** @param retired instructions retired by all vCPUs since the start of the host, exact also while the processor runs. */
  constructor(retired: () => bigint) {
    this.retired = retired;
  }

  ticks(): bigint {
    return this.retired() + this.skipped;
  }

  skip(ticks: bigint): boolean {
    this.skipped += ticks;
    return true;
  }
}

/** The host's own monotonic clock, handed in by the platform in ms with fractions (performance.now). */
export class RealTicks implements TickSource {
  private readonly now: () => number;
  private readonly start: number;
  private readonly ticksPerMs: number;
  private last = 0n;

  constructor(now: () => number, tscHz: bigint = DEFAULT_TSC_HZ) {
    this.now = now;
    this.start = now();
    this.ticksPerMs = Number(tscHz) / 1000;
  }

  ticks(): bigint {
    const ticks = BigInt(Math.floor((this.now() - this.start) * this.ticksPerMs));
    // Some hosts' clocks step back by a rounding: a guest must never see it.
    if (ticks > this.last) this.last = ticks;
    return this.last;
  }

  skip(): boolean {
    return false;
  }
}
