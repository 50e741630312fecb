// The two ways by which software reaches configuration space: mechanism #1 through ports 0xcf8 and 0xcfc (PCI Local Bus 3.0, 3.2.2.3.2), and the
// memory-mapped window of PCI Express (PCI Express Base, 7.2.2), which the MCFG table names.
import { type AccessSize, floating, type RegisterSpace, type Saveable } from '../chip.ts';
import type { PciBus } from './bus.ts';

/** Configuration spaces by bus, device and function. */
export type ConfigAccess = Pick<PciBus, 'readConfig' | 'writeConfig'>;

/** Ports of mechanism #1: four of the address register, four of data. */
export const CONFIG_PORTS = { start: 0xcf8, length: 8 } as const;
/** Size of the memory-mapped window: a megabyte for each of 256 buses. */
export const ECAM_SIZE = 256 << 20;

const ENABLE = 0x8000_0000;
/** Bits of the address register that exist: enable, bus, device, function, doubleword. */
const ADDRESS_BITS = 0x80ff_fffc;
const DATA = 4;
const FUNCTION_SHIFT = 12;
const BUS_SHIFT = 20;

/**
 * The ports, to be attached at CONFIG_PORTS. Accesses to the address register that are narrower than 32 bits are not meant for it: they go
 * to `narrow`, with offsets from 0xcf8 (chipsets have the reset control register at 0xcf9).
 */
export class ConfigPorts implements RegisterSpace, Saveable<number> {
  private readonly bus: PciBus;
  private readonly narrow: RegisterSpace | null;
  private address = 0;

  constructor(bus: PciBus, narrow: RegisterSpace | null = null) {
    this.bus = bus;
    this.narrow = narrow;
  }

  read(offset: number, size: AccessSize): number {
    if (offset < DATA) {
      if (offset === 0 && size === 4) return this.address;
      return this.narrow ? this.narrow.read(offset, size) : floating(size);
    }
    if ((this.address & ENABLE) === 0) return floating(size);
    return this.bus.readConfig(...this.target(offset), size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset < DATA) {
      if (offset === 0 && size === 4) this.address = (value & ADDRESS_BITS) >>> 0;
      else this.narrow?.write(offset, size, value);
    } else if (this.address & ENABLE) this.bus.writeConfig(...this.target(offset), size, value);
  }

  /** Bus, device and function, register. */
  private target(offset: number): [bus: number, devfn: number, register: number] {
    const { address } = this;
    return [(address >>> 16) & 0xff, (address >>> 8) & 0xff, (address & 0xfc) + offset - DATA];
  }

  save(): number {
    return this.address;
  }

  load(address: number): void {
    this.address = address;
  }
}

/** The memory-mapped window, to be attached over ECAM_SIZE bytes. */
export class EcamWindow implements RegisterSpace {
  private readonly bus: ConfigAccess;

  constructor(bus: ConfigAccess) {
    this.bus = bus;
  }

  read(offset: number, size: AccessSize): number {
    return this.bus.readConfig(...target(offset), size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    this.bus.writeConfig(...target(offset), size, value);
  }
}

const target = (offset: number): [bus: number, devfn: number, register: number] => [
  offset >>> BUS_SHIFT,
  (offset >>> FUNCTION_SHIFT) & 0xff,
  offset & 0xfff,
];
