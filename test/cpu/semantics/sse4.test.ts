// Every encoding row of this group on both back ends: the same registers, memory, exits and device accesses.
import { test } from 'vitest';
import { expectAgreement, runGroup } from './cases.ts';

test('the interpreter and the evaluator agree', () => {
  expectAgreement(runGroup('sse4', ['kernel64', 'user64', 'user32', 'user16']));
});
