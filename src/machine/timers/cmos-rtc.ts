// The PC's real-time clock and its 128 bytes of battery-backed RAM, behind ports 0x70 and 0x71. Nothing ticks: date, flags and
// interrupts follow from the machine's time. Source: Motorola MC146818A data sheet.
import { ByteRegisters } from '../byte-registers.ts';
import type { ChipClock, Line, Saveable } from '../chip.ts';
import type { Timer } from '../time/timers.ts';
import { CALENDAR, decodeField, decodeHour, type RtcFormat, readCalendar, writeCalendar } from './rtc-calendar.ts';

const ALARM_SECONDS = 1;
const ALARM_MINUTES = 3;
const ALARM_HOURS = 5;
const A = 0x0a;
const B = 0x0b;
const C = 0x0c;
const D = 0x0d;

const A_UPDATE_IN_PROGRESS = 0x80;
const A_DIVIDER = 0x70;
/** The divider for the PC's crystal of 32768 Hz; any other setting holds it. */
const A_DIVIDER_RUNS = 0x20;
const A_RATE = 0xf;
const B_SET = 0x80;
const B_UPDATE_ENABLE = 0x10;
const B_BINARY = 4;
const B_24_HOURS = 2;
const C_INTERRUPT = 0x80;
const C_PERIODIC = 0x40;
const C_ALARM = 0x20;
const C_UPDATE = 0x10;
/** The enables in B stand where the flags in C do. */
const FLAGS = C_PERIODIC | C_ALARM | C_UPDATE;
const D_VALID = 0x80;

const SECOND = 1_000_000_000n;
/** An update takes 1984 us and is announced 244 us ahead; at its end the registers show the new second. */
const UPDATE_NS = 2_228_000n;
/** The first update comes so long after the divider was started. */
const AFTER_DIVIDER_RESET = SECOND / 2n;
const CRYSTAL_HZ = 32768n;
/** An alarm register with these bits set matches every value. */
const ANY = 0xc0;
const DAY_SECONDS = 86_400;

export interface RtcState {
  index: number;
  registers: Uint8Array;
  /** Clock time (ns since 1970) less system time; with the divider's phase. */
  offset: bigint;
  /** Up to when (clock time) events are in the flags. */
  seen: bigint;
}

/** Ports 0x70 (index, write only) and 0x71 (data). */
export class CmosRtc extends ByteRegisters implements Saveable<RtcState> {
  private readonly clock: ChipClock;
  private readonly interrupt: Line;
  private readonly timer: Timer;
  private index = 0;
  private registers = new Uint8Array(128);
  private offset: bigint;
  private seen: bigint;

  /**
   * @param wallClockAtBoot ns since 1970 at system time 0.
   * @param firmware what the firmware left in the RAM, by address.
   */
  constructor(clock: ChipClock, interrupt: Line, wallClockAtBoot: bigint, firmware: Iterable<[number, number]> = []) {
    super();
    this.clock = clock;
    this.interrupt = interrupt;
    this.offset = wallClockAtBoot;
    this.registers[A] = A_DIVIDER_RUNS | 6;
    this.registers[B] = B_24_HOURS;
    for (const [address, value] of firmware) this.registers[address] = value;
    this.seen = this.time();
    this.timer = clock.timer(() => this.update());
  }

  readByte(offset: number): number {
    if (offset === 0) return 0xff;
    const { index } = this;
    if (index === C) {
      this.update();
      const flags = this.registers[C];
      this.registers[C] = 0;
      this.update();
      return flags;
    }
    if (index === A) return this.registers[A] | (this.isUpdating() ? A_UPDATE_IN_PROGRESS : 0);
    if (index === D) return D_VALID;
    if (CALENDAR.includes(index)) this.show();
    return this.registers[index];
  }

  writeByte(offset: number, value: number): void {
    if (offset === 0) {
      // bit 7 masks NMIs on a PC
      this.index = value & 0x7f;
      return;
    }
    const { index } = this;
    if (index === C || index === D) return;
    this.update();
    if (CALENDAR.includes(index)) {
      this.show();
      this.registers[index] = value;
      if (this.ticks) this.setTime(this.phase());
    } else if (index === A || index === B) {
      this.control(index, value);
    } else {
      this.registers[index] = value;
    }
    this.update();
  }

  save(): RtcState {
    const { index, offset, seen } = this;
    return { index, registers: this.registers.slice(), offset, seen };
  }

  load(state: RtcState): void {
    this.index = state.index;
    this.registers = state.registers.slice();
    this.offset = state.offset;
    this.seen = state.seen;
    this.update();
  }

  private get dividerRuns(): boolean {
    return (this.registers[A] & A_DIVIDER) === A_DIVIDER_RUNS;
  }

  /** Whether seconds are counted. */
  private get ticks(): boolean {
    return this.dividerRuns && !(this.registers[B] & B_SET);
  }

  private get format(): RtcFormat {
    return { binary: (this.registers[B] & B_BINARY) !== 0, hours24: (this.registers[B] & B_24_HOURS) !== 0 };
  }

  /** Clock time in ns since 1970. */
  private time(): bigint {
    return this.clock.nowNs() + this.offset;
  }

  /** ns into the current second. */
  private phase(): bigint {
    return modulo(this.time(), SECOND);
  }

  private isUpdating(): boolean {
    return this.ticks && this.phase() >= SECOND - UPDATE_NS;
  }

  /** Brings the registers up to date. */
  private show(): void {
    if (this.ticks) writeCalendar(this.registers, secondsOf(this.time()), this.format);
  }

  /** Counts on from what the registers say. */
  private setTime(phase: bigint): void {
    const time = BigInt(readCalendar(this.registers, this.format)) * SECOND + phase;
    this.offset = time - this.clock.nowNs();
    this.seen = time;
  }

  private control(index: number, value: number): void {
    const ran = this.dividerRuns;
    const ticked = this.ticks;
    this.show();
    if (index === A) this.registers[A] = value & ~A_UPDATE_IN_PROGRESS;
    // setting the time takes the update interrupt away
    else this.registers[B] = value & B_SET ? value & ~B_UPDATE_ENABLE : value;
    if (!this.dividerRuns) return;
    const phase = ran ? this.phase() : SECOND - AFTER_DIVIDER_RESET;
    if (this.ticks && !ticked) this.setTime(phase);
    else if (!ran) {
      this.offset += phase - this.phase();
      this.seen = this.time();
    }
  }

  /** Flags what has happened since `seen`, drives the interrupt and sets the timer for what will raise it next. */
  private update(): void {
    const now = this.time();
    const enabled = this.registers[B] & FLAGS;
    let flags = this.registers[C] & FLAGS;
    let next: bigint | null = null;
    for (const flag of [C_UPDATE, C_ALARM, C_PERIODIC]) {
      if (flags & flag) continue;
      let event = this.nextEvent(flag, this.seen);
      if (event !== null && event <= now) {
        flags |= flag;
        event = null;
      }
      if (event !== null && enabled & flag && (next === null || event < next)) next = event;
    }
    this.seen = now;
    const raised = (flags & enabled) !== 0;
    this.registers[C] = flags | (raised ? C_INTERRUPT : 0);
    this.interrupt(raised);
    // the line stays up until C is read, whatever else happens
    if (raised || next === null) this.timer.stop();
    else this.timer.set(next - this.offset);
  }

  /** The first time after `from` (clock time) at which an event happens; null for never. */
  private nextEvent(flag: number, from: bigint): bigint | null {
    if (flag === C_PERIODIC) return this.nextPeriodic(from);
    if (!this.ticks) return null;
    if (flag === C_UPDATE) return (floorDivide(from, SECOND) + 1n) * SECOND;
    return this.nextAlarm(secondsOf(from) + 1);
  }

  private nextPeriodic(from: bigint): bigint | null {
    const rate = this.registers[A] & A_RATE;
    if (rate === 0 || !this.dividerRuns) return null;
    const period = BigInt(rate < 3 ? 1 << (rate + 6) : 1 << (rate - 1));
    // the first multiple of the period, in pulses of the crystal, whose time is after `from`
    const pulses = floorDivide(from * CRYSTAL_HZ, SECOND);
    let at = (floorDivide(pulses, period) + 1n) * period;
    let ns = ceilDivide(at * SECOND, CRYSTAL_HZ);
    if (ns <= from) {
      at += period;
      ns = ceilDivide(at * SECOND, CRYSTAL_HZ);
    }
    return ns;
  }

  /** The first second from `start` on that the alarm registers match; null where they match none of a day. */
  private nextAlarm(start: number): bigint | null {
    const { format, registers } = this;
    const matches = (register: number, decoded: number, value: number): boolean =>
      registers[register] >= ANY || decoded === value;
    const hour = decodeHour(registers[ALARM_HOURS], format);
    const minute = decodeField(registers[ALARM_MINUTES], format);
    const second = decodeField(registers[ALARM_SECONDS], format);
    let at = start;
    while (at <= start + DAY_SECONDS) {
      // times before 1970 are negative
      const ofDay = ((at % DAY_SECONDS) + DAY_SECONDS) % DAY_SECONDS;
      if (!matches(ALARM_HOURS, hour, Math.floor(ofDay / 3600))) at += 3600 - (ofDay % 3600);
      else if (!matches(ALARM_MINUTES, minute, Math.floor(ofDay / 60) % 60)) at += 60 - (ofDay % 60);
      else if (!matches(ALARM_SECONDS, second, ofDay % 60)) at += 1;
      else return BigInt(at) * SECOND;
    }
    return null;
  }
}

function modulo(a: bigint, b: bigint): bigint {
  const rest = a % b;
  return rest < 0n ? rest + b : rest;
}

function floorDivide(a: bigint, b: bigint): bigint {
  return (a - modulo(a, b)) / b;
}

function ceilDivide(a: bigint, b: bigint): bigint {
  return -floorDivide(-a, b);
}

const secondsOf = (time: bigint): number => Number(floorDivide(time, SECOND));
