// The cpio writer, read back by an independent reader and, where present, by the system's cpio.

import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { CpioWriter } from '../../src/util/cpio.ts';

const text = (s: string) => new TextEncoder().encode(s);

function sample(): Uint8Array {
  return new CpioWriter()
    .directory('dev')
    .device('dev/console', 'character', 5, 1)
    .device('dev/xvda', 'block', 202, 0, { mode: 0o660 })
    .file('/init', text('#!/bin/sh\n'), { mode: 0o755 })
    .symlink('sbin', 'bin')
    .file('empty', new Uint8Array(0))
    .finish();
}

/** Reads newc as Linux's init/initramfs.c does: header, name padded to 4, data padded to 4. */
function read(archive: Uint8Array) {
  const latin1 = new TextDecoder('latin1');
  const entries = [];
  for (let at = 0; ; ) {
    const head = latin1.decode(archive.subarray(at, at + 110));
    expect(head.slice(0, 6)).toBe('070701');
    const field = (i: number) => Number.parseInt(head.slice(6 + 8 * i, 14 + 8 * i), 16);
    const [size, nameSize] = [field(6), field(11)];
    const name = latin1.decode(archive.subarray(at + 110, at + 109 + nameSize));
    const dataAt = (at + 110 + nameSize + 3) & ~3;
    if (name === 'TRAILER!!!') return entries;
    const data = latin1.decode(archive.subarray(dataAt, dataAt + size));
    entries.push({ name, mode: field(1), links: field(4), device: [field(9), field(10)], data });
    at = (dataAt + size + 3) & ~3;
  }
}

describe('CpioWriter', () => {
  it('writes files, directories, links and device nodes', () => {
    expect(read(sample())).toEqual([
      { name: 'dev', mode: 0o40755, links: 2, device: [0, 0], data: '' },
      { name: 'dev/console', mode: 0o20600, links: 1, device: [5, 1], data: '' },
      { name: 'dev/xvda', mode: 0o60660, links: 1, device: [202, 0], data: '' },
      { name: 'init', mode: 0o100755, links: 1, device: [0, 0], data: '#!/bin/sh\n' },
      { name: 'sbin', mode: 0o120777, links: 1, device: [0, 0], data: 'bin' },
      { name: 'empty', mode: 0o100644, links: 1, device: [0, 0], data: '' },
    ]);
  });

  it('gives the same bytes every time, padded to 512', () => {
    expect(sample()).toEqual(sample());
    expect(sample().length % 512).toBe(0);
  });

  it('refuses names that no archive can hold', () => {
    expect(() => new CpioWriter().directory('/')).toThrow(RangeError);
    expect(() => new CpioWriter().file('TRAILER!!!', text(''))).toThrow(RangeError);
  });

  const [command, ...options] = ['cpio', 'busybox cpio']
    .map(line => line.split(' '))
    .find(([program, ...rest]) => spawnSync(program, [...rest, '--help']).error === undefined) ?? [''];
  it.skipIf(command === '')('is read by the system’s cpio (skipped where there is none)', () => {
    const run = spawnSync(command, [...options, '-tv'], { input: sample(), encoding: 'utf8' });
    expect(run.status).toBe(0);
    expect(run.stdout).toMatch(/^crw-------.*dev\/console$/m);
    expect(run.stdout).toMatch(/^lrwxrwxrwx.*sbin -> bin$/m);
  });
});
