// I/O ports of a PV guest. One without hardware has a virtual timer channel, the address latches of RTC and PCI configuration, and
// nothing else: reads give all ones, writes vanish. Source: Xen's guest_io_read and guest_io_write
// (xen/arch/x86/pv/emul-priv-op.c).
import { PitChannel2 } from './pit-channel2.ts';

const PCI_CF8 = 0xcf8;
const RTC_INDEX = 0x70;

/** A domain's virtual ports. */
export class PvPorts {
  private readonly now: () => bigint;
  private readonly pit = new PitChannel2();
  private rtcIndex = 0;
  private pciAddress = 0;

  /** @param now system time in ns */
  constructor(now: () => bigint) {
    this.now = now;
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
    if (port === 0x42 || port === 0x43 || port === 0x61) return this.pit.read(port, this.now());
    if (port === RTC_INDEX) return this.rtcIndex;
    return 0xff;
  }

  private writeByte(port: number, value: number): void {
    if (port === 0x42 || port === 0x43 || port === 0x61) this.pit.write(port, value, this.now());
    else if (port === RTC_INDEX) this.rtcIndex = value & 0x7f;
  }
}
