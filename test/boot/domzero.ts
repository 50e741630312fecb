// The command line as a person or a script uses it, in a process of its own, for tests of whole kernels.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';
import type { Result } from '../../src/report/verdict.ts';
import type { Mode } from '../../src/toolstack/image/modes.ts';

/** For who runs it otherwise than domzero() does. */
export const PROGRAM = resolve(fileURLToPath(import.meta.url), '../../../bin/domzero');

/** A file's own directory for what its tests write; gone when they are done. */
const scratch = mkdtempSync(join(tmpdir(), 'domzero-boot-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
let scratchFiles = 0;

/** The path of a new file with this content, or, without it, of a file or directory to be made. */
export function scratchPath(name: string, content?: Uint8Array | string): string {
  const path = join(scratch, `${++scratchFiles}-${name}`);
  if (content !== undefined) writeFileSync(path, content);
  return path;
}

export interface Ended {
  /** null where a signal ended it. */
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** Boots take a processor each: more at a time would only be slower. */
let free = availableParallelism();
const waiting: Array<() => void> = [];

async function slot<T>(work: () => Promise<T>): Promise<T> {
  if (free > 0) free--;
  else await new Promise<void>(go => waiting.push(go));
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  }
}

/** A checkout builds itself at the first call; others have to wait for that. */
let built: Promise<unknown> | null = null;

/** Runs `domzero` with these arguments, and this on its standard input. */
export async function domzero(args: readonly string[], input = ''): Promise<Ended> {
  await (built ??= execute(['--version'], ''));
  return slot(() => execute(args, input));
}

function execute(args: readonly string[], input: string): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', chunk => out.push(chunk));
    child.stderr.on('data', chunk => err.push(chunk));
    child.on('error', reject);
    child.on('close', status =>
      resolve({ status, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() }),
    );
    // A guest that ends before it has read everything is no error.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** Options of `check` and `run` that tests vary; what is not given is the program's default. */
export interface Machine {
  readonly cpus?: number;
  readonly memory?: string;
  readonly cpu?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly timeout?: number;
  readonly expect?: string;
}

export function machineArguments(machine: Machine): string[] {
  return Object.entries(machine).flatMap(([name, value]) => [`--${name}`, String(value)]);
}

/** "4 CPUs, 128M", for the names of tests. */
export function machineName({ cpus = 1, memory = '512M', cpu }: Machine): string {
  const parts = [`${cpus} CPU${cpus > 1 ? 's' : ''}`, memory, ...(cpu === undefined ? [] : [cpu])];
  return parts.join(', ');
}

export interface Checked {
  /** Exit status of `check`. */
  readonly status: number | null;
  readonly result: Result;
  /** What a person gets to read. */
  readonly text: string;
  /** All that the guest printed. */
  readonly console: Uint8Array;
  /** The hypervisor's log. */
  readonly xenLog: string;
}

/** `domzero check` of one kernel in one mode. */
export async function check(
  files: readonly string[],
  mode: Mode,
  machine: Machine = {},
  more: readonly string[] = [],
): Promise<Checked> {
  const json = scratchPath('results.json');
  const logs = scratchPath('logs');
  const written = ['--json', json, '--logs', logs];
  const { status, out, err } = await domzero([
    'check',
    ...files,
    ...['--modes', mode],
    ...machineArguments(machine),
    ...written,
    ...more,
  ]);
  if (status === null || status === 2) throw new Error(`domzero could not do it: ${err}${out}`);
  const { results } = JSON.parse(readFileSync(json, 'utf8')) as { results: Result[] };
  const [result] = results;
  const log = (kind: string) => readFileSync(join(logs, `${result.image}-${mode}.${kind}.log`));
  return { status, result, text: out, console: log('console'), xenLog: log('xen').toString() };
}
