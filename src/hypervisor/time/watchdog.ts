// SCHEDOP_watchdog: timers that stop the domain unless it sets them again. Source: xen/include/public/sched.h.

import type { Timer } from '../../machine/time/timers.ts';
import { type Domain, ShutdownReason } from '../domain.ts';
import { XenError } from '../errors.ts';

const WATCHDOGS = 2;
const NS_PER_SECOND = 1_000_000_000n;

export class Watchdogs {
  private readonly domain: Domain;
  private readonly timers: Timer[];
  private readonly inUse: boolean[] = new Array(WATCHDOGS).fill(false);

  constructor(domain: Domain) {
    this.domain = domain;
    const fire = (): void => domain.shutDown(ShutdownReason.watchdog);
    this.timers = this.inUse.map(() => domain.hypervisor.clock.timer(fire));
  }

  /**
   * Id 0 starts a watchdog and returns its id (ENOSPC when all are in use); an id sets it anew, or with timeout 0 gives it back.
   * @param seconds how long the domain may stay silent
   */
  set(id: number, seconds: number): number {
    const { clock } = this.domain.hypervisor;
    if (id > WATCHDOGS) throw new XenError('EINVAL');
    const deadline = clock.nowNs() + BigInt(seconds) * NS_PER_SECOND;
    if (id === 0) {
      const free = this.inUse.indexOf(false);
      if (free === -1) throw new XenError('ENOSPC');
      this.inUse[free] = true;
      this.timers[free].set(deadline);
      return free + 1;
    }
    if (!this.inUse[id - 1]) throw new XenError('EINVAL');
    if (seconds === 0) {
      this.timers[id - 1].stop();
      this.inUse[id - 1] = false;
    } else {
      this.timers[id - 1].set(deadline);
    }
    return 0;
  }

  destroy(): void {
    for (const timer of this.timers) timer.stop();
    this.inUse.fill(false);
  }
}
