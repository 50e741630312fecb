// Initial file systems for these tests: a shell out of Debian's busybox, and some that no kernel can be happy with.

import { readFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { TestContext } from 'vitest';
import { type Obtained, testShell } from '../../src/platform/node/debian/test-kernels.ts';
import { DebianPackage } from '../../src/toolstack/image/debian-package.ts';
import { CpioWriter } from '../../src/util/cpio.ts';
import { scratchPath } from './domzero.ts';

const EXECUTABLE = { mode: 0o755 };
const COMMANDS = ['sh', 'cat', 'echo', 'grep', 'head', 'ls', 'mount', 'poweroff', 'reboot', 'sleep', 'stty', 'uname'];

let shell: Obtained | null = null;

function busybox(context: TestContext): Uint8Array {
  shell ??= testShell();
  if ('missing' in shell) return context.skip(`no shell: ${shell.missing}`);
  const [file] = shell.files;
  const found = new DebianPackage(readFileSync(file), basename(file)).files();
  for (const entry of found) {
    if (/(^|\/)bin\/busybox$/.test(entry.path)) return entry.read();
  }
  throw new Error(`${file} has no busybox`);
}

export interface ShellExtras {
  /** Further commands of busybox. */
  readonly commands?: readonly string[];
  /** Executable files by path; one directory deep. */
  readonly files?: ReadonlyMap<string, Uint8Array | string>;
}

/** An archive whose init is this script for busybox's shell. Skips the test where there is no busybox. */
export function shellInitramfs(context: TestContext, script: string, extras: ShellExtras = {}): string {
  const archive = new CpioWriter();
  const directories = new Set(['bin', 'dev', 'proc', 'sys', ...[...(extras.files?.keys() ?? [])].map(dirname)]);
  for (const directory of directories) archive.directory(directory);
  archive.device('dev/console', 'character', 5, 1);
  archive.file('bin/busybox', busybox(context), EXECUTABLE);
  for (const command of [...COMMANDS, ...(extras.commands ?? [])]) archive.symlink(`bin/${command}`, 'busybox');
  for (const [path, content] of extras.files ?? []) {
    archive.file(path, typeof content === 'string' ? new TextEncoder().encode(content) : content, EXECUTABLE);
  }
  archive.file('init', new TextEncoder().encode(`#!/bin/sh\n${script}\n`), EXECUTABLE);
  return scratchPath('shell.cpio', archive.finish());
}

/** What a user gives who forgot the initramfs: an archive without anything to run in it. */
export function emptyInitramfs(): string {
  return scratchPath('empty.cpio', new CpioWriter().directory('dev').finish());
}

/** An archive whose init cannot be run: the program that it asks for is not there. */
export function brokenInitramfs(): string {
  const script = new TextEncoder().encode('#!/no/such/interpreter\n');
  return scratchPath('broken.cpio', new CpioWriter().file('init', script, EXECUTABLE).finish());
}
