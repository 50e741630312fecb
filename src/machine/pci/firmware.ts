// What firmware does to a PCI bus before a kernel starts: every base address gets a range and functions are told to decode them. Kernels can do it
// themselves, but warn where firmware has not.
import type { BaseAddress } from './base-address.ts';
import type { PciBus } from './bus.ts';
import { PciRegister } from './config-space.ts';
import { PciCommand } from './function.ts';

/** First address and the one after the last. */
export interface PciWindow {
  readonly start: number;
  readonly end: number;
}

/** Ranges of the address spaces that are the bus's, the same as in the host bridge's _CRS. */
export interface PciWindows {
  readonly io: PciWindow;
  readonly memory: PciWindow;
}

/** Gives out addresses, each a multiple of the size. */
class Allocator {
  private next: number;
  private readonly end: number;

  constructor({ start, end }: PciWindow) {
    this.next = start;
    this.end = end;
  }

  take(bar: BaseAddress): number {
    const address = Math.ceil(this.next / bar.size) * bar.size;
    if (address + bar.size > this.end) throw new RangeError(`no room for a PCI range of ${bar.size} bytes`);
    this.next = address + bar.size;
    return address;
  }
}

/**
 * Gives every range an address and has it decoded, and writes what the 8259s call each function's interrupt pin where kernels without
 * ACPI look for it. Throws RangeError where the windows are too small.
 * @param isaIrq by slot and pin, INTA# being 0
 */
export function assignResources(bus: PciBus, windows: PciWindows, isaIrq: (slot: number, pin: number) => number): void {
  const io = new Allocator(windows.io);
  const memory = new Allocator(windows.memory);
  const { functions } = bus;
  // largest first: alignment then wastes nothing
  for (const bar of functions.flatMap(device => device.bars).sort((a, b) => b.size - a.size)) {
    bar.assign((bar.kind === 'io' ? io : memory).take(bar));
  }
  for (const device of functions) {
    const { config, bars } = device;
    let command = 0;
    for (const bar of bars) command |= bar.kind === 'io' ? PciCommand.io : PciCommand.memory;
    if (command) config.write(PciRegister.command, 2, device.command | command);
    const pin = device.interruptPin;
    if (pin !== 0) config.write(PciRegister.interruptLine, 1, isaIrq(bus.placeOf(device).slot, pin - 1));
  }
}
