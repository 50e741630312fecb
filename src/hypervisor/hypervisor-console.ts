// The hypervisor's console as the control domain shares it: it writes by console_io and reads what was typed, told by VIRQ_CONSOLE.
// Source: xen/drivers/char/console.c.
import { Virq } from './events/virq.ts';
import type { Hypervisor } from './hypervisor.ts';

/** Bytes that wait for the domain; Xen keeps as many. */
const ROOM = 128;

export class HypervisorConsole {
  private readonly hypervisor: Hypervisor;
  /** What was typed and not read yet. */
  typed: Uint8Array = new Uint8Array(0);

  constructor(hypervisor: Hypervisor) {
    this.hypervisor = hypervisor;
  }

  /** Types. Returns how many bytes there was room for. */
  write(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, ROOM - this.typed.length);
    if (taken.length === 0) return 0;
    const all = new Uint8Array(this.typed.length + taken.length);
    all.set(this.typed);
    all.set(taken, this.typed.length);
    this.typed = all;
    for (const domain of this.hypervisor.domains.values()) {
      if (domain.drivesHardware) domain.events.sendGlobalVirq(Virq.console);
    }
    return taken.length;
  }
}
