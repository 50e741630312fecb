// Long repetitions are done in steps of 16384 elements, each of which costs an instruction, and single-stepped element by element.
import { expect, test } from 'vitest';
import { Exit } from '../../../src/cpu/exits.ts';
import { R, S } from '../../../src/cpu/layout.ts';
import { CODE, LONG, Twins } from './twins.ts';

const STEP = 16384n;
const COUNT = 20000n;

const strings: [name: string, code: number[], up: boolean][] = [
  ['REP STOSB', [0xf3, 0xaa], true],
  ['REP MOVSB', [0xf3, 0xa4], true],
  ['REP LODSB', [0xf3, 0xac], true],
  ['REPE CMPSB', [0xf3, 0xa6], true],
  ['REPNE SCASB', [0xf2, 0xae], true],
  ['REP STOSB downwards', [0xf3, 0xaa], false],
];

test.each(strings)('%s', (_, code, up) => {
  const twins = new Twins();
  const state = twins.state('user64');
  state.rflags = up ? 2n : 0x402n;
  const at = up ? LONG : LONG + COUNT;
  state.gpr[R.rcx] = COUNT;
  state.gpr[R.rsi] = at;
  state.gpr[R.rdi] = at;
  state.gpr[R.rax] = 0xab00n;
  const memory = new Uint8Array(0x6000).fill(0xcd);
  const patches: [number, Uint8Array][] = [[twins.ramOffset(LONG)!, memory], [twins.ramOffset(CODE)!, Uint8Array.from(code)]]; // biome-ignore format: one line
  expect(twins.run(state, patches)).toBe(null);
  const { processor } = twins.interpreting;
  const { live } = processor;
  expect(live.gpr[R.rcx]).toBe(COUNT - STEP);
  expect(live.rip).toBe(CODE);
  expect(processor.run(1)).toBe(Exit.fuel);
  expect(live.gpr[R.rcx]).toBe(0n);
  expect(live.rip).toBe(CODE + 2n);
  expect(live.get(S.retired)).toBe(2n);
});

test('a trap after every element', () => {
  const twins = new Twins();
  const state = twins.state('user64');
  state.rflags = 0x102n;
  state.gpr[R.rcx] = 3n;
  state.gpr[R.rdi] = LONG;
  expect(twins.run(state, [[twins.ramOffset(CODE)!, Uint8Array.of(0xf3, 0xaa)]])).toBe(null);
  const { live } = twins.interpreting.processor;
  expect([live.get32(S.exit), live.get32(S.faultVector), live.gpr[R.rcx], live.rip]).toEqual([1, 1, 2n, CODE]);
});
