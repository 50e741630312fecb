// The forms that results are given in: what tools that read them rely on.
import { describe, expect, test } from 'vitest';
import { explain } from '../../src/report/explanation.ts';
import { formatJson } from '../../src/report/json.ts';
import { formatJunit } from '../../src/report/junit.ts';
import { formatKtap } from '../../src/report/ktap.ts';
import { ProgressDisplay } from '../../src/report/progress.ts';
import { formatTable } from '../../src/report/table.ts';
import { exitStatus, type Result, type Verdict } from '../../src/report/verdict.ts';

function result(verdict: Verdict, change: Partial<Result> = {}): Result {
  return {
    image: 'linux.deb',
    sha256: '00',
    version: '6.1.0',
    mode: 'pv',
    verdict,
    reason: `it is a ${verdict}`,
    cpuModel: 'epyc',
    memoryMiB: 512,
    cpus: 1,
    instructions: verdict === 'skip' ? 0 : 2_750_000_000,
    wallSeconds: verdict === 'skip' ? 0 : 12.34,
    stages: verdict === 'skip' ? [] : [{ name: 'kernel', instructions: 5, wallSeconds: 1 }],
    guest: null,
    consoleTail: ['a < b & "c"', '\u0001last'],
    crash: null,
    reproduce: 'domzero check linux.deb',
    ...change,
  };
}
const crashed = result('crash', {
  mode: 'pvh',
  crash: {
    reason: 'Attempted to kill init!',
    vcpu: 0,
    rip: '0xffffffff81000000',
    symbol: 'do_exit+0x1',
    registers: { rax: '0x0', rbx: '0x1' },
    stack: [
      { value: '0x5', symbol: null },
      { value: '0xffffffff81000010', symbol: 'panic+0x2' },
    ],
    hypercalls: Array.from({ length: 3 }, () => ({ vcpu: 0, call: 'iret()', result: '0' })),
    panic: ['Kernel panic - not syncing: Attempted to kill init!'],
    xenLog: ['(XEN) d1v0'],
  },
});

test('exit statuses keep what the kernel did apart from what the tool did', () => {
  const of = (...verdicts: Verdict[]) => exitStatus(verdicts.map(verdict => result(verdict)));
  expect([of('pass', 'skip'), of('skip', 'skip'), of()]).toEqual([0, 4, 4]);
  expect([of('pass', 'fail'), of('crash'), of('timeout', 'skip')]).toEqual([1, 1, 1]);
  expect([of('pass', 'error'), of('error', 'skip'), of('error', 'fail')]).toEqual([2, 2, 1]);
});

describe('the table', () => {
  test('has a row a boot, in columns', () => {
    expect(formatTable([result('skip', { mode: 'native' }), result('pass'), crashed]).split('\n')).toEqual([
      'kernel  mode    verdict  stage   instructions    time  what was seen',
      '6.1.0   native  skip     -                  -       -  it is a skip',
      '6.1.0   pv      pass     kernel        2.75 G  12.3 s  it is a pass',
      '6.1.0   pvh     crash    kernel        2.75 G  12.3 s  it is a crash',
    ]);
  });

  test('colours do not move columns', () => {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours
    const plain = formatTable([result('pass'), crashed], true).replace(/\x1b\[\d+m/g, '');
    expect(plain).toBe(formatTable([result('pass'), crashed]));
  });
});

describe('an explanation', () => {
  test('is given for what did not pass alone', () => {
    expect([explain(result('pass')), explain(result('skip'))]).toEqual([[], []]);
  });

  test('has the panic, the place, registers, stack, hypercalls, log and the command', () => {
    expect(explain(crashed)).toEqual([
      '6.1.0, pvh: crash: it is a crash',
      '  the kernel says:',
      '    Kernel panic - not syncing: Attempted to kill init!',
      '  at do_exit+0x1, 0xffffffff81000000, vCPU 0',
      '  registers:',
      '    rax    0x0  rbx    0x1',
      '  stack:',
      '    +0x008 0xffffffff81000010 panic+0x2',
      '  last hypercalls:',
      '    v0 iret() = 0  (3 times)',
      '  the hypervisor says:',
      '    (XEN) d1v0',
      '  again: domzero check linux.deb',
    ]);
  });

  test('has the last lines of the console where the kernel said nothing special', () => {
    expect(explain(result('timeout'))).toContain('    a < b & "c"');
  });
});

test('KTAP: a test a kernel, a subtest a mode; a parent fails with its child', () => {
  const other = result('skip', { image: 'other#1', sha256: '01' });
  const timeout = result('timeout', { mode: 'dom0' });
  const lines = formatKtap([result('skip', { mode: 'native' }), timeout, result('pass'), crashed, other]).split('\n');
  expect(lines.filter(line => !/^ *# (?!Subtest)/.test(line))).toEqual([
    'KTAP version 1',
    '1..2',
    '  KTAP version 1',
    '  # Subtest: linux.deb',
    '  1..4',
    '  ok 1 native # SKIP it is a skip',
    '  not ok 2 dom0 # TIMEOUT it is a timeout',
    '  ok 3 pv',
    '  not ok 4 pvh',
    'not ok 1 linux.deb',
    '  KTAP version 1',
    '  # Subtest: other_1',
    '  1..1',
    '  ok 1 pv # SKIP it is a skip',
    'ok 2 other_1 # SKIP no mode was run',
    '',
  ]);
  // What went wrong stands before the line that it belongs to.
  expect(lines.indexOf('  not ok 4 pvh')).toBeGreaterThan(lines.indexOf('  # 6.1.0, pvh: crash: it is a crash'));
});

test('JUnit: counts, kinds of failure, and nothing that is no XML', () => {
  const xml = formatJunit([result('pass'), crashed, result('skip'), result('error', { reason: 'a "b" <c>\n&' })]);
  expect(xml).toContain('<testsuites tests="4" failures="1" errors="1" skipped="1" time="37.020">');
  expect(xml).toContain('<testcase name="pvh" classname="linux.deb" time="12.340">');
  expect(xml).toContain('<failure type="crash" message="it is a crash">');
  expect(xml).toContain('<skipped message="it is a skip"/>');
  expect(xml).toContain('<error type="error" message="a &quot;b&quot; &lt;c&gt;&#10;&amp;">');
  expect(xml).toContain('<system-out>a &lt; b &amp; "c"\nlast</system-out>');
  const open = [...xml.matchAll(/<(\/?)([a-z-]+)[^>]*?(\/?)>/g)].filter(([, , name]) => name !== 'xml');
  const depth = open.reduce((n, [, end, , single]) => n + (single ? 0 : end ? -1 : 1), 0);
  expect(depth).toBe(0);
});

test('JSON: the documented fields, and the same again', () => {
  const text = formatJson([crashed], 'domzero 0.1.0');
  const document = JSON.parse(text);
  expect(document).toEqual({ tool: 'domzero 0.1.0', results: [crashed] });
  const keys =
    'image sha256 version mode verdict reason cpuModel memoryMiB cpus instructions wallSeconds stages guest consoleTail crash reproduce';
  expect(Object.keys(document.results[0])).toEqual(keys.split(' '));
});

test('progress takes its own lines back, and none but those', () => {
  let text = '';
  const display = new ProgressDisplay(
    more => {
      text += more;
    },
    () => 60,
  );
  display.update(1, '6.1 pv', { stage: 'kernel', instructions: 0, wallSeconds: 0 });
  display.update(2, '6.2 pv', { stage: null, instructions: 0, wallSeconds: 0 });
  display.update(1, '6.1 pv', { stage: 'kernel', instructions: 50_000_000, wallSeconds: 1 });
  expect(text.endsWith('\x1b[2A\r\x1b[J6.1 pv: kernel, 50.0 M, 50 MIPS, 1.00 s\n6.2 pv: loading, 0, 0.00 s\n')).toBe(
    true,
  );
  text = '';
  display.finish(1);
  display.finish(2);
  expect(text).toBe('\x1b[2A\r\x1b[J6.2 pv: loading, 0, 0.00 s\n\x1b[1A\r\x1b[J');
});
