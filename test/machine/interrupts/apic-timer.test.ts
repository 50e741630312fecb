import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SHORTEST_PERIOD_NS } from '../../../src/machine/chip.ts';
import { Reg } from '../../../src/machine/interrupts/apic-registers.ts';
import { drain, rig } from './rig.ts';

const ONE_SHOT = 0;
const PERIODIC = 1 << 17;
const DEADLINE = 2 << 17;

describe('the counter', () => {
  it.each([
    [0b0000, 2],
    [0b0001, 4],
    [0b0010, 8],
    [0b0011, 16],
    [0b1000, 32],
    [0b1001, 64],
    [0b1010, 128],
    [0b1011, 1],
  ])('divides the 10 ns of the bus by %i: %i', (divide, factor) => {
    const { apics, pass } = rig();
    apics[0].writeRegister(Reg.lvtTimer, ONE_SHOT | 0x40);
    apics[0].writeRegister(Reg.divide, divide);
    apics[0].writeRegister(Reg.initialCount, 100);
    pass(BigInt(factor) * 250n);
    expect(apics[0].readRegister(Reg.currentCount)).toBe(75);
    pass(BigInt(factor) * 750n - 1n);
    expect(drain(apics[0])).toEqual([]);
    pass(1n);
    expect(drain(apics[0])).toEqual([0x40]);
    expect(apics[0].readRegister(Reg.currentCount)).toBe(0);
    pass(1_000_000n);
    expect(drain(apics[0])).toEqual([]);
  });

  it('starts again from where it began, without drift, and coalesces what nobody took', () => {
    const { apics, pass } = rig();
    apics[0].writeRegister(Reg.divide, 0xb);
    apics[0].writeRegister(Reg.lvtTimer, PERIODIC | 0x40);
    apics[0].writeRegister(Reg.initialCount, 100_000);
    pass(1_000_003n);
    expect(apics[0].readRegister(Reg.currentCount)).toBe(100_000);
    expect(drain(apics[0])).toEqual([0x40]);
    pass(999_996n);
    expect(drain(apics[0])).toEqual([]);
    pass(1n);
    expect(drain(apics[0])).toEqual([0x40]);
    pass(100_000_000n);
    expect(drain(apics[0])).toEqual([0x40]);
  });

  it('interrupts no more often than the host can bear', () => {
    const { apics, pass } = rig();
    apics[0].writeRegister(Reg.divide, 0xb);
    apics[0].writeRegister(Reg.lvtTimer, PERIODIC | 0x40);
    apics[0].writeRegister(Reg.initialCount, 1);
    pass(SHORTEST_PERIOD_NS - 1n);
    expect(drain(apics[0])).toEqual([]);
    for (let i = 0; i < 3; i++) {
      pass(i === 0 ? 1n : SHORTEST_PERIOD_NS);
      expect(drain(apics[0])).toEqual([0x40]);
    }
  });

  it('counts while it is masked, and stops at 0', () => {
    const { apics, pass, clock } = rig();
    apics[0].writeRegister(Reg.initialCount, 1000);
    pass(5_000n);
    expect(apics[0].readRegister(Reg.currentCount)).toBe(750);
    apics[0].writeRegister(Reg.initialCount, 0);
    expect(apics[0].readRegister(Reg.currentCount)).toBe(0);
    expect(clock.nextDeadline()).toBeNull();
  });

  it('keeps its count where the divisor changes', () => {
    const { apics, pass } = rig();
    apics[0].writeRegister(Reg.divide, 0xb);
    apics[0].writeRegister(Reg.initialCount, 1000);
    pass(2_000n);
    apics[0].writeRegister(Reg.divide, 0x3);
    expect(apics[0].readRegister(Reg.currentCount)).toBe(800);
    pass(1_600n);
    expect(apics[0].readRegister(Reg.currentCount)).toBe(790);
  });
});

describe('the deadline', () => {
  it('comes at a value of the time-stamp counter, exactly, once', () => {
    const { apics, pass } = rig(1, undefined, 500n);
    const [apic] = apics;
    apic.writeRegister(Reg.lvtTimer, DEADLINE | 0x41);
    apic.timer.setDeadline(10_500n);
    pass(9_999n);
    expect(drain(apic)).toEqual([]);
    expect(apic.timer.deadline).toBe(10_500n);
    pass(1n);
    expect(drain(apic)).toEqual([0x41]);
    expect(apic.timer.deadline).toBe(0n);
  });

  it('comes at once where it has passed; 0 disarms it', () => {
    const { apics, pass } = rig();
    apics[0].writeRegister(Reg.lvtTimer, DEADLINE | 0x41);
    pass(100n);
    apics[0].timer.setDeadline(100n);
    expect(drain(apics[0])).toEqual([0x41]);
    apics[0].timer.setDeadline(200n);
    apics[0].timer.setDeadline(0n);
    pass(1000n);
    expect(drain(apics[0])).toEqual([]);
  });

  it('is nothing in other modes, and these are nothing in its', () => {
    const { apics, clock } = rig();
    apics[0].timer.setDeadline(100n);
    expect(apics[0].timer.deadline).toBe(0n);
    apics[0].writeRegister(Reg.initialCount, 100);
    apics[0].writeRegister(Reg.lvtTimer, DEADLINE | 0x41);
    expect(clock.nextDeadline()).toBeNull();
    apics[0].writeRegister(Reg.initialCount, 100);
    expect(apics[0].readRegister(Reg.initialCount)).toBe(0);
    apics[0].timer.setDeadline(1n << 63n);
    apics[0].writeRegister(Reg.lvtTimer, PERIODIC | 0x41);
    expect(clock.nextDeadline()).toBeNull();
  });
});

describe('any timer', () => {
  it('never fires early, nor twice a period', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 10_000, max: 500_000 }),
        fc.integer({ min: 0, max: 15 }),
        fc.array(fc.bigInt(1n, 2_000_000n)),
        (count, divide, steps) => {
          const { apics, pass, clock } = rig();
          apics[0].writeRegister(Reg.divide, divide);
          apics[0].writeRegister(Reg.lvtTimer, PERIODIC | 0x40);
          apics[0].writeRegister(Reg.initialCount, count);
          const power = (((divide & 3) | ((divide & 8) >> 1)) + 1) & 7;
          const period = BigInt(count) * (10n << BigInt(power));
          let before = 0n;
          for (const step of steps) {
            pass(step);
            const now = clock.nowNs() / period;
            expect(drain(apics[0]).length).toBe(now > before ? 1 : 0);
            before = now;
          }
        },
      ),
    );
  });
});
