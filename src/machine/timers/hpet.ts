// High precision event timers: one up-counter and comparators that interrupt when it reaches them.
// Source: IA-PC HPET specification 1.0a. There is no delivery by messages (FSB).
import {
  type AccessSize,
  type ChipClock,
  type Line,
  type RegisterSpace,
  type Saveable,
  SHORTEST_PERIOD_NS,
} from '../chip.ts';
import type { Timer } from '../time/timers.ts';

const CAPABILITIES = 0x00;
const CONFIGURATION = 0x10;
const STATUS = 0x20;
const COUNTER = 0xf0;
const TIMERS = 0x100;
const TIMER_STRIDE = 0x20;
// within a timer
const TIMER_CONFIGURATION = 0;
const COMPARATOR = 8;

const CAP_REVISION = 1n;
const CAP_COUNT_SHIFT = 8n;
const CAP_64_BIT = 1n << 13n;
const CAP_LEGACY = 1n << 15n;
const CAP_VENDOR_INTEL = 0x8086n << 16n;
const CAP_PERIOD_SHIFT = 32n;
const FS_PER_NS = 1_000_000;

const CONF_ENABLE = 1;
const CONF_LEGACY = 2;

const TIMER_LEVEL = 1 << 1;
const TIMER_ENABLE = 1 << 2;
const TIMER_PERIODIC = 1 << 3;
const TIMER_PERIODIC_CAP = 1 << 4;
const TIMER_64_BIT_CAP = 1 << 5;
const TIMER_SET_VALUE = 1 << 6;
const TIMER_32_BIT = 1 << 8;
const TIMER_ROUTE_SHIFT = 9;
const TIMER_ROUTE = 0x1f << TIMER_ROUTE_SHIFT;
const TIMER_WRITABLE = TIMER_LEVEL | TIMER_ENABLE | TIMER_PERIODIC | TIMER_32_BIT;

const LOW = 0xffff_ffffn;
const ALL = 0xffff_ffff_ffff_ffffn;

/** Length of the register block in memory. */
export const HPET_LENGTH = 0x400;

export interface HpetLines {
  /** IRQ 0 and 8 of the machine: the 8254 and the clock, or timers 0 and 1 where software has replaced them. */
  irq0: Line;
  irq8: Line;
  /** An input of the interrupt controllers, one of those in `routes`. */
  gsi(input: number, level: boolean): void;
}

export interface HpetOptions {
  /** Comparators, 3 to 32. */
  timers?: number;
  /** Period of the counter in ns, at most 100. */
  periodNs?: number;
  /** Mask of the interrupt inputs that a timer may be routed to; none that does not exist. */
  routes?: number;
  /** Periodic interrupts come no more often than this. */
  shortestPeriodNs?: bigint;
}

interface Comparator {
  configuration: number;
  value: bigint;
  /** What is added at each match in periodic mode. */
  period: bigint;
  /** Which half's next write sets the comparator itself, not only the period. */
  setLow: boolean;
  setHigh: boolean;
}

export interface HpetState {
  configuration: number;
  status: number;
  /** The counter: its value while it is halted; while it runs, what to add to the periods since the machine's start. */
  counter: bigint;
  comparators: (Comparator & { deadline: bigint | null })[];
  pit: boolean;
  rtc: boolean;
}

export class Hpet implements RegisterSpace, Saveable<HpetState> {
  private readonly clock: ChipClock;
  private readonly lines: HpetLines;
  private readonly periodNs: bigint;
  private readonly routes: number;
  private readonly shortestPeriodNs: bigint;
  private readonly capabilities: bigint;
  private configuration = 0;
  private status = 0;
  private counterBase = 0n;
  private comparators: Comparator[];
  private readonly timers: Timer[];
  private pit = false;
  private rtc = false;

  constructor(clock: ChipClock, lines: HpetLines, options: HpetOptions = {}) {
    const { timers = 3, periodNs = 10, routes = 0x00f0_0000, shortestPeriodNs = SHORTEST_PERIOD_NS } = options;
    this.shortestPeriodNs = shortestPeriodNs;
    this.clock = clock;
    this.lines = lines;
    this.periodNs = BigInt(periodNs);
    this.routes = routes;
    this.capabilities =
      CAP_REVISION |
      (BigInt(timers - 1) << CAP_COUNT_SHIFT) |
      CAP_64_BIT |
      CAP_LEGACY |
      CAP_VENDOR_INTEL |
      (BigInt(periodNs * FS_PER_NS) << CAP_PERIOD_SHIFT);
    this.comparators = Array.from({ length: timers }, () => ({
      configuration: 0,
      value: ALL,
      period: 0n,
      setLow: false,
      setHigh: false,
    }));
    this.timers = this.comparators.map((_, i) => clock.timer(() => this.matched(i)));
  }

  /** OUT of the 8254's channel 0, which goes on to IRQ 0 unless timer 0 replaces it. */
  readonly pitInput: Line = level => {
    this.pit = level;
    if (!this.legacy) this.lines.irq0(level);
  };

  /** The clock's interrupt, which goes on to IRQ 8 unless timer 1 replaces it. */
  readonly rtcInput: Line = level => {
    this.rtc = level;
    if (!this.legacy) this.lines.irq8(level);
  };

  read(offset: number, size: AccessSize): number {
    const register = this.register(offset & ~7);
    return Number((register >> BigInt(8 * (offset & 7))) & (size === 4 ? LOW : (1n << BigInt(8 * size)) - 1n));
  }

  /** Anything but an aligned 32-bit half of a register is ignored. */
  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || offset & 3) return;
    const high = (offset & 4) !== 0;
    const register = offset & ~7;
    if (register >= TIMERS) this.writeTimer(register - TIMERS, high, value);
    else if (register === COUNTER) this.writeCounter(high, value);
    else if (high) return;
    else if (register === CONFIGURATION) this.configure(value);
    else if (register === STATUS) this.clearStatus(value);
  }

  save(): HpetState {
    const { configuration, status, pit, rtc } = this;
    const comparators = this.comparators.map((c, i) => ({ ...c, deadline: this.timers[i].deadline }));
    return { configuration, status, counter: this.counterBase, comparators, pit, rtc };
  }

  load(state: HpetState): void {
    this.configuration = state.configuration;
    this.status = state.status;
    this.counterBase = state.counter;
    this.pit = state.pit;
    this.rtc = state.rtc;
    this.comparators = state.comparators.map(({ deadline: _, ...comparator }) => comparator);
    state.comparators.forEach(({ deadline }, i) => {
      if (deadline === null) this.timers[i].stop();
      else this.timers[i].set(deadline);
    });
    this.driveLegacy();
    this.comparators.forEach((_, i) => {
      if (this.status & (1 << i)) this.drive(i, true);
    });
  }

  private get enabled(): boolean {
    return (this.configuration & CONF_ENABLE) !== 0;
  }

  private get legacy(): boolean {
    return (this.configuration & CONF_LEGACY) !== 0;
  }

  private periods(): bigint {
    return this.clock.nowNs() / this.periodNs;
  }

  private counter(): bigint {
    return this.enabled ? (this.counterBase + this.periods()) & ALL : this.counterBase;
  }

  private register(register: number): bigint {
    switch (register) {
      case CAPABILITIES:
        return this.capabilities;
      case CONFIGURATION:
        return BigInt(this.configuration);
      case STATUS:
        return BigInt(this.status >>> 0);
      case COUNTER:
        return this.counter();
      default: {
        const comparator = this.comparators[Math.floor((register - TIMERS) / TIMER_STRIDE)];
        if (register < TIMERS || !comparator) return 0n;
        const at = (register - TIMERS) % TIMER_STRIDE;
        if (at === COMPARATOR) return comparator.value;
        if (at !== TIMER_CONFIGURATION) return 0n;
        const low = comparator.configuration | TIMER_PERIODIC_CAP | TIMER_64_BIT_CAP;
        return BigInt(low) | (BigInt(this.routes >>> 0) << 32n);
      }
    }
  }

  private configure(value: number): void {
    const counter = this.counter();
    // whatever is up leaves the lines of the old routing
    this.comparators.forEach((_, i) => {
      this.drive(i, false);
    });
    this.configuration = value & (CONF_ENABLE | CONF_LEGACY);
    this.counterBase = this.enabled ? (counter - this.periods()) & ALL : counter;
    this.driveLegacy();
    this.comparators.forEach((_, i) => {
      this.arm(i);
      this.drive(i, (this.status & (1 << i)) !== 0);
    });
  }

  /** IRQ 0 and 8 as the 8254 and the clock have them, or free for the timers. */
  private driveLegacy(): void {
    this.lines.irq0(!this.legacy && this.pit);
    this.lines.irq8(!this.legacy && this.rtc);
  }

  private clearStatus(value: number): void {
    const cleared = this.status & value;
    this.status &= ~value;
    for (let i = 0; i < this.comparators.length; i++) if (cleared & (1 << i)) this.drive(i, false);
  }

  /** The counter can be set while it is halted. */
  private writeCounter(high: boolean, value: number): void {
    if (!this.enabled) this.counterBase = withHalf(this.counterBase, high, value);
  }

  private writeTimer(offset: number, high: boolean, value: number): void {
    const i = Math.floor(offset / TIMER_STRIDE);
    const comparator = this.comparators[i];
    if (!comparator) return;
    const at = offset % TIMER_STRIDE;
    if (at === TIMER_CONFIGURATION && !high) this.configureTimer(i, comparator, value);
    else if (at === COMPARATOR) this.writeComparator(comparator, high, value);
    else return;
    this.arm(i);
  }

  private configureTimer(i: number, comparator: Comparator, value: number): void {
    this.drive(i, false);
    const route = (value & TIMER_ROUTE) >> TIMER_ROUTE_SHIFT;
    // a route that is none is not taken over: software finds out by reading it back
    const kept = this.routes & (1 << route) ? value & TIMER_ROUTE : comparator.configuration & TIMER_ROUTE;
    comparator.configuration = (value & TIMER_WRITABLE) | kept;
    if (value & TIMER_SET_VALUE && value & TIMER_PERIODIC) comparator.setLow = comparator.setHigh = true;
    if (!(value & TIMER_LEVEL)) this.status &= ~(1 << i);
    if (value & TIMER_32_BIT) {
      comparator.value &= LOW;
      comparator.period &= LOW;
    }
    this.drive(i, (this.status & (1 << i)) !== 0);
  }

  private writeComparator(comparator: Comparator, high: boolean, value: number): void {
    if (high && comparator.configuration & TIMER_32_BIT) return;
    const periodic = (comparator.configuration & TIMER_PERIODIC) !== 0;
    if (!periodic || (high ? comparator.setHigh : comparator.setLow)) {
      comparator.value = withHalf(comparator.value, high, value);
    }
    if (periodic) comparator.period = withHalf(comparator.period, high, value);
    if (high) comparator.setHigh = false;
    else comparator.setLow = false;
  }

  /** Sets the host's timer for a comparator's next match. */
  private arm(i: number, from = 0n): void {
    if (!this.enabled) {
      this.timers[i].stop();
      return;
    }
    const comparator = this.comparators[i];
    const mask = comparator.configuration & TIMER_32_BIT ? LOW : ALL;
    const left = ((comparator.value - this.counter() - from) & mask) + from;
    const due = (this.periods() + left) * this.periodNs;
    const soonest = this.clock.nowNs() + this.shortestPeriodNs;
    const isShort =
      (comparator.configuration & TIMER_PERIODIC) !== 0 && comparator.period * this.periodNs < this.shortestPeriodNs;
    this.timers[i].set(isShort && due < soonest ? soonest : due);
  }

  private matched(i: number): void {
    const comparator = this.comparators[i];
    const bits32 = (comparator.configuration & TIMER_32_BIT) !== 0;
    if (comparator.configuration & TIMER_PERIODIC && comparator.period > 0n) {
      // where the clock is past several periods, their interrupts are one
      const mask = bits32 ? LOW : ALL;
      const late = (this.counter() - comparator.value) & mask;
      const periods = late / comparator.period + 1n;
      comparator.value = (comparator.value + periods * comparator.period) & mask;
      this.arm(i);
    } else {
      // the same value comes again when the counter has wrapped
      this.arm(i, 1n);
    }
    if (comparator.configuration & TIMER_LEVEL) {
      this.status |= 1 << i;
      this.drive(i, true);
    } else {
      this.drive(i, true);
      this.drive(i, false);
    }
  }

  /** A timer's interrupt, on the line that it has at present. */
  private drive(i: number, active: boolean): void {
    const { configuration } = this.comparators[i];
    const level = active && this.enabled && (configuration & TIMER_ENABLE) !== 0;
    if (this.legacy && i === 0) this.lines.irq0(level);
    else if (this.legacy && i === 1) this.lines.irq8(level);
    else {
      const route = (configuration & TIMER_ROUTE) >> TIMER_ROUTE_SHIFT;
      if (this.routes & (1 << route)) this.lines.gsi(route, level);
    }
  }
}

function withHalf(register: bigint, high: boolean, value: number): bigint {
  return high ? (register & LOW) | (BigInt(value) << 32n) : (register & (LOW << 32n)) | BigInt(value);
}
