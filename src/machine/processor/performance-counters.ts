// AMD's performance counters (APM Vol. 2, 13.2.1): four at their old places, six at their own where CPUID says so. Of the events,
// unhalted cycles and retired instructions happen here, one a cycle; the others never do. Counting at CPL 0 or 3 alone counts both.
import type { CpuModel } from '../../cpu/models/model.ts';
import type { ChipClock, Saveable } from '../chip.ts';
import type { Timer } from '../time/timers.ts';
import type { MsrPart } from './msr-table.ts';

const LEGACY_SELECT = 0xc0010000;
const LEGACY_COUNTER = 0xc0010004;
const LEGACY_COUNT = 4;
/** Select and counter take turns. */
const EXTENDED_FIRST = 0xc0010200;
const EXTENDED_COUNT = 6;
const CPUID_PERFCTR_CORE = 1 << 23;

const COUNTER_BITS = 48n;
const WRAP = 1n << COUNTER_BITS;
const EVENTS: readonly bigint[] = [0x76n, 0xc0n];
const EVENT_MASK = 0xf_0000_00ffn;
const MODES = 3n << 16n;
const INTERRUPT = 1n << 20n;
const ENABLED = 1n << 22n;
const SELECT_DEFINED = 0x30f_fffd_ffffn;
const NS_PER_SECOND = 1_000_000_000n;
/** How often one looks again at the counter of a processor that is halted. */
const IDLE_CHECK_NS = 100_000n;

export interface PerformanceCountersOptions {
  model: CpuModel;
  /** Cycles in which the processor ran, and how many a second there are at most. */
  active: () => bigint;
  hz: bigint;
  clock: ChipClock;
  /** A counter that is to interrupt has wrapped. */
  overflow: () => void;
}

interface CounterState {
  select: bigint;
  /** The count when `active` was `since`. */
  value: bigint;
  since: bigint;
}

export class PerformanceCounters implements MsrPart, Saveable<CounterState[]> {
  private readonly options: PerformanceCountersOptions;
  private readonly extended: boolean;
  private readonly counters: CounterState[] = [];
  private readonly timers: Timer[] = [];

  constructor(options: PerformanceCountersOptions) {
    const { model, clock } = options;
    this.options = options;
    const features = model.leaves.find(({ leaf }) => leaf === 0x80000001)?.ecx ?? 0;
    this.extended = model.vendor === 'AuthenticAMD' && (features & CPUID_PERFCTR_CORE) !== 0;
    const count = model.vendor !== 'AuthenticAMD' ? 0 : this.extended ? EXTENDED_COUNT : LEGACY_COUNT;
    for (let i = 0; i < count; i++) {
      this.counters.push({ select: 0n, value: 0n, since: 0n });
      this.timers.push(clock.timer(() => this.check(i)));
    }
  }

  reset(): void {
    this.counters.forEach((counter, i) => {
      Object.assign(counter, { select: 0n, value: 0n, since: 0n });
      this.timers[i].stop();
    });
  }

  /** RDPMC; null: there is no such counter. */
  readCounter(i: number): bigint | null {
    return i < this.counters.length ? this.count(this.counters[i]) : null;
  }

  read(index: number): bigint | null {
    const place = this.placeOf(index);
    if (!place) return null;
    const counter = this.counters[place.counter];
    return place.isSelect ? counter.select : this.count(counter);
  }

  write(index: number, value: bigint): boolean {
    const place = this.placeOf(index);
    if (!place) return false;
    const counter = this.counters[place.counter];
    this.settle(counter);
    if (place.isSelect) counter.select = value & SELECT_DEFINED;
    else counter.value = value & (WRAP - 1n);
    this.arm(place.counter, false);
    return true;
  }

  save(): CounterState[] {
    return this.counters.map(counter => ({ ...counter }));
  }

  load(state: readonly CounterState[]): void {
    state.forEach((saved, i) => {
      Object.assign(this.counters[i], saved);
      this.arm(i, false);
    });
  }

  private placeOf(index: number): { counter: number; isSelect: boolean } | null {
    const { length } = this.counters;
    const extended = index - EXTENDED_FIRST;
    if (this.extended && extended >= 0 && extended < 2 * length) {
      return { counter: extended >> 1, isSelect: (extended & 1) === 0 };
    }
    if (length === 0 || index < LEGACY_SELECT || index >= LEGACY_COUNTER + LEGACY_COUNT) return null;
    const isSelect = index < LEGACY_COUNTER;
    return { counter: index - (isSelect ? LEGACY_SELECT : LEGACY_COUNTER), isSelect };
  }

  private counts({ select }: CounterState): boolean {
    return (select & ENABLED) !== 0n && (select & MODES) !== 0n && EVENTS.includes(select & EVENT_MASK);
  }

  private count(counter: CounterState): bigint {
    const passed = this.counts(counter) ? this.options.active() - counter.since : 0n;
    return (counter.value + passed) % WRAP;
  }

  private settle(counter: CounterState): void {
    counter.value = this.count(counter);
    counter.since = this.options.active();
  }

  /** The earliest time at which it can wrap: looks then. */
  private arm(i: number, wasIdle: boolean): void {
    const counter = this.counters[i];
    const { clock, hz, active } = this.options;
    if (!this.counts(counter) || !(counter.select & INTERRUPT)) {
      this.timers[i].stop();
      return;
    }
    const left = WRAP - counter.value - (active() - counter.since);
    const ns = (left * NS_PER_SECOND + hz - 1n) / hz;
    this.timers[i].set(clock.nowNs() + (wasIdle && ns < IDLE_CHECK_NS ? IDLE_CHECK_NS : ns));
  }

  private check(i: number): void {
    const counter = this.counters[i];
    const passed = this.options.active() - counter.since;
    const wrapped = counter.value + passed >= WRAP;
    this.settle(counter);
    this.arm(i, passed === 0n);
    if (wrapped) this.options.overflow();
  }
}
