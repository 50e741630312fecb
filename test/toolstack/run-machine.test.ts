import { expect, it } from 'vitest';
import type { Scheduler } from '../../src/machine/schedule.ts';
import type { Clock } from '../../src/machine/time/clock.ts';
import { Wakeable } from '../../src/toolstack/event-loop.ts';
import { runMachine } from '../../src/toolstack/run-machine.ts';

it('does not wait for a timer where the step before it was the last', async () => {
  let isOver = false;
  const scheduler = {
    retired: 0n,
    step: () => {
      isOver = true;
      return { kind: 'wait', untilNs: 60_000_000_000n };
    },
  } as unknown as Scheduler;
  const clock = { nowNs: () => 0n, advanceTo: () => {} } as unknown as Clock;
  const started = performance.now();
  const end = await runMachine({ scheduler, clock, sleeper: new Wakeable() }, { until: () => isOver });
  expect(end).toBe('until');
  expect(performance.now() - started).toBeLessThan(30_000);
});
