// CR0, CR3, CR4, CR8, EFER, XCR0, debug registers: reserved bits, mode transitions, translations.
import { describe, expect, it } from 'vitest';
import { writeEfer } from '../../../src/cpu/helpers/control-registers.ts';
import { cpuModel } from '../../../src/cpu/models/index.ts';
import { AMD, At, Exit, fault, INTEL, Machine, ModeBit, R, S, SEG, Sel, Vector } from './machine.ts';

const TO_CR0 = '0f 22 c0';
const TO_CR3 = '0f 22 d8';
const TO_CR4 = '0f 22 e0';
const gp0 = fault(Vector.GP, 0);
const LMA = 0x400n;

describe('CR0', () => {
  it('has reserved bits, and combinations that make no sense', () => {
    const write = (value: bigint) => new Machine().long().set(R.rax, value).fault(TO_CR0);
    expect(write(0x1_8001_0033n)).toMatchObject(gp0);
    expect(write(0x8001_0032n)).toMatchObject(gp0);
    expect(write(0xa001_0033n)).toMatchObject(gp0);
    expect(write(0x0001_0033n)).toMatchObject(gp0); // leaving paging in 64-bit mode
    const m = new Machine()
      .long()
      .set(R.rax, 0x8001_0023n | 0x1ff00n)
      .step(TO_CR0);
    expect(m.state.get(S.cr0)).toBe(0x8001_0033n); // undefined bits stay 0, ET stays 1
  });
  it('reads back, and is not there for other rings and numbers', () => {
    expect(new Machine().long().step('0f 20 c1').get(R.rcx)).toBe(0x80010033n);
    expect(new Machine().long(3).fault(TO_CR0)).toMatchObject(gp0);
    for (const hex of ['0f 20 c8', '0f 22 e8']) expect(new Machine().long().fault(hex)).toMatchObject(fault(Vector.UD));
  });
  it('turns long mode on with paging where EFER.LME and CR4.PAE are set, and off', () => {
    const m = new Machine().protected();
    m.cpu.selectAddressSpace(BigInt(At.pml4), false);
    m.state.set(S.efer, 0x100n);
    m.state.set(S.cr4, 0x20n);
    m.set(R.rax, 0x80000033n).step(TO_CR0);
    expect([
      m.state.get(S.efer),
      m.state.get32(S.mode) & (ModeBit.longActive | ModeBit.long64 | ModeBit.paging),
    ]).toEqual([0x500n, ModeBit.longActive | ModeBit.paging]);
    m.step(`ea 00 90 00 00 ${Sel.code64.toString(16).padStart(2, '0')} 00`);
    expect(m.state.get32(S.mode) & ModeBit.long64).toBe(1);
    m.poke(At.data, 8, BigInt(At.code + 0x100));
    m.poke(At.data + 4, 2, Sel.code32);
    m.set(R.rbx, At.data).step('ff 2b');
    m.set(R.rax, 0x33).step(TO_CR0);
    expect([m.state.get(S.efer), m.state.get32(S.mode) & (ModeBit.longActive | ModeBit.paging)]).toEqual([0x100n, 0]);
  });
  it('refuses long mode without PAE, in a segment with L, with a 16-bit TSS', () => {
    const enter = (change: (m: Machine) => void) => {
      const m = new Machine().protected().set(R.rax, 0x80000033n);
      m.state.set(S.efer, 0x100n);
      m.state.set(S.cr4, 0x20n);
      change(m);
      return m.fault(TO_CR0);
    };
    expect(enter(m => m.state.set(S.cr4, 0n))).toMatchObject(gp0);
    expect(enter(m => m.state.writeSegment(SEG.cs, { ...m.reg(SEG.cs), attributes: 0xe09b }))).toMatchObject(gp0);
    expect(enter(m => m.state.writeSegment(SEG.tr, { ...m.reg(SEG.tr), attributes: 0x83 }))).toMatchObject(gp0);
  });
  it('leaves and enters protected mode; the segments stay as they are', () => {
    const m = new Machine().real().set(R.rax, 0x33).step(TO_CR0);
    expect(m.state.get32(S.mode) & (ModeBit.protected | ModeBit.default32)).toBe(ModeBit.protected);
    m.set(R.rax, 0x32).step(TO_CR0);
    expect(m.state.get32(S.mode) & ModeBit.protected).toBe(0);
  });
  it('checks the PDPTEs when it turns PAE paging on', () => {
    const m = new Machine().protected().set(R.rax, 0x80000033n);
    m.state.set(S.cr4, 0x20n);
    m.cpu.selectAddressSpace(BigInt(At.pdptPae), false);
    m.set(R.rbx, At.data);
    m.poke(At.pdptPae + 8, 8, 0x43n);
    expect(m.fault(TO_CR0)).toMatchObject(gp0);
    m.poke(At.pdptPae + 8, 8, 0x42n);
    m.step(TO_CR0).step('8b 03');
  });
  it('makes WP count at once', () => {
    const m = new Machine().long().set(R.rbx, At.data);
    m.page(At.data, 5n);
    m.set(R.rax, 0x80000033n).step(TO_CR0).step('89 03');
    m.set(R.rax, 0x80010033n).step(TO_CR0);
    expect(m.fault('89 03')).toMatchObject({ vector: Vector.PF, code: 3 });
  });
  it('LMSW sets PE but does not clear it; CLTS', () => {
    const m = new Machine().real().set(R.rax, 0xfff7).step('0f 01 f0');
    expect(m.state.get(S.cr0) & 15n).toBe(7n);
    m.set(R.rax, 8).step('0f 01 f0');
    expect(m.state.get(S.cr0) & 15n).toBe(9n);
    expect(m.step('0f 06').state.get(S.cr0) & 8n).toBe(0n);
    expect(new Machine().long(3).fault('0f 06')).toMatchObject(gp0);
  });
});

describe('CR3', () => {
  it('has no bits beyond the physical addresses', () => {
    expect(
      new Machine()
        .long()
        .set(R.rax, 1n << 52n)
        .fault(TO_CR3),
    ).toMatchObject(gp0);
    expect(
      new Machine()
        .long()
        .set(R.rax, 1n << 63n)
        .fault(TO_CR3),
    ).toMatchObject(gp0);
  });
  it('drops translations, but not with bit 63 under PCID', () => {
    const m = new Machine().long(0, false).set(R.rbx, At.data);
    m.poke(At.data, 4, 1);
    m.poke(0x61000, 4, 2);
    m.step('8b 0b');
    m.poke(At.pt + (At.data >> 12) * 8, 8, 0x61003n); // not told to the processor
    expect(m.step('8b 0b').get(R.rcx)).toBe(1n);
    m.state.set(S.cr4, m.state.get(S.cr4) | 0x20000n);
    m.set(R.rax, BigInt(At.pml4) | (1n << 63n)).step(TO_CR3);
    expect(m.state.get(S.cr3)).toBe(BigInt(At.pml4));
    expect(m.step('8b 0b').get(R.rcx)).toBe(1n);
    m.set(R.rax, At.pml4 | 5).step(TO_CR3);
    expect(m.step('8b 0b').get(R.rcx)).toBe(2n);
  });
});

describe('CR4', () => {
  it('has the bits that the model has', () => {
    const write = (value: number) => new Machine(INTEL).long().set(R.rax, value).fault(TO_CR4);
    expect(write(0x1020)).toMatchObject(gp0); // LA57
    expect(write(0x80000020)).toMatchObject(gp0);
    expect(write(0x200)).toMatchObject(gp0); // PAE in long mode
    expect(write(0x820)).toMatchObject(gp0); // UMIP, which AMD's model has
    expect(new Machine(AMD).long().set(R.rax, 0x820).step(TO_CR4).state.get(S.cr4)).toBe(0x820n);
    const rome = { ...cpuModel('epyc-rome')! };
    const without = new Machine(AMD, () => rome).long().set(R.rax, 0x20020);
    expect(without.fault(TO_CR4)).toMatchObject(gp0); // PCIDE
  });
  it('takes PCIDE in long mode only, with PCID 0', () => {
    expect(new Machine().protected().set(R.rax, 0x20000).fault(TO_CR4)).toMatchObject(gp0);
    const m = new Machine().long().set(R.rax, 0x20020);
    m.state.set(S.cr3, BigInt(At.pml4 | 1));
    expect(m.fault(TO_CR4)).toMatchObject(gp0);
    m.state.set(S.cr3, BigInt(At.pml4));
    m.step(TO_CR4);
    expect(m.set(R.rax, 0x33).fault(TO_CR0)).toMatchObject(gp0);
  });
});

describe('EFER', () => {
  it('keeps LMA, refuses undefined bits and a change of LME under paging', () => {
    const m = new Machine().long();
    writeEfer(m.cpu, 0x900n);
    expect(m.state.get(S.efer)).toBe(0x900n | LMA);
    expect(() => writeEfer(m.cpu, 0x800n)).toThrow(expect.objectContaining(gp0));
    expect(() => writeEfer(m.cpu, 1n << 16n)).toThrow(expect.objectContaining(gp0));
  });
  it('NXE makes NX count', () => {
    const m = new Machine().long();
    m.poke(At.pt + (At.data >> 12) * 8, 8, BigInt(At.data) | 7n | (1n << 63n));
    m.cpu.flushAll();
    m.state.rip = BigInt(At.data);
    expect(m.fault('90')).toMatchObject({ vector: Vector.PF, code: 0x11 });
  });
});

describe('CR8 and XCR0', () => {
  it('CR8 has four bits', () => {
    const m = new Machine().long().set(R.rax, 15).step('44 0f 22 c0');
    expect(m.step('44 0f 20 c1').get(R.rcx)).toBe(15n);
    expect(m.set(R.rax, 16).fault('44 0f 22 c0')).toMatchObject(gp0);
  });
  it('XSETBV wants OSXSAVE, index 0, x87, and what CPUID has', () => {
    const set = '0f 01 d1';
    const m = new Machine().long().set(R.rax, 3).set(R.rcx, 0).set(R.rdx, 0);
    expect(m.fault(set)).toMatchObject(fault(Vector.UD));
    m.state.set(S.cr4, 0x40220n);
    expect(m.step(set).state.get(S.xcr0)).toBe(3n);
    for (const value of [2, 0, 5, 0x200]) expect(m.set(R.rax, value).fault(set)).toMatchObject(gp0);
    expect(m.set(R.rax, 1).set(R.rcx, 1).fault(set)).toMatchObject(gp0);
  });
});

describe('debug registers', () => {
  it('DR4 and DR5 are DR6 and DR7 unless CR4.DE is set', () => {
    const m = new Machine().long().set(R.rax, 0x155).step('0f 23 e8');
    expect(m.step('0f 21 f9').get(R.rcx)).toBe(0x555n);
    m.state.set(S.cr4, 0x228n);
    expect(m.fault('0f 23 e8')).toMatchObject(fault(Vector.UD));
  });
  it('have fixed bits, and none above 32', () => {
    const m = new Machine().long().set(R.rax, 0xffffffffn).step('0f 23 f0').step('0f 23 f8');
    expect([m.state.get(S.dr + 48), m.state.get(S.dr + 56)]).toEqual([0xffffefffn, 0xffff27ffn]);
    m.state.set(S.dr + 56, 0x400n);
    expect(m.set(R.rax, 1n << 32n).fault('0f 23 f0')).toMatchObject(gp0);
    m.step('0f 23 d8');
    expect(m.state.get(S.dr + 24)).toBe(1n << 32n);
  });
  it('trap on every access where GD is set, and the handler may use them', () => {
    const m = new Machine().long();
    m.state.set(S.dr + 56, 0x2400n);
    expect(m.fault('0f 21 c0')).toMatchObject({ vector: Vector.DB, code: null, address: 0x2000n });
    const n = new Machine().long(0, false);
    n.idtLong(Vector.DB, At.handlers);
    n.state.set(S.dr + 56, 0x2400n);
    n.step('0f 21 c0');
    expect([n.state.get(S.dr + 48), n.state.get(S.dr + 56)]).toEqual([0xffff2ff0n, 0x400n]);
  });
  it('belong to ring 0', () => {
    expect(new Machine().long(3).fault('0f 21 c0')).toMatchObject(gp0);
  });
});

describe('translations', () => {
  it('INVLPG drops a page; INVPCID checks its operands', () => {
    const m = new Machine().long(0, false).set(R.rbx, At.data);
    m.poke(At.data, 4, 1);
    m.poke(0x61000, 4, 2);
    m.step('8b 0b');
    m.poke(At.pt + (At.data >> 12) * 8, 8, 0x61003n);
    m.step('0f 01 3b');
    expect(m.step('8b 0b').get(R.rcx)).toBe(2n);
    expect(new Machine().long(3).fault('0f 01 3b')).toMatchObject(gp0);
    const inv = '66 0f 38 82 03';
    const p = new Machine().long().set(R.rbx, At.data);
    p.set(R.rax, 4);
    expect(p.fault(inv)).toMatchObject(gp0);
    p.set(R.rax, 0).poke(At.data + 8, 8, 0x8000_0000_0000n);
    expect(p.fault(inv)).toMatchObject(gp0);
    p.set(R.rax, 2).step(inv);
    p.poke(At.data, 8, 0x1000n);
    expect(p.fault(inv)).toMatchObject(gp0);
    p.poke(At.data, 8, 1);
    expect(p.set(R.rax, 1).fault(inv)).toMatchObject(gp0);
  });
  it('of kernel and user do not mix, nor those with SMAP lifted', () => {
    const m = new Machine().long(0, false).set(R.rbx, At.data);
    m.idtLong(Vector.PF, At.handlers);
    m.state.set(S.cr4, 0x200220n);
    m.page(At.data + 0x1000, 3n);
    m.cpu.modeChanged();
    for (const p of [At.gdt, At.idt, At.tss, At.handlers, At.code, At.stack0]) m.page(p, 3n);
    m.step('0f 01 cb').step('8b 0b'); // STAC
    m.step('0f 01 ca').step('8b 0b'); // CLAC
    expect([m.state.rip, m.stack(0, 8)]).toEqual([BigInt(At.handlers), 1n]);
    const user = new Machine().long(3, false).set(R.rbx, At.data);
    user.idtLong(Vector.PF, At.handlers);
    user.page(At.data, 3n);
    user.step('8b 0b');
    expect([user.state.rip, user.stack(0, 8)]).toEqual([BigInt(At.handlers), 5n]);
    user.put(At.handlers, Uint8Array.from([0x8b, 0x0b, 0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf]));
    expect(user.cpu.run(3)).toBe(Exit.fuel);
    expect(user.state.rip).toBe(BigInt(At.userCode));
    user.step('8b 0b');
    expect(user.state.rip).toBe(BigInt(At.handlers));
  });
});
