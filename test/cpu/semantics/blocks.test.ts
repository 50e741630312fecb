// What must not be seen of decoded blocks: code that changes while it runs, and what instructions cost.
import { expect, test } from 'vitest';
import { Exit } from '../../../src/cpu/exits.ts';
import { R, S } from '../../../src/cpu/layout.ts';
import { CODE, CODE_ALIAS, Twins } from './twins.ts';

const INC_EAX = [0xff, 0xc0];
/** Bytes at an offset of CODE, which is where RIP is then. */
function started(bytes: number[], offset = 0): { twins: Twins; live: Twins['interpreting']['processor']['live'] } {
  const twins = new Twins();
  const state = twins.state('user64');
  state.rip = CODE + BigInt(offset);
  state.gpr[R.rdi] = CODE_ALIAS + BigInt(offset);
  twins.start(state, [[twins.ramOffset(CODE)! + offset, Uint8Array.from(bytes)]]);
  return { twins, live: twins.interpreting.processor.live };
}

// mov byte [rdi+7], 0xc8 makes the next instruction but one `dec eax`
const rewriting = [0xc6, 0x47, 0x07, 0xc8, ...INC_EAX, 0xff, 0xc0, ...INC_EAX, ...INC_EAX, ...INC_EAX, 0x0f, 0x0b];

test.each([
  ['a block of the cache', 7],
  ['a block of as many instructions as are left', 3],
])('code that changes within %s is executed as it is now', (_, fuel) => {
  const { twins, live } = started(rewriting);
  expect(twins.go(fuel)).toBe(null);
  expect(live.gpr[R.rax]).toBe(fuel === 3 ? 0n : 3n);
});

test('an instruction costs one, whether it crosses a page or not', () => {
  for (const offset of [0, 0xfff]) {
    const { twins, live } = started([...INC_EAX, ...INC_EAX, ...INC_EAX, 0xeb, 0xf8], offset);
    expect(twins.go(101)).toBe(null);
    expect([live.get(S.retired), live.gpr[R.rax]]).toEqual([101n, 76n]);
  }
});

test('a fetch that faults costs one, where a run begins with it and where it does not', () => {
  const runs: number[][] = [[9], [1, 8], [2, 1]];
  for (const fuels of runs) {
    const { twins, live } = started([0x90, 0xe9, 0, 0, 0, 0x10]); // nop; jmp far away
    for (const fuel of fuels) expect(twins.go(fuel)).toBe(null);
    expect([live.get32(S.exit), live.get(S.retired)]).toEqual([Exit.exception, 3n]);
  }
});

test('a fetch that faults belongs to the run that has fuel for it', () => {
  const { twins, live } = started([0x90, 0xe9, 0, 0, 0, 0x10]);
  expect(twins.go(2)).toBe(null);
  expect([live.get32(S.exit), live.get(S.retired)]).toEqual([Exit.fuel, 2n]);
});
