// The machine that the hypervisor runs on, as far as a control domain drives it. Hosts without one (guests alone) have none.
import type { PlatformBus } from '../../machine/bus.ts';
import type { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import type { IoApic } from '../../machine/interrupts/io-apic.ts';
import type { PciBus } from '../../machine/pci/bus.ts';
import type { TypedRange } from '../../machine/processor/mtrr.ts';
import { HostIrqs } from './host-irqs.ts';

/** Inclusive ranges of I/O ports. */
export type PortRange = readonly [first: number, last: number];

export interface Machine {
  readonly bus: PlatformBus;
  readonly pci: PciBus;
  readonly interrupts: InterruptBus;
  readonly ioApic: IoApic;
  /** Processors of the machine: ids 0 to processors - 1. */
  readonly processors: number;
  /** Physical address of the I/O APIC's registers. */
  readonly ioApicAddress: number;
  /** Physical address of PCI's memory-mapped configuration space; null where there is none. */
  readonly ecamAddress: number | null;
  /** Ports of chips that are Xen's own (its serial port, the ACPI timer) beside those that are so on every PC. */
  readonly ownPorts: readonly PortRange[];
  /** What firmware has written to the processors' variable MTRRs. */
  readonly memoryTypes: readonly TypedRange[];
  /** Interrupts that Xen takes itself: that of its serial port. */
  readonly ownGsis: readonly number[];
  /** Physical addresses of chips that nobody but Xen may map: [first, last] frames. */
  readonly ownFrames: readonly (readonly [first: number, last: number])[];
  /** Frames below the end of RAM that are none: [first, count]. */
  readonly reservedFrames: readonly (readonly [first: number, count: number])[];
  powerOff(): void;
  reset(): void;
}

export interface Hardware extends Machine {
  readonly irqs: HostIrqs;
}

/** Xen takes the machine's interrupts. */
export function withIrqs(machine: Machine): Hardware {
  return { ...machine, irqs: new HostIrqs(machine.interrupts, machine.ioApic, machine.ownGsis) };
}
