// What a control domain in hardware's clothes (PVH) meets outside of its RAM: the machine's devices at their own addresses, but for what Xen keeps
// or stands in front of. Source: xen/arch/x86/hvm/dom0_build.c, xen/arch/x86/hvm/io.c, xen/drivers/vpci/msix.c.
import type { Bus } from '../../cpu/types.ts';
import { PlatformBus } from '../../machine/bus.ts';
import { type AccessSize, floating } from '../../machine/chip.ts';
import type { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { ECAM_SIZE, EcamWindow } from '../../machine/pci/config-access.ts';
import { ControlPorts } from './control-ports.ts';
import type { Hardware } from './hardware.ts';
import { VirtualIoApic } from './virtual-io-apic.ts';
import { Vpci } from './vpci.ts';

const IO_APIC_SIZE = 4096;
const FRAME = 4096;
const NOTHING = { read: (_port: number, size: number) => floating(size as AccessSize), write: () => {} };

export class ControlBus implements Bus {
  private readonly hardware: Hardware;
  private readonly vpci: Vpci;
  /** What stands in front of the machine's own. */
  private readonly front = new PlatformBus();
  private readonly ports: ControlPorts;

  /** @param interrupts the domain's own bus */
  constructor(hardware: Hardware, interrupts: InterruptBus) {
    this.hardware = hardware;
    this.vpci = new Vpci(hardware, interrupts);
    this.ports = new ControlPorts({ ...hardware, pci: this.vpci }, NOTHING);
    const { memory } = this.front;
    memory.attach(hardware.ioApicAddress, IO_APIC_SIZE, new VirtualIoApic(hardware.irqs, interrupts));
    if (hardware.ecamAddress !== null) memory.attach(hardware.ecamAddress, ECAM_SIZE, new EcamWindow(this.vpci));
  }

  read(address: bigint, size: number): bigint {
    const at = Number(address);
    const bus = this.busAt(at, size);
    return bus ? bus.read(address, size) : BigInt.asUintN(8 * size, -1n);
  }

  write(address: bigint, size: number, value: bigint): void {
    this.busAt(Number(address), size)?.write(address, size, value);
  }

  portRead(port: number, size: number): number {
    return this.ports.read(port, size);
  }

  portWrite(port: number, size: number, value: number): void {
    this.ports.write(port, size, value);
  }

  private busAt(at: number, size: number): Pick<Bus, 'read' | 'write'> | null {
    if (!this.front.memory.isFree(at, size)) return this.front;
    const table = this.vpci.tableAt(at);
    if (table) return wide(table.start, table.space);
    const frame = Math.floor(at / FRAME);
    return this.hardware.ownFrames.some(([first, last]) => frame >= first && frame <= last) ? null : this.hardware.bus;
  }
}

/** Registers of 32 bits at an address; 64 bits are two of them. */
function wide(start: number, { read, write }: { read: VirtualRead; write: VirtualWrite }): Pick<Bus, 'read' | 'write'> {
  const word = (offset: number, size: number): bigint => BigInt(read(offset, size as AccessSize) >>> 0);
  return {
    read: (address, size) => {
      const offset = Number(address) - start;
      return size === 8 ? word(offset, 4) | (word(offset + 4, 4) << 32n) : word(offset, size);
    },
    write: (address, size, value) => {
      const offset = Number(address) - start;
      write(offset, size === 8 ? 4 : (size as AccessSize), Number(value & 0xffffffffn));
      if (size === 8) write(offset + 4, 4, Number(value >> 32n));
    },
  };
}
type VirtualRead = (offset: number, size: AccessSize) => number;
type VirtualWrite = (offset: number, size: AccessSize, value: number) => void;
