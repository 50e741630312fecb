// A PCI bus on a bare board, and what a driver does to it.
import { PlatformBus } from '../../../src/machine/bus.ts';
import type { RegisterSpace } from '../../../src/machine/chip.ts';
import { SharedLine } from '../../../src/machine/interrupts/shared-line.ts';
import { PciBus } from '../../../src/machine/pci/bus.ts';
import { CONFIG_PORTS, ConfigPorts, ECAM_SIZE, EcamWindow } from '../../../src/machine/pci/config-access.ts';

export const ECAM = 0xb000_0000;

export class Board {
  readonly platform = new PlatformBus();
  /** Levels of the four interrupt wires, which slots take turns at. */
  readonly wires = [false, false, false, false];
  private readonly lines = this.wires.map((_, wire) => new SharedLine(level => void (this.wires[wire] = level)));
  /** Interrupt messages: [address, data]. */
  readonly messages: [number, number][] = [];
  readonly pci: PciBus;

  constructor() {
    this.pci = new PciBus({
      platform: this.platform,
      intx: (slot, pin) => this.lines[(slot + pin) % this.lines.length].driver(),
      message: (address, data) => void this.messages.push([address, data]),
    });
    this.platform.ports.attach(CONFIG_PORTS.start, CONFIG_PORTS.length, new ConfigPorts(this.pci));
    this.platform.memory.attach(ECAM, ECAM_SIZE, new EcamWindow(this.pci));
  }

  /** Through the memory-mapped window. */
  readConfig(slot: number, offset: number, size: 1 | 2 | 4 = 4, func = 0): number {
    return this.platform.memory.read(ECAM + (slot << 15) + (func << 12) + offset, size);
  }

  writeConfig(slot: number, offset: number, value: number, size: 1 | 2 | 4 = 4): void {
    this.platform.memory.write(ECAM + (slot << 15) + offset, size, value);
  }

  /** Offset of a capability with this id, the nth of its kind; 0 where there is none. */
  capability(slot: number, id: number, nth = 0): number {
    let left = nth;
    for (let at = this.readConfig(slot, 0x34, 1); at !== 0; at = this.readConfig(slot, at + 1, 1)) {
      if (this.readConfig(slot, at, 1) === id && left-- === 0) return at;
    }
    return 0;
  }
}

/** Registers that read as their offset plus `base` and remember writes. */
export function registers(base: number): RegisterSpace & { writes: [number, number, number][] } {
  const writes: [number, number, number][] = [];
  return { writes, read: offset => base + offset, write: (...write) => void writes.push(write) };
}
