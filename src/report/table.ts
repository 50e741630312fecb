// Results as a table for a terminal: one row a boot.

import { count, duration } from './numbers.ts';
import type { Result, Verdict } from './verdict.ts';

const HEADER = ['kernel', 'mode', 'verdict', 'stage', 'instructions', 'time', 'what was seen'];
const RIGHT = new Set([4, 5]);
/** SGR colours. */
const COLOURS: Readonly<Record<Verdict, number>> = { pass: 32, skip: 90, fail: 31, crash: 31, timeout: 33, error: 35 };

/** Lines without a newline at the end. `colour` marks the verdicts with terminal colours. */
export function formatTable(results: readonly Result[], colour = false): string {
  const rows = results.map(result => [
    result.version === '' ? result.image : result.version,
    result.mode,
    result.verdict,
    result.stages.at(-1)?.name ?? '-',
    result.instructions > 0 ? count(result.instructions) : '-',
    result.verdict === 'skip' ? '-' : duration(result.wallSeconds),
    result.reason,
  ]);
  const widths = HEADER.map((title, i) => Math.max(title.length, ...rows.map(row => row[i].length)));
  const format = (row: readonly string[]) =>
    row.map((cell, i) => (RIGHT.has(i) ? cell.padStart(widths[i]) : cell.padEnd(widths[i])));
  const lines = rows.map((row, i) => {
    const cells = format(row);
    if (colour) cells[2] = `\x1b[${COLOURS[results[i].verdict]}m${cells[2]}\x1b[0m`;
    return cells;
  });
  return [format(HEADER), ...lines].map(cells => cells.join('  ').trimEnd()).join('\n');
}
