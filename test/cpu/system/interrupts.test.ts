// Delivery of exceptions and interrupts; INT n and relatives; double and triple faults; traps after instructions.
import { describe, expect, it } from 'vitest';
import { deliver } from '../../../src/cpu/helpers/interrupts.ts';
import { At, Exit, Flag, fault, Machine, ModeBit, R, S, SEG, Sel, TOP, Vector } from './machine.ts';

const H = At.handlers;
const { free } = Sel;
const HIGH = 0xffff_8000_0000_0000n;

/** A native machine in long mode whose gates lead to H + 16 * vector. */
function long(
  cpl = 0,
  vectors: readonly number[] = [
    Vector.GP,
    Vector.PF,
    Vector.UD,
    Vector.DF,
    Vector.DB,
    Vector.BP,
    Vector.DE,
    Vector.NP,
    Vector.SS,
  ],
): Machine {
  const m = new Machine().long(cpl, false);
  for (const v of vectors) m.idtLong(v, H + v * 16);
  return m;
}
function prot(cpl = 0): Machine {
  const m = new Machine().protected(cpl, false);
  for (let v = 0; v < 32; v++) m.gate(At.idt + v * 8, Sel.code32, H + v * 16, 0x8e);
  return m;
}
const handler = (vector: number): bigint => BigInt(H + vector * 16);

describe('delivery in long mode', () => {
  it('pushes SS RSP RFLAGS CS RIP on an aligned stack of the same ring', () => {
    const m = long()
      .set(R.rsp, At.stack0 + 0x40b)
      .flags(Flag.IF | Flag.NT | Flag.CF);
    m.step('0f 0b');
    expect(m.state.rip).toBe(handler(Vector.UD));
    expect(m.get(R.rsp)).toBe(BigInt(At.stack0 + 0x400 - 40));
    const flags = Flag.IF | Flag.NT | Flag.CF | 2;
    expect([0, 1, 2, 3, 4].map(i => m.stack(i, 8))).toEqual(
      [At.code, Sel.code64, flags | Flag.RF, At.stack0 + 0x40b, Sel.data].map(BigInt),
    );
    expect(m.state.rflags).toBe(BigInt(Flag.CF | 2));
    expect(m.sel(SEG.ss)).toBe(Sel.data);
  });
  it('goes to the stack of ring 0 from user mode: SS is null, the error code on top', () => {
    const m = long(3).flags(Flag.IF);
    m.step('fa');
    expect([m.state.rip, m.state.cpl, m.sel(SEG.cs), m.sel(SEG.ss)]).toEqual([handler(Vector.GP), 0, Sel.code64, 0]);
    expect(m.get(R.rsp)).toBe(BigInt(At.stack0 + TOP - 48));
    expect([m.stack(0, 8), m.stack(1, 8), m.stack(2, 8), m.stack(5, 8)]).toEqual([
      0n,
      BigInt(At.userCode),
      BigInt(Sel.userCode64),
      BigInt(Sel.userData),
    ]);
  });
  it('comes from compatibility mode with a 64-bit frame', () => {
    const m = new Machine().compat(3, false);
    m.idtLong(Vector.UD, HIGH + BigInt(H));
    m.step('0f 0b');
    expect([m.state.rip, m.stack(1, 8)]).toEqual([HIGH + BigInt(H), BigInt(Sel.userCode32)]);
    expect(m.state.get32(S.mode) & ModeBit.long64).toBe(ModeBit.long64);
  });
  it('uses the interrupt stack table in any ring', () => {
    const m = long();
    m.idtLong(Vector.UD, H, 0x8e, 1);
    m.step('0f 0b');
    expect([m.get(R.rsp), m.sel(SEG.ss), m.stack(3, 8)]).toEqual([
      BigInt(At.ist1 + TOP - 40),
      Sel.data,
      BigInt(At.stack0 + 0x400),
    ]);
  });
  it('leaves IF set through a trap gate', () => {
    const m = long().flags(Flag.IF);
    m.idtLong(Vector.UD, H, 0x8f);
    m.step('0f 0b');
    expect(m.state.rflags).toBe(BigInt(Flag.IF | 2));
  });
  it('sets CR2 for page faults', () => {
    const m = long(3).set(R.rax, 0x12345678);
    m.step('8b 00');
    expect([m.state.rip, m.state.get(S.cr2), m.stack(0, 8)]).toEqual([handler(Vector.PF), 0x12345678n, 4n]);
  });
  it('delivers conforming handlers in the ring that was interrupted', () => {
    const m = long(3);
    m.descriptor(free, 0, 0xfffff, 0xa09f);
    m.idtLong(Vector.UD, H, 0x8e, 0, free);
    m.step('0f 0b');
    expect([m.state.cpl, m.sel(SEG.cs), m.sel(SEG.ss), m.get(R.rsp)]).toEqual([
      3,
      free | 3,
      Sel.userData,
      BigInt(At.stack3 + 0x400 - 40),
    ]);
  });
  it('takes an external interrupt with RIP as it is, and RF clear', () => {
    const m = long(3, [0x40]).flags(Flag.IF);
    expect(deliver(m.cpu, 0x40, { source: 'interrupt' })).toBe(true);
    expect([m.state.rip, m.stack(0, 8), m.stack(2, 8)]).toEqual([
      handler(0x40),
      BigInt(At.userCode),
      BigInt(Flag.IF | 2),
    ]);
  });
  it('blocks NMIs from the delivery of one to IRET', () => {
    const m = long(0, [2]);
    deliver(m.cpu, 2, { source: 'nmi' });
    expect(m.state.get32(S.nmiBlocked)).toBe(1);
  });
});

describe('INT n', () => {
  it('pushes the next RIP, wants a gate of DPL >= CPL and 16 bytes of IDT', () => {
    const m = long(3);
    m.idtLong(0x80, H, 0xee);
    m.step('cd 80');
    expect([m.state.rip, m.stack(0, 8)]).toEqual([BigInt(H), BigInt(At.userCode + 2)]);
    const closed = long(3);
    closed.idtLong(0x80, H, 0x8e);
    closed.step('cd 80');
    expect([closed.state.rip, closed.stack(0, 8), closed.stack(1, 8)]).toEqual([
      handler(Vector.GP),
      0x402n,
      BigInt(At.userCode),
    ]);
    const short = long();
    short.state.writeSegment(SEG.idtr, { selector: 0, base: BigInt(At.idt), limit: 0x80e, attributes: 0 });
    short.step('cd 80');
    expect(short.stack(0, 8)).toBe(0x402n);
  });
  it('names the gate or the segment in error codes, without EXT', () => {
    const cases: [gate: (m: Machine) => void, vector: number, code: bigint][] = [
      [m => m.idtLong(0x80, H, 0x6e), Vector.NP, 0x402n],
      [m => m.idtLong(0x80, H, 0xec), Vector.GP, 0x402n],
      [m => m.idtLong(0x80, H, 0xe6), Vector.GP, 0x402n],
      [m => m.idtLong(0x80, H, 0xee, 0, 0), Vector.GP, 0n],
      [m => m.idtLong(0x80, H, 0xee, 0, 0x1000), Vector.GP, 0x1000n],
      [m => m.idtLong(0x80, H, 0xee, 0, Sel.data), Vector.GP, BigInt(Sel.data)],
      [m => m.idtLong(0x80, H, 0xee, 0, Sel.userCode64), Vector.GP, BigInt(Sel.userCode64 & ~3)],
      [m => m.idtLong(0x80, H, 0xee, 0, Sel.code32), Vector.GP, BigInt(Sel.code32)],
      [m => m.idtLong(0x80, 0x8000_0000_0000n, 0xee), Vector.GP, 0n],
    ];
    for (const [gate, vector, code] of cases) {
      const m = long();
      gate(m);
      m.step('cd 80');
      expect([m.state.rip, m.stack(0, 8), m.stack(1, 8)]).toEqual([handler(vector), code, BigInt(At.code)]);
    }
  });
  it('INT3 is refused by DPL, INT1 is not and counts as external', () => {
    const m = long(3);
    m.step('cc');
    expect([m.state.rip, m.stack(0, 8)]).toEqual([handler(Vector.GP), 0x1an]);
    const n = long(3);
    n.step('f1');
    expect([n.state.rip, n.stack(0, 8)]).toEqual([handler(Vector.DB), BigInt(At.userCode + 1)]);
    const absent = long(3);
    absent.idtLong(Vector.DB, H, 0x0e);
    absent.step('f1');
    expect([absent.state.rip, absent.stack(0, 8)]).toEqual([handler(Vector.NP), 0xbn]);
  });
  it('INTO follows OF', () => {
    const m = new Machine().protected();
    m.step('ce');
    expect(m.state.rip).toBe(BigInt(At.code + 1));
    m.flags(Flag.OF).step('ce', Exit.softwareInterrupt);
    expect(m.state.get(S.exitInfo)).toBe(0x104n);
  });
  it('leaves run() in PV mode with RIP at the instruction', () => {
    const m = new Machine().long(3).step('cd 82', Exit.softwareInterrupt);
    expect([m.state.get(S.exitInfo), m.state.rip, m.state.get(S.nextRip)]).toEqual([
      0x82n,
      BigInt(At.userCode),
      BigInt(At.userCode + 2),
    ]);
    expect(new Machine().long(3).step('cc', Exit.softwareInterrupt).state.get(S.exitInfo)).toBe(0x103n);
  });
  it('in virtual-8086 mode wants IOPL 3; INT3 does not', () => {
    expect(new Machine().v86(0).fault('cd 20')).toMatchObject(fault(Vector.GP, 0));
    new Machine().v86(0).step('cc', Exit.softwareInterrupt);
  });
});

describe('faults in the delivery of events', () => {
  it('are delivered instead, with EXT, where they make no double fault', () => {
    const m = long(3, [Vector.GP, Vector.NP]);
    m.idtLong(Vector.UD, H, 0x0e);
    m.step('0f 0b');
    expect([m.state.rip, m.stack(0, 8), m.stack(1, 8)]).toEqual([handler(Vector.NP), 0x33n, BigInt(At.userCode)]);
    const n = long(3, [Vector.GP]);
    n.state.rflags = 0x202n;
    deliver(n.cpu, 0x40, { source: 'interrupt' });
    expect([n.state.rip, n.stack(0, 8)]).toEqual([handler(Vector.GP), 0x203n]);
  });
  it('become #DF with code 0 for two contributory ones, or any after a page fault', () => {
    const m = long(3);
    m.idtLong(Vector.GP, H, 0x0e);
    m.step('fa');
    expect([m.state.rip, m.stack(0, 8), m.stack(1, 8)]).toEqual([handler(Vector.DF), 0n, BigInt(At.userCode)]);
    const n = long(3).set(R.rax, 0x7654321);
    n.idtLong(Vector.PF, H, 0x0e);
    n.step('8b 00');
    expect([n.state.rip, n.state.get(S.cr2)]).toEqual([handler(Vector.DF), 0x7654321n]);
  });
  it('are page faults of their own after contributory ones, with the new CR2', () => {
    const m = long(3);
    m.poke(At.tss + 4, 8, 0x7654_3210n);
    m.idtLong(Vector.PF, H, 0x8e, 1);
    m.step('fa');
    expect([m.state.rip, m.state.get(S.cr2), m.stack(0, 8)]).toEqual([BigInt(H), 0x7654_3210n - 8n, 2n]);
  });
  it('shut the processor down in the delivery of #DF', () => {
    const m = long(3, []);
    m.code('fa');
    expect(m.cpu.run(1)).toBe(Exit.shutdown);
  });
});

describe('delivery in protected mode', () => {
  it('pushes EFLAGS CS EIP within a ring, with 16 bits through a 16-bit gate', () => {
    const m = prot().step('0f 0b');
    expect([m.state.rip, m.get(R.rsp)]).toEqual([handler(Vector.UD), BigInt(At.stack0 + 0x400 - 12)]);
    expect([0, 1, 2].map(i => m.stack(i, 4))).toEqual([At.code, Sel.code32, Flag.RF | 2].map(BigInt));
    const n = prot();
    n.gate(At.idt + Vector.UD * 8, Sel.code32, 0xffff0000 + H, 0x86);
    n.step('0f 0b');
    expect([n.state.rip, n.get(R.rsp), n.stack(1, 2)]).toEqual([
      BigInt(H),
      BigInt(At.stack0 + 0x400 - 6),
      BigInt(Sel.code32),
    ]);
  });
  it('switches to the stack of the TSS', () => {
    const m = prot(3).step('0f 0b');
    expect([m.state.cpl, m.sel(SEG.ss), m.get(R.rsp)]).toEqual([0, Sel.data, BigInt(At.stack0 + TOP - 20)]);
    expect([0, 1, 3, 4].map(i => m.stack(i, 4))).toEqual(
      [At.userCode, Sel.userCode32, At.stack3 + 0x400, Sel.userData].map(BigInt),
    );
  });
  it('leaves virtual-8086 mode with the data segments on the stack and null', () => {
    const m = prot(3);
    m.v86(3, false);
    for (let v = 0; v < 32; v++) m.gate(At.idt + v * 8, Sel.code32, H + v * 16, 0x8e);
    [SEG.es, SEG.ds, SEG.fs, SEG.gs].forEach((s, i) => {
      m.state.writeSegment(s, { ...m.reg(s), selector: 0x100 + i });
    });
    m.step('0f 0b');
    expect([m.state.cpl, m.get(R.rsp), m.sel(SEG.ds), m.sel(SEG.gs)]).toEqual([0, BigInt(At.stack0 + TOP - 36), 0, 0]);
    expect([2, 5, 6, 7, 8].map(i => m.stack(i, 4))).toEqual(
      [Flag.VM | Flag.IOPL | Flag.RF | 2, 0x100, 0x101, 0x102, 0x103].map(BigInt),
    );
    expect(m.state.rflags & BigInt(Flag.VM)).toBe(0n);
  });
  it('leaves virtual-8086 mode for ring 0 only', () => {
    const m = prot(3);
    m.v86(3, false);
    for (let v = 0; v < 32; v++) m.gate(At.idt + v * 8, Sel.code32, H + v * 16, 0x8e);
    m.gate(At.idt + Vector.UD * 8, Sel.code1, H, 0x8e);
    m.step('0f 0b');
    expect([m.state.rip, m.stack(0, 4)]).toEqual([handler(Vector.GP), BigInt((Sel.code1 & ~3) | 1)]);
  });
});

describe('delivery in real mode', () => {
  it('pushes FLAGS CS IP and goes to the vector, without an error code', () => {
    const m = new Machine().real(false).flags(Flag.IF | Flag.CF);
    m.poke(0x21 * 4, 4, 0x2000_0123);
    m.step('cd 21');
    expect([m.state.rip, m.reg(SEG.cs).base, m.state.rflags]).toEqual([0x123n, 0x20000n, BigInt(Flag.CF | 2)]);
    expect([0, 1, 2].map(i => m.stack(i, 2))).toEqual([BigInt(At.code + 2), 0n, BigInt(Flag.IF | Flag.CF | 2)]);
    const n = new Machine().real(false).set(R.rbx, 0xffff);
    n.poke(Vector.GP * 4, 4, 0x0000_0200);
    n.step('8b 07');
    expect([n.state.rip, n.stack(0, 2)]).toEqual([0x200n, BigInt(At.code)]);
  });
  it('shuts down where the table ends before #GP and #DF', () => {
    const m = new Machine().real(false);
    m.state.writeSegment(SEG.idtr, { selector: 0, base: 0n, limit: 3, attributes: 0 });
    m.code('0f 0b');
    expect(m.cpu.run(1)).toBe(Exit.shutdown);
  });
});

describe('traps after instructions', () => {
  const BS = 0x4000n;
  it('RFLAGS.TF traps after the instruction that follows its setting', () => {
    const m = long();
    m.push(8, Flag.TF | 2).code('9d 90 90');
    m.cpu.run(2);
    expect([m.state.rip, m.stack(0, 8), m.state.get(S.dr + 48) & BS]).toEqual([
      handler(Vector.DB),
      BigInt(At.code + 2),
      BS,
    ]);
    expect(m.stack(2, 8) & BigInt(Flag.TF)).toBe(BigInt(Flag.TF));
  });
  it('does so in code that is already linked', () => {
    const m = long();
    m.push(8, Flag.TF | 2, 2).code('90 9d eb fc');
    m.cpu.run(6);
    expect([m.state.rip, m.stack(0, 8)]).toEqual([handler(Vector.DB), BigInt(At.code)]);
  });
  it('is once more in effect after POPF clears TF, and held off by MOV SS', () => {
    const m = long().flags(Flag.TF).push(8, 2);
    m.code('9d 90');
    m.cpu.run(1);
    expect([m.state.rip, m.stack(0, 8)]).toEqual([handler(Vector.DB), BigInt(At.code + 1)]);
    const n = long().flags(Flag.TF).set(R.rax, 0);
    n.code('8e d0 90 90');
    n.cpu.run(2);
    expect(n.stack(0, 8)).toBe(BigInt(At.code + 3));
  });
  it('does not follow INT n, whose handler runs without TF', () => {
    const m = long().flags(Flag.TF);
    m.idtLong(0x80, H, 0xee);
    m.put(H, Uint8Array.from([0x90, 0x90]));
    m.code('cd 80');
    m.cpu.run(2);
    expect(m.state.rip).toBe(BigInt(H + 1));
  });
  it('leaves run() in PV mode', () => {
    const m = new Machine().long(3).flags(Flag.TF);
    m.code('90');
    expect(m.cpu.run(5)).toBe(Exit.exception);
    expect([m.state.get32(S.faultVector), m.state.get(S.faultAddress), m.state.rip]).toEqual([
      Vector.DB,
      BS,
      BigInt(At.userCode + 1),
    ]);
  });
});

describe('the interrupt window', () => {
  it('opens one instruction after STI', () => {
    const m = long();
    m.cpu.interruptPending = true;
    m.code('90 fb 90 90 90');
    expect(m.cpu.run(100)).toBe(Exit.interruptWindow);
    expect(m.state.rip).toBe(BigInt(At.code + 3));
    deliver(m.cpu, Vector.BP, { source: 'interrupt' });
    expect([m.state.rip, m.stack(0, 8)]).toEqual([handler(Vector.BP), BigInt(At.code + 3)]);
  });
  it('opens behind POPF and IRET at once', () => {
    const m = long().push(8, Flag.IF | 2);
    m.cpu.interruptPending = true;
    m.code('9d 90');
    expect([m.cpu.run(100), m.state.rip]).toEqual([Exit.interruptWindow, BigInt(At.code + 1)]);
    const n = long().push(8, Sel.userData, At.stack3, Flag.IF | 2, Sel.userCode64, At.userCode);
    n.cpu.interruptPending = true;
    n.code('48 cf');
    expect([n.cpu.run(100), n.state.rip]).toEqual([Exit.interruptWindow, BigInt(At.userCode)]);
  });
  it('is held off by MOV SS', () => {
    const m = long().flags(Flag.IF).set(R.rax, 0);
    m.code('8e d0 90 90');
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    m.cpu.interruptPending = true;
    expect([m.cpu.run(100), m.state.rip]).toEqual([Exit.interruptWindow, BigInt(At.code + 3)]);
  });
  it('is open behind an instruction after STI or MOV SS, wherever run() ended', () => {
    const m = long();
    m.code('fb f4 fa'); // sti; hlt; cli
    expect(m.cpu.run(100)).toBe(Exit.halt);
    m.cpu.interruptPending = true;
    expect([m.cpu.run(100), m.state.rip]).toEqual([Exit.interruptWindow, BigInt(At.code + 2)]);
    const n = long().set(R.rax, 0);
    n.code('fb 8e d0 90 90 90');
    expect(n.cpu.run(3)).toBe(Exit.fuel);
    n.cpu.interruptPending = true;
    expect([n.cpu.run(100), n.state.rip]).toEqual([Exit.interruptWindow, BigInt(At.code + 4)]);
  });
  it('stays shut for the instruction behind STI where run() ended between them', () => {
    const m = long();
    m.code('90 fb 90 90');
    expect(m.cpu.run(2)).toBe(Exit.fuel);
    m.cpu.interruptPending = true;
    expect([m.cpu.run(100), m.state.rip]).toEqual([Exit.interruptWindow, BigInt(At.code + 3)]);
  });
  it('counts the same instructions as running without it', () => {
    const m = long();
    m.cpu.interruptPending = true;
    m.code('90 90 fb 90');
    m.cpu.run(100);
    expect(m.state.get(S.retired)).toBe(4n);
  });
});

describe('HLT', () => {
  it('leaves RIP behind it', () => {
    const m = new Machine().long(0, false).step('f4', Exit.halt);
    expect([m.state.rip, m.state.get(S.retired)]).toEqual([BigInt(At.code + 1), 1n]);
  });
});
