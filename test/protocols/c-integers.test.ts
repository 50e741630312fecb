import { expect, it } from 'vitest';
import { atoi, strictStrtol } from '../../src/protocols/c-integers.ts';

it('atoi takes what it can', () => {
  const cases: [string, number][] = [
    ['12', 12],
    [' \t-3x', -3],
    ['+5', 5],
    ['x', 0],
    ['', 0],
    ['0x10', 0],
    ['2147483648', -2147483648],
    ['4294967297', 1],
    ['99999999999999999999', -1],
    ['-99999999999999999999', 0],
  ];
  for (const [text, value] of cases) expect(atoi(text), text).toBe(value);
});

it('strtol with base 0 needs the whole text', () => {
  expect(strictStrtol(' -0x1f')).toBe(-31);
  expect(strictStrtol('017')).toBe(15);
  expect(strictStrtol('0')).toBe(0);
  for (const bad of ['', '-', '0x', '18 ', '08', '1.5']) expect(strictStrtol(bad), bad).toBeUndefined();
});
