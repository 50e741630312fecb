import { test } from 'vitest';
import { runPrograms } from './programs.ts';

test('random programs', () => {
  runPrograms();
});
