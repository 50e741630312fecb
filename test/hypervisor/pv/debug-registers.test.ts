import { describe, expect, it } from 'vitest';
import { R, S } from '../../../src/cpu/layout.ts';
import { CODE, HANDLER, PvGuest } from './pv-guest.ts';

const set = (g: PvGuest, register: number, value: bigint): string => g.guest.try('set_debugreg', register, value);
const get = (g: PvGuest, register: number): bigint =>
  BigInt.asUintN(64, BigInt(g.guest.call('get_debugreg', register)));

describe('debug registers', () => {
  it('start as a processor’s', () => {
    const g = new PvGuest();
    expect([0, 1, 2, 3, 6, 7].map(r => get(g, r))).toEqual([0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n]);
  });

  it('take no address in Xen’s range, nor one that is not canonical', () => {
    const g = new PvGuest();
    expect(set(g, 0, 0x7fff00001234n)).toBe('0');
    expect(set(g, 1, 0xffff800000000000n)).toBe('-EPERM');
    expect(set(g, 1, 0x800000000000n)).toBe('-EPERM');
    expect(set(g, 1, 0xffff880000000000n)).toBe('0');
    expect(get(g, 1)).toBe(BigInt.asUintN(64, BigInt(Number(BigInt.asIntN(64, 0xffff880000000000n)))));
    expect(g.cpu.get(S.dr)).toBe(0x7fff00001234n);
  });

  it('force reserved bits and refuse high ones and DR7.GD', () => {
    const g = new PvGuest();
    expect(set(g, 6, 0n)).toBe('0');
    expect(get(g, 6)).toBe(0xffff0ff0n);
    expect(set(g, 7, 0n)).toBe('0');
    expect(get(g, 7)).toBe(0x400n);
    expect(set(g, 6, 1n << 32n)).toBe('-EINVAL');
    expect(set(g, 7, 1n << 32n)).toBe('-EINVAL');
    expect(set(g, 7, 1n << 13n)).toBe('-EPERM');
  });

  it('4 and 5 are 6 and 7 unless CR4.DE is set', () => {
    const g = new PvGuest();
    expect(get(g, 5)).toBe(0x400n);
    g.pv.cr4 = 8n;
    expect(g.guest.try('get_debugreg', 4)).toBe('-ENODEV');
    expect(set(g, 5, 0n)).toBe('-ENODEV');
    expect(g.guest.try('get_debugreg', 8)).toBe('-EINVAL');
    expect(g.guest.try('get_debugreg', -1)).toBe('-EINVAL');
  });

  it('I/O breakpoints need CR4.DE, are hidden from the processor and read back', () => {
    const g = new PvGuest();
    const ioOn0 = 0x20001n; // enable 0, I/O, one byte
    expect(set(g, 7, ioOn0)).toBe('-EPERM');
    expect(get(g, 7)).toBe(0x400n);
    g.pv.cr4 = 8n;
    expect(set(g, 7, ioOn0)).toBe('0');
    expect(get(g, 7)).toBe(0x20401n);
    expect(g.cpu.get(S.dr + 7 * 8)).toBe(0x20400n);
    expect(set(g, 7, 0x20000n)).toBe('0');
    expect(get(g, 7)).toBe(0x20400n);
  });

  it('an I/O breakpoint is hit by an emulated port access', () => {
    const g = new PvGuest();
    g.pv.iopl = 1;
    g.pv.cr4 = 8n;
    g.handler(1);
    g.handler(13, 0, HANDLER + 16n);
    set(g, 0, 0x80n);
    set(g, 7, 0x20001n);
    g.code(0xe6, 0x80);
    g.exception(13, 0);
    expect(g.cpu.rip).toBe(HANDLER);
    expect(g.frame(3)[2]).toBe(CODE + 2n);
    expect(get(g, 6)).toBe(0xffff0ff1n);
    g.cpu.rip = CODE;
    g.cpu.gpr[R.rdx] = 0x81n;
    g.code(0xee);
    g.exception(13, 0);
    expect(g.cpu.rip).toBe(CODE + 1n);
  });
});
