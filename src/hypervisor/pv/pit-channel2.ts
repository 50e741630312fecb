// Channel 2 of the 8254 timer and port 0x61, which Xen gives every PV guest so that its early delay calibration ends.
// Source: Intel 8254 data sheet; Xen's pv_pit_handler (xen/arch/x86/emul-i8254.c).

const PIT_HZ = 1193182n;
const NS_PER_SECOND = 1_000_000_000n;
const ACCESS_LATCH = 0;
const ACCESS_LOW = 1;
const ACCESS_HIGH = 2;
const READ_BACK = 3;
/** Port 0x61. */
const GATE = 1;
const SPEAKER = 2;
const REFRESH_SHIFT = 14n;

/** State of the channel; times are system time in ns. */
export class PitChannel2 {
  private count = 0x10000;
  private mode = 0;
  private access = 3;
  private gate = false;
  private speaker = false;
  private loadedAt = 0n;
  private latched: number | null = null;
  private readHighNext = false;
  private writeLow: number | null = null;

  /** Ports 0x42, 0x43 (write only) and 0x61. */
  read(port: number, now: bigint): number {
    if (port === 0x61) {
      const refresh = Number((now >> REFRESH_SHIFT) & 1n);
      return (this.speaker ? SPEAKER : 0) | (this.gate ? GATE : 0) | (this.output(now) ? 0x20 : 0) | (refresh << 4);
    }
    if (port !== 0x42) return 0;
    const value = this.latched ?? this.counter(now);
    if (this.access === ACCESS_LOW) {
      this.latched = null;
      return value & 0xff;
    }
    if (this.access === ACCESS_HIGH) {
      this.latched = null;
      return value >> 8;
    }
    this.readHighNext = !this.readHighNext;
    if (this.readHighNext) return value & 0xff;
    this.latched = null;
    return value >> 8;
  }

  write(port: number, value: number, now: bigint): void {
    if (port === 0x61) {
      const gate = (value & GATE) !== 0;
      // A rising gate restarts the modes that it triggers or holds.
      if (gate && !this.gate && this.mode !== 0 && this.mode !== 4) this.loadedAt = now;
      this.gate = gate;
      this.speaker = (value & SPEAKER) !== 0;
    } else if (port === 0x43) {
      this.control(value, now);
    } else {
      this.writeCount(value, now);
    }
  }

  private control(value: number, now: bigint): void {
    const channel = value >> 6;
    if (channel === READ_BACK) {
      if (value & 8 && !(value & 0x20)) this.latch(now);
      return;
    }
    if (channel !== 2) return;
    const access = (value >> 4) & 3;
    if (access === ACCESS_LATCH) {
      this.latch(now);
      return;
    }
    this.access = access;
    this.mode = (value >> 1) & 7;
    if (this.mode > 5) this.mode -= 4;
    this.latched = null;
    this.readHighNext = false;
    this.writeLow = null;
  }

  private latch(now: bigint): void {
    this.latched ??= this.counter(now);
  }

  private writeCount(value: number, now: bigint): void {
    if (this.access === ACCESS_LOW) this.load(value, now);
    else if (this.access === ACCESS_HIGH) this.load(value << 8, now);
    else if (this.writeLow === null) this.writeLow = value;
    else {
      this.load(this.writeLow | (value << 8), now);
      this.writeLow = null;
    }
  }

  private load(count: number, now: bigint): void {
    this.count = count === 0 ? 0x10000 : count;
    this.loadedAt = now;
  }

  /** Clock pulses since the count was loaded. */
  private elapsed(now: bigint): bigint {
    return ((now - this.loadedAt) * PIT_HZ) / NS_PER_SECOND;
  }

  private counter(now: bigint): number {
    const count = BigInt(this.count);
    const elapsed = this.elapsed(now);
    switch (this.mode) {
      case 2:
        return Number(count - (elapsed % count)) & 0xffff;
      case 3:
        return Number(count - ((2n * elapsed) % count)) & 0xffff;
      default:
        return Number((count - elapsed) & 0xffffn);
    }
  }

  private output(now: bigint): boolean {
    const count = BigInt(this.count);
    const elapsed = this.elapsed(now);
    switch (this.mode) {
      case 0:
      case 1:
        return elapsed >= count;
      case 2:
        return elapsed % count === 0n && elapsed !== 0n;
      case 3:
        return elapsed % count < (count + 1n) / 2n;
      default:
        return elapsed === count;
    }
  }
}
