// Results as JUnit XML, in the shape that Jenkins, GitLab and GitHub's actions read: a suite a kernel, a case a mode.

import { explain } from './explanation.ts';
import { byKernel, type Result, type Verdict } from './verdict.ts';

/** The whole document, with a newline at the end. */
export function formatJunit(results: readonly Result[]): string {
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites${totals(results)}>`,
    ...byKernel(results).flatMap(suite),
    '</testsuites>',
    '',
  ].join('\n');
}

function suite(results: readonly Result[]): string[] {
  const [{ image, version, sha256 }] = results;
  return [
    `  <testsuite${attributes({ name: image })}${totals(results)}>`,
    '    <properties>',
    `      <property${attributes({ name: 'version', value: version })}/>`,
    `      <property${attributes({ name: 'sha256', value: sha256 })}/>`,
    '    </properties>',
    ...results.flatMap(testCase),
    '  </testsuite>',
  ];
}

function testCase(result: Result): string[] {
  const { mode, image, wallSeconds, consoleTail } = result;
  return [
    `    <testcase${attributes({ name: mode, classname: image, time: wallSeconds.toFixed(3) })}>`,
    ...outcome(result),
    ...(consoleTail.length === 0 ? [] : [`      <system-out>${text(consoleTail.join('\n'))}</system-out>`]),
    '    </testcase>',
  ];
}

function outcome(result: Result): string[] {
  const { verdict, reason } = result;
  if (verdict === 'pass') return [];
  if (verdict === 'skip') return [`      <skipped${attributes({ message: reason })}/>`];
  const element = verdict === 'error' ? 'error' : 'failure';
  const details = text(explain(result).join('\n'));
  return [`      <${element}${attributes({ type: verdict, message: reason })}>${details}</${element}>`];
}

function totals(results: readonly Result[]): string {
  const having = (...verdicts: Verdict[]) => results.filter(result => verdicts.includes(result.verdict)).length;
  return attributes({
    tests: results.length,
    failures: having('fail', 'crash', 'timeout'),
    errors: having('error'),
    skipped: having('skip'),
    time: results.reduce((sum, result) => sum + result.wallSeconds, 0).toFixed(3),
  });
}

function attributes(values: Readonly<Record<string, string | number>>): string {
  return Object.entries(values)
    .map(([name, value]) => ` ${name}="${text(String(value)).replaceAll('"', '&quot;').replaceAll('\n', '&#10;')}"`)
    .join('');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is meant
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g;
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** XML 1.0 has no way to write most control characters: they are left out. */
function text(value: string): string {
  return value
    .replace(CONTROL, '')
    .replace(LONE_SURROGATE, '')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
}
