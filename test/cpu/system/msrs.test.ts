// The processor's own model-specific registers.
import { describe, expect, it } from 'vitest';
import { Msr, readProcessorMsr, writeProcessorMsr } from '../../../src/cpu/helpers/msrs.ts';
import { AMD, fault, INTEL, Machine, S, SEG, Vector } from './machine.ts';

const gp0 = expect.objectContaining(fault(Vector.GP, 0));
const NOT_CANONICAL = 0x8000_0000_0000n;

describe('model-specific registers', () => {
  it('are read back as written', () => {
    const m = new Machine().long();
    for (const index of [
      Msr.LSTAR,
      Msr.CSTAR,
      Msr.FS_BASE,
      Msr.GS_BASE,
      Msr.KERNEL_GS_BASE,
      Msr.SYSENTER_ESP,
      Msr.SYSENTER_EIP,
    ]) {
      const value = 0xffff_8000_0000_0000n | BigInt(index);
      expect(writeProcessorMsr(m.cpu, index, value)).toBe(true);
      expect(readProcessorMsr(m.cpu, index)).toBe(value);
      expect(() => writeProcessorMsr(m.cpu, index, NOT_CANONICAL)).toThrow(gp0);
      expect(readProcessorMsr(m.cpu, index)).toBe(value);
    }
    expect(m.reg(SEG.fs).base).toBe(0xffff_8000_c000_0100n);
    writeProcessorMsr(m.cpu, Msr.STAR, 0x0023_0010_1234_5678n);
    expect(m.state.get(S.star)).toBe(0x0023_0010_1234_5678n);
  });
  it('check memory types, widths and EFER', () => {
    const m = new Machine().long();
    expect(() => writeProcessorMsr(m.cpu, Msr.PAT, 0x0007040600070402n)).toThrow(gp0);
    expect(writeProcessorMsr(m.cpu, Msr.PAT, 0x0007050600070401n)).toBe(true);
    expect(() => writeProcessorMsr(m.cpu, Msr.TSC_AUX, 1n << 32n)).toThrow(gp0);
    expect(() => writeProcessorMsr(m.cpu, Msr.EFER, 0n)).toThrow(gp0);
  });
  it('set the TSC by its distance from the clock', () => {
    const m = new Machine(INTEL, model => model).long();
    m.cpu.cycles = () => 1000n;
    writeProcessorMsr(m.cpu, Msr.TSC, 5n);
    m.cpu.cycles = () => 1010n;
    expect(readProcessorMsr(m.cpu, Msr.TSC)).toBe(15n);
  });
  it('count in TSC_ADJUST what writes have added to the TSC, and move it by that', () => {
    const m = new Machine(INTEL, model => model).long();
    m.cpu.cycles = () => 1000n;
    writeProcessorMsr(m.cpu, Msr.TSC, 1005n);
    expect(readProcessorMsr(m.cpu, Msr.TSC_ADJUST)).toBe(5n);
    writeProcessorMsr(m.cpu, Msr.TSC_ADJUST, 0xffffffffffffffffn);
    expect([readProcessorMsr(m.cpu, Msr.TSC), readProcessorMsr(m.cpu, Msr.TSC_ADJUST)]).toEqual([
      999n,
      (1n << 64n) - 1n,
    ]);
    const amd = new Machine(AMD).long();
    expect(readProcessorMsr(amd.cpu, Msr.TSC_ADJUST)).toBe(null);
  });
  it('are not known beyond these', () => {
    const m = new Machine().long();
    expect([readProcessorMsr(m.cpu, 0x1b), writeProcessorMsr(m.cpu, 0x1b, 0n)]).toEqual([null, false]);
  });
});
