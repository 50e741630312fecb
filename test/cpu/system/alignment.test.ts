// #AC: accesses of user code that are not aligned, where CR0.AM and RFLAGS.AC ask for it.
import { describe, expect, it } from 'vitest';
import { At, Exit, Flag, fault, Machine, R, S, Vector } from './machine.ts';

const AM = 1n << 18n;
const HANDLER = BigInt(At.handlers);

/** Runs one instruction of user code on [rbx]; true where it ends in the handler of #AC. */
function faults(hex: string, address: number, { am = true, ac = true, cpl = 3 } = {}): boolean {
  const m = new Machine().long(cpl, false);
  for (let vector = 0; vector < 32; vector++) m.idtLong(vector, At.handlers);
  if (am) m.state.set(S.cr0, m.state.get(S.cr0) | AM);
  m.flags(ac ? Flag.AC : 0)
    .set(R.rbx, address)
    .set(R.rsi, address)
    .set(R.rcx, 4)
    .code(hex);
  expect(m.cpu.run(1)).toBe(Exit.fuel);
  if (m.state.rip !== HANDLER) return false;
  expect([m.state.get32(S.faultVector), m.stack(0, 8)]).toEqual([Vector.AC, 0n]);
  return true;
}

describe('alignment checking', () => {
  it('wants CR0.AM, RFLAGS.AC and ring 3', () => {
    expect(faults('8b 03', At.data + 1)).toBe(true);
    expect(faults('8b 03', At.data + 1, { am: false })).toBe(false);
    expect(faults('8b 03', At.data + 1, { ac: false })).toBe(false);
    expect(faults('8b 03', At.data + 1, { cpl: 0 })).toBe(false);
  });
  it('goes by the width: of reads, writes, both, strings, pushes', () => {
    expect([1, 2, 4, 8].map(by => faults('48 8b 03', At.data + by))).toEqual([true, true, true, false]);
    expect([1, 2, 4].map(by => faults('89 03', At.data + by))).toEqual([true, true, false]);
    expect([1, 2].map(by => faults('66 01 03', At.data + by))).toEqual([true, false]);
    expect(faults('88 03', At.data + 1)).toBe(false);
    expect(faults('f3 48 ad', At.data + 4)).toBe(true);
    expect(faults('ff 33', At.data + 4)).toBe(true);
  });
  /** As an Intel processor does them (a program with AC set, natively): bytes below the first offset that is aligned are #AC. */
  it.each([
    ['FLD m32', 'd9 03', 4],
    ['FLD m64', 'dd 03', 8],
    ['FLD m80', 'db 2b', 8],
    ['FSTP m80', 'db 3b', 8],
    ['FBLD', 'df 23', 8],
    ['FBSTP', 'df 33', 8],
    ['FNSTENV', 'd9 33', 4],
    ['FLDENV', 'd9 23', 4],
    ['FNSAVE', 'dd 33', 4],
    ['FRSTOR', 'dd 23', 4],
    ['FNSTENV of 16 bits', '66 d9 33', 2],
    ['FNSAVE of 16 bits', '66 dd 33', 2],
    ['FRSTOR of 16 bits', '66 dd 23', 2],
    ['FLDCW', 'd9 2b', 2],
    ['FNSTCW', 'd9 3b', 2],
    ['STMXCSR', '0f ae 1b', 4],
    ['SGDT', '0f 01 03', 1],
  ])('of %s', (_name, hex, unit) => {
    for (const offset of [1, 2, 4, 8]) expect([offset, faults(hex, At.data + offset)]).toEqual([offset, offset < unit]);
  });
  it('of FXSAVE and FXRSTOR comes before #GP for what is aligned to 4 bytes at least', () => {
    for (const hex of ['0f ae 03', '0f ae 0b']) {
      expect([1, 2, 16].map(offset => faults(hex, At.data + offset))).toEqual([true, true, false]);
      const m = new Machine().long(3);
      m.state.set(S.cr0, m.state.get(S.cr0) | AM);
      expect(
        m
          .flags(Flag.AC)
          .set(R.rbx, At.data + 4)
          .fault(hex),
      ).toMatchObject(fault(Vector.GP, 0));
    }
  });
  it('comes after a page fault', () => {
    const m = new Machine().long(3, false);
    m.idtLong(Vector.PF, At.handlers);
    m.state.set(S.cr0, m.state.get(S.cr0) | AM);
    m.flags(Flag.AC)
      .set(R.rbx, At.data + 1)
      .page(At.data, 0n);
    m.code('8b 03').cpu.run(1);
    expect([m.state.rip, m.state.get(S.cr2)]).toEqual([HANDLER, BigInt(At.data + 1)]);
  });
  it('begins and ends with the flag', () => {
    const m = new Machine().long(3, false);
    m.idtLong(Vector.AC, At.handlers);
    m.state.set(S.cr0, m.state.get(S.cr0) | AM);
    m.set(R.rbx, At.data + 1).set(R.rsp, At.stack3 + 0x400);
    // read; push AC; popf; read
    m.code('8b 03 68 02 00 04 00 9d 8b 03');
    expect(m.cpu.run(4)).toBe(Exit.fuel);
    expect([m.state.rip, m.stack(1, 8)]).toEqual([HANDLER, BigInt(At.userCode + 8)]);
  });
});
