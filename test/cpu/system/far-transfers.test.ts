// Far JMP and CALL, call gates, far RET and IRET.
import { describe, expect, it } from 'vitest';
import { At, Flag, fault, Machine, ModeBit, R, S, SEG, Sel, TOP, Vector } from './machine.ts';

const { free, gate } = Sel;
const hex = (value: number, bytes: number): string =>
  Array.from({ length: bytes }, (_, i) => ((value >>> (8 * i)) & 0xff).toString(16).padStart(2, '0')).join(' ');
/** JMP and CALL ptr16:32. */
const jump = (selector: number, offset: number): string => `ea ${hex(offset, 4)} ${hex(selector, 2)}`;
const call = (selector: number, offset: number): string => `9a ${hex(offset, 4)} ${hex(selector, 2)}`;
/** JMP and CALL through [rbx], which points to At.data. */
const JUMP_M = 'ff 2b';
const CALL_M = 'ff 1b';
const IRETQ = '48 cf';

function indirect(m: Machine, selector: number, offset: number): Machine {
  m.poke(At.data, 4, offset);
  m.poke(At.data + 4, 2, selector);
  return m.set(R.rbx, At.data);
}
const target = (m: Machine) => [m.state.rip, m.sel(SEG.cs), m.state.cpl];

describe('far JMP', () => {
  it('goes to code of the same ring, marks it accessed, keeps CPL in the selector', () => {
    const m = new Machine().protected();
    m.descriptor(free, 0x1000, 0xfffff, 0xc09a);
    m.step(jump(free | 0, 0x5678));
    expect(target(m)).toEqual([0x5678n, free, 0]);
    expect(m.reg(SEG.cs)).toMatchObject({ base: 0x1000n, attributes: 0xc09b });
    expect(m.peek(At.gdt + free + 5, 1)).toBe(0x9bn);
  });
  it('switches between 64-bit and compatibility mode', () => {
    const m = indirect(new Machine().long(3), Sel.userCode32, 0x1234).step(JUMP_M);
    expect(target(m)).toEqual([0x1234n, Sel.userCode32, 3]);
    expect(m.state.get32(S.mode) & (ModeBit.long64 | ModeBit.default32)).toBe(ModeBit.default32);
    m.step(jump(Sel.userCode64, 0x4000));
    expect(m.state.get32(S.mode) & ModeBit.long64).toBe(ModeBit.long64);
  });
  it('checks null, table limit, type, rings and presence', () => {
    expect(new Machine().protected().fault(jump(3, 0))).toMatchObject(fault(Vector.GP, 0));
    expect(new Machine().protected().fault(jump(0x1000, 0))).toMatchObject(fault(Vector.GP, 0x1000));
    expect(new Machine().protected().fault(jump(Sel.data, 0))).toMatchObject(fault(Vector.GP, Sel.data));
    expect(new Machine().protected().fault(jump(Sel.userCode32, 0))).toMatchObject(
      fault(Vector.GP, Sel.userCode32 & ~3),
    );
    expect(new Machine().protected(3).fault(jump(Sel.code32, 0))).toMatchObject(fault(Vector.GP, Sel.code32));
    expect(new Machine().protected().fault(jump(Sel.code32 | 1, 0))).toMatchObject(fault(Vector.GP, Sel.code32));
    const m = new Machine().protected();
    m.descriptor(free, 0, 0xfffff, 0xc01b);
    expect(m.fault(jump(free, 0))).toMatchObject(fault(Vector.NP, free));
  });
  it('lets conforming code of an inner ring run with the CPL there is', () => {
    const m = new Machine().protected(3);
    m.descriptor(free, 0, 0xfffff, 0xc09f);
    m.step(jump(free, 0x100));
    expect(target(m)).toEqual([0x100n, free | 3, 3]);
    const inner = new Machine().protected(0);
    inner.descriptor(free, 0, 0xfffff, 0xc0ff);
    expect(inner.fault(jump(free, 0x100))).toMatchObject(fault(Vector.GP, free));
  });
  it('checks the offset: the limit, or that it is canonical', () => {
    const m = new Machine().protected();
    m.descriptor(free, 0, 0xff, 0x409b);
    expect(m.fault(jump(free, 0x100))).toMatchObject(fault(Vector.GP, 0));
    m.step(jump(free, 0xff));
    const l = new Machine().long().set(R.rbx, At.data);
    l.poke(At.data, 8, 0x8000_0000_0000n);
    l.poke(At.data + 8, 2, Sel.code64);
    expect(l.fault('48 ff 2b')).toMatchObject(fault(Vector.GP, 0));
    l.poke(At.data, 8, 0x7fff_ffff_fff0n);
    expect(target(l.step('48 ff 2b'))).toEqual([0x7fff_ffff_fff0n, Sel.code64, 0]);
  });
  it('refuses code with L and D in long mode, where legacy mode ignores L', () => {
    const m = indirect(new Machine().long(), free, 0x100);
    m.descriptor(free, 0, 0xfffff, 0xe09b);
    expect(m.fault(JUMP_M)).toMatchObject(fault(Vector.GP, free));
    const p = new Machine().protected();
    p.descriptor(free, 0, 0xfffff, 0xe09b);
    p.step(jump(free, 0x100));
  });
  it('is not there in 64-bit mode with an immediate', () => {
    expect(new Machine().long().fault(jump(Sel.code32, 0))).toMatchObject(fault(Vector.UD));
  });
  it('loads the paragraph in real mode', () => {
    const m = new Machine().real().step('ea 34 12 00 20');
    expect(target(m)).toEqual([0x1234n, 0x2000, 0]);
    expect(m.reg(SEG.cs).base).toBe(0x20000n);
    expect(new Machine().real().fault('66 ea 00 00 01 00 00 20')).toMatchObject(fault(Vector.GP, 0));
  });
});

describe('far CALL', () => {
  it('pushes CS and the next RIP in the operand size', () => {
    const m = new Machine().protected().step(call(Sel.code32, 0x5000));
    expect([m.stack(0, 4), m.stack(1, 4)]).toEqual([BigInt(At.code + 7), BigInt(Sel.code32)]);
    const l = indirect(new Machine().long(3), Sel.userCode32, 0x100).step(CALL_M);
    expect([l.peek(At.stack3 + 0x3f8, 4), l.peek(At.stack3 + 0x3fc, 4)]).toEqual([
      BigInt(At.userCode + 2),
      BigInt(Sel.userCode64),
    ]);
    const r = new Machine().real().step('9a 34 12 00 20');
    expect([r.stack(0, 2), r.stack(1, 2)]).toEqual([BigInt(At.code + 5), 0n]);
  });
  it('changes nothing where the stack or the target faults', () => {
    const m = new Machine().protected();
    m.state.writeSegment(SEG.ss, { selector: Sel.data, base: 0n, limit: 7, attributes: 0x4093 });
    m.set(R.rsp, 4);
    expect(m.fault(call(Sel.code32, 0))).toMatchObject(fault(Vector.SS, 0));
    const n = new Machine().protected();
    n.descriptor(free, 0, 0xff, 0x409b);
    expect(n.fault(call(free, 0x1000))).toMatchObject(fault(Vector.GP, 0));
    expect(n.peek(At.stack0 + 0x3fc, 4)).toBe(0n);
  });
});

describe('call gates of protected mode', () => {
  function gated(cpl: number, parameters = 0, type = 0xec, code: number = Sel.code32): Machine {
    const m = new Machine().protected(cpl);
    m.gate(At.gdt + gate, code, 0x6789, type, parameters);
    return m;
  }
  it('copy parameters to the inner stack', () => {
    const m = gated(3, 2).push(4, 0x1111, 0x2222);
    const sp = m.get(R.rsp);
    m.step(call(gate | 3, 0xdead));
    expect(target(m)).toEqual([0x6789n, Sel.code32, 0]);
    expect([m.sel(SEG.ss), m.get(R.rsp)]).toEqual([Sel.data, BigInt(At.stack0 + TOP - 24)]);
    expect([0, 1, 2, 3, 4, 5].map(i => m.stack(i, 4))).toEqual([
      BigInt(At.userCode + 7),
      BigInt(Sel.userCode32),
      0x2222n,
      0x1111n,
      sp,
      BigInt(Sel.userData),
    ]);
  });
  it('keep the stack within a ring, and use 16 bits where the gate has them', () => {
    const m = gated(0).step(call(gate, 0));
    expect([m.get(R.rsp), m.stack(1, 4)]).toEqual([BigInt(At.stack0 + 0x3f8), BigInt(Sel.code32)]);
    const n = gated(0, 0, 0xe4).step(call(gate, 0));
    expect([n.get(R.rsp), n.stack(1, 2)]).toEqual([BigInt(At.stack0 + 0x3fc), BigInt(Sel.code32)]);
  });
  it('check gate, code and stack in order', () => {
    expect(gated(3, 0, 0x8c).fault(call(gate, 0))).toMatchObject(fault(Vector.GP, gate));
    expect(gated(0, 0, 0xac).fault(call(gate | 2, 0))).toMatchObject(fault(Vector.GP, gate));
    expect(gated(3, 0, 0x6c).fault(call(gate, 0))).toMatchObject(fault(Vector.NP, gate));
    expect(gated(3, 0, 0xec, 0).fault(call(gate, 0))).toMatchObject(fault(Vector.GP, 0));
    expect(gated(3, 0, 0xec, Sel.data).fault(call(gate, 0))).toMatchObject(fault(Vector.GP, Sel.data));
    expect(gated(0, 0, 0xec, Sel.userCode32).fault(call(gate, 0))).toMatchObject(fault(Vector.GP, Sel.userCode32 & ~3));
    const badStack = gated(3);
    badStack.poke(At.tss + 8, 4, Sel.userData);
    expect(badStack.fault(call(gate, 0))).toMatchObject(fault(Vector.TS, Sel.userData & ~3));
    const noStack = gated(3);
    noStack.poke(At.tss + 8, 4, 0);
    expect(noStack.fault(call(gate, 0))).toMatchObject(fault(Vector.TS, 0));
    const small = gated(3);
    small.state.writeSegment(SEG.tr, { ...small.reg(SEG.tr), limit: 8 });
    expect(small.fault(call(gate, 0))).toMatchObject(fault(Vector.TS, Sel.tss));
    const full = gated(3);
    full.descriptor(free, 0, 0x10, 0x4093);
    full.poke(At.tss + 4, 4, 8);
    full.poke(At.tss + 8, 4, free);
    expect(full.fault(call(gate, 0))).toMatchObject(fault(Vector.SS, free));
  });
  it('may be jumped through to the same ring only', () => {
    expect(target(gated(0).step(jump(gate, 0)))).toEqual([0x6789n, Sel.code32, 0]);
    expect(gated(3).fault(jump(gate, 0))).toMatchObject(fault(Vector.GP, Sel.code32));
  });
});

describe('call gates of long mode', () => {
  function gated(cpl: number, code: number = Sel.code64, type = 0xec): Machine {
    const m = indirect(new Machine().long(cpl), gate | cpl, 0xdead);
    m.longGate(At.gdt + gate, code, 0xffff_8000_1234_5678n, type);
    return m;
  }
  it('take RSP from the TSS and leave SS null', () => {
    const m = gated(3);
    m.set(R.rax, 1).step(CALL_M);
    expect(target(m)).toEqual([0xffff_8000_1234_5678n, Sel.code64, 0]);
    expect([m.sel(SEG.ss), m.get(R.rsp)]).toEqual([0, BigInt(At.stack0 + TOP - 32)]);
    expect([0, 1, 2, 3].map(i => m.stack(i, 8))).toEqual(
      [At.userCode + 2, Sel.userCode64, At.stack3 + 0x400, Sel.userData].map(BigInt),
    );
  });
  it('want 64-bit code, 16 bytes and a canonical target', () => {
    expect(gated(3, Sel.code32).fault(CALL_M)).toMatchObject(fault(Vector.GP, Sel.code32));
    const m = gated(3);
    m.poke(At.gdt + gate + 12, 4, 0x100);
    expect(m.fault(CALL_M)).toMatchObject(fault(Vector.GP, gate));
    const n = gated(3);
    n.longGate(At.gdt + gate, Sel.code64, 0x8000_0000_0000n, 0xec);
    expect(n.fault(CALL_M)).toMatchObject(fault(Vector.GP, 0));
    expect(gated(3, Sel.code64, 0xe4).fault(CALL_M)).toMatchObject(fault(Vector.GP, gate));
    const rsp = gated(3);
    rsp.poke(At.tss + 4, 8, 0x8000_0000_1000n);
    expect(rsp.fault(CALL_M)).toMatchObject(fault(Vector.SS, 0));
  });
  it('do not lead to tasks', () => {
    expect(indirect(new Machine().long(), Sel.tss2, 0).fault(JUMP_M)).toMatchObject(fault(Vector.GP, Sel.tss2));
  });
});

describe('far RET', () => {
  it('returns within a ring and drops bytes', () => {
    const m = new Machine().protected().push(4, 0, 0, Sel.code32, 0x777).step('ca 08 00');
    expect([...target(m), m.get(R.rsp)]).toEqual([0x777n, Sel.code32, 0, BigInt(At.stack0 + 0x400)]);
  });
  it('returns outwards: both stacks lose the parameters, data segments that are too privileged become null', () => {
    const m = new Machine().protected().set(R.rax, Sel.userData).step('8e c0');
    m.push(4, Sel.userData, At.stack3 + 0x100, 0xaaaa, Sel.userCode32, 0x777).step('ca 04 00');
    expect([...target(m), m.sel(SEG.ss), m.get(R.rsp)]).toEqual([
      0x777n,
      Sel.userCode32,
      3,
      Sel.userData,
      BigInt(At.stack3 + 0x104),
    ]);
    expect([m.sel(SEG.ds), m.sel(SEG.es), m.sel(SEG.gs)]).toEqual([0, Sel.userData, 0]);
  });
  it('checks CS and SS', () => {
    const cs = (selector: number, cpl = 0) =>
      new Machine().protected(cpl).push(4, Sel.userData, 0x100, selector, 0).fault('cb');
    expect(cs(0)).toMatchObject(fault(Vector.GP, 0));
    expect(cs(Sel.data)).toMatchObject(fault(Vector.GP, Sel.data));
    expect(cs(Sel.code32, 3)).toMatchObject(fault(Vector.GP, Sel.code32));
    expect(cs(Sel.userCode32 & ~3)).toMatchObject(fault(Vector.GP, Sel.userCode32 & ~3));
    const ss = (selector: number) => new Machine().protected().push(4, selector, 0x100, Sel.userCode32, 0).fault('cb');
    expect(ss(0)).toMatchObject(fault(Vector.GP, 0));
    expect(ss(Sel.data)).toMatchObject(fault(Vector.GP, Sel.data));
    expect(ss(Sel.userCode32)).toMatchObject(fault(Vector.GP, Sel.userCode32 & ~3));
    const m = new Machine().protected().push(4, free | 3, 0x100, Sel.userCode32, 0);
    m.descriptor(free, 0, 0xfffff, 0xc073);
    expect(m.fault('cb')).toMatchObject(fault(Vector.SS, free));
  });
  it('leaves the upper half of ESP alone on a 16-bit stack', () => {
    const m = new Machine().protected();
    m.descriptor(free, 0, 0xffff, 0x00f3);
    m.push(4, free | 3, 0x1234, Sel.userCode32, 0x777).step('cb');
    expect(m.get(R.rsp)).toBe(BigInt((At.stack0 & 0xffff0000) | 0x1234));
  });
});

describe('IRET', () => {
  const USER_FLAGS = BigInt(Flag.CF | Flag.IF | Flag.ID | Flag.AC);
  const frame = (m: Machine, cs: number, ss: number, rip = 0x4000n, flags = USER_FLAGS, rsp = 0x7f000n) =>
    m.push(8, ss, rsp, flags, cs, rip);

  it('returns to user mode from 64-bit mode, 64-bit and compatibility code', () => {
    for (const cs of [Sel.userCode64, Sel.userCode32]) {
      const m = frame(new Machine().long(), cs, Sel.userData).step(IRETQ);
      expect([...target(m), m.sel(SEG.ss), m.get(R.rsp), m.state.rflags]).toEqual([
        0x4000n,
        cs,
        3,
        Sel.userData,
        0x7f000n,
        USER_FLAGS | 2n,
      ]);
      expect(m.state.get32(S.mode) & ModeBit.long64).toBe(cs === Sel.userCode64 ? ModeBit.long64 : 0);
    }
  });
  it('pops SS:RSP also within a ring in 64-bit mode, where null is allowed but in ring 3', () => {
    const m = frame(new Machine().long(), Sel.code64, 0).step(IRETQ);
    expect([...target(m), m.sel(SEG.ss), m.get(R.rsp)]).toEqual([0x4000n, Sel.code64, 0, 0, 0x7f000n]);
    expect(frame(new Machine().long(), Sel.userCode64, 3).fault(IRETQ)).toMatchObject(fault(Vector.GP, 0));
    expect(frame(new Machine().long(), Sel.code32, 0).fault(IRETQ)).toMatchObject(fault(Vector.GP, 0));
    frame(new Machine().long(3), Sel.userCode64, Sel.userData).step(IRETQ);
  });
  it('in ring 3 changes neither IF nor IOPL, and IF only with IOPL', () => {
    const all = 0x3f7fd7n & ~BigInt(Flag.VM | Flag.NT | Flag.TF);
    const m = frame(new Machine().long(3), Sel.userCode64, Sel.userData, 0x4000n, all).step(IRETQ);
    expect(m.state.rflags).toBe(all & ~BigInt(Flag.IF | Flag.IOPL | Flag.VIF | Flag.VIP));
    const p = frame(new Machine().long(3).flags(Flag.IOPL), Sel.userCode64, Sel.userData, 0x4000n, all).step(IRETQ);
    expect(p.state.rflags).toBe(all & ~BigInt(Flag.VIF | Flag.VIP));
    const k = frame(new Machine().long(0), Sel.userCode64, Sel.userData, 0x4000n, all).step(IRETQ);
    expect(k.state.rflags).toBe(all);
  });
  it('with 16 bits leaves the upper flags alone', () => {
    const m = new Machine()
      .protected()
      .flags(Flag.AC | Flag.ID)
      .push(2, Flag.CF, Sel.code32, 0x4000)
      .step('66 cf');
    expect([m.state.rflags, m.state.rip]).toEqual([BigInt(Flag.AC | Flag.ID | Flag.CF | 2), 0x4000n]);
  });
  it('pops no stack within a ring of protected mode', () => {
    const m = new Machine().protected().push(4, 2, Sel.code32, 0x4000).step('cf');
    expect([...target(m), m.get(R.rsp)]).toEqual([0x4000n, Sel.code32, 0, BigInt(At.stack0 + 0x400)]);
  });
  it('faults in the returning code, with nothing changed', () => {
    expect(frame(new Machine().long(), Sel.userCode64, Sel.userData, 0x8000_0000_0000n).fault(IRETQ)).toMatchObject(
      fault(Vector.GP, 0),
    );
    expect(frame(new Machine().long(3), Sel.code64, Sel.data).fault(IRETQ)).toMatchObject(fault(Vector.GP, Sel.code64));
    expect(frame(new Machine().long(), Sel.userCode64, Sel.data).fault(IRETQ)).toMatchObject(
      fault(Vector.GP, Sel.data),
    );
    expect(frame(new Machine().long().flags(Flag.NT), Sel.userCode64, Sel.userData).fault(IRETQ)).toMatchObject(
      fault(Vector.GP, 0),
    );
    const m = frame(new Machine().long(), Sel.userCode64, Sel.userData);
    m.page(At.stack0, 0n);
    expect(m.fault(IRETQ)).toMatchObject({ vector: Vector.PF, code: 0 });
  });
  it('goes to virtual-8086 mode from ring 0', () => {
    const m = new Machine().protected();
    m.push(4, 7, 6, 5, 4, 0x2000, 0x1000, Flag.VM | Flag.IOPL | Flag.IF | 2, 0x900, 0x10).step('cf');
    expect(m.state.get32(S.mode) & ModeBit.v86).toBe(ModeBit.v86);
    expect([...target(m), m.get(R.rsp)]).toEqual([0x10n, 0x900, 3, 0x1000n]);
    expect([SEG.ss, SEG.es, SEG.ds, SEG.fs, SEG.gs].map(i => m.sel(i))).toEqual([0x2000, 4, 5, 6, 7]);
    expect(m.reg(SEG.ss)).toMatchObject({ base: 0x20000n, limit: 0xffff, attributes: 0xf3 });
  });
  it('ignores VM in ring 3', () => {
    const m = new Machine()
      .protected(3)
      .push(4, Flag.VM | 2, Sel.userCode32, 0x10)
      .step('cf');
    expect([m.state.rflags, m.sel(SEG.cs)]).toEqual([2n, Sel.userCode32]);
  });
  it('in virtual-8086 mode wants IOPL 3 and keeps it', () => {
    expect(new Machine().v86(2).push(2, 2, 0, 0).fault('cf')).toMatchObject(fault(Vector.GP, 0));
    const m = new Machine()
      .v86()
      .push(2, Flag.IF | 2, 0x100, 0x22)
      .step('cf');
    expect([m.state.rip, m.sel(SEG.cs), m.state.rflags]).toEqual([
      0x22n,
      0x100,
      BigInt(Flag.VM | Flag.IOPL | Flag.IF | 2),
    ]);
  });
  it('in real mode pops IP, CS and FLAGS', () => {
    const m = new Machine()
      .real()
      .push(2, Flag.IOPL | Flag.NT | Flag.CF, 0x1000, 0x22)
      .step('cf');
    expect([m.state.rip, m.reg(SEG.cs).base, m.state.rflags]).toEqual([
      0x22n,
      0x10000n,
      BigInt(Flag.IOPL | Flag.NT | Flag.CF | 2),
    ]);
  });
  it('ends the blocking of NMIs', () => {
    const m = frame(new Machine().long(), Sel.code64, 0);
    m.state.set32(S.nmiBlocked, 1);
    m.step(IRETQ);
    expect(m.state.get32(S.nmiBlocked)).toBe(0);
  });
});
