// An access to a device takes time on a virtual clock, and a timer that comes due by it fires before the next instruction.
import { expect, test } from 'vitest';
import { EngineMemory } from '../../src/cpu/memory.ts';
import { CPU_MODELS } from '../../src/cpu/models/index.ts';
import { createProcessor } from '../../src/cpu/processor.ts';
import { HostEvents } from '../../src/machine/host-events.ts';
import { Scheduler } from '../../src/machine/schedule.ts';
import { Clock, VirtualTicks } from '../../src/machine/time/clock.ts';

test('accesses add up, and the processor stops where a timer is due', () => {
  const processor = createProcessor(new EngineMemory(1 << 20), CPU_MODELS[0], null);
  let stops = 0;
  processor.stop = () => {
    stops++;
  };
  const clock = new Clock(new VirtualTicks(() => scheduler.ticksNow()));
  const scheduler: Scheduler = new Scheduler({
    processor,
    clock,
    hostEvents: new HostEvents(),
    work: 0,
    runners: () => [],
  });
  const before = clock.nowNs();
  scheduler.deviceAccessed();
  const one = clock.nowNs() - before;
  expect(one).toBeGreaterThan(100n);
  let fired = 0;
  clock.at(clock.nowNs() + 2n * one, () => {
    fired++;
  });
  scheduler.deviceAccessed();
  expect(stops).toBe(0);
  scheduler.deviceAccessed();
  expect(stops).toBe(1);
  scheduler.step();
  expect(fired).toBe(1);
});
