import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cmosMemory } from '../../../src/machine/timers/cmos-memory.ts';
import { CmosRtc } from '../../../src/machine/timers/cmos-rtc.ts';
import { readCalendar, writeCalendar } from '../../../src/machine/timers/rtc-calendar.ts';
import { ManualClock } from '../manual-clock.ts';

const [A, B, C, D] = [0x0a, 0x0b, 0x0c, 0x0d];
const [SET, PERIODIC, ALARM, UPDATE, BINARY, HOURS_24] = [0x80, 0x40, 0x20, 0x10, 4, 2];
const SECOND = 1_000_000_000;
/** Saturday. */
const START = Date.UTC(2026, 10, 28, 13, 59, 58) / 1000;

function rtc(fraction = 0) {
  const clock = new ManualClock();
  const raised: number[] = [];
  const wire = { irq: false };
  const chip = new CmosRtc(
    clock,
    level => {
      if (level && !wire.irq) raised.push(Number(clock.nowNs()));
      wire.irq = level;
    },
    BigInt(START) * 1_000_000_000n + BigInt(fraction),
    cmosMemory(0xc000_0000, 0x4000_0000),
  );
  const get = (register: number) => {
    chip.write(0, 1, register);
    return chip.read(1, 1);
  };
  const set = (register: number, value: number) => {
    chip.write(0, 1, register);
    chip.write(1, 1, value);
  };
  const date = () => [0x32, 9, 8, 7, 4, 2, 0].map(get);
  return { clock, chip, raised, wire, get, set, date };
}

describe('CmosRtc', () => {
  it('shows the time in BCD and 24 hours, and otherwise as register B says', () => {
    const { clock, get, set, date } = rtc();
    expect(date()).toEqual([0x20, 0x26, 0x11, 0x28, 0x13, 0x59, 0x58]);
    expect(get(6)).toBe(7);
    clock.pass(2 * SECOND);
    expect(date()).toEqual([0x20, 0x26, 0x11, 0x28, 0x14, 0x00, 0x00]);
    set(B, BINARY);
    expect(date()).toEqual([20, 26, 11, 28, 0x82, 0, 0]);
    expect(get(D)).toBe(0x80);
  });

  it('announces an update 244 us and its length ahead', () => {
    const { clock, get } = rtc();
    expect(get(A)).toBe(0x26);
    clock.pass(SECOND - 2_228_001);
    expect(get(A)).toBe(0x26);
    clock.pass(1);
    expect(get(A)).toBe(0xa6);
    clock.pass(2_227_999);
    expect(get(A)).toBe(0xa6);
    expect(get(0)).toBe(0x58);
    clock.pass(1);
    expect(get(A)).toBe(0x26);
    expect(get(0)).toBe(0x59);
  });

  it('is set as Linux sets it, and goes on half a second after the divider starts', () => {
    const { clock, get, set, date } = rtc(300_000_000);
    const control = get(B);
    const divider = get(A);
    set(B, control | SET);
    set(A, divider | 0x70);
    clock.pass(10 * SECOND);
    const time: [number, number][] = [
      [9, 0x30],
      [8, 0x02],
      [7, 0x28],
      [4, 0x23],
      [2, 0x59],
      [0, 0x59],
      [0x32, 0x20],
    ];
    for (const [register, value] of time) set(register, value);
    set(B, control);
    set(A, divider);
    clock.pass(SECOND / 2 - 1);
    expect(date()).toEqual([0x20, 0x30, 0x02, 0x28, 0x23, 0x59, 0x59]);
    clock.pass(1);
    expect(date()).toEqual([0x20, 0x30, 0x03, 0x01, 0x00, 0x00, 0x00]);
  });

  it('stands still while SET is on, and keeps the phase of its seconds', () => {
    const { clock, set, date } = rtc(300_000_000);
    set(B, SET | HOURS_24);
    clock.pass(5 * SECOND);
    expect(date()[6]).toBe(0x58);
    set(0, 0x10);
    set(B, HOURS_24);
    clock.pass(0.7 * SECOND - 1);
    expect(date()[6]).toBe(0x10);
    clock.pass(1);
    expect(date()[6]).toBe(0x11);
  });

  it('interrupts at each update, once until C is read', () => {
    const { clock, get, set, raised, wire } = rtc(250_000_000);
    set(B, HOURS_24 | UPDATE);
    clock.pass(3.5 * SECOND);
    expect(raised).toEqual([0.75 * SECOND]);
    expect(get(C)).toBe(0x80 | PERIODIC | UPDATE);
    expect(wire.irq).toBe(false);
    expect(get(C)).toBe(0);
    clock.pass(SECOND);
    expect(raised).toEqual([0.75 * SECOND, 3.75 * SECOND]);
  });

  it('flags events without interrupting where that is not enabled', () => {
    const { clock, get, raised } = rtc();
    clock.pass(SECOND);
    // the periodic flag comes of the rate that the firmware left in A
    expect(get(C)).toBe(UPDATE | PERIODIC);
    expect(raised).toEqual([]);
  });

  it('has a periodic interrupt of 2 Hz to 8192 Hz', () => {
    const { clock, get, set, raised } = rtc();
    set(A, 0x2f);
    set(B, HOURS_24 | PERIODIC);
    for (let i = 0; i < 3; i++) {
      clock.pass(0.5 * SECOND);
      expect(get(C) & 0xc0).toBe(0xc0);
    }
    expect(raised).toEqual([0.5 * SECOND, SECOND, 1.5 * SECOND]);
    set(A, 0x23);
    raised.length = 0;
    for (let i = 0; i < 8192; i++) {
      clock.pass(122_071);
      get(C);
    }
    expect(raised.length).toBe(8192);
    expect(raised[0]).toBe(1.5 * SECOND + 122_071);
    set(A, 0x20);
    clock.pass(SECOND);
    expect(get(C) & PERIODIC).toBe(0);
  });

  it('wakes at the alarm, and every minute or day where the alarm does not care', () => {
    const { clock, get, set, raised } = rtc();
    set(5, 0x14);
    set(3, 0x01);
    set(1, 0x30);
    set(B, HOURS_24 | ALARM);
    clock.pass(3 * 86_400 * SECOND);
    expect(raised).toEqual([92 * SECOND]);
    expect(get(C)).toBe(0xf0);
    raised.length = 0;
    for (const register of [3, 5]) set(register, 0xff);
    const now = Number(clock.nowNs());
    clock.pass(60 * SECOND);
    expect(raised).toEqual([now + 32 * SECOND]);
    // never: no such hour
    get(C);
    set(5, 0x44);
    raised.length = 0;
    clock.pass(100 * 86_400 * SECOND);
    expect(raised).toEqual([]);
  });

  it('keeps the firmware and the guest bytes', () => {
    const { get, set } = rtc();
    expect(get(0x15) | (get(0x16) << 8)).toBe(640);
    expect(get(0x17) | (get(0x18) << 8)).toBe(0xffff);
    expect(get(0x34) | (get(0x35) << 8)).toBe((0xc000_0000 - 0x100_0000) / 65536);
    expect(get(0x5b) | (get(0x5c) << 8)).toBe(0x4000);
    let sum = 0;
    for (let i = 0x10; i < 0x2e; i++) sum += get(i);
    expect((get(0x2e) << 8) | get(0x2f)).toBe(sum);
    set(0x8f, 0x0a);
    expect(get(0x0f)).toBe(0x0a);
  });

  it('goes on from a saved state', () => {
    const before = rtc();
    before.set(B, HOURS_24 | UPDATE | PERIODIC);
    before.clock.pass(123_456);
    const after = rtc();
    after.clock.pass(123_456);
    after.chip.load(structuredClone(before.chip.save()));
    for (const r of [before, after]) r.clock.pass(SECOND);
    expect(after.raised).toEqual(before.raised);
    expect(after.date()).toEqual(before.date());
  });

  it('takes any bytes for some time, and writes every time so that it reads back', () => {
    const formats = [0, 1, 2, 3].map(n => ({ binary: (n & 1) !== 0, hours24: (n & 2) !== 0 }));
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 128, maxLength: 128 }), fc.nat(253_402_300_799), (garbage, seconds) => {
        for (const format of formats) {
          expect(Number.isInteger(readCalendar(garbage, format))).toBe(true);
          const registers = new Uint8Array(128);
          writeCalendar(registers, seconds, format);
          expect(readCalendar(registers, format)).toBe(seconds);
        }
      }),
    );
  });
});
