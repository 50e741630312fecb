// Loading segment registers and addressing through them.
import { describe, expect, it } from 'vitest';
import { AMD, At, Exit, fault, INTEL, Machine, R, S, SEG, Sel, TOP, Vector } from './machine.ts';

const TO_DS = '8e d8';
const TO_ES = '8e c0';
const TO_SS = '8e d0';
const TO_FS = '8e e0';
const { free } = Sel;

function loading(cpl: number, attributes: number, selector: number, hex = TO_DS) {
  const m = new Machine().long(cpl).set(R.rax, selector);
  m.descriptor(free, 0x12345678, 0x4321, attributes);
  return m.fault(hex);
}

describe('MOV to a data segment register', () => {
  it('takes base, limit, attributes and selector from the descriptor, and marks it accessed', () => {
    const m = new Machine().protected().set(R.rax, free);
    m.descriptor(free, 0x12345678, 0x4321, 0xc092);
    m.step(TO_DS);
    expect(m.reg(SEG.ds)).toEqual({ selector: free, base: 0x12345678n, limit: 0x4321fff, attributes: 0xc093 });
    expect(m.peek(At.gdt + free + 5, 1)).toBe(0x93n);
  });
  it('leaves a descriptor alone that is accessed already, so that its page may be read-only', () => {
    const m = new Machine().long().set(R.rax, Sel.data);
    m.page(At.gdt, 1n);
    m.step(TO_DS);
  });
  it('faults where the accessed bit cannot be written, as supervisor', () => {
    const m = new Machine().long(3).set(R.rax, free | 3);
    m.descriptor(free, 0, 0xffff, 0x40f2);
    m.page(At.gdt, 1n);
    expect(m.fault(TO_DS)).toMatchObject({ vector: Vector.PF, code: 3, address: BigInt(At.gdt + free + 5) });
  });
  it('reads the tables with supervisor rights', () => {
    const m = new Machine().long(3).set(R.rax, Sel.userData);
    m.page(At.gdt, 3n);
    m.step(TO_DS);
    m.page(At.gdt, 0n);
    m.code('8e d8');
    expect(m.fault(TO_DS)).toMatchObject({ vector: Vector.PF, code: 0 });
  });
  it('takes LDT descriptors, and none where LDTR is null', () => {
    const m = new Machine().long().set(R.rax, 0x0c);
    m.descriptor(0x0c, 0x1000, 0xff, 0x4093);
    m.step(TO_ES);
    expect(m.reg(SEG.es)).toMatchObject({ selector: 0x0c, base: 0x1000n, limit: 0xff });
    m.state.writeSegment(SEG.ldtr, { selector: 0, base: 0n, limit: 0xffff, attributes: 0 });
    expect(m.fault(TO_ES)).toMatchObject(fault(Vector.GP, 0x0c));
  });
  it('refuses what lies beyond the limit: only the whole descriptor counts', () => {
    const m = new Machine().long().set(R.rax, free);
    m.descriptor(free, 0, 0xfffff, 0xc093);
    m.state.writeSegment(SEG.gdtr, { selector: 0, base: BigInt(At.gdt), limit: free + 6, attributes: 0 });
    expect(m.fault(TO_DS)).toMatchObject(fault(Vector.GP, free));
    m.state.writeSegment(SEG.gdtr, { selector: 0, base: BigInt(At.gdt), limit: free + 7, attributes: 0 });
    m.step(TO_DS);
  });
  it('takes readable code, also conforming code of any ring; refuses execute-only code and system segments', () => {
    const m = new Machine().long(3).set(R.rax, free | 3);
    m.descriptor(free, 0, 0xfffff, 0xc09f);
    m.step(TO_DS);
    expect(loading(0, 0xc099, free)).toMatchObject(fault(Vector.GP, free));
    expect(loading(0, 0x0082, free)).toMatchObject(fault(Vector.GP, free));
  });
  it('checks CPL and RPL against DPL', () => {
    expect(loading(3, 0xc093, free)).toMatchObject(fault(Vector.GP, free));
    expect(loading(0, 0xc093, free | 3)).toMatchObject(fault(Vector.GP, free));
    expect(loading(3, 0xc0d3, free)).toMatchObject(fault(Vector.GP, free));
    new Machine()
      .long(3)
      .set(R.rax, Sel.userData & ~3)
      .step(TO_DS);
  });
  it('raises #NP for an absent segment, after the privilege checks', () => {
    expect(loading(0, 0xc013, free)).toMatchObject(fault(Vector.NP, free));
    expect(loading(3, 0xc013, free)).toMatchObject(fault(Vector.GP, free));
  });
  it('takes a null selector; AMD keeps the base, Intel clears it', () => {
    for (const [vendor, base] of [
      [AMD, 0x777n],
      [INTEL, 0n],
    ] as const) {
      // biome-ignore format: a table
      const m = new Machine(vendor, model => ({ ...model, leaves: model.leaves.filter(l => l.leaf !== 0x80000021) })).long(3).set(R.rax, 2);
      m.state.writeSegment(SEG.fs, { ...m.reg(SEG.fs), base: 0x777n });
      m.step(TO_FS);
      expect(m.reg(SEG.fs)).toMatchObject({ selector: 2, base, attributes: 0 });
    }
  });
  it('clears the base on AMD as well where CPUID says so', () => {
    const nscb = { leaf: 0x80000021, subleaf: null, eax: 0x40, ebx: 0, ecx: 0, edx: 0 };
    const m = new Machine(AMD, model => ({
      ...model,
      leaves: [...model.leaves.filter(l => l.leaf !== 0x80000021), nscb],
    })).long(3);
    m.state.writeSegment(SEG.fs, { ...m.reg(SEG.fs), base: 0x777n });
    m.set(R.rax, 0).step(TO_FS);
    expect(m.reg(SEG.fs).base).toBe(0n);
  });
  it('refuses CS and numbers 6 and 7', () => {
    for (const hex of ['8e c8', '8e f0', '8e f8'])
      expect(new Machine().long().fault(hex)).toMatchObject(fault(Vector.UD));
  });
  it('multiplies by 16 in real mode, where limit and width stay, and in virtual-8086 mode', () => {
    const m = new Machine().real().set(R.rax, 0x1234);
    m.state.writeSegment(SEG.ds, { ...m.reg(SEG.ds), limit: 0xffffffff, attributes: 0xc093 });
    m.step(TO_DS);
    expect(m.reg(SEG.ds)).toEqual({ selector: 0x1234, base: 0x12340n, limit: 0xffffffff, attributes: 0xc093 });
    const v = new Machine().v86().set(R.rax, 0xffff).step(TO_DS);
    expect(v.reg(SEG.ds)).toEqual({ selector: 0xffff, base: 0xffff0n, limit: 0xffff, attributes: 0xf3 });
  });
});

describe('MOV to SS', () => {
  it('wants writable data whose DPL and RPL are CPL', () => {
    expect(loading(0, 0xc091, free, TO_SS)).toMatchObject(fault(Vector.GP, free));
    expect(loading(0, 0xc09b, free, TO_SS)).toMatchObject(fault(Vector.GP, free));
    expect(loading(0, 0xc0f3, free, TO_SS)).toMatchObject(fault(Vector.GP, free));
    expect(loading(0, 0xc093, free | 3, TO_SS)).toMatchObject(fault(Vector.GP, free));
    expect(loading(0, 0xc013, free, TO_SS)).toMatchObject(fault(Vector.SS, free));
    new Machine().long(3).set(R.rax, Sel.userData).step(TO_SS);
  });
  it('takes null in rings 0 to 2 of 64-bit mode only, with RPL = CPL', () => {
    expect(new Machine().long().set(R.rax, 0).step(TO_SS).sel(SEG.ss)).toBe(0);
    expect(new Machine().long().set(R.rax, 1).fault(TO_SS)).toMatchObject(fault(Vector.GP, 0));
    expect(new Machine().long(3).set(R.rax, 3).fault(TO_SS)).toMatchObject(fault(Vector.GP, 0));
    expect(new Machine().compat().set(R.rax, 0).fault(TO_SS)).toMatchObject(fault(Vector.GP, 0));
  });
  it('changes the width of the stack pointer for the next instruction, also in code decoded before', () => {
    const m = new Machine().protected().set(R.rax, Sel.data16).set(R.rbx, Sel.data);
    m.set(R.rsp, 0x30000 + At.stack0 + TOP);
    const start = m.state.rip;
    m.code('90 50 90 90');
    m.cpu.run(4);
    expect(m.get(R.rsp)).toBe(BigInt(0x30000 + At.stack0 + TOP - 4));
    m.state.rip = start + 0x40n;
    m.step(TO_SS);
    m.state.rip = start;
    m.set(R.rsp, 0x30000 + 0x1000);
    m.cpu.run(4);
    expect(m.get(R.rsp)).toBe(0x30ffcn);
    expect(m.peek(0xffc, 4)).toBe(BigInt(Sel.data16));
  });
});

describe('POP to a segment register and far pointers', () => {
  it('POP moves SP only where the load succeeds', () => {
    const m = new Machine().protected().push(4, 0xabcd0000 | free);
    m.descriptor(free, 0, 0xfffff, 0xc013);
    expect(m.fault('1f')).toMatchObject(fault(Vector.NP, free));
    m.push(4, 0xabcd0000 | Sel.data1);
    const sp = m.get(R.rsp);
    m.step('07');
    expect([m.sel(SEG.es), m.get(R.rsp)]).toEqual([Sel.data1, sp + 4n]);
  });
  it('LFS loads register and selector, or neither', () => {
    const m = new Machine().long().set(R.rbx, At.data);
    m.poke(At.data, 8, 0x1122334455667788n);
    m.poke(At.data + 8, 2, free);
    m.descriptor(free, 0x100, 0xff, 0x4013);
    expect(m.fault('48 0f b4 03')).toMatchObject(fault(Vector.NP, free));
    m.descriptor(free, 0x100, 0xff, 0x4093);
    m.step('48 0f b4 03');
    expect([m.get(R.rax), m.sel(SEG.fs)]).toEqual([0x1122334455667788n, free]);
  });
});

describe('addresses outside 64-bit mode', () => {
  const load = 'a1 00 01 00 00'; // mov eax, [0x100]
  const store = 'a3 00 01 00 00';
  function through(attributes: number, limit: number, hex: string, base: number = At.data) {
    const m = new Machine().protected();
    m.state.writeSegment(SEG.ds, { selector: free, base: BigInt(base), limit, attributes });
    m.code(hex);
    return m;
  }
  it('adds the base and stays within 32 bits', () => {
    const m = through(0xc093, 0xffffffff, load);
    m.poke(At.data + 0x100, 4, 0xcafe);
    expect(m.step(load).get(R.rax)).toBe(0xcafen);
    const w = through(0xc093, 0xffffffff, load, 0xffffff80);
    w.poke(0x80, 4, 0xbeef);
    expect(w.step(load).get(R.rax)).toBe(0xbeefn);
  });
  it('checks the last byte against the limit', () => {
    through(0x4093, 0x103, load).step(load);
    expect(through(0x4093, 0x102, load).fault(load)).toMatchObject(fault(Vector.GP, 0));
  });
  it('turns expand-down segments around', () => {
    through(0x4097, 0xff, load).step(load);
    expect(through(0x4097, 0x100, load).fault(load)).toMatchObject(fault(Vector.GP, 0));
    const high = 'a1 fe ff 01 00';
    through(0x4097, 0xff, high).step(high);
    expect(through(0x0097, 0xff, high).fault(high)).toMatchObject(fault(Vector.GP, 0));
  });
  it('refuses writes to read-only data and code, reads of execute-only code, anything through null', () => {
    expect(through(0xc091, 0xffff, store).fault(store)).toMatchObject(fault(Vector.GP, 0));
    expect(through(0xc09b, 0xffff, store).fault(store)).toMatchObject(fault(Vector.GP, 0));
    expect(through(0xc099, 0xffff, load).fault(load)).toMatchObject(fault(Vector.GP, 0));
    expect(through(0, 0xffffffff, load).fault(load)).toMatchObject(fault(Vector.GP, 0));
    through(0xc09b, 0xffff, load).step(load);
  });
  it('raises #SS for the stack segment', () => {
    const m = new Machine().protected();
    m.state.writeSegment(SEG.ss, { selector: Sel.data, base: 0n, limit: 0xff, attributes: 0x4093 });
    expect(m.fault('50')).toMatchObject(fault(Vector.SS, 0));
    expect(m.fault('8b 44 24 04')).toMatchObject(fault(Vector.SS, 0));
  });
  it('checks limits in real mode', () => {
    expect(new Machine().real().set(R.rbx, 0xffff).fault('8b 07')).toMatchObject(fault(Vector.GP, 0));
    new Machine().real().set(R.rbx, 0xfffe).step('8b 07');
  });
});

describe('code segments', () => {
  it('need not begin at a page', () => {
    const m = new Machine().protected();
    m.state.writeSegment(SEG.cs, { ...m.reg(SEG.cs), base: 0x7f3n });
    m.cpu.modeChanged();
    m.state.rip = BigInt(At.code - 0x7f3);
    m.put(At.code, Uint8Array.from([0x40, 0xeb, 0x0e]));
    m.put(At.code + 0x11, Uint8Array.from([0x40, 0xe8, 0, 0, 0, 0]));
    expect(m.cpu.run(4)).toBe(Exit.fuel);
    expect([m.get(R.rax), m.state.rip, m.stack(0, 4)]).toEqual([
      2n,
      BigInt(At.code + 0x17 - 0x7f3),
      BigInt(At.code + 0x17 - 0x7f3),
    ]);
  });
  it('end at their limit', () => {
    const m = new Machine().protected();
    m.state.writeSegment(SEG.cs, { ...m.reg(SEG.cs), limit: At.code - 1 });
    m.cpu.modeChanged();
    expect(m.fault('90')).toMatchObject(fault(Vector.GP, 0));
  });
});

describe('bases of FS and GS', () => {
  it('RDFSBASE and relatives want CR4.FSGSBASE', () => {
    for (const hex of ['f3 48 0f ae c0', 'f3 48 0f ae d0'])
      expect(new Machine().long(3).fault(hex)).toMatchObject(fault(Vector.UD));
  });
  it('WRFSBASE refuses addresses that are not canonical; 32 bits are zero-extended', () => {
    const m = new Machine().long(3).set(R.rax, 0xffff8000_00000000n);
    m.state.set(S.cr4, 0x10220n);
    m.step('f3 48 0f ae d0');
    expect(m.reg(SEG.fs).base).toBe(0xffff8000_00000000n);
    m.set(R.rax, 0x8000_0000_0000n);
    expect(m.fault('f3 48 0f ae d0')).toMatchObject(fault(Vector.GP, 0));
    m.set(R.rax, 0xffffffff_12345678n).step('f3 0f ae d8');
    expect(m.reg(SEG.gs).base).toBe(0x12345678n);
  });
  it('SWAPGS exchanges GS base, in ring 0 only', () => {
    const m = new Machine().long();
    m.state.set(S.kernelGsBase, 0x1234n);
    m.state.writeSegment(SEG.gs, { ...m.reg(SEG.gs), base: 0x5678n });
    m.step('0f 01 f8');
    expect([m.reg(SEG.gs).base, m.state.get(S.kernelGsBase)]).toEqual([0x1234n, 0x5678n]);
    expect(new Machine().long(3).fault('0f 01 f8')).toMatchObject(fault(Vector.GP, 0));
  });
});
