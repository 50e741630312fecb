import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SHORTEST_PERIOD_NS } from '../../../src/machine/chip.ts';
import { PIT_HZ, Pit8254 } from '../../../src/machine/timers/pit-8254.ts';
import { SystemControlPort } from '../../../src/machine/timers/system-control.ts';
import { ManualClock } from '../manual-clock.ts';

const CONTROL = 3;
const nsOf = (pulses: number): bigint => (BigInt(pulses) * 1_000_000_000n + PIT_HZ - 1n) / PIT_HZ;

/** By default without a limit on the interrupt rate, which would hide edges. */
function pit(shortestPeriodNs = 0n) {
  const clock = new ManualClock();
  const edges: [pulse: number, level: boolean][] = [];
  const line = { level: false };
  const pulses = () => Number((clock.nowNs() * PIT_HZ) / 1_000_000_000n);
  const chip = new Pit8254(
    clock,
    level => {
      if (level !== line.level) edges.push([pulses(), level]);
      line.level = level;
    },
    shortestPeriodNs,
  );
  const port61 = new SystemControlPort(clock, chip);
  const program = (channel: number, control: number, count: number) => {
    chip.write(CONTROL, 1, (channel << 6) | control);
    chip.write(channel, 1, count & 0xff);
    chip.write(channel, 1, count >> 8);
  };
  const readCount = (channel: number) => {
    chip.write(CONTROL, 1, channel << 6);
    return chip.read(channel, 1) | (chip.read(channel, 1) << 8);
  };
  /** Goes to a pulse of CLK. */
  const to = (pulse: number) => clock.pass(nsOf(pulse) - clock.nowNs());
  return { clock, chip, port61, edges, line, program, readCount, to };
}

describe('Pit8254', () => {
  it('mode 0: OUT rises N + 1 pulses after the count was written, once', () => {
    const { program, edges, to, readCount } = pit();
    program(0, 0x30, 4);
    expect(readCount(0)).toBe(4);
    to(1);
    expect(readCount(0)).toBe(4);
    to(3);
    expect(readCount(0)).toBe(2);
    to(100);
    expect(edges).toEqual([[5, true]]);
    expect(readCount(0)).toBe((4 - 99) & 0xffff);
  });

  it('mode 0: half a new count stops it, the whole one starts it again', () => {
    const { chip, program, edges, to } = pit();
    program(0, 0x30, 4);
    to(10);
    chip.write(0, 1, 2);
    to(20);
    chip.write(0, 1, 0);
    to(30);
    expect(edges).toEqual([
      [5, true],
      [10, false],
      [23, true],
    ]);
  });

  it('mode 2: low for one pulse of N; a new count waits for the end of the period', () => {
    const { chip, program, edges, to, readCount } = pit();
    program(0, 0x34, 3);
    to(8);
    expect(readCount(0)).toBe(2);
    chip.write(0, 1, 5);
    chip.write(0, 1, 0);
    to(20);
    // periods begin at 1, 4, 7, then 10, 15, 20
    expect(edges).toEqual([
      [0, true],
      [3, false],
      [4, true],
      [6, false],
      [7, true],
      [9, false],
      [10, true],
      [14, false],
      [15, true],
      [19, false],
      [20, true],
    ]);
  });

  it('mode 3: a square wave, its high part longer by one where N is odd', () => {
    const { program, edges, to, readCount } = pit();
    program(0, 0x36, 5);
    const counts = [];
    for (let pulse = 1; pulse <= 6; pulse++) {
      to(pulse);
      counts.push(readCount(0));
    }
    expect(counts).toEqual([4, 2, 0, 4, 2, 4]);
    to(11);
    expect(edges).toEqual([
      [0, true],
      [4, false],
      [6, true],
      [9, false],
      [11, true],
    ]);
  });

  it('mode 3: a new count takes over with the half period', () => {
    const { chip, program, edges, to } = pit();
    program(0, 0x36, 8);
    to(2);
    chip.write(0, 1, 4);
    chip.write(0, 1, 0);
    to(10);
    expect(edges).toEqual([
      [0, true],
      [5, false],
      [7, true],
      [9, false],
    ]);
  });

  it('mode 4: a strobe of one pulse, N + 1 pulses after the write', () => {
    const { program, edges, to } = pit();
    program(0, 0x38, 3);
    to(70000);
    expect(edges).toEqual([
      [0, true],
      [4, false],
      [5, true],
    ]);
  });

  it('modes 1 and 5 wait for the gate', () => {
    const { chip, program, to } = pit();
    program(2, 0x32, 3);
    to(5);
    expect(chip.output2).toBe(true);
    chip.setGate2(true);
    const oneShot = [];
    for (let pulse = 5; pulse < 11; pulse++) {
      to(pulse);
      oneShot.push(chip.output2);
    }
    expect(oneShot).toEqual([true, false, false, false, true, true]);
    chip.setGate2(false);
    program(2, 0x3a, 3);
    to(20);
    chip.setGate2(true);
    const strobe = [];
    for (let pulse = 20; pulse < 27; pulse++) {
      to(pulse);
      strobe.push(chip.output2);
    }
    expect(strobe).toEqual([true, true, true, true, false, true, true]);
  });

  it('a low gate holds modes 0 and 4, and restarts modes 2 and 3', () => {
    const { chip, program, to, readCount } = pit();
    chip.setGate2(true);
    program(2, 0x30, 100);
    to(11);
    chip.setGate2(false);
    to(50);
    expect(readCount(2)).toBe(90);
    chip.setGate2(true);
    to(60);
    expect(readCount(2)).toBe(80);
    program(2, 0x34, 100);
    to(71);
    expect(readCount(2)).toBe(90);
    chip.setGate2(false);
    expect(chip.output2).toBe(true);
    to(80);
    expect(readCount(2)).toBe(90);
    chip.setGate2(true);
    to(81);
    expect(readCount(2)).toBe(100);
  });

  it('reads back count and status, status first, once each', () => {
    const { chip, program, to } = pit();
    program(0, 0x34, 0x1234);
    chip.write(CONTROL, 1, 0xe2);
    expect(chip.read(0, 1)).toBe(0xf4);
    to(1);
    chip.write(CONTROL, 1, 0xc2);
    to(1000);
    chip.write(CONTROL, 1, 0xc2);
    expect(chip.read(0, 1)).toBe(0xb4);
    expect([chip.read(0, 1), chip.read(0, 1)]).toEqual([0x34, 0x12]);
    expect(chip.read(0, 1)).toBe((0x1234 - 999) & 0xff);
  });

  it('counts in BCD, and in bytes', () => {
    const { chip, program, to, readCount } = pit();
    program(0, 0x31, 0x1000);
    to(2);
    expect(readCount(0)).toBe(0x0999);
    to(1002);
    expect(readCount(0)).toBe(0x9999);
    chip.write(CONTROL, 1, 0x14);
    chip.write(0, 1, 9);
    to(1005);
    expect(chip.read(0, 1)).toBe(7);
    chip.write(CONTROL, 1, 0x24);
    chip.write(0, 1, 1);
    to(1007);
    expect(chip.read(0, 1)).toBe(0);
  });

  it('gives channel 2 and the refresh toggle through port 0x61', () => {
    const { clock, port61, program } = pit();
    port61.write(0, 1, 0xfd);
    expect(port61.read(0, 1) & 0xcf).toBe(0x0d);
    // a calibration loop: 50 ms
    program(2, 0xb0 & 0x3f, 59659);
    clock.pass(49_999_000);
    expect(port61.read(0, 1) & 0x20).toBe(0);
    clock.pass(3_000);
    expect(port61.read(0, 1) & 0x20).toBe(0x20);
    const refresh = port61.read(0, 1) & 0x10;
    clock.pass(15_085);
    expect(port61.read(0, 1) & 0x10).toBe(refresh ^ 0x10);
  });

  it('keeps the interrupt rate where the clock is late, at one edge for each time it is looked at', () => {
    const { clock, chip, edges, program } = pit();
    program(0, 0x34, 1193);
    clock.advance(10_000_000n);
    clock.fireDue();
    expect(edges).toEqual([
      [0, true],
      [11931, false],
      [11931, true],
    ]);
    expect(clock.nextDeadline()! > clock.nowNs()).toBe(true);
    expect(chip.save().channels[0].count).toBe(1193);
  });

  it('interrupts no more often than the host can bear', () => {
    const { clock, edges, program } = pit(SHORTEST_PERIOD_NS);
    program(0, 0x34, 2);
    let fired = 0;
    const end = clock.nowNs() + 10_000_000n;
    for (let next = clock.nextDeadline(); next !== null && next <= end; next = clock.nextDeadline()) {
      clock.advanceTo(next);
      fired += clock.fireDue();
    }
    expect(fired).toBeLessThanOrEqual(101);
    expect(edges.filter(([, level]) => level).length).toBeGreaterThan(90);
  });

  it('goes on from a saved state', () => {
    const before = pit();
    before.program(0, 0x36, 1000);
    before.program(2, 0x34, 77);
    before.to(123_456);
    const after = pit();
    after.to(123_456);
    after.chip.load(before.chip.save());
    expect(after.line.level).toBe(before.line.level);
    before.edges.length = 0;
    after.edges.length = 0;
    for (const { to } of [before, after]) to(130_000);
    expect(after.edges).toEqual(before.edges);
    expect(after.edges.length).toBeGreaterThan(10);
    expect(after.readCount(2)).toBe(before.readCount(2));
  });

  it('tells of every edge at its pulse, whatever was written', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 255 }), fc.nat(12)), {
          maxLength: 25,
        }),
        writes => {
          const told = pit();
          const asked = pit();
          const levels: [number, boolean][] = [];
          let pulse = 0;
          let level = false;
          const sample = () => {
            // OUT of channel 0 by its status
            asked.chip.write(CONTROL, 1, 0xe2);
            const now = (asked.chip.save().channels[0].latchedStatus! & 0x80) !== 0;
            asked.chip.read(0, 1);
            if (now !== level) levels.push([pulse, now]);
            level = now;
          };
          for (const [offset, value, wait] of writes) {
            for (const { chip } of [told, asked]) chip.write(offset, 1, value);
            sample();
            for (let i = 0; i < wait; i++) {
              pulse++;
              for (const { to } of [told, asked]) to(pulse);
              sample();
            }
          }
          expect(told.edges).toEqual(levels);
        },
      ),
    );
  });
});
