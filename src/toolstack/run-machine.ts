// Lets a machine run while the surroundings go on: turns of the thread, waiting on a real clock, ends.
import type { Scheduler } from '../machine/schedule.ts';
import type { Clock } from '../machine/time/clock.ts';
import { type Wakeable, yieldToEventLoop } from './event-loop.ts';

export interface RunOptions {
  /** Run until this is true; looked at every few milliseconds. */
  until?: () => boolean;
  /** Run at most about this many further instructions. */
  instructions?: bigint;
  /** What to do when nobody can ever run again by itself: return (default), or wait for input from outside. */
  whenIdle?: 'return' | 'wait';
  signal?: AbortSignal;
}

export type RunEnd = 'until' | 'instructions' | 'idle' | 'aborted';

/** What runs, and what ends its sleep. */
export interface Running {
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly sleeper: Wakeable;
}

/** Longest time in ms that the thread is kept. */
const TURN_MS = 20;

/** Other work of this thread gets its turn every few milliseconds. */
export async function runMachine({ scheduler, clock, sleeper }: Running, options: RunOptions): Promise<RunEnd> {
  const { until, signal, instructions, whenIdle = 'return' } = options;
  const limit = instructions === undefined ? null : scheduler.retired + instructions;
  let turnEnds = performance.now() + TURN_MS;
  for (;;) {
    if (signal?.aborted) return 'aborted';
    if (until?.()) return 'until';
    if (limit !== null && scheduler.retired >= limit) return 'instructions';
    const result = scheduler.step();
    if (result.kind === 'ran') {
      if (performance.now() < turnEnds) continue;
      await yieldToEventLoop();
    } else if (result.kind === 'wait') {
      // The step may have been the last: timers of its surroundings, of a connection that nobody needs any more say, are not waited for.
      if (until?.()) return 'until';
      const from = performance.now();
      await sleep(sleeper, Number(result.untilNs - clock.nowNs()) / 1e6, signal);
      // Does nothing on a real clock. A virtual one waits only for something outside, and then keeps pace.
      const waitedNs = BigInt(Math.round((performance.now() - from) * 1e6));
      clock.advanceTo(earlier(result.untilNs, clock.nowNs() + waitedNs));
    } else {
      if (until?.()) return 'until';
      if (whenIdle === 'return') return 'idle';
      await sleep(sleeper, Number.POSITIVE_INFINITY, signal);
    }
    turnEnds = performance.now() + TURN_MS;
  }
}

const earlier = (a: bigint, b: bigint): bigint => (a < b ? a : b);

async function sleep(sleeper: Wakeable, ms: number, signal: AbortSignal | undefined): Promise<void> {
  const wake = (): void => sleeper.wake();
  signal?.addEventListener('abort', wake, { once: true });
  await sleeper.sleep(Math.max(0, ms));
  signal?.removeEventListener('abort', wake);
}
