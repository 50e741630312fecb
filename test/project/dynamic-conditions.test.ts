// A TypeScript condition on a value of the guest is found wherever one can be written, and none else.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findDynamicConditions } from '../../scripts/staging/dynamic-conditions.ts';

const ops = resolve(import.meta.dirname, '../../src/cpu/semantics/ops.ts');
const directory = mkdtempSync(join(tmpdir(), 'domzero-staging-'));
afterAll(() => rmSync(directory, { recursive: true }));

const planted: Array<[name: string, line: string, found: string[]]> = [
  ['if', 'if (x) o.endBlock();', ['x']],
  ['an expression', "if (o.cmp('eq', x, x)) o.endBlock();", ["o.cmp('eq', x, x)"]],
  ['else if', "if (a.kind === 'mem') o.endBlock(); else if (c) o.endBlock();", ['c']],
  ['?:', 'o.let(c ? x : x);', ['c']],
  ['&&', 'c && o.endBlock();', ['c']],
  ['||', 'v || o.endBlock();', ['v']],
  ['!', 'const n = !c; o.call(String(n));', ['c']],
  ['while', 'while (o.zf()) o.endBlock();', ['o.zf()']],
  ['do', 'do o.endBlock(); while (c);', ['c']],
  ['for', 'for (; c; ) o.endBlock();', ['c']],
  ['switch', 'switch (x) { default: }', ['x']],
  ['a value that may be absent', 'if (maybe) o.endBlock();', ['maybe']],
  ['an element', 'if (list[0]) o.endBlock();', ['list[0]']],
  ['a static condition joined with a dynamic one', 'if (o.long64 && c) o.endBlock();', ['o.long64 && c']],
  ['a comparison', 'if (x === list[0]) o.endBlock();', ['x', 'list[0]']],
  ['a static condition', "if (a.kind === 'mem') o.endBlock();", []],
  ['a question for presence', 'if (maybe !== null) o.if(maybe, () => o.endBlock());', []],
  ['a default for what is absent', 'o.let(list[0] ?? x);', []],
  ["the builder's own condition", 'o.if(c, () => o.endBlock());', []],
  ['a count', 'if (list.length > 1 && o.stackWidth === 64) o.endBlock();', []],
];

/** What is found in each function of one file: function `i` has the body `lines[i]`. */
function findIn(lines: string[]): string[][] {
  const file = join(directory, 'planted.ts');
  const parameters = 'o: Ops, a: Operand, x: Value, c: Bool, v: Vector, maybe: Bool | null, list: Value[]';
  const functions = lines.map((line, i) => `export function f${i}(${parameters}): void { ${line} }`);
  const head = `import type { Bool, Operand, Ops, Value, Vector } from ${JSON.stringify(ops)};`;
  writeFileSync(file, [head, ...functions].join('\n'));
  const program = ts.createProgram([file], {
    ...{ strict: true, noEmit: true, allowImportingTsExtensions: true, types: [], target: ts.ScriptTarget.ES2022 },
    ...{ module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext },
  });
  // Code that does not compile would have no types to look at.
  expect(program.getSemanticDiagnostics().map(d => d.messageText)).toEqual([]);
  const findings = findDynamicConditions(program, name => name === file);
  return lines.map((_, i) => findings.filter(finding => finding.line === i + 2).map(finding => finding.text));
}

let results: string[][] = [];
beforeAll(() => {
  results = findIn(planted.map(([, line]) => line));
});

test.each(planted.map(([name, , found], i) => [name, i, found] as const))('%s', (_, i, found) => {
  expect(results[i]).toEqual(found);
});
