// Interrupt pins INTA# to INTD# (PCI Local Bus 3.0, 2.2.6): level-triggered, shared, and led to the I/O APIC by the board's wiring, which
// firmware tells the kernel in _PRT.
import type { Line } from '../chip.ts';

/** The GSI that pin 1 to 4 (INTA# to INTD#) of a slot leads to. */
export type IntxRouting = (slot: number, pin: number) => number;

/** What a row of _PRT says: everything in this slot that uses this pin. */
export interface IntxRoute {
  readonly slot: number;
  readonly pin: number;
  readonly gsi: number;
}

/**
 * Slots take turns at `count` inputs from `first` on, so that neighbours do not share. The default suits an I/O APIC of 24 inputs whose
 * first 16 are the ISA bus's.
 */
export function swizzle(first = 16, count = 8): IntxRouting {
  return (slot, pin) => first + ((slot + pin - 1) % count);
}

/** All rows of _PRT for a bus with this wiring, slot 0, the host bridge, left out. */
export function intxRoutes(routing: IntxRouting, slots = 32): IntxRoute[] {
  const routes: IntxRoute[] = [];
  for (let slot = 1; slot < slots; slot++) {
    for (let pin = 1; pin <= 4; pin++) routes.push({ slot, pin, gsi: routing(slot, pin) });
  }
  return routes;
}

/** A line that several drive: asserted while at least one asserts it. */
export class SharedLine {
  private readonly output: Line;
  private readonly drivers = new Set<object>();

  constructor(output: Line) {
    this.output = output;
  }

  drive(driver: object, level: boolean): void {
    const before = this.drivers.size;
    if (level) this.drivers.add(driver);
    else this.drivers.delete(driver);
    if ((before === 0) !== (this.drivers.size === 0)) this.output(this.drivers.size > 0);
  }
}
