import { describe, expect, it } from 'vitest';
import { ACPI_DISABLE, ACPI_ENABLE, AcpiPm, S5_SLEEP_TYPE } from '../../../src/machine/acpi/pm.ts';
import { ManualClock } from '../manual-clock.ts';

const [STATUS, ENABLE, CONTROL, TIMER] = [0, 2, 4, 8];
const POWER_BUTTON = 0x100;
const CLOCK_ALARM = 0x400;
const SLEEP_ENABLE = 0x2000;

function pm(enabled = false) {
  const clock = new ManualClock();
  const seen = { sci: false, off: 0 };
  const chip = new AcpiPm(
    clock,
    {
      sci: level => {
        seen.sci = level;
      },
      powerOff: () => seen.off++,
    },
    enabled,
  );
  return { clock, chip, seen };
}

describe('AcpiPm', () => {
  it('is switched to ACPI by the command port alone', () => {
    const { chip } = pm();
    expect(chip.read(CONTROL, 2)).toBe(0);
    chip.write(CONTROL, 2, 1);
    expect(chip.read(CONTROL, 2)).toBe(0);
    chip.smiCommand.write(0, 1, ACPI_ENABLE);
    expect(chip.read(CONTROL, 2)).toBe(1);
    expect(chip.smiCommand.read(0, 1)).toBe(ACPI_ENABLE);
    chip.smiCommand.write(0, 1, ACPI_DISABLE);
    expect(chip.read(CONTROL, 2)).toBe(0);
    expect(pm(true).chip.read(CONTROL, 2)).toBe(1);
  });

  it('powers off for the sleep type of S5 with SLP_EN', () => {
    const { chip, seen } = pm(true);
    chip.write(CONTROL, 2, (S5_SLEEP_TYPE << 10) | 1);
    chip.write(CONTROL, 2, SLEEP_ENABLE | (1 << 10) | 1);
    expect(seen.off).toBe(0);
    chip.write(CONTROL, 2, SLEEP_ENABLE | (S5_SLEEP_TYPE << 10) | 1);
    expect(seen.off).toBe(1);
    expect(chip.read(CONTROL, 2)).toBe((S5_SLEEP_TYPE << 10) | 1);
  });

  it('raises the SCI for the power button until the status is cleared', () => {
    const { chip, seen } = pm();
    chip.write(ENABLE, 2, POWER_BUTTON);
    chip.pressPowerButton();
    expect(seen.sci).toBe(false);
    chip.smiCommand.write(0, 1, ACPI_ENABLE);
    expect(seen.sci).toBe(true);
    expect(chip.read(STATUS, 2)).toBe(POWER_BUTTON);
    expect(chip.read(STATUS, 4)).toBe(POWER_BUTTON | (POWER_BUTTON << 16));
    chip.write(STATUS, 2, 0xffff & ~POWER_BUTTON);
    expect(seen.sci).toBe(true);
    chip.write(STATUS, 2, POWER_BUTTON);
    expect(seen.sci).toBe(false);
  });

  it('has the clock’s alarm for an event', () => {
    const { chip, seen } = pm(true);
    chip.clockAlarm();
    expect([chip.read(STATUS, 2), seen.sci]).toEqual([CLOCK_ALARM, false]);
    chip.write(ENABLE, 2, CLOCK_ALARM);
    expect(seen.sci).toBe(true);
    chip.write(STATUS, 2, CLOCK_ALARM);
    expect(seen.sci).toBe(false);
  });

  it('counts at 3.579545 MHz, and interrupts each time its highest bit changes', () => {
    const { clock, chip, seen } = pm(true);
    clock.pass(1_000_000_000);
    expect(chip.read(TIMER, 4)).toBe(3_579_545);
    expect(chip.read(TIMER + 1, 2)).toBe(3_579_545 >> 8);
    chip.write(ENABLE, 2, 1);
    const half = (2n ** 31n * 1_000_000_000n) / 3_579_545n;
    clock.pass(half - clock.nowNs());
    expect(seen.sci).toBe(false);
    clock.pass(1);
    expect(seen.sci).toBe(true);
    chip.write(STATUS, 2, 1);
    expect(seen.sci).toBe(false);
    clock.pass(half + 1n);
    expect(seen.sci).toBe(true);
    expect(chip.read(TIMER, 4)).toBeLessThan(10);
    // without the interrupt the status is there all the same
    chip.write(ENABLE, 2, 0);
    chip.write(STATUS, 2, 1);
    clock.pass(half + 1n);
    expect(chip.read(STATUS, 2)).toBe(1);
  });

  it('has sixteen general-purpose events', () => {
    const { chip, seen } = pm(true);
    chip.gpe0.write(2, 2, 0x8002);
    chip.raiseGpe(0);
    expect(seen.sci).toBe(false);
    chip.raiseGpe(15);
    expect(seen.sci).toBe(true);
    expect(chip.gpe0.read(0, 4)).toBe(0x80028001);
    chip.gpe0.write(1, 1, 0x80);
    expect(seen.sci).toBe(false);
    expect(chip.gpe0.read(0, 2)).toBe(1);
  });

  it('goes on from a saved state', () => {
    const before = pm(true);
    before.chip.write(ENABLE, 2, 0x101);
    before.clock.pass(5);
    const after = pm();
    after.clock.pass(5);
    after.chip.load(structuredClone(before.chip.save()));
    for (const p of [before, after]) p.clock.pass(600_000_000_000n);
    expect(after.seen).toEqual(before.seen);
    expect(after.seen.sci).toBe(true);
  });
});
