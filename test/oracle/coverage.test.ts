// Every row of the encoding table has a case, or a test of its own that is named here.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { coverage, rowText } from './coverage.ts';

const SYSTEM = 'test/cpu/system/tables-and-flags.test.ts';

/** Rows that no user-mode program can run, or that mean different things to AMD and Intel: where they are tested instead. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  '0F 07': SYSTEM, // SYSRET
  '0F 34': SYSTEM, // SYSENTER
  '0F 35': SYSTEM, // SYSEXIT
  'NP 0F 01 C1': 'test/cpu/semantics/two-byte.test.ts', // VMCALL: leaves to the host
  'NP 0F 01 D9': 'test/cpu/semantics/two-byte.test.ts', // VMMCALL
};

it('no row of the encoding table is without a case', () => {
  const rows = coverage();
  const without = rows.filter(c => c.done[64] + c.done[32] + c.done[16] + c.faulted + c.system === 0);
  expect(without.map(c => rowText(c.row)).filter(text => !(text in ELSEWHERE))).toEqual([]);
  for (const file of Object.values(ELSEWHERE)) {
    expect(existsSync(fileURLToPath(new URL(`../../${file}`, import.meta.url))), file).toBe(true);
  }
});

it('most rows have cases that run to their end, in every size of code that they exist in', () => {
  const rows = coverage();
  const done = rows.filter(c => c.done[64] + c.done[32] + c.done[16] > 0);
  expect(done.length).toBeGreaterThan(rows.length * 0.9);
  const lacking64 = done.filter(c => !c.row.no64 && c.done[64] === 0);
  const lacking32 = done.filter(c => !c.row.only64 && c.done[32] === 0);
  expect(lacking64.map(c => rowText(c.row))).toEqual([]);
  expect(lacking32.map(c => rowText(c.row))).toEqual([]);
});
