// The command line as people call it: what goes where, and the exit status.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Boot } from '../../src/cli/boot-worker.ts';
import { check } from '../../src/cli/check.ts';
import type { Io } from '../../src/cli/io.ts';
import { main } from '../../src/cli/main.ts';
import { type CheckOptions, DEFAULTS } from '../../src/cli/options.ts';
import { commandLine } from '../../src/report/host-boot.ts';
import { type BootOptions, runBoot } from '../../src/report/run-boot.ts';
import { goodReport, kernelLines, play, reportText } from '../report/fake-boot.ts';
import { pvKernel } from './tiny-kernel.ts';

const directory = mkdtempSync(join(tmpdir(), 'domzero-cli-'));
afterAll(() => rmSync(directory, { recursive: true }));

const kernel = join(directory, 'vmlinux');
writeFileSync(kernel, pvKernel('6.1.0-test'));

function capture() {
  const text = { out: '', err: '' };
  const decoder = new TextDecoder();
  const io: Io = {
    out: data => {
      text.out += typeof data === 'string' ? data : decoder.decode(data);
    },
    err: more => {
      text.err += more;
    },
    colour: false,
    progressColumns: () => null,
  };
  return { text, io };
}

async function run(...argv: string[]) {
  const { text, io } = capture();
  const status = await main(argv, { io });
  return { status, ...text };
}

describe('bad input: one sentence on stderr, nothing on stdout, exit status 2', () => {
  const broken = join(directory, 'broken');
  writeFileSync(broken, 'this is no kernel');
  test.each<[string, string[], RegExp]>([
    ['no command', [], /Usage: domzero/],
    ['an unknown command', ['boot'], /unknown command 'boot'/],
    ['no image', ['check'], /missing required argument 'image'/],
    ['an unknown option', ['check', kernel, '--fast'], /unknown option '--fast'/],
    [
      'a file that is missing',
      ['check', '/nonexistent/kernel'],
      /^domzero: \/nonexistent\/kernel: there is no such file\n$/,
    ],
    ['a directory', ['inspect', directory], /: it is a directory\n$/],
    ['a file that is no kernel', ['inspect', broken], /^domzero: broken: not a kernel .*\n$/],
    ['a mode that is none', ['check', kernel, '--modes', 'hvm'], /There is no mode "hvm"/],
    [
      'a trace of a bare machine',
      ['trace', kernel, '--mode', 'native'],
      /^domzero: a bare machine makes no hypercalls/,
    ],
    ['events that are none', ['trace', kernel, '--events', 'hypercall,irq'], /There are no events "irq"/],
    ['a trace for a viewer that goes nowhere', ['trace', kernel, '--format', 'perfetto'], /needs a file: give -o FILE/],
    ['a CPU that is none', ['check', kernel, '--cpu', 'z80'], /Allowed choices are epyc/],
    ['too many CPUs', ['check', kernel, '--cpus', '1000'], /from 1 to 128/],
    ['too little memory', ['check', kernel, '--memory', '1M'], /from 16M to 3584M/],
    ['a pattern that is none', ['check', kernel, '--expect', '('], /Unterminated group/],
    ['a time that is none', ['check', kernel, '--timeout', '0'], /seconds above 0/],
    ['an initramfs that is missing', ['check', kernel, '--initrd', '/nonexistent'], /there is no such file/],
    ['two formats for one output', ['check', kernel, '--ktap', '--json', '-'], /only one format/],
    ['no mode to run in', ['run', kernel], /which mode\? \(--mode native\|dom0/],
    [
      'a mode that the kernel cannot boot in',
      ['run', kernel, '--mode', 'pvh'],
      /cannot boot as pvh: it has no PHYS32_ENTRY note/,
    ],
    ['a command for check', ['check', kernel, '--', 'ls'], /only run does/],
  ])('%s', async (_, argv, message) => {
    const { status, out, err } = await run(...argv);
    expect([status, out]).toEqual([2, '']);
    expect(err).toMatch(message);
    expect(err).not.toMatch(/ at .*\.ts:/);
  });
});

test('--version and --help go to stdout', async () => {
  expect(await run('--version')).toEqual({ status: 0, out: expect.stringMatching(/^\d+\.\d+\.\d+\n$/), err: '' });
  const help = await run('check', '--help');
  expect([help.status, help.err]).toEqual([0, '']);
  expect(help.out).toContain('--modes <list>');
});

test('inspect tells what the file is, as text and as JSON', async () => {
  const text = await run('inspect', kernel);
  expect([text.status, text.err]).toEqual([0, '']);
  expect(text.out).toMatch(/^vmlinux\n {2}sha256/);
  expect(text.out).toMatch(/pv +can/);
  const json = JSON.parse((await run('inspect', '--json', kernel)).out);
  expect(json).toMatchObject([
    { name: 'vmlinux', format: 'vmlinux', release: '6.1.0-test', modes: { pv: { can: true } } },
  ]);
});

describe('check', () => {
  const options: CheckOptions = {
    ...DEFAULTS,
    ...{ cpus: 2, disk: [], append: '', clock: 'virtual', timeout: 5, jobs: 2, modes: ['pv', 'pvh'] },
    ...{ cpus: 2, append: '', clock: 'virtual', jit: true, timeout: 5, jobs: 2, modes: ['pv', 'pvh'] },
  };
  const playing =
    (lines: readonly string[]): Boot =>
    (request, how: BootOptions) =>
      runBoot(request, play({ console: lines }), how);
  const passing = playing([...kernelLines, reportText(goodReport)]);

  async function checked(change: Partial<CheckOptions>, boot: Boot, paths = [kernel]) {
    const { text, io } = capture();
    return { status: await check(paths, { ...options, ...change }, io, boot), ...text };
  }

  test('prints a table with a row a mode; what the kernel cannot boot in is skipped and says so', async () => {
    const { status, out, err } = await checked({}, passing);
    expect([status, err]).toEqual([0, '']);
    expect(out.split('\n').map(line => line.replace(/ {2,}/g, ' ').replace(/\d\.\d\d s/, 'T'))).toEqual([
      'kernel mode verdict stage instructions time what was seen',
      '6.1.0-test pv pass powered off 4000 T Xen PV 4.17.7, 2 CPUs, 1 device Connected, idle when idle, powered off',
      '6.1.0-test pvh skip - - - it has no PHYS32_ENTRY note',
      '',
    ]);
  });

  test('explains a failure, with the command that does it again', async () => {
    const { status, out } = await checked({ memory: 1024, append: "root='x y'" }, playing(kernelLines));
    expect(status).toBe(1);
    expect(out).toContain('it powered off without a word from init');
    expect(out).toContain(
      `again: domzero check ${kernel} --modes pv --append 'root='\\''x y'\\''' --memory 1024M --cpus 2`,
    );
  });

  test('writes reports and logs where it is told to', async () => {
    const at = (name: string) => join(directory, 'reports', name);
    const files = { json: at('r.json'), junit: at('r.xml'), logs: at('logs') };
    const { status } = await checked(files, passing);
    expect(status).toBe(0);
    const { tool, results } = JSON.parse(readFileSync(files.json, 'utf8'));
    expect(tool).toMatch(/^domzero \d/);
    expect(results.map((result: { mode: string; verdict: string }) => [result.mode, result.verdict])).toEqual([
      ['pv', 'pass'],
      ['pvh', 'skip'],
    ]);
    expect(readFileSync(files.junit, 'utf8')).toContain('skipped="1"');
    expect(readdirSync(files.logs)).toEqual(['vmlinux-pv.console.log', 'vmlinux-pv.xen.log']);
    expect(readFileSync(join(files.logs, 'vmlinux-pv.console.log'), 'utf8')).toContain('Linux version 6.1.0-test');
  });

  test('gives KTAP or JSON alone on stdout', async () => {
    expect((await checked({ ktap: true }, passing)).out).toMatch(/^KTAP version 1\n/);
    expect(JSON.parse((await checked({ json: '-' }, passing)).out).results).toHaveLength(2);
  });

  test('all skipped is 4; several kernels keep their order; one that is none does not stop the others', async () => {
    expect((await checked({ modes: ['pvh'] }, passing)).status).toBe(4);
    const second = join(directory, 'second');
    writeFileSync(second, pvKernel('6.2.0-test'));
    const several = await checked({ modes: ['pvh'], jobs: 1 }, passing, [second, join(directory, 'broken'), kernel]);
    expect(several.status).toBe(2);
    expect(several.err).toMatch(/^domzero: broken: not a kernel/);
    expect([...several.out.matchAll(/^(6\S+)/gm)].map(match => match[1])).toEqual(['6.2.0-test', '6.1.0-test']);
  });

  test('the guest gets its console, what is appended and the built-in init', async () => {
    const seen: string[] = [];
    await checked({ append: 'nosmp' }, async (request, how) => {
      seen.push(request.commandLine, String(request.initrd.length > 1000), request.mode);
      return passing(request, how, []);
    });
    expect(seen).toEqual(['console=hvc0 earlyprintk=xen nosmp', 'true', 'pv']);
  });

  test('a kernel that is to be quiet has no early console', () => {
    expect(commandLine('pv', ['', 'quiet nosmp'])).toBe('console=hvc0 quiet nosmp');
    expect(commandLine('pv', ['rdinit=/x', ''], true)).toBe('console=hvc0 quiet rdinit=/x');
    expect(commandLine('pv', ['quietly'])).toBe('console=hvc0 earlyprintk=xen quietly');
  });
});
