// What a person gets to read about a boot that did not pass: enough to see the cause without running it again.

import type { CrashReport, Result } from './verdict.ts';

const CONSOLE_LINES = 20;
const STACK_WORDS = 32;
const HYPERCALLS = 16;
const REGISTERS_A_LINE = 4;

/** Lines without a newline at the end; empty for a pass and a skip. */
export function explain(result: Result): string[] {
  if (result.verdict === 'pass' || result.verdict === 'skip') return [];
  const { crash, consoleTail } = result;
  const title = `${result.version || result.image}, ${result.mode}: ${result.verdict}: ${result.reason}`;
  const parts = [...(crash === null ? [] : explainCrash(crash))];
  // The panic's text is the end of the console already.
  if (crash === null || crash.panic.length === 0) {
    parts.push(...section('the last lines of the console', consoleTail.slice(-CONSOLE_LINES)));
  }
  return [title, ...parts, ...(result.reproduce === '' ? [] : [`  again: ${result.reproduce}`])];
}

function explainCrash(crash: CrashReport): string[] {
  const registers = Object.entries(crash.registers).map(([name, value]) => `${name.padEnd(6)} ${value}`);
  const place = [crash.symbol, crash.rip].filter(part => part !== null);
  return [
    ...section('the kernel says', crash.panic),
    ...(place.length === 0 ? [] : [`  at ${place.join(', ')}${crash.vcpu === null ? '' : `, vCPU ${crash.vcpu}`}`]),
    ...section('registers', inRows(registers, REGISTERS_A_LINE)),
    ...section('stack', stackLines(crash)),
    ...section('last hypercalls', hypercallLines(crash)),
    ...section('the hypervisor says', crash.xenLog),
  ];
}

/** The same one several times over is one line. */
function hypercallLines({ hypercalls }: CrashReport): string[] {
  const lines: Array<{ text: string; times: number }> = [];
  for (const { vcpu, call, result } of hypercalls) {
    const text = `v${vcpu} ${call} = ${result}`;
    const last = lines.at(-1);
    if (last?.text === text) last.times++;
    else lines.push({ text, times: 1 });
  }
  return lines.slice(-HYPERCALLS).map(({ text, times }) => (times === 1 ? text : `${text}  (${times} times)`));
}

/** Words with a symbol, and where there is none, the first few as they are. */
function stackLines({ stack }: CrashReport): string[] {
  const named = stack
    .map(({ value, symbol }, i) =>
      symbol === null ? null : `+0x${(i * 8).toString(16).padStart(3, '0')} ${value} ${symbol}`,
    )
    .filter(line => line !== null);
  if (named.length > 0) return named.slice(0, STACK_WORDS);
  return inRows(
    stack.slice(0, STACK_WORDS / 2).map(word => word.value),
    REGISTERS_A_LINE,
  );
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`  ${title}:`, ...lines.map(line => `    ${line}`)];
}

function inRows(cells: readonly string[], perRow: number): string[] {
  const rows: string[] = [];
  for (let i = 0; i < cells.length; i += perRow) rows.push(cells.slice(i, i + perRow).join('  '));
  return rows;
}
