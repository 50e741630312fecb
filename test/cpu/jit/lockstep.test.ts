// Every case of the processor's tests again, with the JIT made to compile at once: it must not be seen from outside.
import { expect, test } from 'vitest';
import { JIT_DEFAULTS, type JitOptions } from '../../../src/cpu/jit/jit.ts';
import { expectAgreement, runGroup } from '../semantics/cases.ts';
import { runPrograms } from '../semantics/programs.ts';

/** Every block is compiled when it is first entered; a region may be as long as a path of so many instructions. */
const atOnce = (minFuel: number): JitOptions => ({ ...JIT_DEFAULTS, heat: 0, batch: 1, minFuel });

test.each(['one-byte', 'two-byte', 'sse', 'sse4', 'mmx', 'x87'])('single instructions: %s', group => {
  expectAgreement(runGroup(group, ['kernel64', 'user64', 'user32', 'user16'], undefined, atOnce(1)));
});

test.each([1, 8, 40])('random programs, regions of up to %i instructions', minFuel => {
  const { jit } = runPrograms(atOnce(minFuel)).interpreting.processor;
  expect(jit!.statistics.regions).toBeGreaterThan(50);
});
