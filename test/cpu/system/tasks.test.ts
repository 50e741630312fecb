// Hardware task switches.
import { describe, expect, it } from 'vitest';
import { deliver } from '../../../src/cpu/helpers/interrupts.ts';
import { At, Flag, fault, Machine, ModeBit, R, S, SEG, Sel, Vector } from './machine.ts';

const T = At.tss2;
const { taskGate, free } = Sel;
const TS = 8n;
const hex2 = (v: number): string =>
  `${(v & 0xff).toString(16).padStart(2, '0')} ${(v >> 8).toString(16).padStart(2, '0')}`;
const jump = (selector: number): string => `ea 00 00 00 00 ${hex2(selector)}`;
const call = (selector: number): string => `9a 00 00 00 00 ${hex2(selector)}`;
const type = (m: Machine, selector: number): number => Number(m.peek(At.gdt + selector + 5, 1));

/** A second task in ring 3 whose registers are told apart from the first one's. */
function tasks(change: (m: Machine) => void = () => {}, cpl = 0): Machine {
  const m = new Machine().protected(cpl);
  const put = (offset: number, value: number): void => m.poke(T + offset, 4, value);
  put(0x20, At.userCode);
  put(0x24, Flag.CF | 2);
  for (let i = 0; i < 8; i++) put(0x28 + i * 4, 0x100 + i);
  put(0x28 + 4 * R.rsp, At.stack3 + 0x100);
  [Sel.userData, Sel.userCode32, Sel.userData, Sel.userData, 0, Sel.userData].forEach((s, i) => {
    put(0x48 + i * 4, s);
  });
  put(0x60, Sel.ldt);
  m.gate(At.gdt + taskGate, Sel.tss2, 0, 0xe5);
  m.set(R.rax, 0xa).set(R.rdi, 0xd);
  change(m);
  return m;
}
const where = (m: Machine) => [m.state.rip, m.state.cpl, m.sel(SEG.cs), m.sel(SEG.ss), m.sel(SEG.tr)];
const there = [BigInt(At.userCode), 3, Sel.userCode32, Sel.userData, Sel.tss2];

describe('a task switch', () => {
  it('by JMP saves the old task, loads the new one and sets CR0.TS', () => {
    const m = tasks().step(jump(Sel.tss2));
    expect(where(m)).toEqual(there);
    expect([m.get(R.rax), m.get(R.rdi), m.get(R.rsp), m.state.rflags]).toEqual([
      0x100n,
      0x107n,
      BigInt(At.stack3 + 0x100),
      BigInt(Flag.CF | 2),
    ]);
    expect([m.sel(SEG.fs), m.sel(SEG.ldtr), m.reg(SEG.ldtr).base]).toEqual([0, Sel.ldt, BigInt(At.ldt)]);
    expect([0x20, 0x24, 0x28, 0x44, 0x4c, 0x50].map(o => m.peek(At.tss + o, 4))).toEqual(
      [At.code + 7, 2, 0xa, 0xd, Sel.code32, Sel.data].map(BigInt),
    );
    expect([type(m, Sel.tss), type(m, Sel.tss2)]).toEqual([0x89, 0x8b]);
    expect(m.state.get(S.cr0) & TS).toBe(TS);
  });
  it('by CALL nests: both busy, a link back, NT; IRET returns', () => {
    const m = tasks().step(call(Sel.tss2));
    expect(where(m)).toEqual(there);
    expect([type(m, Sel.tss), type(m, Sel.tss2), m.peek(T, 2)]).toEqual([0x8b, 0x8b, BigInt(Sel.tss)]);
    expect(m.state.rflags & BigInt(Flag.NT)).toBe(BigInt(Flag.NT));
    m.set(R.rbx, 0xb0b).step('cf');
    expect(where(m)).toEqual([BigInt(At.code + 7), 0, Sel.code32, Sel.data, Sel.tss]);
    expect([m.get(R.rax), type(m, Sel.tss), type(m, Sel.tss2)]).toEqual([0xan, 0x8b, 0x89]);
    expect([m.peek(T + 0x34, 4), m.peek(T + 0x24, 4) & BigInt(Flag.NT)]).toEqual([0xb0bn, 0n]);
  });
  it('goes through task gates, whose DPL counts instead of that of the TSS', () => {
    expect(where(tasks().step(jump(taskGate)))).toEqual(there);
    expect(where(tasks(undefined, 3).step(call(taskGate | 3)))).toEqual(there);
    expect(tasks(undefined, 3).fault(call(Sel.tss2))).toMatchObject(fault(Vector.GP, Sel.tss2));
    const closed = tasks(m => m.gate(At.gdt + taskGate, Sel.tss2, 0, 0x85), 3);
    expect(closed.fault(jump(taskGate))).toMatchObject(fault(Vector.GP, taskGate));
  });
  it('checks the TSS before anything moves', () => {
    expect(tasks().fault(jump(Sel.tss))).toMatchObject(fault(Vector.GP, Sel.tss));
    expect(tasks(m => m.descriptor(Sel.tss2, T, 0x67, 0x09)).fault(jump(Sel.tss2))).toMatchObject(
      fault(Vector.NP, Sel.tss2),
    );
    expect(tasks(m => m.descriptor(Sel.tss2, T, 0x66, 0x89)).fault(jump(Sel.tss2))).toMatchObject(
      fault(Vector.TS, Sel.tss2),
    );
    expect(tasks(m => m.gate(At.gdt + taskGate, Sel.tss2 | 4, 0, 0xe5)).fault(jump(taskGate))).toMatchObject(
      fault(Vector.GP, Sel.tss2 | 4),
    );
    expect(tasks(m => m.gate(At.gdt + taskGate, Sel.tss, 0, 0xe5)).fault(jump(taskGate))).toMatchObject(
      fault(Vector.GP, Sel.tss),
    );
    const m = tasks(n => n.flags(Flag.NT));
    m.poke(At.tss, 2, Sel.tss2);
    expect(m.fault('cf')).toMatchObject(fault(Vector.TS, Sel.tss2));
  });
  it('faults in the new task for what is wrong with its segments', () => {
    const cases: [offset: number, value: number, vector: number, code: number][] = [
      [0x60, free, Vector.TS, free],
      [0x50, 0, Vector.TS, 0],
      [0x50, Sel.data, Vector.TS, Sel.data],
      [0x4c, Sel.userData, Vector.TS, Sel.userData & ~3],
      [0x54, Sel.data, Vector.TS, Sel.data],
    ];
    for (const [offset, value, vector, code] of cases) {
      const m = tasks(n => n.poke(T + offset, 4, value));
      m.code(jump(Sel.tss2));
      m.cpu.run(1);
      expect([m.state.get32(S.faultVector), m.state.get32(S.faultCode)]).toEqual([vector, code]);
      expect([m.state.rip, m.sel(SEG.tr), m.state.cpl]).toEqual([BigInt(At.userCode), Sel.tss2, 3]);
    }
  });
  it('enters virtual-8086 mode', () => {
    const m = tasks(n => {
      n.poke(T + 0x24, 4, Flag.VM | 2);
      [1, 0x900, 3, 4, 5, 6].forEach((s, i) => {
        n.poke(T + 0x48 + i * 4, 4, s);
      });
      n.poke(T + 0x20, 4, 0x10);
    }).step(jump(Sel.tss2));
    expect(m.state.get32(S.mode) & ModeBit.v86).toBe(ModeBit.v86);
    expect([m.state.rip, m.reg(SEG.cs).base, m.state.cpl, m.reg(SEG.gs).base]).toEqual([0x10n, 0x9000n, 3, 0x60n]);
  });
  it('knows the 16-bit TSS, which leaves FS and GS null', () => {
    const m = tasks(n => {
      n.descriptor(free, 0x7000, 0x2b, 0x81);
      const put = (offset: number, value: number): void => n.poke(0x7000 + offset, 2, value);
      put(0x0e, 0x8888);
      put(0x10, Flag.CF);
      put(0x12 + 2 * R.rsp, 0x8000);
      [Sel.data16, Sel.code16, Sel.data16, Sel.data16].forEach((s, i) => {
        put(0x22 + i * 2, s);
      });
      put(0x2a, 0);
    }).step(jump(free));
    expect(where(m)).toEqual([0x8888n, 0, Sel.code16, Sel.data16, free]);
    expect([m.sel(SEG.fs), m.get(R.rsp) & 0xffffn]).toEqual([0, 0x8000n]);
  });
  it('loads CR3 where paging is on', () => {
    const m = tasks(n => {
      n.state.set(S.cr3, BigInt(At.pd32));
      n.state.set(S.cr0, 0x80000033n);
      n.cpu.selectAddressSpace(BigInt(At.pd32), false);
      n.cpu.modeChanged();
      n.put(0x60000, n.bytes(At.pd32, 4096).slice());
      n.poke(T + 0x1c, 4, 0x60000);
    }).step(jump(Sel.tss2));
    expect([m.state.get(S.cr3), m.state.rip]).toEqual([0x60000n, BigInt(At.userCode)]);
  });
  it('traps before the first instruction of a task that asks for it, whichever way it is entered', () => {
    const DR6_BT = 0x8000n;
    const traced = (m: Machine): void => m.poke(T + 0x64, 2, 1);
    for (const way of [jump(Sel.tss2), call(Sel.tss2), jump(taskGate)]) {
      const m = tasks(traced);
      m.code(way);
      m.cpu.run(5);
      expect([m.state.get32(S.faultVector), m.state.get(S.faultAddress)]).toEqual([Vector.DB, DR6_BT]);
      expect(where(m)).toEqual(there);
    }
    const back = tasks(m => m.poke(At.tss + 0x64, 2, 1)).step(call(Sel.tss2));
    back.code('cf');
    back.cpu.run(5);
    expect([back.state.get32(S.faultVector), back.state.rip]).toEqual([Vector.DB, BigInt(At.code + 7)]);
  });
  it('by an exception traps with the error code on the stack already, and returns into the new task', () => {
    const m = tasks(n => {
      n.state.set32(S.pv, 0);
      n.poke(T + 0x64, 2, 1);
      n.gate(At.idt + Vector.GP * 8, Sel.tss2, 0, 0x85);
      n.gate(At.idt + Vector.DB * 8, Sel.code32, At.handlers, 0x8e);
    });
    m.poke(At.tss2 + 4, 4, At.stack1 + 0x100);
    m.poke(At.tss2 + 8, 4, Sel.data);
    expect(deliver(m.cpu, Vector.GP, { code: 0x1234 })).toBe(true);
    expect([m.state.rip, m.state.cpl, m.state.get(S.dr + 48) & 0x8000n]).toEqual([BigInt(At.handlers), 0, 0x8000n]);
    // EIP, CS, EFLAGS, ESP, SS of the task, whose own stack has the code
    expect([m.stack(0, 4), m.stack(3, 4)]).toEqual([BigInt(At.userCode), BigInt(At.stack3 + 0xfc)]);
    expect(m.peek(At.stack3 + 0xfc, 4)).toBe(0x1234n);
  });
  it('serves exceptions through a task gate, with the error code on the new stack', () => {
    const m = tasks(n => {
      n.state.set32(S.pv, 0);
      n.gate(At.idt + Vector.GP * 8, Sel.tss2, 0, 0x85);
    });
    expect(deliver(m.cpu, Vector.GP, { code: 0x1234 })).toBe(true);
    expect(where(m)).toEqual(there);
    expect([m.get(R.rsp), m.stack(0, 4), m.peek(At.tss + 0x20, 4)]).toEqual([
      BigInt(At.stack3 + 0xfc),
      0x1234n,
      BigInt(At.code),
    ]);
  });
});
