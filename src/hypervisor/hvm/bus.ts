// The physical addresses that are no RAM of the domain's: its platform's devices, and pages that it was granted for reading alone.

import { NOT_RAM } from '../../cpu/physical-map.ts';
import type { Bus } from '../../cpu/types.ts';
import type { Domain } from '../domain.ts';
import type { Physmap } from './physmap.ts';

const PAGE = 4096n;

export class HvmBus implements Bus {
  private readonly domain: Domain;
  private readonly devices: Bus;

  constructor(domain: Domain, devices: Bus) {
    this.domain = domain;
    this.devices = devices;
  }

  read(address: bigint, size: number): bigint {
    const mfn = this.readOnlyFrame(address);
    if (mfn === NOT_RAM) return this.devices.read(address, size);
    const { memory } = this.domain.hypervisor;
    const offset = Number(address % PAGE);
    // An access over the end of the page comes as two.
    let value = 0n;
    for (let i = Math.min(size, 4096 - offset) - 1; i >= 0; i--) {
      value = (value << 8n) | BigInt(memory.u8[memory.frameOffset(mfn) + offset + i]);
    }
    return value;
  }

  /** Writes to a page that is there for reading alone are lost, as on Xen. */
  write(address: bigint, size: number, value: bigint): void {
    if (this.readOnlyFrame(address) === NOT_RAM) this.devices.write(address, size, value);
  }

  portRead(port: number, size: number): number {
    return this.devices.portRead(port, size);
  }

  portWrite(port: number, size: number, value: number): void {
    this.devices.portWrite(port, size, value);
  }

  private readOnlyFrame(address: bigint): number {
    return (this.domain.hvm as { physmap: Physmap }).physmap.readOnlyAt(Number(address / PAGE));
  }
}
