// Values of options: what is taken and what is refused, with one sentence.
import { describe, expect, test } from 'vitest';
import { memorySize, modeList } from '../../src/cli/options.ts';

describe('sizes', () => {
  test.each([
    ['512', 512],
    ['512M', 512],
    ['512MiB', 512],
    ['1.5G', 1536],
    ['2g', 2048],
    ['131072K', 128],
  ])('%s', (text, mib) => {
    expect(memorySize(text)).toBe(mib);
  });
  test.each(['', '0', '1M', '4G', '-512M', '512T', 'much', '1000K', '1e3M'])('not %j', text => {
    expect(() => memorySize(text)).toThrow(/size such as|whole number of MiB/);
  });
});

describe('modes', () => {
  test('come in the order of the table, each once', () => {
    expect(modeList('pv, native,pv')).toEqual(['native', 'pv']);
  });
  test.each(['', 'pv,', 'xen'])('not %j', text => {
    expect(() => modeList(text)).toThrow(/There is no mode/);
  });
});
