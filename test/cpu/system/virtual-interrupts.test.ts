// The virtual interrupt flag: CR4.VME for virtual-8086 code, CR4.PVI for ring 3.
import { describe, expect, it } from 'vitest';
import { At, Flag, fault, Machine, S, SEG, Vector } from './machine.ts';

const VME = 1n;
const PVI = 2n;
const gp0 = fault(Vector.GP, 0);
const flagsOf = (m: Machine, mask: number): number => Number(m.state.rflags) & mask;
const IOPL = Flag.IOPL;

/** Virtual-8086 code of IOPL 0. */
function v86(flags = 0, cr4 = VME, pv = true): Machine {
  const m = new Machine().v86(0, pv);
  m.state.set(S.cr4, m.state.get(S.cr4) | cr4);
  return m.flags(Flag.VM | flags);
}

describe('CLI and STI', () => {
  it('change VIF where IOPL keeps IF from virtual-8086 code', () => {
    const m = v86(Flag.IF | Flag.VIF).step('fa');
    expect(flagsOf(m, Flag.IF | Flag.VIF)).toBe(Flag.IF);
    m.step('fb');
    expect(flagsOf(m, Flag.IF | Flag.VIF)).toBe(Flag.IF | Flag.VIF);
    expect(v86(Flag.VIP).fault('fb')).toMatchObject(gp0);
    expect(v86(0, PVI).fault('fa')).toMatchObject(gp0);
  });
  it('change IF where IOPL is 3', () => {
    const m = v86(IOPL).step('fb');
    expect(flagsOf(m, Flag.IF | Flag.VIF)).toBe(Flag.IF);
  });
  it('change VIF in ring 3 under PVI, not under VME', () => {
    const ring3 = (cr4: bigint) => {
      const m = new Machine().protected(3);
      m.state.set(S.cr4, cr4);
      return m;
    };
    expect(flagsOf(ring3(PVI).step('fb'), Flag.IF | Flag.VIF)).toBe(Flag.VIF);
    expect(ring3(VME).fault('fb')).toMatchObject(gp0);
    const inner = new Machine().protected(1);
    inner.state.set(S.cr4, PVI);
    expect(inner.fault('fb')).toMatchObject(gp0);
  });
});

describe('PUSHF, POPF and IRET of virtual-8086 code', () => {
  it('see VIF as IF, and IOPL 3', () => {
    const m = v86(Flag.VIF).step('9c');
    expect(Number(m.stack(0, 2)) & (Flag.IF | IOPL)).toBe(Flag.IF | IOPL);
    expect(Number(v86(Flag.IF).step('9c').stack(0, 2)) & Flag.IF).toBe(0);
  });
  it('load VIF from IF, and leave IF and IOPL', () => {
    const m = v86(Flag.IF)
      .push(2, Flag.IF | IOPL | Flag.CF)
      .step('9d');
    expect(flagsOf(m, Flag.IF | Flag.VIF | IOPL | Flag.CF)).toBe(Flag.IF | Flag.VIF | Flag.CF);
    const n = v86(Flag.IF | Flag.VIF)
      .push(2, 0, 0, 0x1234)
      .step('cf');
    expect([flagsOf(n, Flag.IF | Flag.VIF), n.state.rip]).toEqual([Flag.IF, 0x1234n]);
  });
  it('fault for TF, for an interrupt that waits, and with operands of 32 bits', () => {
    expect(v86().push(2, Flag.TF).fault('9d')).toMatchObject(gp0);
    expect(v86(Flag.VIP).push(2, Flag.IF).fault('9d')).toMatchObject(gp0);
    expect(v86(Flag.VIP).push(2, Flag.IF, 0, 0).fault('cf')).toMatchObject(gp0);
    expect(v86().fault('66 9c')).toMatchObject(gp0);
    expect(v86().fault('66 9d')).toMatchObject(gp0);
    expect(v86(0, 0n).fault('9c')).toMatchObject(gp0);
  });
});

describe('INT n of virtual-8086 code', () => {
  const IO_BITMAP = 0x68 + 32;
  /** A task whose bitmap has a 1 for 0x21 only. */
  function task(m: Machine): Machine {
    m.poke(At.tss + 0x66, 2, IO_BITMAP);
    for (let i = 0; i < 33; i++) m.poke(At.tss + 0x68 + i, 1, i === 4 ? 2 : 0);
    m.state.writeSegment(SEG.tr, { ...m.reg(SEG.tr), limit: IO_BITMAP + 1 });
    m.poke(0x20 * 4, 4, 0x0900_0010);
    return m;
  }
  it('goes to its own table where the bitmap has a 0', () => {
    const m = task(v86(Flag.VIF | Flag.IF, VME, false)).step('cd 20');
    expect([m.sel(SEG.cs), m.state.rip, m.state.cpl]).toEqual([0x900, 0x10n, 3]);
    expect([m.stack(0, 2), m.stack(1, 2)]).toEqual([BigInt(At.userCode + 2), 0n]);
    expect(Number(m.stack(2, 2)) & (Flag.IF | IOPL)).toBe(Flag.IF | IOPL);
    expect(flagsOf(m, Flag.IF | Flag.VIF)).toBe(Flag.IF);
  });
  it('clears IF itself with IOPL 3', () => {
    const m = task(v86(Flag.IF | IOPL, VME, false)).step('cd 20');
    expect([m.state.rip, flagsOf(m, Flag.IF)]).toEqual([0x10n, 0]);
    expect(Number(m.stack(2, 2)) & Flag.IF).toBe(Flag.IF);
  });
  it('goes through the IDT where it has a 1: IOPL below 3 is refused', () => {
    const m = task(v86(0, VME, false)).idt32();
    m.code('cd 21').cpu.run(1);
    expect([m.state.rip, m.stack(0, 4)]).toEqual([BigInt(At.handlers), 0n]);
    expect(m.state.get32(S.faultVector)).toBe(Vector.GP);
  });
  it('is refused where the bitmap stands beyond the task', () => {
    const m = v86(0, VME, false).idt32();
    m.poke(At.tss + 0x66, 2, 0x200);
    m.code('cd 20').cpu.run(1);
    expect([m.state.rip, m.state.get32(S.faultVector)]).toEqual([BigInt(At.handlers), Vector.GP]);
  });
});
