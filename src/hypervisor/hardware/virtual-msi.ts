// A function's MSI capability as vPCI shows it to a domain: address and data are the domain's own, the function has Xen's. One message, however
// many the function could have. Source: xen/drivers/vpci/msi.c.
import { MSI } from './message-sources.ts';
import type { PassedMessage } from './passed-message.ts';

/** Registers of a capability by doublewords, as a domain accesses them. */
export interface VirtualCapability {
  /** The capability's place in configuration space and its length in bytes. */
  readonly at: number;
  readonly length: number;
  /** @param hardware what the function says */
  read(offset: number, hardware: number): number;
  /** Gives what the function is told; null: nothing. */
  write(offset: number, value: number): number | null;
}

const HIGH_HALF = 16;

export class VirtualMsi implements VirtualCapability {
  readonly at: number;
  readonly length: number;
  address = 0;
  data = 0;
  private addressHigh = 0;
  private isEnabled = false;
  private readonly dataAt: number;
  private readonly maskAt: number | null;
  private readonly interrupt: PassedMessage;

  constructor(at: number, control: number, interrupt: PassedMessage) {
    const isWide = (control & MSI.wide) !== 0;
    this.at = at;
    this.dataAt = isWide ? 12 : 8;
    this.maskAt = control & MSI.maskable ? this.dataAt + 4 : null;
    this.length = this.maskAt === null ? this.dataAt + 4 : this.maskAt + 8;
    this.interrupt = interrupt;
  }

  read(offset: number, hardware: number): number {
    if (offset === 0) {
      const control = (hardware >>> HIGH_HALF) & ~(MSI.enable | MSI.multiple);
      return (hardware & 0xffff) | ((control | (this.isEnabled ? MSI.enable : 0)) << HIGH_HALF);
    }
    if (offset === MSI.address) return this.address;
    if (offset === this.dataAt) return this.data;
    if (offset === MSI.address + 4) return this.addressHigh;
    return hardware; // mask and pending bits
  }

  write(offset: number, value: number): number | null {
    if (offset === 0) this.enable(((value >>> HIGH_HALF) & MSI.enable) !== 0);
    else if (offset === MSI.address) this.address = (value & ~3) >>> 0;
    else if (offset === this.dataAt) this.data = value & 0xffff;
    else if (offset === MSI.address + 4) this.addressHigh = value >>> 0;
    else if (offset === this.maskAt) return value;
    return null;
  }

  private enable(on: boolean): void {
    this.isEnabled = on;
    if (on) this.interrupt.start(this);
    else this.interrupt.stop();
  }
}
