// Instructions that cross into a page which is another one, or none, by the time they run again.
import { expect, it } from 'vitest';
import { At, Exit, Machine, R, S, Vector } from './machine.ts';

const PAGE = 4096;
const PRESENT = 7n;
/** mov eax, imm32: the opcode and one byte in the first page, three in the second. */
const start = At.userCode + PAGE - 2;
const second = At.userCode + PAGE;

function machine(): Machine {
  const m = new Machine().long(3);
  m.state.rip = BigInt(start);
  return m.code('b8 11 22 33 44 eb fe');
}

it('raises the page fault of its second page, each time that page is gone', () => {
  const m = machine();
  for (const _ of [1, 2]) {
    m.state.rip = BigInt(start);
    expect(m.cpu.run(1)).toBe(Exit.fuel);
    expect(m.get(R.rax)).toBe(0x44332211n);
    m.page(second, 0n);
    m.state.rip = BigInt(start);
    expect(m.cpu.run(10)).toBe(Exit.exception);
    expect([m.state.get32(S.faultVector), m.state.get(S.faultAddress)]).toEqual([Vector.PF, BigInt(second)]);
    expect(m.state.rip).toBe(BigInt(start));
    m.page(second, PRESENT);
  }
});

it('is decoded afresh where another frame stands behind it', () => {
  const m = machine();
  expect(m.cpu.run(1)).toBe(Exit.fuel);
  m.put(At.data, Uint8Array.of(0x66, 0x77, 0x88, 0xeb, 0xfe));
  m.poke(At.pt + (second >> 12) * 8, 8, BigInt(At.data) | PRESENT);
  m.cpu.flushAll();
  m.state.rip = BigInt(start);
  expect(m.cpu.run(1)).toBe(Exit.fuel);
  expect(m.get(R.rax)).toBe(0x88776611n);
});

it('is noticed when written to, also after the code of its second page was dropped for a third', () => {
  const m = machine();
  const third = second + PAGE;
  m.page(third, PRESENT);
  // a jump to the second page's end, where mov ecx, imm32 crosses into the third
  const end = third - 2;
  m.put(second + 3, Uint8Array.of(0xe9, ...new Uint8Array(Uint32Array.of(end - (second + 8)).buffer)));
  m.put(end, Uint8Array.of(0xb9, 1, 2, 3, 4, 0xeb, 0xfe));
  expect(m.cpu.run(3)).toBe(Exit.fuel);
  expect([m.get(R.rax), m.get(R.rcx)]).toEqual([0x44332211n, 0x04030201n]);
  m.put(third, Uint8Array.of(5, 6, 7));
  m.put(second, Uint8Array.of(0x66, 0x77, 0x88));
  m.state.rip = BigInt(start);
  expect(m.cpu.run(3)).toBe(Exit.fuel);
  expect([m.get(R.rax), m.get(R.rcx)]).toEqual([0x88776611n, 0x07060501n]);
});
