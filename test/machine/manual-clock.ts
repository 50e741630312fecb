// A clock that a test moves by hand; timers fire at their exact times.
import { Clock, VirtualTicks } from '../../src/machine/time/clock.ts';

export class ManualClock extends Clock {
  constructor() {
    super(new VirtualTicks(() => 0n));
  }

  /** Lets time pass, in ns. */
  pass(ns: bigint | number): void {
    const end = this.nowNs() + BigInt(ns);
    for (let next = this.nextDeadline(); next !== null && next <= end; next = this.nextDeadline()) {
      this.advanceTo(next);
      this.fireDue();
    }
    this.advanceTo(end);
  }
}
