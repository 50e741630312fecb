import { describe, expect, it } from 'vitest';
import { Hpet, type HpetOptions } from '../../../src/machine/timers/hpet.ts';
import { ManualClock } from '../manual-clock.ts';

const CONFIGURATION = 0x10;
const STATUS = 0x20;
const COUNTER = 0xf0;
const timer = (n: number) => ({ configuration: 0x100 + 0x20 * n, comparator: 0x108 + 0x20 * n });
const ENABLE = 1;
const LEGACY = 2;
const [LEVEL, INTERRUPTS, PERIODIC, SET_VALUE, BITS_32] = [2, 4, 8, 0x40, 0x100];
const route = (pin: number) => pin << 9;

/** Times of rising edges by line, in ns; and which lines are up. */
function hpet(options: HpetOptions = {}) {
  const clock = new ManualClock();
  const edges: [line: string, at: number][] = [];
  const up = new Set<string>();
  const line = (name: string) => (level: boolean) => {
    if (level && !up.has(name)) edges.push([name, Number(clock.nowNs())]);
    if (level) up.add(name);
    else up.delete(name);
  };
  const chip = new Hpet(
    clock,
    { irq0: line('irq0'), irq8: line('irq8'), gsi: (pin, level) => line(`gsi${pin}`)(level) },
    { shortestPeriodNs: 0n, ...options },
  );
  const set = (offset: number, value: number) => chip.write(offset, 4, value);
  const get = (offset: number) => chip.read(offset, 4);
  return { clock, chip, edges, up, set, get };
}

describe('Hpet', () => {
  it('says what it can do', () => {
    const { chip, get } = hpet({ timers: 4, periodNs: 16, routes: 0x00f0_0000 });
    expect(get(0)).toBe(0x8086a301);
    expect(get(4)).toBe(16_000_000);
    expect(get(0x104)).toBe(0x00f0_0000);
    expect(get(0x100)).toBe(0x30);
    expect(get(0x160)).toBe(0x30);
    expect(get(0x180)).toBe(0);
    expect(chip.read(2, 2)).toBe(0x8086);
  });

  it('counts while it is enabled, and can be set while it is not', () => {
    const { clock, set, get } = hpet();
    clock.pass(1000);
    expect(get(COUNTER)).toBe(0);
    set(COUNTER, 5);
    set(COUNTER + 4, 1);
    set(CONFIGURATION, ENABLE);
    clock.pass(1000);
    expect([get(COUNTER), get(COUNTER + 4)]).toEqual([105, 1]);
    set(COUNTER, 0);
    expect(get(COUNTER)).toBe(105);
    set(CONFIGURATION, 0);
    clock.pass(1000);
    expect(get(COUNTER)).toBe(105);
  });

  it('interrupts when the counter reaches the comparator, and again after it has wrapped', () => {
    const { clock, set, edges } = hpet();
    set(timer(1).configuration, INTERRUPTS | BITS_32 | route(20));
    set(timer(1).comparator, 50);
    set(CONFIGURATION, ENABLE);
    clock.pass(100_000_000_000n);
    const wrap = 2 ** 32 * 10;
    expect(edges).toEqual([
      ['gsi20', 500],
      ['gsi20', 500 + wrap],
      ['gsi20', 500 + 2 * wrap],
    ]);
  });

  it("is periodic by Linux's two writes of the comparator", () => {
    const { clock, set, get, edges } = hpet();
    set(CONFIGURATION, ENABLE | LEGACY);
    clock.pass(1000);
    set(timer(0).configuration, INTERRUPTS | PERIODIC | SET_VALUE | BITS_32);
    set(timer(0).comparator, 200);
    set(timer(0).comparator, 1000);
    clock.pass(25_000);
    expect(edges).toEqual([
      ['irq0', 2000],
      ['irq0', 12_000],
      ['irq0', 22_000],
    ]);
    expect(get(timer(0).comparator)).toBe(3200);
    expect(get(timer(0).configuration) & SET_VALUE).toBe(0);
  });

  it('takes 64-bit comparators in halves', () => {
    const { clock, set, edges } = hpet();
    set(timer(2).configuration, INTERRUPTS | PERIODIC | SET_VALUE | route(21));
    for (const value of [1, 2]) {
      // accumulator 2^32 + 100, then period 2^32
      set(timer(2).comparator, value === 1 ? 100 : 0);
      set(timer(2).comparator + 4, 1);
    }
    set(CONFIGURATION, ENABLE);
    clock.pass(3n * 2n ** 32n * 10n);
    expect(edges.map(([, at]) => at)).toEqual([2 ** 32 * 10 + 1000, 2 * 2 ** 32 * 10 + 1000]);
  });

  it('makes one interrupt of those that a late clock missed', () => {
    const { clock, set, edges } = hpet();
    set(timer(0).configuration, INTERRUPTS | PERIODIC | SET_VALUE | BITS_32 | route(22));
    set(timer(0).comparator, 1);
    set(timer(0).comparator, 1);
    set(CONFIGURATION, ENABLE);
    clock.advance(1_000_000_000n);
    expect(clock.fireDue()).toBe(1);
    expect(edges.length).toBe(1);
    expect(clock.nextDeadline()).toBe(1_000_000_010n);
  });

  it('interrupts no more often than the host can bear', () => {
    const { clock, set, edges } = hpet({ shortestPeriodNs: 100_000n });
    set(timer(0).configuration, INTERRUPTS | PERIODIC | SET_VALUE | BITS_32 | route(22));
    set(timer(0).comparator, 1);
    set(timer(0).comparator, 1);
    set(CONFIGURATION, ENABLE);
    clock.pass(10_000_000);
    expect(edges.length).toBe(100);
  });

  it('holds a level until its status is cleared', () => {
    const { clock, set, get, up } = hpet();
    set(timer(0).configuration, INTERRUPTS | LEVEL | route(23));
    set(timer(0).comparator, 10);
    set(timer(0).comparator + 4, 0);
    set(CONFIGURATION, ENABLE);
    clock.pass(1000);
    expect([...up]).toEqual(['gsi23']);
    expect(get(STATUS)).toBe(1);
    set(STATUS, 2);
    expect([...up]).toEqual(['gsi23']);
    set(CONFIGURATION, 0);
    expect([...up]).toEqual([]);
    set(CONFIGURATION, ENABLE);
    expect([...up]).toEqual(['gsi23']);
    set(STATUS, 1);
    expect([...up]).toEqual([]);
    expect(get(STATUS)).toBe(0);
  });

  it('takes no route that does not exist', () => {
    const { clock, set, get, edges } = hpet({ routes: 1 << 20 });
    set(timer(0).configuration, INTERRUPTS | route(20));
    set(timer(0).configuration, INTERRUPTS | route(31));
    expect(get(timer(0).configuration)).toBe(0x30 | INTERRUPTS | route(20));
    set(timer(1).configuration, INTERRUPTS | route(24));
    set(timer(1).comparator, 10);
    set(timer(1).comparator + 4, 0);
    set(CONFIGURATION, ENABLE);
    clock.pass(10_000);
    expect(edges).toEqual([]);
  });

  it('replaces the 8254 and the clock', () => {
    const { chip, set, up, clock } = hpet();
    chip.pitInput(true);
    chip.rtcInput(true);
    expect([...up]).toEqual(['irq0', 'irq8']);
    set(CONFIGURATION, ENABLE | LEGACY);
    expect([...up]).toEqual([]);
    chip.pitInput(false);
    chip.pitInput(true);
    expect([...up]).toEqual([]);
    set(timer(1).configuration, INTERRUPTS | LEVEL);
    set(timer(1).comparator, 10);
    set(timer(1).comparator + 4, 0);
    clock.pass(100);
    expect([...up]).toEqual(['irq8']);
    set(CONFIGURATION, ENABLE);
    expect([...up]).toEqual(['irq0', 'irq8']);
    chip.rtcInput(false);
    expect([...up]).toEqual(['irq0']);
  });

  it('goes on from a saved state', () => {
    const before = hpet();
    before.set(timer(0).configuration, INTERRUPTS | PERIODIC | SET_VALUE | route(20));
    before.set(timer(0).comparator, 70);
    before.set(timer(0).comparator + 4, 0);
    before.set(timer(0).comparator, 70);
    before.set(timer(0).comparator + 4, 0);
    before.set(CONFIGURATION, ENABLE);
    before.clock.pass(1000);
    const after = hpet();
    after.clock.pass(1000);
    after.chip.load(structuredClone(before.chip.save()));
    before.edges.length = 0;
    for (const h of [before, after]) h.clock.pass(5000);
    expect(after.edges).toEqual(before.edges);
    expect(after.edges.length).toBe(7);
    expect(after.get(COUNTER)).toBe(before.get(COUNTER));
  });
});
