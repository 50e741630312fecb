// I/O ports of a PV guest. One without hardware has a virtual timer channel, the address latches of RTC and PCI configuration, and
// nothing else: reads give all ones, writes vanish. Source: Xen's guest_io_read and guest_io_write
// (xen/arch/x86/pv/emul-priv-op.c).
import { type ChipClock, unconnected } from '../../machine/chip.ts';
import { Pit8254 } from '../../machine/timers/pit-8254.ts';
import { SystemControlPort } from '../../machine/timers/system-control.ts';

const PIT = 0x40;
/** All of the timer that the guest gets: channel 2, the control word and the port with its gate. */
const PIT_CHANNEL2 = 0x42;
const PIT_CONTROL = 0x43;
const SYSTEM_CONTROL = 0x61;
const PCI_CF8 = 0xcf8;
const RTC_INDEX = 0x70;

/** What IN and OUT of a PV guest reach. Accesses of 1, 2 or 4 bytes. */
export interface GuestPorts {
  read(port: number, size: number): number;
  write(port: number, size: number, value: number): void;
}

/** A domain's virtual ports. */
export class PvPorts implements GuestPorts {
  private readonly pit: Pit8254;
  private readonly systemControl: SystemControlPort;
  private rtcIndex = 0;
  private pciAddress = 0;

  constructor(clock: ChipClock) {
    this.pit = new Pit8254(clock, unconnected);
    this.systemControl = new SystemControlPort(clock, this.pit);
  }

  /** An IN of 1, 2 or 4 bytes. */
  read(port: number, size: number): number {
    if (port === PCI_CF8 && size === 4) return this.pciAddress;
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.readByte((port + i) & 0xffff) << (8 * i);
    return value >>> 0;
  }

  write(port: number, size: number, value: number): void {
    if (port === PCI_CF8 && size === 4) {
      this.pciAddress = value >>> 0;
      return;
    }
    for (let i = 0; i < size; i++) this.writeByte((port + i) & 0xffff, (value >>> (8 * i)) & 0xff);
  }

  private readByte(port: number): number {
    if (port === PIT_CHANNEL2 || port === PIT_CONTROL) return this.pit.readByte(port - PIT);
    if (port === SYSTEM_CONTROL) return this.systemControl.readByte();
    if (port === RTC_INDEX) return this.rtcIndex;
    return 0xff;
  }

  private writeByte(port: number, value: number): void {
    if (port === PIT_CHANNEL2 || port === PIT_CONTROL) this.pit.writeByte(port - PIT, value);
    else if (port === SYSTEM_CONTROL) this.systemControl.writeByte(port, value);
    else if (port === RTC_INDEX) this.rtcIndex = value & 0x7f;
  }
}
