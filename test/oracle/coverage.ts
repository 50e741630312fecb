// Which rows of the encoding table have cases, and on what ground: results of a real processor, or system cases.
// Run as a program it prints the rows without any: npx tsx test/oracle/coverage.ts
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Decoder } from '../../src/cpu/decode/decoder.ts';
import type { Row } from '../../src/cpu/decode/row.ts';
import { createEncodingTable } from '../../src/cpu/encodings/index.ts';
import { type Bitness, modeOf } from './decode/compare.ts';
import { readFixture } from './fixture-file.ts';
import { readSystemFixture } from './system/fixture.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/cpu/', import.meta.url));

export interface RowCoverage {
  row: Row;
  /** Cases whose instruction ran to its end, by code size. */
  done: Record<Bitness, number>;
  /** Cases that raised an exception. */
  faulted: number;
  /** System cases. */
  system: number;
}

/** Counts the cases of every row. */
export function coverage(): RowCoverage[] {
  const table = createEncodingTable();
  const decoder = new Decoder(table);
  const rows = table.rows.map((row): RowCoverage => ({ row, done: { 64: 0, 32: 0, 16: 0 }, faulted: 0, system: 0 }));
  const find = (code: Uint8Array, bitness: Bitness): RowCoverage | null => {
    const padded = new Uint8Array(16);
    padded.set(code);
    const decoded = decoder.decode(padded, 0, padded.length, modeOf(bitness));
    return decoded === 'more' || 'fault' in decoded ? null : rows[decoded.row.id];
  };
  for (const file of readdirSync(FIXTURES).filter(f => f.endsWith('.bin.gz'))) {
    const bytes = readFileSync(join(FIXTURES, file));
    if (file.startsWith('ring0')) {
      for (const { case: c } of readSystemFixture(bytes)) {
        const covered = find(c.code, c.start.endsWith('32') ? 32 : 64);
        if (covered) covered.system++;
      }
      continue;
    }
    for (const group of readFixture(bytes)) {
      for (const { input, outcome } of group.cases) {
        const covered = find(input.code, input.mode);
        if (!covered) continue;
        if (outcome.vector < 0) covered.done[input.mode]++;
        else covered.faulted++;
      }
    }
  }
  return rows;
}

/** A row as the table writes it, with its operands. */
export function rowText(row: Row): string {
  const where = row.only64 ? ' (64-bit only)' : row.no64 ? ' (not 64-bit)' : '';
  return `${row.pattern}${where}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const rows = coverage();
  const total = (c: RowCoverage): number => c.done[64] + c.done[32] + c.done[16];
  const without = rows.filter(c => total(c) + c.faulted + c.system === 0);
  const onlyFaults = rows.filter(c => total(c) === 0 && c.system === 0 && c.faulted > 0);
  console.log(`${rows.length} rows; ${rows.filter(c => total(c) > 0).length} with results of a real processor`);
  console.log(`only exceptions: ${onlyFaults.map(c => rowText(c.row)).join(', ') || 'none'}`);
  console.log(`without a case: ${without.map(c => rowText(c.row)).join(', ') || 'none'}`);
  process.exitCode = without.length ? 1 : 0;
}
