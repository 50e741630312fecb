// ACPI's fixed hardware: power management events and control, the timer, general-purpose events, and the command port by which a kernel
// takes the machine over from its firmware. Source: ACPI specification 6.5, sections 4.8.2 to 4.8.4.
import { ByteRegisters, byteSpace } from '../byte-registers.ts';
import type { AccessSize, ChipClock, Line, RegisterSpace, Saveable } from '../chip.ts';
import type { Timer } from '../time/timers.ts';

// Offsets in the block of PM1a and timer registers, which the FADT gives one by one.
export const PM1_STATUS = 0;
const PM1_ENABLE = 2;
export const PM1_CONTROL = 4;
export const PM_TIMER = 8;
export const PM_LENGTH = 12;
/** Bytes of the block of general-purpose events, one half status, one half enable. */
export const GPE0_LENGTH = 4;
export const PM_TIMER_HZ = 3_579_545n;
/** SLP_TYP of soft off: the DSDT's _S5. */
export const S5_SLEEP_TYPE = 7;
/** What the FADT tells a kernel to write to the command port. */
export const ACPI_ENABLE = 0xf1;
export const ACPI_DISABLE = 0xf0;

// PM1 status and enable
const TIMER = 1 << 0;
const GLOBAL_LOCK = 1 << 5;
const POWER_BUTTON = 1 << 8;
const RTC_ALARM = 1 << 10;
const EVENTS = TIMER | GLOBAL_LOCK | POWER_BUTTON | RTC_ALARM;
// PM1 control
const SCI_ENABLE = 1 << 0;
const SLEEP_TYPE_SHIFT = 10;
const SLEEP_ENABLE = 1 << 13;
const CONTROL_WRITABLE = 0x1c02;

const NS_PER_SECOND = 1_000_000_000n;
/** The timer has 32 bits; a change of the highest one sets its status. */
const HALF_WRAP = 1n << 31n;
const GPES = (GPE0_LENGTH / 2) * 8;

export interface PmState {
  status: number;
  enable: number;
  control: number;
  gpeStatus: number;
  gpeEnable: number;
  smiCommand: number;
  /** Half wraps of the timer that are in the status already. */
  halfWraps: bigint;
}

export interface PmWires {
  /** The system control interrupt, a level. */
  sci: Line;
  /** The kernel has asked for soft off. */
  powerOff(): void;
}

/** Its own registers are PM1a and the timer; `gpe0` and `smiCommand` stand elsewhere. */
export class AcpiPm extends ByteRegisters implements Saveable<PmState> {
  private readonly clock: ChipClock;
  private readonly wires: PmWires;
  private readonly timer: Timer;
  private s: PmState;

  /** @param enabled whether the machine starts in ACPI mode, so that there is no command to give. */
  constructor(clock: ChipClock, wires: PmWires, enabled = false) {
    super();
    this.clock = clock;
    this.wires = wires;
    this.timer = clock.timer(() => this.update());
    this.s = {
      status: 0,
      enable: 0,
      control: enabled ? SCI_ENABLE : 0,
      gpeStatus: 0,
      gpeEnable: 0,
      smiCommand: 0,
      halfWraps: 0n,
    };
    this.s.halfWraps = this.halfWraps();
  }

  /** The block of general-purpose events, GPE0. */
  readonly gpe0: RegisterSpace = byteSpace(
    offset => this.readGpe(offset),
    (offset, value) => this.writeGpe(offset, value),
  );

  /** The SMI command port and the status byte behind it (0xb2 and 0xb3 on a PC). */
  readonly smiCommand: RegisterSpace = byteSpace(
    offset => (offset === 0 ? this.s.smiCommand : 0),
    (offset, value) => {
      if (offset === 0) this.command(value);
    },
  );

  /** Somebody presses the power button. */
  pressPowerButton(): void {
    this.s.status |= POWER_BUTTON;
    this.update();
  }

  /** The clock interrupts, which may wake the machine. */
  clockAlarm(): void {
    this.s.status |= RTC_ALARM;
    this.update();
  }

  /** A general-purpose event, 0 to 15, happens. */
  raiseGpe(n: number): void {
    this.s.gpeStatus |= 1 << n;
    this.update();
  }

  override read(offset: number, size: AccessSize): number {
    // in one piece: it moves
    return offset === PM_TIMER && size === 4 ? this.timerValue() : super.read(offset, size);
  }

  readByte(offset: number): number {
    this.update();
    const { status, enable, control } = this.s;
    if (offset >= PM_TIMER) return (this.timerValue() >>> (8 * (offset - PM_TIMER))) & 0xff;
    const registers = [status, enable, control, 0];
    return (registers[offset >> 1] >> (8 * (offset & 1))) & 0xff;
  }

  writeByte(offset: number, value: number): void {
    const { s } = this;
    const shift = 8 * (offset & 1);
    const bits = value << shift;
    const others = ~(0xff << shift);
    this.update();
    switch (offset & ~1) {
      case PM1_STATUS:
        s.status &= ~bits;
        break;
      case PM1_ENABLE:
        s.enable = ((s.enable & others) | bits) & EVENTS;
        break;
      case PM1_CONTROL:
        // SCI_EN is the firmware's to change; SLP_EN acts and reads as 0
        s.control = (((s.control & others) | bits) & CONTROL_WRITABLE) | (s.control & SCI_ENABLE);
        if (bits & SLEEP_ENABLE && s.control >> SLEEP_TYPE_SHIFT === S5_SLEEP_TYPE) this.wires.powerOff();
        break;
      default:
        return;
    }
    this.update();
  }

  save(): PmState {
    return { ...this.s };
  }

  load(state: PmState): void {
    this.s = { ...state };
    this.update();
  }

  private readGpe(offset: number): number {
    const { gpeStatus, gpeEnable } = this.s;
    return ((gpeStatus | (gpeEnable << GPES)) >>> (8 * offset)) & 0xff;
  }

  private writeGpe(offset: number, value: number): void {
    const { s } = this;
    const shift = 8 * (offset % (GPE0_LENGTH / 2));
    if (offset < GPE0_LENGTH / 2) s.gpeStatus &= ~(value << shift);
    else s.gpeEnable = (s.gpeEnable & ~(0xff << shift)) | (value << shift);
    this.update();
  }

  private command(value: number): void {
    this.s.smiCommand = value;
    if (value === ACPI_ENABLE) this.s.control |= SCI_ENABLE;
    else if (value === ACPI_DISABLE) this.s.control &= ~SCI_ENABLE;
    this.update();
  }

  private ticks(): bigint {
    return (this.clock.nowNs() * PM_TIMER_HZ) / NS_PER_SECOND;
  }

  private timerValue(): number {
    return Number(this.ticks() & 0xffff_ffffn);
  }

  private halfWraps(): bigint {
    return this.ticks() / HALF_WRAP;
  }

  /** Brings status and interrupt up to date; while the timer's event is awaited, the host's timer is set for it. */
  private update(): void {
    const { s } = this;
    const halfWraps = this.halfWraps();
    if (halfWraps !== s.halfWraps) s.status |= TIMER;
    s.halfWraps = halfWraps;
    if (s.enable & TIMER && !(s.status & TIMER)) {
      this.timer.set(((halfWraps + 1n) * HALF_WRAP * NS_PER_SECOND + PM_TIMER_HZ - 1n) / PM_TIMER_HZ);
    } else this.timer.stop();
    const pending = (s.status & s.enable) !== 0 || (s.gpeStatus & s.gpeEnable) !== 0;
    this.wires.sci(pending && (s.control & SCI_ENABLE) !== 0);
  }
}
