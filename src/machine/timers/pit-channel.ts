// A counter of the 8254 as a function of time: nothing ticks, count and OUT follow from when the counting element was loaded.
// Source: Intel 82C54 data sheet (231244), the six modes. Times are in pulses of CLK since the machine's start.

/** What a channel is; plain data. */
export interface PitChannelState {
  mode: number;
  bcd: boolean;
  /** Control word's RW: 1 low byte, 2 high byte, 3 low then high. */
  access: number;
  gate: boolean;
  /** The counting element: its initial count, and when it was loaded; null before the first load after a control word. */
  count: number;
  start: number | null;
  /** Pulses counted before a low gate stopped it; null while it runs. */
  frozen: number | null;
  /** The count register's new content, not yet in the counting element. */
  pending: number | null;
  /** The pulse at which the counting element will be loaded. */
  loadAt: number | null;
  lowByte: number | null;
  highNext: boolean;
  latchedCount: number | null;
  latchedStatus: number | null;
}

const LOW = 1;
const HIGH = 2;

/** Modes 1 and 5 are started by the gate; in the others its low level stops the counting. */
const isTriggered = (mode: number): boolean => mode === 1 || mode === 5;
const isPeriodic = (mode: number): boolean => mode === 2 || mode === 3;

const toBcd = (n: number): number =>
  (n % 10) | ((Math.floor(n / 10) % 10) << 4) | ((Math.floor(n / 100) % 10) << 8) | ((Math.floor(n / 1000) % 10) << 12);
const fromBcd = (n: number): number =>
  (n & 0xf) + ((n >> 4) & 0xf) * 10 + ((n >> 8) & 0xf) * 100 + ((n >> 12) & 0xf) * 1000;

export class PitChannel {
  private s: PitChannelState;

  constructor(gate: boolean) {
    this.s = {
      mode: 0,
      bcd: false,
      access: LOW | HIGH,
      gate,
      count: 0x10000,
      start: null,
      frozen: null,
      pending: null,
      loadAt: null,
      lowByte: null,
      highNext: false,
      latchedCount: null,
      latchedStatus: null,
    };
  }

  save(): PitChannelState {
    return { ...this.s };
  }

  load(state: PitChannelState): void {
    this.s = { ...state };
  }

  get gate(): boolean {
    return this.s.gate;
  }

  /** Pulses between two rising edges of OUT that come by themselves; null where there are none. */
  get period(): number | null {
    return isPeriodic(this.s.mode) ? this.s.count : null;
  }

  /** A control word for this channel that is no latch command. */
  program(control: number): void {
    const mode = (control >> 1) & 7;
    this.s = {
      ...this.s,
      access: (control >> 4) & 3,
      // modes 6 and 7 are 2 and 3
      mode: mode > 5 ? mode - 4 : mode,
      bcd: (control & 1) !== 0,
      start: null,
      frozen: null,
      pending: null,
      loadAt: null,
      lowByte: null,
      highNext: false,
      latchedCount: null,
      latchedStatus: null,
    };
  }

  latchCount(now: number): void {
    this.s.latchedCount ??= this.reading(now);
  }

  latchStatus(now: number): void {
    const out = this.output(now);
    const { s } = this;
    const nullCount = s.pending !== null || s.start === null;
    s.latchedStatus ??= (out ? 0x80 : 0) | (nullCount ? 0x40 : 0) | (s.access << 4) | (s.mode << 1) | (s.bcd ? 1 : 0);
  }

  read(now: number): number {
    const { s } = this;
    if (s.latchedStatus !== null) {
      const status = s.latchedStatus;
      s.latchedStatus = null;
      return status;
    }
    const value = s.latchedCount ?? this.reading(now);
    const high = s.access === HIGH || (s.access === (LOW | HIGH) && s.highNext);
    if (s.access === (LOW | HIGH)) s.highNext = !s.highNext;
    if (!s.highNext) s.latchedCount = null;
    return high ? value >> 8 : value & 0xff;
  }

  write(value: number, now: number): void {
    const { s } = this;
    if (s.access === LOW) this.setCount(value, now);
    else if (s.access === HIGH) this.setCount(value << 8, now);
    else if (s.lowByte === null) {
      s.lowByte = value;
      // half a count stops mode 0 and lowers OUT
      if (s.mode === 0) {
        s.start = null;
        s.loadAt = null;
      }
    } else {
      this.setCount(s.lowByte | (value << 8), now);
      s.lowByte = null;
    }
  }

  setGate(level: boolean, now: number): void {
    this.settle(now);
    const { s } = this;
    if (level === s.gate) return;
    s.gate = level;
    if (isTriggered(s.mode)) {
      if (level) this.loadNext(now);
    } else if (level) {
      if (s.start === null || s.frozen === null) return;
      if (isPeriodic(s.mode)) this.loadNext(now);
      else {
        s.start = now - s.frozen;
        s.frozen = null;
      }
    } else if (s.start !== null) {
      s.frozen ??= now - s.start;
      if (isPeriodic(s.mode)) s.loadAt = null;
    }
  }

  /** The pin OUT. */
  output(now: number): boolean {
    this.settle(now);
    const { mode, count } = this.s;
    const elapsed = this.elapsed(now);
    if (elapsed === null) return mode !== 0;
    switch (mode) {
      case 0:
      case 1:
        return elapsed >= count;
      case 2:
        return this.s.frozen !== null || elapsed % count !== count - 1;
      case 3:
        return this.s.frozen !== null || elapsed % count < this.highPart;
      default:
        return elapsed !== count;
    }
  }

  /** The next pulse at which OUT may change if nothing is written; null for never. */
  nextChange(now: number): number | null {
    this.settle(now);
    const change = this.nextEdge(now);
    const { loadAt } = this.s;
    if (loadAt === null || change === null) return loadAt ?? change;
    return Math.min(loadAt, change);
  }

  private nextEdge(now: number): number | null {
    const { mode, count, start, frozen } = this.s;
    if (start === null || frozen !== null) return null;
    const elapsed = now - start;
    if (!isPeriodic(mode)) {
      if (elapsed < count) return start + count;
      return mode >= 4 && elapsed === count ? now + 1 : null;
    }
    const edge = mode === 2 ? count - 1 : this.highPart;
    // a period of one pulse is none
    if (edge === 0 || edge === count) return null;
    const position = elapsed % count;
    return now - position + (position < edge ? edge : count);
  }

  /** Mode 3: pulses of a period with OUT high. */
  private get highPart(): number {
    return (this.s.count + 1) >> 1;
  }

  private setCount(written: number, now: number): void {
    this.settle(now);
    const { s } = this;
    const { mode, bcd } = s;
    s.pending = bcd ? fromBcd(written) || 10000 : written || 0x10000;
    if (isTriggered(mode)) return;
    if (!isPeriodic(mode) || s.start === null) this.loadNext(now);
    else if (s.frozen === null && s.loadAt === null) {
      // the current period (mode 2) or half of one (mode 3) ends as it began
      const elapsed = now - s.start;
      const position = elapsed % s.count;
      const end = mode === 3 && position < this.highPart ? this.highPart : s.count;
      s.loadAt = now - position + end;
    }
  }

  private loadNext(now: number): void {
    this.s.loadAt = now + 1;
  }

  /** Loads the counting element where its time has come. */
  private settle(now: number): void {
    const { s } = this;
    if (s.loadAt === null || now < s.loadAt) return;
    const at = s.loadAt;
    s.loadAt = null;
    const endsHighHalf =
      s.mode === 3 && s.start !== null && s.frozen === null && (at - s.start) % s.count === this.highPart % s.count;
    s.count = s.pending ?? s.count;
    s.pending = null;
    // a new count in mode 3 may begin with the low half
    s.start = endsHighHalf && this.highPart < s.count ? at - this.highPart : at;
    s.frozen = s.gate || isTriggered(s.mode) ? null : 0;
  }

  private elapsed(now: number): number | null {
    const { start, frozen } = this.s;
    return start === null ? null : (frozen ?? now - start);
  }

  /** The counting element as it is read. */
  private reading(now: number): number {
    this.settle(now);
    const { mode, bcd } = this.s;
    const elapsed = this.elapsed(now) ?? 0;
    // Before the first load the old count is there for a pulse, no longer than an access takes on a real bus. Ours take no time, and
    // Linux's calibration reads once, then expects the new count.
    const count = this.s.start === null ? (this.s.pending ?? this.s.count) : this.s.count;
    let value = count - elapsed;
    if (mode === 2) value = count - (elapsed % count);
    else if (mode === 3) {
      // by two, from an even number, twice a period
      const position = elapsed % count;
      const inHalf = position < this.highPart ? position : position - this.highPart;
      value = (count & ~1) - 2 * inHalf;
    }
    const modulus = bcd ? 10000 : 0x10000;
    const wrapped = ((value % modulus) + modulus) % modulus;
    return bcd ? toBcd(wrapped) : wrapped;
  }
}
