// Compares a boot with genuine Xen's: which hypercalls the kernel makes first, with what, answered how, and what it logs.
//   npx tsx scripts/fidelity/compare.ts TRACE KERNEL... [--domain 1] [--cpus 2] [--memory 256] [--cpu epyc] [--append STRING] [--console FROM,TO]
// TRACE is the console log of an instrumented Xen (trace-file.ts has its form). Prints Markdown tables. Exit status 1 where a
// difference has no known cause (known-differences.ts).

import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { errnoName } from '../../src/hypervisor/errors.ts';
import { align, type Pair } from './align.ts';
import { compareLogs } from './console-log.ts';
import { difference, nameOf } from './differences.ts';
import { knownCause } from './known-differences.ts';
import { record } from './record.ts';
import type { Seen } from './seen.ts';
import { shapes } from './shapes.ts';
import { kernelLines, readTrace } from './trace-file.ts';

const argumentsText = (seen: Seen) => shapes(seen).join(', ');
function resultText({ result }: Seen): string {
  if (result === null) return '';
  return result < 0n && result > -200n ? errnoName(Number(result)) : String(result);
}

/** One cell where both say the same, else both. */
function both({ theirs, ours }: Pair<Seen>, text: (seen: Seen) => string): string {
  const [a, b] = [theirs && text(theirs), ours && text(ours)];
  if (a === null || b === null || a === b) return a ?? b ?? '';
  return `${a} / ${b}`;
}

function table(pairs: readonly Pair<Seen>[], reference: number): { lines: string[]; unexplained: number } {
  const lines = ['| call | arguments | result | genuine Xen / domzero | cause |', '| --- | --- | --- | --- | --- |'];
  let unexplained = 0;
  for (const pair of pairs) {
    const name = nameOf((pair.theirs ?? pair.ours)!);
    const found = difference(pair);
    const cause = found === null ? '' : knownCause(name, found, reference);
    if (cause === null) unexplained++;
    const cells = [
      `\`${name}\``,
      both(pair, argumentsText),
      both(pair, resultText),
      found ?? 'same',
      cause ?? '**unknown**',
    ];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return { lines, unexplained };
}

function summary(pairs: readonly Pair<Seen>[]): string {
  const counts = new Map<string, number>();
  for (const pair of pairs) {
    const found = difference(pair) ?? 'same';
    counts.set(found, (counts.get(found) ?? 0) + 1);
  }
  return [...counts].map(([what, count]) => `${count} ${what}`).join(', ');
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      domain: { type: 'string', default: '1' },
      cpus: { type: 'string', default: '2' },
      memory: { type: 'string', default: '256' },
      cpu: { type: 'string', default: 'epyc' },
      append: { type: 'string', default: '' },
      console: { type: 'string' },
    },
  });
  const [traceFile, ...kernel] = positionals;
  if (traceFile === undefined || kernel.length === 0) throw new Error('give a trace and a kernel');
  const trace = readFileSync(traceFile, 'utf8');
  const recording = await record(kernel, {
    mode: values.domain === '0' ? 'dom0' : 'pv',
    cpus: Number(values.cpus),
    memoryMiB: Number(values.memory),
    cpu: values.cpu,
    commandLine: `console=hvc0 ${values.append}`.trim(),
  });
  const reference = Number(values.domain);
  const pairs = align(readTrace(trace, reference), recording.seen, nameOf);
  const { lines, unexplained } = table(pairs, reference);
  console.log(`${summary(pairs)}\n\n${lines.join('\n')}`);
  if (values.console === undefined) return unexplained > 0 ? 1 : 0;
  const [from, to] = values.console.split(',').map(text => (text === '' ? null : new RegExp(text)));
  const log = compareLogs(kernelLines(trace, from, to), recording.console);
  console.log(`\n${log.join('\n')}`);
  return unexplained > 0 ? 1 : 0;
}

process.exitCode = await main();
