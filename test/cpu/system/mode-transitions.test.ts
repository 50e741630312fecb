// One processor through all its modes and back, each entered by the instructions that software uses (SDM Vol. 3A, 10.9 and 10.8.5; figure 2-3).
import { expect, it } from 'vitest';
import { deliver } from '../../../src/cpu/helpers/interrupts.ts';
import { At, Flag, Machine, ModeBit, R, S, SEG, Sel, Vector } from './machine.ts';

const TO_CR0 = '0f 22 c0';
const TO_CR3 = '0f 22 d8';
const TO_CR4 = '0f 22 e0';
const WRMSR = '0f 30';
const IRET = 'cf';
const EFER = 0xc0000080;
const CR0 = { real: 0x32, protected: 0x33, paged: 0x80000033 } as const;
const PAE = 0x20;
const LME = 0x100;
const NEXT = At.code + 0x40;
const { long64, default32, protected: protectedMode, longActive, paging, v86 } = ModeBit;

const hex = (value: number, bytes: number): string =>
  Array.from({ length: bytes }, (_, i) => ((value >>> (8 * i)) & 0xff).toString(16).padStart(2, '0')).join(' ');

class Traveller extends Machine {
  /** Writes EAX to a control register. */
  control(instruction: string, value: number): this {
    return this.set(R.rax, value).step(instruction);
  }
  efer(value: number): this {
    return this.set(R.rcx, EFER).set(R.rax, value).set(R.rdx, 0).step(WRMSR);
  }
  /** A far jump to this segment, back to NEXT; code of 16 bits has a shorter pointer. */
  jump(selector: number): this {
    const wide = (this.state.get32(S.mode) & default32) !== 0;
    return this.step(`ea ${hex(NEXT, wide ? 4 : 2)} ${hex(selector, 2)}`);
  }
  /** From 64-bit mode, where the pointer is in memory. */
  jumpIndirect(selector: number): this {
    this.poke(At.data, 4, NEXT);
    this.poke(At.data + 4, 2, selector);
    return this.set(R.rbx, At.data).step('ff 2b');
  }
  data(selector: number): this {
    return this.set(R.rax, selector).step('8e d8').step('8e d0').step('8e c0');
  }
  is(...bits: number[]): this {
    const all = long64 | default32 | protectedMode | longActive | paging | v86;
    expect(this.state.get32(S.mode) & all).toBe(bits.reduce((mode, bit) => mode | bit, 0));
    return this;
  }
  /** Code of this mode works: a store and a load by its own addresses. */
  works(value: number): this {
    this.set(R.rbx, At.data).set(R.rdi, At.data).set(R.rax, value);
    const wide = (this.state.get32(S.mode) & (default32 | long64)) !== 0;
    this.step(wide ? '89 03' : '66 89 05');
    expect(this.peek(At.data, 4)).toBe(BigInt(value));
    return this;
  }
}

it('goes from real mode to 64-bit mode by every stage, and back', () => {
  const m = new Traveller().real(false).is();
  m.state.writeSegment(SEG.tr, { selector: Sel.tss, base: BigInt(At.tss), limit: 0x67, attributes: 0x8b });
  m.works(0x11);
  // protected mode, with 16 bits first
  m.control(TO_CR0, CR0.protected).is(protectedMode).jump(Sel.code16).data(Sel.data16).is(protectedMode).works(0x22);
  m.jump(Sel.code32).data(Sel.data).is(protectedMode, default32).works(0x33);
  // paging of 32 bits
  m.control(TO_CR3, At.pd32).control(TO_CR0, CR0.paged).is(protectedMode, default32, paging).works(0x44);
  m.control(TO_CR0, CR0.protected).is(protectedMode, default32);
  // PAE paging
  m.control(TO_CR4, PAE).control(TO_CR3, At.pdptPae).control(TO_CR0, CR0.paged).works(0x55);
  m.is(protectedMode, default32, paging).control(TO_CR0, CR0.protected);
  // long mode: compatibility code, 64-bit code
  m.control(TO_CR3, At.pml4).efer(LME).control(TO_CR0, CR0.paged);
  m.is(protectedMode, default32, paging, longActive).works(0x66);
  m.jump(Sel.code64).is(protectedMode, paging, longActive, long64).works(0x77);
  m.jumpIndirect(Sel.code16).is(protectedMode, paging, longActive);
  m.jump(Sel.code64).is(protectedMode, paging, longActive, long64);
  m.jumpIndirect(Sel.code32).is(protectedMode, default32, paging, longActive).works(0x88);
  // and the way back
  m.control(TO_CR0, CR0.protected).is(protectedMode, default32).efer(0).control(TO_CR4, 0).works(0x99);
  m.jump(Sel.code16).data(Sel.data16).is(protectedMode).control(TO_CR0, CR0.real).is();
  m.step(`ea ${hex(NEXT, 2)} 00 00`).is();
  expect([m.sel(SEG.cs), m.reg(SEG.cs).base]).toEqual([0, 0n]);
  m.works(0xaa);
});

it('goes to virtual-8086 mode and back, by an exception, with and without paging', () => {
  for (const paged of [false, true]) {
    const m = new Traveller().protected(0, false).idt32();
    if (paged) m.control(TO_CR3, At.pd32).control(TO_CR0, CR0.paged);
    const bits = paged ? [paging] : [];
    m.push(4, 0, 0, 0, 0, 0, 0x8000, Flag.VM | 2, 0, At.userCode)
      .step(IRET)
      .is(protectedMode, v86, ...bits);
    expect(m.state.cpl).toBe(3);
    expect(deliver(m.cpu, Vector.GP, { code: 0 })).toBe(true);
    m.is(protectedMode, default32, ...bits);
    expect([m.state.rip, m.state.cpl]).toEqual([BigInt(At.handlers), 0]);
  }
});

it('leaves user mode of 64-bit and of compatibility code for 64-bit handlers, and goes back', () => {
  for (const [selector, ...bits] of [
    [Sel.userCode64, long64],
    [Sel.userCode32, default32],
  ]) {
    const m = new Traveller().long(0, false);
    m.idtLong(Vector.GP, At.handlers);
    m.push(8, Sel.userData, At.stack3 + 0x100, 2, selector, At.userCode).step(`48 ${IRET}`);
    m.is(protectedMode, paging, longActive, ...bits);
    expect(m.state.cpl).toBe(3);
    expect(deliver(m.cpu, Vector.GP, { code: 0 })).toBe(true);
    m.is(protectedMode, paging, longActive, long64);
    m.set(R.rsp, m.get(R.rsp) + 8n)
      .step(`48 ${IRET}`)
      .is(protectedMode, paging, longActive, ...bits);
    expect([m.state.rip, m.state.cpl, m.sel(SEG.cs)]).toEqual([BigInt(At.userCode), 3, selector]);
  }
});
