// PCI bus 0: which function stands where, which ranges of the address spaces they answer, and where their interrupt pins lead.
//
// Software can put base addresses wherever it likes. Where ranges overlap, who was there first stays, be it a chip of the board or another
// function; the later one answers nothing there until the range is free. So no guest can take a local APIC or a clock off the bus.
import type { Detach, PlatformBus } from '../bus.ts';
import { type AccessSize, floating, type Line, unconnected } from '../chip.ts';
import type { BaseAddress } from './base-address.ts';
import { CONFIG_SIZE, PciRegister } from './config-space.ts';
import { PciCommand, type PciFunction } from './function.ts';

export interface PciBusOptions {
  /** Where memory and I/O ranges are decoded. */
  readonly platform: PlatformBus;
  /**
   * One more output on the wire that a slot's INTA# (0) to INTD# (3) lead to (PCI Local Bus 3.0, 2.2.6: level-triggered and shared): true
   * asserts it.
   */
  readonly intx: (slot: number, pin: number) => Line;
  /** Takes interrupt messages: address and data. */
  readonly message: (address: number, data: number) => void;
}

/** Where a function stands on the bus. */
export interface PciPlace {
  readonly slot: number;
  readonly func: number;
}

interface Occupant extends PciPlace {
  readonly device: PciFunction;
}

interface Decoded {
  readonly bar: BaseAddress;
  readonly address: number;
  readonly detach: Detach;
}

const SLOTS = 32;
const FUNCTIONS = 8;
const MULTIFUNCTION = 0x80;

export class PciBus {
  /**
   * Which messages, by their data, are sent although they are masked: none of a PC's. Guests of Xen never unmask those that they have made
   * events of, and Xen's device model knows.
   */
  ignoresMask: (data: number) => boolean = () => false;
  private readonly platform: PlatformBus;
  private readonly intx: (slot: number, pin: number) => Line;
  private readonly message: (address: number, data: number) => void;
  private readonly occupants = new Map<number, Occupant>();
  private readonly decoded = new Map<BaseAddress, Decoded>();

  constructor({ platform, intx, message }: PciBusOptions) {
    this.platform = platform;
    this.intx = intx;
    this.message = message;
  }

  /** Functions in order of their places. */
  get functions(): readonly PciFunction[] {
    return [...this.occupants.entries()].sort(([a], [b]) => a - b).map(([, { device }]) => device);
  }

  /**
   * Puts a function into a slot, the first free one where none is named; a function number other than 0 wants function 0 to be there too.
   * Returns its place. Throws RangeError where the place is taken or there is none.
   */
  add(device: PciFunction, slot: number = this.freeSlot(), func = 0): PciPlace {
    const devfn = slot * FUNCTIONS + func;
    if (slot < 0 || slot >= SLOTS || func < 0 || func >= FUNCTIONS) throw new RangeError(`no PCI slot ${slot}.${func}`);
    if (this.occupants.has(devfn)) throw new RangeError(`PCI slot ${slot}.${func} is taken`);
    this.occupants.set(devfn, { slot, func, device });
    const sharers = [...this.occupants.values()].filter(other => other.slot === slot);
    if (sharers.some(other => other.func > 0)) {
      for (const other of sharers) other.device.config.bytes[PciRegister.headerType] |= MULTIFUNCTION;
    }
    const pin = device.interruptPin;
    device.connect({
      decode: () => this.decode(device),
      pin: pin === 0 ? unconnected : this.intx(slot, pin - 1),
      message: (address, data) => this.message(address, data),
      ignoresMask: data => this.ignoresMask(data),
    });
    this.decode(device);
    return { slot, func };
  }

  /** Where a function stands. Throws RangeError where it is not on this bus. */
  placeOf(device: PciFunction): PciPlace {
    for (const { device: other, slot, func } of this.occupants.values()) if (other === device) return { slot, func };
    throw new RangeError('the function is not on this PCI bus');
  }

  /** Configuration reads of what is not there give ones. `offset` is 0 to 4095; the extended part of what is there reads as zeros. */
  readConfig(bus: number, devfn: number, offset: number, size: AccessSize): number {
    const occupant = bus === 0 ? this.occupants.get(devfn) : undefined;
    if (!occupant) return floating(size);
    return offset < CONFIG_SIZE ? occupant.device.config.read(offset, size) : 0;
  }

  writeConfig(bus: number, devfn: number, offset: number, size: AccessSize, value: number): void {
    const occupant = bus === 0 ? this.occupants.get(devfn) : undefined;
    if (occupant && offset < CONFIG_SIZE) occupant.device.config.write(offset, size, value);
  }

  private freeSlot(): number {
    for (let slot = 0; slot < SLOTS; slot++) if (!this.occupants.has(slot * FUNCTIONS)) return slot;
    return SLOTS;
  }

  /** Takes a function's ranges as its registers now say; what gave way to another before may find room now. */
  private decode(device: PciFunction): void {
    let freed = false;
    for (const bar of device.bars) {
      const now = this.decoded.get(bar);
      if (!now || now.address === wanted(device, bar)) continue;
      now.detach();
      this.decoded.delete(bar);
      freed = true;
    }
    this.attachAll(device);
    if (freed) for (const other of this.functions) this.attachAll(other);
  }

  private attachAll(device: PciFunction): void {
    for (const bar of device.bars) {
      const address = wanted(device, bar);
      if (address === null || this.decoded.has(bar)) continue;
      const space = bar.kind === 'io' ? this.platform.ports : this.platform.memory;
      if (!space.isFree(address, bar.size)) continue;
      this.decoded.set(bar, { bar, address, detach: space.attach(address, bar.size, bar.space) });
    }
  }
}

/** Where a range is to be decoded as the function's registers say; null for nowhere. */
function wanted(device: PciFunction, bar: BaseAddress): number | null {
  const enabled = bar.kind === 'io' ? PciCommand.io : PciCommand.memory;
  return device.command & enabled ? bar.address : null;
}
