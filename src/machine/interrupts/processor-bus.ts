// xAPIC mode: a local APIC's registers as a page of device memory, 32 bits every 16 bytes (SDM Vol. 3A, 11.4.1). Each processor has its own
// page, where its base register says, and no access to it leaves the processor.
import type { Bus } from '../../cpu/types.ts';
import type { LocalApic } from './local-apic.ts';

const PAGE_SIZE = 0x1000;

function read(apic: LocalApic, offset: number, size: number): number {
  // narrow reads are let through, what lies between the registers is nothing
  return (offset & 15) + size > 4 ? 0 : apic.readRegister(offset & 0xff0) >>> (8 * (offset & 3));
}

function write(apic: LocalApic, offset: number, size: number, value: number): void {
  if (size === 4 && (offset & 15) === 0) apic.writeRegister(offset & 0xff0, value);
}

/** A processor's way to the platform, past the page of its own APIC, wherever that is. */
export class ProcessorBus implements Bus {
  private readonly platform: Bus;
  private readonly apic: LocalApic;

  constructor(platform: Bus, apic: LocalApic) {
    this.platform = platform;
    this.apic = apic;
  }

  read(address: bigint, size: number): bigint {
    const offset = this.offsetOf(address);
    if (offset < 0) return this.platform.read(address, size);
    return BigInt.asUintN(8 * size, BigInt(read(this.apic, offset, Math.min(size, 4))));
  }

  write(address: bigint, size: number, value: bigint): void {
    const offset = this.offsetOf(address);
    if (offset < 0) this.platform.write(address, size, value);
    else write(this.apic, offset, Math.min(size, 4), Number(value & 0xffffffffn));
  }

  portRead(port: number, size: number): number {
    return this.platform.portRead(port, size);
  }

  portWrite(port: number, size: number, value: number): void {
    this.platform.portWrite(port, size, value);
  }

  /** Negative outside of the page. */
  private offsetOf(address: bigint): number {
    const { page } = this.apic.base;
    const offset = page === null ? -1 : Number(address) - page;
    return offset < PAGE_SIZE ? offset : -1;
  }
}
