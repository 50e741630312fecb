// init's routines as ordinary programs on this machine's own kernel, where that is Linux on x86-64: what they read and
// print, without what only a first process may do.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { arch, hostname, platform, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type Assembler,
  asm,
  mem,
  r14d,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
} from '../../../src/toolstack/init/assembler/assembler.ts';
import { CONTENT_ROOM, directory, fileRoutines } from '../../../src/toolstack/init/files.ts';
import { commandRoutine, initProgram, reportUname } from '../../../src/toolstack/init/init.ts';
import { line, lineRoutines, text } from '../../../src/toolstack/init/lines.ts';
import { observeRoutines } from '../../../src/toolstack/init/observe.ts';
import { VALUE_LIMIT } from '../../../src/toolstack/init/protocol.ts';
import { unescaped } from '../../../src/toolstack/init/report-lines.ts';
import { ReportParser } from '../../../src/toolstack/init/report-parser.ts';
import { sys } from '../../../src/toolstack/init/syscalls.ts';

const native = platform() === 'linux' && arch() === 'x64';
const folder = mkdtempSync(join(tmpdir(), 'domzero-init-'));
afterAll(() => rmSync(folder, { recursive: true }));

let programs = 0;

function execute(elf: Uint8Array) {
  const path = join(folder, `program${++programs}`);
  writeFileSync(path, elf, { mode: 0o755 });
  // Nothing here needs rights; so none, where the tests are run by root.
  const user = process.getuid?.() === 0 ? { uid: 65534, gid: 65534, cwd: '/' } : {};
  return spawnSync(path, [], { timeout: 20_000, ...user });
}

/** Runs `body` between the report's first and last line; gives the lines and what the parser makes of them. */
function run(body: (a: Assembler) => void, elsewhere: (a: Assembler) => void = () => {}) {
  const program = asm(a => {
    a.label('start').xor(r14d, r14d);
    line(a, () => text(a, 'protocol 1'));
    body(a);
    line(a, () => text(a, 'done'));
    sys(a, 'exit', 42);
    lineRoutines(a);
    fileRoutines(a);
    observeRoutines(a);
    commandRoutine(a);
    reportUname(a);
    elsewhere(a);
  });
  const result = execute(program.elf({ entry: 'start' }));
  expect(result.error).toBe(undefined);
  expect([result.status, result.signal, result.stderr.toString()]).toEqual([42, null, '']);
  const parser = new ReportParser();
  const lines = parser.push(result.stdout);
  expect(parser.report.complete).toBe(true);
  return { lines: lines.slice(1, -1), report: parser.report };
}

const literal = (a: Assembler, string: string) => mem(a.literal(string));

function place(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode: 0o644 });
  return path;
}

describe.skipIf(!native)('on this kernel', () => {
  // mkdtemp makes it private; the programs run as nobody.
  if (native) spawnSync('chmod', ['755', folder]);

  const reportFile = (path: string) =>
    run(a => a.lea(rdi, literal(a, 'the/key')).lea(rsi, literal(a, path)).call('report_file')).lines[0];

  it('a file is reported without its final newline, escaped', () => {
    expect(reportFile(place('plain', '0-3\n'))).toBe('the/key = 0-3');
    expect(reportFile(place('bare', 'x'))).toBe('the/key = x');
    expect(reportFile(place('empty', ''))).toBe('the/key = ');
    expect(reportFile(place('newline', '\n'))).toBe('the/key = ');
    expect(reportFile(place('odd', 'a\\b\tc\n\n\x01\x7f é~ \n'))).toBe(
      'the/key = a\\\\b\\tc\\n\\n\\x01\\x7f \\xc3\\xa9~ ',
    );
  });

  it('every byte comes back', () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const escaped = reportFile(place('all', all)).slice('the/key = '.length);
    expect(escaped).toMatch(/^[ -~]*$/);
    // As bytes: `unescaped` reads them as UTF-8, so compare what is below 0x80, and the escapes of the rest.
    expect(unescaped(escaped).slice(0, 128)).toBe(String.fromCharCode(...all.subarray(0, 128)));
    for (let b = 128; b < 256; b++) expect(escaped).toContain(`\\x${b.toString(16)}`);
  });

  it('a long file is cut, and says so', () => {
    const value = reportFile(place('long', 'y'.repeat(CONTENT_ROOM + 100))).slice('the/key = '.length);
    expect(value).toBe(`${'y'.repeat(VALUE_LIMIT)}\\+`);
  });

  it('a missing file is reported with its error', () => {
    expect(reportFile(join(folder, 'nothing'))).toBe('the/key ! 2');
    expect(reportFile(folder)).toBe('the/key ! 21');
  });

  it('a field of a file is found', () => {
    const path = place('fields', 'MemFree: 1 kB\nMemTotal:\t  123 kB\nMemTotal: 5\nLast: end');
    const field = (name: string, file = path) =>
      run(a => a.lea(rdi, literal(a, 'k')).lea(rsi, literal(a, file)).lea(rdx, literal(a, name)).call('report_field'))
        .lines[0];
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
    const { lines } = run(
      a => a.lea(rdi, mem('there')).call('report_directory').lea(rdi, mem('nowhere')).call('report_directory'),
      a => {
        directory(a, 'there', 'device/xen', devices, ['nodename', 'state']);
        directory(a, 'nowhere', 'device/none', join(folder, 'nowhere'), ['state']);
      },
    );
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
    const { lines } = run(
      a => a.lea(rdi, mem('many')).call('report_directory'),
      a => directory(a, 'many', 'm', many, ['x']),
    );
    expect(lines.sort()).toEqual(names.map(name => `m/${name}/x ! 2`).sort());
  });

  it('numbers are printed whole', () => {
    const { lines } = run(a => {
      for (const n of [0n, 7n, 10n, 4294967296n, 9223372036854775807n, -13n])
        a.lea(rdi, literal(a, 'n')).mov(rsi, n).call('report_status');
    });
    expect(lines).toEqual(['n = 0', 'n = 7', 'n = 10', 'n = 4294967296', 'n = 9223372036854775807', 'n ! 13']);
  });

  it('uname is what the system says', () => {
    const { report } = run(a => a.call('report_uname'));
    expect(report.uname).toMatchObject({
      sysname: 'Linux',
      nodename: hostname(),
      release: release(),
      machine: 'x86_64',
    });
  });

  it('a second of idling is measured', () => {
    const { report } = run(a => a.call('report_idle'));
    expect(report.idle?.nanoseconds).toBeGreaterThanOrEqual(1e9);
    expect(report.idle?.busyTicks).toBeTypeOf('number');
    expect(report.idle?.contextSwitches).toBeTypeOf('number');
  });

  it('lines of /proc/interrupts that changed are reported, and no others', () => {
    const put = (a: Assembler, buffer: string, content: string) =>
      a.lea(rdi, mem(buffer)).lea(rsi, literal(a, content)).call('copy_string');
    const { lines } = run(a => {
      put(a, 'interrupts_before', '     CPU0\n  1:  5  x\nLOC: 10  timer\nERR: 0');
      put(a, 'interrupts_after', '     CPU0\n  1:  5  x\nLOC: 20  timer\nERR: 0\nNEW: 1');
      a.call('report_changes');
    });
    expect(lines).toEqual([
      'idle/interrupts-before = LOC: 10  timer',
      'idle/interrupts-after = LOC: 20  timer',
      'idle/interrupts-after = NEW: 1',
    ]);
  });

  it('sums are taken from /proc/stat', () => {
    const { lines } = run(a => {
      a.lea(rdi, literal(a, 's')).lea(rsi, literal(a, 'cpu  1 2\ncpu0 1 2\nintr 99 1 2 3\nctxt 7\nbtime 5\n'));
      a.call('report_stat').lea(rdi, literal(a, 'e')).lea(rsi, literal(a, '')).call('report_stat');
    });
    expect(lines).toEqual(['s = cpu  1 2', 's = intr 99', 's = ctxt 7']);
  });

  it('words are found in text', () => {
    const { lines } = run(a => {
      for (const [text, words] of [
        ['a Call Trace:', 'Call Trace:'],
        ['CaCall', 'Call'],
        ['Cal', 'Call'],
        ['', 'x'],
        ['xx', 'x'],
        ['ab', 'bc'],
      ])
        a.lea(rdi, literal(a, text))
          .mov(rsi, text.length)
          .lea(rdx, literal(a, words))
          .call('contains')
          .mov(rsi, rax)
          .lea(rdi, literal(a, 'c'))
          .call('report_status');
    });
    expect(lines).toEqual(['c = 1', 'c = 1', 'c = 0', 'c = 0', 'c = 1', 'c = 0']);
  });

  it('the log is searched, or its refusal reported', () => {
    const { lines } = run(a => a.call('report_alarms'));
    expect(lines.at(-1)).toMatch(/^log\/alarms [=!] \d+$/);
  });

  describe('a command', () => {
    const command = (...words: string[]) => {
      const list = words.map(word => `${word}\0`).join('');
      const { lines } = run(
        a => {
          a.lea(rsi, mem('list')).lea(rdi, mem('arguments')).mov(rdx, list.length).mov(rcx, rdx).rep().movsb();
          a.mov(rdi, rdx).call('run_command');
        },
        a => a.section('data').label('list').db(list).section('text'),
      );
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
    const result = execute(initProgram());
    expect([result.status, result.stdout.toString()]).toEqual([
      1,
      'domzero init runs as the first process of a guest only\n',
    ]);
  });
});
