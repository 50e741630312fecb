// The host's clock as one HVM domain's chips have it: their timers end with the domain, which nothing else would stop.
import type { ChipClock } from '../../machine/chip.ts';
import type { Clock } from '../../machine/time/clock.ts';
import type { Timer } from '../../machine/time/timers.ts';

export class GuestClock implements ChipClock {
  private readonly clock: Clock;
  private readonly timers: Timer[] = [];
  private isStopped = false;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Nanoseconds since 1970 at system time 0. */
  get wallClockAtBoot(): bigint {
    return this.clock.wallClockAtBoot;
  }

  nowNs(): bigint {
    return this.clock.nowNs();
  }

  timer(handler: (now: bigint) => void): Timer {
    const timer = this.clock.timer(handler);
    this.timers.push(timer);
    return {
      get deadline() {
        return timer.deadline;
      },
      set: ns => {
        if (!this.isStopped) timer.set(ns);
      },
      stop: () => timer.stop(),
    };
  }

  /** The domain has shut down: nothing of it happens any more. */
  stop(): void {
    this.isStopped = true;
    for (const timer of this.timers) timer.stop();
  }
}
