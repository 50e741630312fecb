// The last line of `npm test`: a file that does not load and a run that fails without a failing test are failures too.
import { expect, test } from 'vitest';
// @ts-expect-error a script of plain JavaScript
import { countTests } from '../../scripts/test-counts.mjs';

const file = (status: string, ...tests: string[]) => ({ status, assertionResults: tests.map(status => ({ status })) });

test('tests are counted over all files; what did not run is skipped', () => {
  const testResults = [file('passed', 'passed', 'pending', 'todo'), file('passed', 'passed', 'skipped')];
  expect(countTests({ testResults }, 0)).toEqual({ passed: 2, failed: 0, skipped: 3 });
});

test('a failing test counts once', () => {
  expect(countTests({ testResults: [file('failed', 'failed', 'passed')] }, 1)).toEqual({
    passed: 1,
    failed: 1,
    skipped: 0,
  });
});

test('a file without tests that failed is a failure', () => {
  expect(countTests({ testResults: [file('failed')] }, 1).failed).toBe(1);
  expect(countTests({ testResults: [file('failed', 'skipped')] }, 1)).toEqual({ passed: 0, failed: 1, skipped: 1 });
});

test('a run that failed by itself is a failure', () => {
  expect(countTests({ testResults: [file('passed', 'passed')] }, 1).failed).toBe(1);
  expect(countTests({ testResults: [] }, null).failed).toBe(1);
});
