// init's routines as ordinary programs on this machine's own kernel, where that is Linux on x86-64: what they read and
// print, without what only a first process may do.
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { commandWords, runCommand } from '../../../src/toolstack/init/command.ts';
import { CONTENT_ROOM, reportDirectory, reportField, reportFile } from '../../../src/toolstack/init/files.ts';
import { initProgram, reportUname } from '../../../src/toolstack/init/init.ts';
import { add, byte, ne } from '../../../src/toolstack/init/language/expressions.ts';
import type { RoutineWriter } from '../../../src/toolstack/init/language/routine.ts';
import { beginLine, endLine, putString, reportStatus } from '../../../src/toolstack/init/lines.ts';
import { sys } from '../../../src/toolstack/init/linux.ts';
import { reportChanges, reportIdle, reportLog, reportStat } from '../../../src/toolstack/init/observe.ts';
import { VALUE_LIMIT } from '../../../src/toolstack/init/protocol.ts';
import { unescaped } from '../../../src/toolstack/init/report-lines.ts';
import { ReportParser } from '../../../src/toolstack/init/report-parser.ts';
import { contains, copyWord, parseHex } from '../../../src/toolstack/init/strings.ts';
import { execute, nativeWidths, runNatively } from './native.ts';

const folder = mkdtempSync(join(tmpdir(), 'domzero-init-'));
// mkdtemp makes it private; the programs run as nobody.
chmodSync(folder, 0o755);
afterAll(() => rmSync(folder, { recursive: true }));

let bits: 32 | 64 = 64;

/** Runs `body` between the report's first and last line; gives the lines and what the parser makes of them. */
function run(body: (r: RoutineWriter) => void) {
  const result = runNatively(bits, r => {
    r.do(beginLine(), putString('protocol 1'), endLine());
    body(r);
    r.do(beginLine(), putString('done'), endLine(), sys('exit', 42));
  });
  expect(result.error).toBe(undefined);
  expect([result.status, result.signal, result.stderr.toString()]).toEqual([42, null, '']);
  const parser = new ReportParser();
  const lines = parser.push(result.stdout);
  expect(parser.report.complete).toBe(true);
  return { lines: lines.slice(1, -1), report: parser.report };
}

function place(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode: 0o644 });
  return path;
}

describe.each(nativeWidths())('on this kernel, compiled for %i bits', width => {
  beforeEach(() => {
    bits = width;
  });

  const reported = (path: string) => run(r => r.do(reportFile('the/key', path))).lines[0];

  it('a file is reported without its final newline, escaped', () => {
    expect(reported(place('plain', '0-3\n'))).toBe('the/key = 0-3');
    expect(reported(place('bare', 'x'))).toBe('the/key = x');
    expect(reported(place('empty', ''))).toBe('the/key = ');
    expect(reported(place('newline', '\n'))).toBe('the/key = ');
    expect(reported(place('odd', 'a\\b\tc\n\n\x01\x7f é~ \n'))).toBe(
      'the/key = a\\\\b\\tc\\n\\n\\x01\\x7f \\xc3\\xa9~ ',
    );
  });

  it('every byte comes back', () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const escaped = reported(place('all', all)).slice('the/key = '.length);
    expect(escaped).toMatch(/^[ -~]*$/);
    // As bytes: `unescaped` reads them as UTF-8, so compare what is below 0x80, and the escapes of the rest.
    expect(unescaped(escaped).slice(0, 128)).toBe(String.fromCharCode(...all.subarray(0, 128)));
    for (let b = 128; b < 256; b++) expect(escaped).toContain(`\\x${b.toString(16)}`);
  });

  it('a long file is cut, and says so', () => {
    const value = reported(place('long', 'y'.repeat(CONTENT_ROOM + 100))).slice('the/key = '.length);
    expect(value).toBe(`${'y'.repeat(VALUE_LIMIT)}\\+`);
  });

  it('a missing file is reported with its error', () => {
    expect(reported(join(folder, 'nothing'))).toBe('the/key ! 2');
    expect(reported(folder)).toBe('the/key ! 21');
  });

  it('a field of a file is found', () => {
    const path = place('fields', 'MemFree: 1 kB\nMemTotal:\t  123 kB\nMemTotal: 5\nLast: end');
    const field = (name: string, file = path) => run(r => r.do(reportField('k', file, name))).lines[0];
    expect(field('MemTotal')).toBe('k = 123 kB');
    expect(field('Last')).toBe('k = end');
    expect(field('Nothing')).toBe('k ! 2');
    expect(field('MemTotal', '/nonexistent')).toBe('k ! 2');
  });

  it('the entries of a directory are reported, file by file', () => {
    const devices = join(folder, 'devices');
    for (const name of ['vif-0', 'vbd-51712']) mkdirSync(join(devices, name), { recursive: true });
    place('devices/vif-0/state', 'Connected\n');
    place('devices/vif-0/nodename', 'device/vif/0\n');
    place('devices/vbd-51712/state', 'Closed\n');
    const { lines } = run(r => {
      r.do(reportDirectory('device/xen', devices, 'nodename\0state\0'));
      r.do(reportDirectory('device/none', join(folder, 'nowhere'), 'state\0'));
    });
    expect(lines.sort()).toEqual([
      'device/none ! 2',
      'device/xen/vbd-51712/nodename ! 2',
      'device/xen/vbd-51712/state = Closed',
      'device/xen/vif-0/nodename = device/vif/0',
      'device/xen/vif-0/state = Connected',
    ]);
  });

  it('more entries than fit in one reading are all reported', () => {
    const many = join(folder, 'many');
    const names = Array.from({ length: 700 }, (_, i) => `device-with-a-name-${i}`);
    for (const name of names) mkdirSync(join(many, name), { recursive: true });
    const { lines } = run(r => r.do(reportDirectory('m', many, 'x\0')));
    expect(lines.sort()).toEqual(names.map(name => `m/${name}/x ! 2`).sort());
  });

  it('numbers are printed whole', () => {
    const wide = width === 64 ? [9007199254740991] : [];
    const { lines } = run(r => {
      for (const n of [0, 7, 10, 2147483647, -13, ...wide]) r.do(reportStatus('n', n));
    });
    expect(lines).toEqual(['n = 0', 'n = 7', 'n = 10', 'n = 2147483647', 'n ! 13', ...wide.map(n => `n = ${n}`)]);
  });

  it('uname is what the system says', () => {
    const { report } = run(r => r.do(reportUname()));
    expect(report.uname).toMatchObject({ sysname: 'Linux', nodename: hostname(), release: release() });
    expect(report.uname?.machine).toBe('x86_64');
  });

  it('a second of idling is measured', () => {
    const { report } = run(r => r.do(reportIdle()));
    expect(report.idle?.nanoseconds).toBeGreaterThanOrEqual(1e9);
    expect(report.idle?.nanoseconds).toBeLessThan(5e9);
    expect(report.idle?.busyTicks).toBeTypeOf('number');
    expect(report.idle?.contextSwitches).toBeTypeOf('number');
  });

  it('lines of /proc/interrupts that changed are reported, and no others', () => {
    const before = '     CPU0\n  1:  5  x\nLOC: 10  timer\nERR: 0';
    const after = '     CPU0\n  1:  5  x\nLOC: 20  timer\nERR: 0\nNEW: 1';
    expect(run(r => r.do(reportChanges(before, after))).lines).toEqual([
      'idle/interrupts-before = LOC: 10  timer',
      'idle/interrupts-after = LOC: 20  timer',
      'idle/interrupts-after = NEW: 1',
    ]);
  });

  it('sums are taken from /proc/stat', () => {
    const stat = 'cpu  1 2\ncpu0 1 2\nintr 99 1 2 3\nctxt 7\nbtime 5\n';
    const { lines } = run(r => r.do(reportStat('s', stat), reportStat('e', '')));
    expect(lines).toEqual(['s = cpu  1 2', 's = intr 99', 's = ctxt 7']);
  });

  it('words are found in text', () => {
    const { lines } = run(r => {
      for (const [text, words] of [
        ['a Call Trace:', 'Call Trace:'],
        ['CaCall', 'Call'],
        ['Cal', 'Call'],
        ['', 'x'],
        ['xx', 'x'],
        ['ab', 'bc'],
      ])
        r.do(reportStatus('c', contains(text, text.length, words)));
    });
    expect(lines).toEqual(['c = 1', 'c = 1', 'c = 0', 'c = 0', 'c = 1', 'c = 0']);
  });

  it('words and numbers are taken from a line', () => {
    const { lines } = run(r => {
      const rest = r.local(copyWord(commandWords, 'eth0  0a00020f'));
      r.do(reportStatus('number', parseHex(rest)), reportStatus(commandWords, copyWord(commandWords, 'x')));
    });
    expect(lines[0]).toBe(`number = ${0x0a00020f}`);
    expect(lines[1]).toMatch(/^x /);
  });

  it('the log is searched, or its refusal reported', () => {
    const { lines } = run(r => r.do(reportLog()));
    expect(lines.find(line => line.startsWith('log/alarms'))).toMatch(/^log\/alarms [=!] \d+$/);
  });

  describe('a command', () => {
    const command = (...words: string[]) => {
      const list = words.map(word => `${word}\0`).join('');
      const { lines } = run(r => {
        const at = r.local(0);
        r.while(ne(at, list.length), () => {
          r.store(1, add(commandWords, at), byte(list, at));
          r.set(at, add(at, 1));
        });
        r.do(runCommand(list.length));
      });
      return lines;
    };

    it('ends with a status or by a signal', () => {
      expect(command('/bin/sh', '-c', 'exit 3')).toEqual(['command/exit = 3']);
      expect(command('true')).toEqual(['command/exit = 0']);
      expect(command('sh', '-c', 'kill -9 $$')).toEqual(['command/signal = 9']);
    });

    it('gets its words and a usual environment', () => {
      expect(
        command('sh', '-c', 'test "$1" = "two words" -a $# = 2 && test $HOME = / && exit 9', 'x', 'two words', ''),
      ).toEqual(['command/exit = 9']);
    });

    it('that is not there, or no program, ends as a shell would say', () => {
      expect(command('no-such-program')).toEqual(['command/exit = 127']);
      expect(command('/no/such/program')).toEqual(['command/exit = 127']);
      expect(command(place('text', 'hello'))).toEqual(['command/exit = 126']);
    });
  });

  it('init itself refuses to be anything but the first process', () => {
    const result = execute(initProgram(width));
    expect([result.status, result.stdout.toString()]).toEqual([
      1,
      'domzero init runs as the first process of a guest only\n',
    ]);
  });
});
