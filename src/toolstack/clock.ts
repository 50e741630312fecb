// The clock of a machine that is being put together.
import type { CpuModel } from '../cpu/models/model.ts';
import type { Scheduler } from '../machine/schedule.ts';
import { Clock, RealTicks, VirtualTicks } from '../machine/time/clock.ts';

export interface ClockOptions {
  /** virtual: time is executed instructions, and idle time is skipped. real: the surroundings' clock. Default: virtual. */
  clock?: 'virtual' | 'real';
  /** Nanoseconds since 1970 at the start. Default: the start of 2026 on a virtual clock, now on a real one. */
  wallClock?: bigint;
}

const DEFAULT_WALL_CLOCK = 1767225600n * 1_000_000_000n; // 2026-01-01

/** A clock at the model's frequency. `attach` tells it the scheduler whose instructions a virtual one counts. */
export function makeClock(
  { clock: kind, wallClock }: ClockOptions,
  model: CpuModel,
): { clock: Clock; attach: (scheduler: Scheduler) => void } {
  const real = kind === 'real';
  const tscHz = BigInt(model.frequencyKHz) * 1000n;
  let scheduler: Scheduler | null = null;
  const ticks = real
    ? new RealTicks(() => performance.now(), tscHz)
    : new VirtualTicks(() => scheduler?.ticksNow() ?? 0n);
  const wallClockAtBoot = wallClock ?? (real ? BigInt(Date.now()) * 1_000_000n : DEFAULT_WALL_CLOCK);
  return {
    clock: new Clock(ticks, { tscHz, wallClockAtBoot }),
    attach: attached => {
      scheduler = attached;
    },
  };
}
