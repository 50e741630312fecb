// RCPPS and RSQRTPS keep the error that the manual allows, over all exponents.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rcp32, rsqrt32 } from '../../../src/cpu/float/sse.ts';

const view = new DataView(new ArrayBuffer(4));
function value(bits: number): number {
  view.setUint32(0, bits);
  return view.getFloat32(0);
}
const LIMIT = 1.5 * 2 ** -12;
const normal = fc.integer({ min: 0x00800000, max: 0x7f7fffff });

describe('reciprocal approximations', () => {
  it('are close', () => {
    fc.assert(
      fc.property(normal, bits => {
        const x = value(bits);
        // Results below the normal range are flushed.
        if (1 / x >= 2 ** -126) expect(Math.abs(value(rcp32(bits)) * x - 1)).toBeLessThanOrEqual(LIMIT);
        expect(Math.abs(value(rsqrt32(bits)) * Math.sqrt(x) - 1)).toBeLessThanOrEqual(LIMIT);
      }),
      { numRuns: 20_000 },
    );
  });

  it('are exact for powers of four', () => {
    for (let exponent = -126; exponent < 126; exponent += 2) {
      const bits = (exponent + 127) * 0x800000;
      expect(value(rsqrt32(bits))).toBe(2 ** (-exponent / 2));
      expect(value(rcp32(bits))).toBe(2 ** -exponent);
    }
  });

  it('have the special cases of the manual', () => {
    expect(rcp32(0)).toBe(0x7f800000);
    expect(rcp32(0x80000001)).toBe(0xff800000);
    expect(rcp32(0x7f7fffff)).toBe(0);
    expect(rcp32(0xff800000)).toBe(0x80000000);
    expect(rcp32(0x7f800001)).toBe(0x7fc00001);
    expect(rsqrt32(0x80000000)).toBe(0xff800000);
    expect(rsqrt32(0xbf800000)).toBe(0xffc00000);
    expect(rsqrt32(0xff800000)).toBe(0xffc00000);
    expect(rsqrt32(0x7f800000)).toBe(0);
    expect(rsqrt32(0xffc00005)).toBe(0xffc00005);
  });
});
