import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Clock, RealTicks, VirtualTicks } from '../../../src/machine/time/clock.ts';
import { scaleOf, ticksFor, toNs } from '../../../src/machine/time/scale.ts';
import { type Timer, TimerQueue } from '../../../src/machine/time/timers.ts';

describe('scale', () => {
  it('is exact for a tick a nanosecond', () => {
    const scale = scaleOf(1_000_000_000n);
    expect(toNs(123_456_789_012_345n, scale)).toBe(123_456_789_012_345n);
  });

  it('has the multiplier and shift that Xen computes for common rates', () => {
    // As Xen does: the shifted rate lies in (1e9, 2e9], the multiplier is 2^32 * 1e9 / rate.
    expect(scaleOf(2_000_000_000n)).toEqual({ multiplier: 0x8000_0000n, shift: 0 });
    expect(scaleOf(4_000_000_000n)).toEqual({ multiplier: 0x8000_0000n, shift: -1 });
    expect(scaleOf(1_000_000_000n)).toEqual({ multiplier: 0x8000_0000n, shift: 1 });
  });

  it('keeps a 32-bit multiplier, never goes back, and errs by less than a part in 2^30', () => {
    fc.assert(
      fc.property(
        fc.bigInt(1_000_000n, 6_000_000_000n),
        fc.bigInt(0n, 1n << 50n),
        fc.bigInt(0n, 1n << 20n),
        (hz, at, step) => {
          const scale = scaleOf(hz);
          expect(scale.multiplier < 1n << 32n).toBe(true);
          const ns = toNs(at, scale);
          expect(toNs(at + step, scale) >= ns).toBe(true);
          const exact = (at * 1_000_000_000n) / hz;
          const error = exact > ns ? exact - ns : ns - exact;
          expect(error <= exact / (1n << 30n) + 8n).toBe(true);
        },
      ),
    );
  });

  it('ticksFor gives the first tick at which that time has come', () => {
    fc.assert(
      fc.property(fc.bigInt(1_000_000n, 6_000_000_000n), fc.bigInt(1n, 1n << 50n), (hz, ns) => {
        const scale = scaleOf(hz);
        const ticks = ticksFor(ns, scale);
        expect(toNs(ticks, scale) >= ns).toBe(true);
        expect(toNs(ticks - 1n, scale) < ns).toBe(true);
      }),
    );
  });
});

describe('timers', () => {
  it('fire in order of deadline, then of arming', () => {
    const queue = new TimerQueue();
    const fired: string[] = [];
    const make = (name: string): Timer => queue.create(() => fired.push(name));
    const [a, b, c] = [make('a'), make('b'), make('c')];
    b.set(5n);
    a.set(5n);
    c.set(4n);
    expect(queue.next()).toBe(4n);
    expect(queue.fire(5n)).toBe(3);
    expect(fired).toEqual(['c', 'b', 'a']);
    expect(queue.next()).toBeNull();
  });

  it('one that arms itself for now waits for the next call', () => {
    const queue = new TimerQueue();
    let count = 0;
    const timer = queue.create(now => {
      count++;
      timer.set(now);
    });
    const other = queue.create(() => count++);
    timer.set(1n);
    other.set(1n);
    expect(queue.fire(1n)).toBe(2);
    expect(count).toBe(2);
    expect(queue.fire(1n)).toBe(1);
  });

  it('a handler may stop or move another due timer', () => {
    const queue = new TimerQueue();
    const fired: string[] = [];
    const first = queue.create(() => {
      stopped.stop();
      moved.set(9n);
    });
    const stopped = queue.create(() => fired.push('stopped'));
    const moved = queue.create(() => fired.push('moved'));
    first.set(1n);
    stopped.set(1n);
    moved.set(1n);
    queue.fire(1n);
    expect(fired).toEqual([]);
    expect(queue.next()).toBe(9n);
    queue.fire(9n);
    expect(fired).toEqual(['moved']);
  });

  it('agrees with a sorted list under any use', () => {
    const step = fc.record({ timer: fc.nat(7), deadline: fc.option(fc.nat(50)), fire: fc.option(fc.nat(50)) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), steps => {
        const queue = new TimerQueue();
        const fired: number[] = [];
        const timers = Array.from({ length: 8 }, (_, i) => queue.create(() => fired.push(i)));
        const model: { timer: number; deadline: number }[] = [];
        const expected: number[] = [];
        for (const { timer, deadline, fire } of steps) {
          const at = model.findIndex(entry => entry.timer === timer);
          if (at !== -1) model.splice(at, 1);
          if (deadline === null) timers[timer].stop();
          else {
            timers[timer].set(BigInt(deadline));
            model.push({ timer, deadline });
            model.sort((x, y) => x.deadline - y.deadline); // stable: order of arming
          }
          if (fire !== null) {
            queue.fire(BigInt(fire));
            while (model.length > 0 && model[0].deadline <= fire) expected.push(model.shift()!.timer);
          }
          expect(queue.next()).toBe(model.length > 0 ? BigInt(model[0].deadline) : null);
        }
        expect(fired).toEqual(expected);
      }),
    );
  });
});

describe('clock', () => {
  it('virtual: instructions are ticks, and idle time is skipped exactly to the deadline', () => {
    let retired = 0n;
    const clock = new Clock(new VirtualTicks(() => retired), { tscHz: 2_400_000_000n });
    const seen: bigint[] = [];
    clock.at(1_000_000n, now => seen.push(now));
    retired = 1000n;
    expect(clock.fireDue()).toBe(0);
    const left = clock.ticksUntil(clock.nextDeadline()!);
    retired += left - 1n;
    expect(clock.fireDue()).toBe(0);
    retired += 1n;
    expect(clock.fireDue()).toBe(1);
    clock.at(5_000_000n, now => seen.push(now));
    expect(clock.advanceTo(5_000_000n)).toBe(true);
    clock.fireDue();
    expect(seen).toEqual([1_000_000n, 5_000_000n]);
  });

  it('real: follows the host without ever going back, and cannot skip', () => {
    let ms = 10;
    const clock = new Clock(new RealTicks(() => ms));
    expect(clock.nowNs()).toBe(0n);
    ms = 12.5;
    expect(clock.nowNs()).toBe(2_500_000n);
    ms = 11;
    expect(clock.nowNs()).toBe(2_500_000n);
    expect(clock.advance(1n)).toBe(false);
  });
});
