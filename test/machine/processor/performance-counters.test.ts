import { describe, expect, it } from 'vitest';
import { cpuModel } from '../../../src/cpu/models/index.ts';
import type { CpuModel } from '../../../src/cpu/models/model.ts';
import { PerformanceCounters } from '../../../src/machine/processor/performance-counters.ts';
import { Clock, VirtualTicks } from '../../../src/machine/time/clock.ts';

const AMD = cpuModel('epyc')!;
const withCounters = (ecx: number): CpuModel => ({
  ...AMD,
  leaves: [{ leaf: 0x80000001, subleaf: null, eax: 0, ebx: 0, ecx, edx: 0 }, ...AMD.leaves],
});

const SELECT = 0xc0010000;
const COUNTER = 0xc0010004;
const ENABLE = 0x43_0000n;
const INTERRUPT = 0x10_0000n;
const CYCLES = 0x76n;
const INSTRUCTIONS = 0xc0n;
const CACHE_MISSES = 0x64n;

function rig(model = withCounters(0)) {
  let ran = 0n;
  let overflows = 0;
  const clock = new Clock(new VirtualTicks(() => ran));
  const counters = new PerformanceCounters({
    model,
    active: () => ran,
    hz: clock.tscHz,
    clock,
    overflow: () => void overflows++,
  });
  return {
    counters,
    clock,
    overflows: () => overflows,
    run(cycles: bigint) {
      ran += cycles;
      clock.fireDue();
    },
    idle(ns: bigint) {
      clock.advance(ns);
      clock.fireDue();
    },
  };
}

describe('a counter', () => {
  it.each([
    ['cycles', ENABLE | CYCLES, 1000n],
    ['instructions', ENABLE | INSTRUCTIONS, 1000n],
    ['what never happens', ENABLE | CACHE_MISSES, 0n],
    ['nothing while it is off', CYCLES | 0x3_0000n, 0n],
    ['nothing in no mode', CYCLES | (1n << 22n), 0n],
  ])('counts %s', (_name, select, counted) => {
    const { counters, run, idle } = rig();
    counters.write(COUNTER + 2, 5n);
    counters.write(SELECT + 2, select);
    run(1000n);
    idle(777n);
    expect(counters.read(COUNTER + 2)).toBe(5n + counted);
    expect(counters.readCounter(2)).toBe(5n + counted);
  });

  it('keeps its count while it is off, and has 48 bits', () => {
    const { counters, run } = rig();
    counters.write(COUNTER, -10n & 0xffff_ffff_ffff_ffffn);
    counters.write(SELECT, ENABLE | CYCLES);
    run(13n);
    counters.write(SELECT, 0n);
    run(1000n);
    expect(counters.read(COUNTER)).toBe(3n);
  });

  it('interrupts when it wraps, once', () => {
    const { counters, run, overflows } = rig();
    counters.write(COUNTER, (1n << 48n) - 100n);
    counters.write(SELECT, ENABLE | INTERRUPT | CYCLES);
    run(99n);
    expect(overflows()).toBe(0);
    run(1n);
    expect(overflows()).toBe(1);
    run(1000n);
    expect([overflows(), counters.read(COUNTER)]).toEqual([1, 1000n]);
  });

  it('waits for a halted processor', () => {
    const { counters, run, idle, overflows, clock } = rig();
    counters.write(COUNTER, (1n << 48n) - 100n);
    counters.write(SELECT, ENABLE | INTERRUPT | CYCLES);
    idle(100n);
    expect(overflows()).toBe(0);
    expect(clock.nextDeadline()).toBe(clock.nowNs() + 100_000n);
    idle(100_000n);
    run(100n);
    idle(100_000n);
    expect(overflows()).toBe(1);
  });
});

describe('counters of a model', () => {
  it('are four, or six at places of their own with four of them at the old ones too', () => {
    const old = rig().counters;
    expect([old.readCounter(3), old.readCounter(4), old.read(0xc0010200)]).toEqual([0n, null, null]);
    const { counters } = rig(withCounters(1 << 23));
    expect(counters.write(0xc001020b, 7n)).toBe(true);
    expect([counters.readCounter(5), counters.readCounter(6)]).toEqual([7n, null]);
    counters.write(COUNTER + 1, 9n);
    expect(counters.read(0xc0010203)).toBe(9n);
    expect(rig(cpuModel('skylake')!).counters.read(COUNTER)).toBeNull();
  });

  it('go on where a saved state left them', () => {
    const { counters, run } = rig();
    counters.write(COUNTER, (1n << 48n) - 100n);
    counters.write(SELECT, ENABLE | INTERRUPT | CYCLES);
    run(40n);
    const copy = rig();
    copy.run(40n);
    copy.counters.load(structuredClone(counters.save()));
    copy.run(60n);
    expect([copy.overflows(), copy.counters.read(COUNTER)]).toEqual([1, 0n]);
  });
});
