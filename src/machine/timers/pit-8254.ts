// The PC's interval timer: three channels of an 8254 at 1.193182 MHz. Channel 0 interrupts, channel 2 counts for the speaker and for
// whoever calibrates a delay loop by it. Source: Intel 82C54 data sheet (231244).
import { ByteRegisters } from '../byte-registers.ts';
import { type ChipClock, type Line, type Saveable, SHORTEST_PERIOD_NS } from '../chip.ts';
import type { Timer } from '../time/timers.ts';
import { PitChannel, type PitChannelState } from './pit-channel.ts';

export const PIT_HZ = 1_193_182n;
const NS_PER_SECOND = 1_000_000_000n;

const CONTROL = 3;
const READ_BACK = 3;
const LATCH = 0;
// Read-back command: a zero bit asks for a latch.
const NO_COUNT = 0x20;
const NO_STATUS = 0x10;

export interface PitState {
  channels: PitChannelState[];
}

/** Ports 0x40 to 0x43. */
export class Pit8254 extends ByteRegisters implements Saveable<PitState> {
  private readonly clock: ChipClock;
  private readonly interrupt: Line;
  private readonly shortestPeriodNs: bigint;
  private readonly channels = [new PitChannel(true), new PitChannel(true), new PitChannel(false)];
  private readonly timer: Timer;
  /** The pulse for which the timer is set; null where it is not. */
  private changeAt: number | null = null;

  /** @param interrupt OUT of channel 0. */
  constructor(clock: ChipClock, interrupt: Line, shortestPeriodNs: bigint = SHORTEST_PERIOD_NS) {
    super();
    this.shortestPeriodNs = shortestPeriodNs;
    this.clock = clock;
    this.interrupt = interrupt;
    this.timer = clock.timer(() => this.changed());
  }

  /** The gate of channel 2; those of the others are wired high. */
  setGate2(level: boolean): void {
    this.channels[2].setGate(level, this.pulses());
  }

  get gate2(): boolean {
    return this.channels[2].gate;
  }

  get output2(): boolean {
    return this.channels[2].output(this.pulses());
  }

  readByte(offset: number): number {
    // the control word cannot be read
    return offset === CONTROL ? 0 : this.channels[offset].read(this.pulses());
  }

  writeByte(offset: number, value: number): void {
    const now = this.pulses();
    if (offset !== CONTROL) this.channels[offset].write(value, now);
    else if (value >> 6 === READ_BACK) this.readBack(value, now);
    else if (((value >> 4) & 3) === LATCH) this.channels[value >> 6].latchCount(now);
    else this.channels[value >> 6].program(value);
    if (offset === 0 || offset === CONTROL) this.update(now);
  }

  save(): PitState {
    return { channels: this.channels.map(channel => channel.save()) };
  }

  load(state: PitState): void {
    state.channels.forEach((channel, i) => {
      this.channels[i].load(channel);
    });
    this.update(this.pulses());
  }

  private readBack(command: number, now: number): void {
    this.channels.forEach((channel, i) => {
      if (!(command & (2 << i))) return;
      if (!(command & NO_COUNT)) channel.latchCount(now);
      if (!(command & NO_STATUS)) channel.latchStatus(now);
    });
  }

  private pulses(): number {
    return Number((this.clock.nowNs() * PIT_HZ) / NS_PER_SECOND);
  }

  private changed(): void {
    const now = this.pulses();
    // Where the clock is past many changes, an interrupt is late, and several become one, but none vanishes: a load, a fall and a
    // rise are followed, then time is caught up with.
    for (let i = 0; i < 3 && this.changeAt !== null && this.changeAt <= now; i++) {
      this.interrupt(this.channels[0].output(this.changeAt));
      this.changeAt = this.channels[0].nextChange(this.changeAt);
    }
    this.update(now);
  }

  private update(now: number): void {
    this.interrupt(this.channels[0].output(now));
    this.changeAt = this.channels[0].nextChange(now);
    if (this.changeAt === null) {
      this.timer.stop();
      return;
    }
    const { period } = this.channels[0];
    const due = nsOf(this.changeAt);
    const soonest = this.clock.nowNs() + this.shortestPeriodNs;
    const tooShort = period !== null && nsOf(period) < this.shortestPeriodNs;
    this.timer.set(tooShort && due < soonest ? soonest : due);
  }
}

/** The first ns at which so many pulses have come. */
function nsOf(pulses: number): bigint {
  return (BigInt(pulses) * NS_PER_SECOND + PIT_HZ - 1n) / PIT_HZ;
}
