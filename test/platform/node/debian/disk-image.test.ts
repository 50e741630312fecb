// Disk images with scripts in the place of Debian's tools: what is asked of them, what is kept, and what is said where they fail.
// That such a system boots is shown in test/boot/.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type DiskImageRecipe, debianDiskImage } from '../../../../src/platform/node/debian/disk-image.ts';

let root = '';
const path = process.env.PATH;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'domzero-disk-image-'));
  mkdirSync(join(root, 'bin'));
  process.env.PATH = `${join(root, 'bin')}:${path}`;
  const sha256 = createHash('sha256').update('package\n').digest('hex');
  const control = ['Package: mmdebstrap', 'Version: 1', 'Size: 8', `SHA256: ${sha256}`];
  tool('apt-cache', `printf '%s\\n' ${control.map(line => `'${line}'`).join(' ')}`);
  const sources = ['deb http://mirror/debian bookworm main', 'deb http://mirror/debian bookworm-updates main'];
  const targets = [...sources, sources[0]].map(line => `'${line}'`).join(' ');
  tool('apt-get', `case "$*" in *indextargets*) printf '%s\\n' ${targets};; *) echo package > mmdebstrap_1.deb;; esac`);
  tool('dpkg-deb', 'mkdir -p "$3/usr/bin"');
  // Gets the archive's path as the last but one, and the sources on its standard input.
  tool('perl', `cat > ${root}/sources; while [ $# -gt 2 ]; do shift; done; echo system > "$1"`);
  tool('fakeroot', 'exec "$@"');
  tool('tar', 'exit 0');
  tool('mke2fs', 'while [ $# -gt 2 ]; do shift; done; echo "file system of $2" > "$1"');
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(root, { recursive: true });
});

/** A program that logs how it was called, and then does this. */
function tool(name: string, body: string): void {
  const file = join(root, 'bin', name);
  writeFileSync(file, `#!/bin/sh\necho "${name} $*" >> ${root}/log\n${body}\n`);
  chmodSync(file, 0o755);
}
const calls = (what: string) => {
  const log = existsSync(join(root, 'log')) ? readFileSync(join(root, 'log'), 'utf8').split('\n') : [];
  return log.filter(line => line.startsWith(what));
};
const recipe: DiskImageRecipe = { rootPassword: 'secret', kernel: null };
const build = (change: Partial<DiskImageRecipe> = {}) =>
  debianDiskImage({ ...recipe, ...change }, () => {}, join(root, 'cache'));

test('is a file system of what mmdebstrap makes from the sources of this machine', () => {
  const image = build({ packages: ['curl'], sizeMiB: 123 });
  expect(readFileSync(image, 'utf8')).toBe('file system of 123M\n');
  const [call] = calls('perl');
  expect(call).toMatch(/--include=systemd-sysv,\S*,curl /);
  expect(call).toMatch(/ bookworm \S*system\.tar -$/);
  expect(call).not.toContain('secret');
  expect(readFileSync(join(root, 'sources'), 'utf8')).toBe(
    'deb http://mirror/debian bookworm main\ndeb http://mirror/debian bookworm-updates main\n',
  );
  // Nothing else stays.
  expect(readdirSync(join(root, 'cache/disk-images'))).toEqual([basename(image)]);
});

test('is made once for all that is made from the same', () => {
  const image = build();
  expect(build()).toBe(image);
  expect(calls('perl')).toHaveLength(1);
  const kernel = (bytes: Uint8Array) => ({
    release: '6.1',
    modules: [{ name: 'a', path: 'kernel/a.ko', bytes, dependencies: [] }],
  });
  const others = [
    build({ rootPassword: 'other' }),
    build({ packages: ['curl'] }),
    build({ sizeMiB: 500 }),
    build({ kernel: kernel(Uint8Array.of(1)) }),
    build({ kernel: kernel(Uint8Array.of(2)) }),
  ];
  expect(new Set([image, ...others]).size).toBe(6);
  expect(calls('perl').at(-1)).toContain('depmod 6.1');
});

test('that could not be made leaves nothing, and says why', () => {
  tool('perl', 'echo "E: no room" >&2; exit 1');
  expect(() => build()).toThrow('a disk image could not be made: perl: E: no room');
  expect(readdirSync(join(root, 'cache/disk-images'))).toEqual([]);
  tool('apt-get', 'exit 100');
  expect(() => build()).toThrow(/apt/);
});
