// Time that a test turns: timers fire in the order of their deadlines.
import type { NetworkClock } from '../../../src/backends/net/user/user-network.ts';
import { TimerQueue } from '../../../src/machine/time/timers.ts';

export class FakeClock implements NetworkClock {
  now = 0n;
  readonly timers = new TimerQueue();

  nowNs(): bigint {
    return this.now;
  }

  timer(handler: (now: bigint) => void): ReturnType<TimerQueue['create']> {
    return this.timers.create(handler);
  }

  /** Lets so many milliseconds pass, timer by timer. */
  pass(ms: number): void {
    const end = this.now + BigInt(Math.round(ms * 1e6));
    for (let next = this.timers.next(); next !== null && next <= end; next = this.timers.next()) {
      if (next > this.now) this.now = next;
      this.timers.fire(this.now);
    }
    this.now = end;
  }

  /** Jumps to the next deadline; false where nothing is armed. */
  skip(): boolean {
    const next = this.timers.next();
    if (next === null) return false;
    if (next > this.now) this.now = next;
    this.timers.fire(this.now);
    return true;
  }
}
