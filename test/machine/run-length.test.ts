// A run on a real clock is as long as the pace of the code allows.
import { expect, test } from 'vitest';
import { LONGEST_RUN, RealTimeRunLength } from '../../src/machine/run-length.ts';
import { Clock, RealTicks } from '../../src/machine/time/clock.ts';

/** A run length and code that does so many instructions a nanosecond. */
function paced() {
  let ms = 0;
  const length = new RealTimeRunLength(new Clock(new RealTicks(() => ms)));
  const run = (instructions: number, pace: number): void => {
    length.begin();
    ms += instructions / pace / 1e6;
    length.end(instructions);
  };
  return { length, run };
}

test('fast code runs longer, slow code for as little as at the start', () => {
  const { length, run } = paced();
  const first = length.longest;
  for (let i = 0; i < 10; i++) run(length.longest, 2);
  expect(length.longest).toBeGreaterThan(300_000);
  expect(length.longest).toBeLessThanOrEqual(400_000);
  for (let i = 0; i < 10; i++) run(length.longest, 0.05);
  expect(length.longest).toBe(first);
});

test('a run has a limit at any pace, and grows step by step', () => {
  const { length, run } = paced();
  const first = length.longest;
  run(first, 1000);
  expect(length.longest).toBe(2 * first);
  for (let i = 0; i < 10; i++) run(length.longest, 1000);
  expect(length.longest).toBe(LONGEST_RUN);
});

test('a run that ended early says nothing', () => {
  const { length, run } = paced();
  const first = length.longest;
  run(10, 0.000001);
  run(10, 1000);
  expect(length.longest).toBe(first);
});
