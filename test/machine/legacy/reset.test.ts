import { describe, expect, it } from 'vitest';
import { DebugConsole, DebugExit } from '../../../src/machine/legacy/debug-ports.ts';
import { RESET_VALUE, ResetControl, SystemControlPortA } from '../../../src/machine/legacy/reset.ts';

describe('ResetControl', () => {
  it("resets when RST_CPU goes up: Linux's two writes, and ACPI's one", () => {
    let resets = 0;
    const chip = new ResetControl(() => resets++);
    chip.write(0, 1, 2);
    expect(resets).toBe(0);
    chip.write(0, 1, 6);
    chip.write(0, 1, 6);
    expect(resets).toBe(1);
    chip.load({ control: 0 });
    chip.write(0, 1, RESET_VALUE);
    expect(resets).toBe(2);
    expect(chip.read(0, 1)).toBe(6);
  });
});

describe('SystemControlPortA', () => {
  it('switches A20, and resets when bit 0 goes up', () => {
    const log: string[] = [];
    const chip = new SystemControlPortA(
      () => void log.push('reset'),
      level => void log.push(`a20 ${level}`),
    );
    expect(chip.read(0, 1)).toBe(2);
    chip.write(0, 1, 0);
    chip.write(0, 1, 3);
    chip.write(0, 1, 3);
    expect(log).toEqual(['a20 false', 'a20 true', 'reset', 'a20 true']);
  });
});

describe('debug ports', () => {
  it('end the machine with a number, and print', () => {
    const seen: (number | string)[] = [];
    new DebugExit(code => void seen.push(code)).write(0, 4, 5);
    const console = new DebugConsole(byte => void seen.push(String.fromCharCode(byte)));
    expect(console.read(0, 1)).toBe(0xe9);
    console.write(0, 2, 0x6968);
    expect(seen).toEqual([11, 'h', 'i']);
  });
});
