// Kernels through apt, with scripts in apt's place: what is asked, verified, kept and said.
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Apt, type Architecture, parseControl } from '../../../src/platform/node/debian/apt.ts';
import { obtainKernel } from '../../../src/platform/node/debian/kernel.ts';

let root = '';
const path = process.env.PATH;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'domzero-apt-'));
  for (const directory of ['bin', 'archive', 'lists']) mkdirSync(join(root, directory));
  process.env.PATH = `${join(root, 'bin')}:${path}`;
});
afterEach(() => {
  process.env.PATH = path;
  rmSync(root, { recursive: true });
});

const sha256 = (content: string) => createHash('sha256').update(content).digest('hex');

/** Puts a package into the archive; `digest` is what the lists say of it. */
function publish(name: string, depends = '', digest = sha256(`content of ${name}`)): void {
  writeFileSync(join(root, 'archive', name), `content of ${name}`);
  const fields = [`Package: ${name}`, 'Version: 1:6.1-2', `Depends: ${depends}`, 'Size: 100', `SHA256: ${digest}`];
  writeFileSync(join(root, 'lists', name), `${fields.join('\n')}\nDescription: x\n continued: y\n\nPackage: second\n`);
}

/** apt-cache and apt-get that look there; every call is a line of `log`. */
function installApt({ systemListsEmpty = false } = {}): void {
  const script = (name: string, body: string) => {
    writeFileSync(join(root, 'bin', name), `#!/bin/sh\necho "${name} $*" >> ${root}/log\n${body}`);
    chmodSync(join(root, 'bin', name), 0o755);
  };
  const last = 'for last; do :; done; name=$(echo "$last" | cut -d: -f1)\n';
  const known = systemListsEmpty ? `case "$*" in *Dir::State=*) ;; *) exit 100;; esac\n` : '';
  script(
    'apt-cache',
    `${last}${known}test -f ${root}/lists/$name || { echo "E: No packages found" >&2; exit 100; }\ncat ${root}/lists/$name\n`,
  );
  script('apt-get', `${last}case "$*" in *update*) exit 0;; esac\ncp ${root}/archive/$name ./"$name"_6.1.deb\n`);
}
const calls = (what: string) =>
  existsSync(join(root, 'log'))
    ? readFileSync(join(root, 'log'), 'utf8')
        .split('\n')
        .filter(line => line.startsWith(what))
    : [];
const apt = (lines: string[] = [], architecture: Architecture = 'amd64') =>
  new Apt({ notify: line => lines.push(line), cache: join(root, 'cache'), architecture });

describe('a kernel', () => {
  test('is the package that the meta package depends on, kept and verified', () => {
    installApt();
    publish('linux-image-amd64', 'linux-image-6.1.0-9-amd64 (= 6.1-2), dracut | other');
    publish('linux-image-6.1.0-9-amd64', 'kmod, linux-base (>= 4.3~)');
    const [file, ...more] = obtainKernel('linux-image-amd64', apt());
    expect(more).toEqual([]);
    expect(basename(file)).toBe('linux-image-6.1.0-9-amd64_1%3a6.1-2_amd64.deb');
    expect(readFileSync(file, 'utf8')).toBe('content of linux-image-6.1.0-9-amd64');
    expect(calls('apt-get')).toEqual([expect.stringContaining('download linux-image-6.1.0-9-amd64:amd64=1:6.1-2')]);
    // The second time it is there already.
    expect(obtainKernel('linux-image-amd64', apt())).toEqual([file]);
    expect(calls('apt-get')).toHaveLength(1);
  });

  test('may be split into several packages', () => {
    installApt();
    publish('linux-image-amd64', 'linux-image-7.2-amd64');
    publish('linux-image-7.2-amd64', 'linux-binary-7.2-amd64, linux-modules-7.2-amd64');
    publish('linux-binary-7.2-amd64', 'linux-modules-7.2-amd64');
    publish('linux-modules-7.2-amd64', 'kmod');
    const names = obtainKernel('linux-image-amd64', apt()).map(file => basename(file).split('_')[0]);
    expect(names).toEqual(['linux-image-7.2-amd64', 'linux-binary-7.2-amd64', 'linux-modules-7.2-amd64']);
  });

  test('that was changed in the cache is fetched again', () => {
    installApt();
    publish('linux-image-6', '');
    const [info, lines] = [apt().show('linux-image-6'), [] as string[]];
    const file = apt().download(info);
    writeFileSync(file, 'something else');
    expect(apt(lines).download(info)).toBe(file);
    expect(readFileSync(file, 'utf8')).toBe('content of linux-image-6');
    expect(lines[0]).toMatch(/checksum is not that of apt's metadata/);
  });

  test("that has not the digest of apt's metadata is refused", () => {
    installApt();
    publish('linux-image-6', '', '0'.repeat(64));
    expect(() => apt().download(apt().show('linux-image-6'))).toThrow(
      /has the SHA-256 [0-9a-f]{64}, apt's metadata 0{64}/,
    );
    expect(() => readFileSync(join(root, 'cache/packages/linux-image-6_1%3a6.1-2_amd64.deb'))).toThrow();
  });
});

test("another release's packages come from lists of its own", () => {
  installApt();
  publish('linux-image-6');
  const lines: string[] = [];
  const other = new Apt({ notify: line => lines.push(line), cache: join(root, 'cache'), release: 'trixie' });
  expect(other.show('linux-image-6').version).toBe('1:6.1-2');
  const state = join(root, 'cache/apt-trixie-amd64');
  expect(calls('apt-cache')).toEqual([expect.stringContaining(`Dir::Etc::SourceList=${state}/sources.list`)]);
  other.download(other.show('linux-image-6'));
  expect(calls('apt-get').at(-1)).toMatch(/SourceParts=\/dev\/null.* download linux-image-6:amd64=1:6.1-2$/);
  expect(() => other.show('linux-image-none')).toThrow(/apt knows no package linux-image-none/);
  expect(readFileSync(join(state, 'sources.list'), 'utf8')).toBe('deb http://deb.debian.org/debian trixie main\n');
  expect(lines.filter(line => /lists/.test(line))).toEqual(['fetching package lists for trixie amd64 with apt-get']);
});

test('where the system has no package lists, lists of our own are fetched, once', () => {
  installApt({ systemListsEmpty: true });
  publish('linux-image-6');
  const lines: string[] = [];
  const own = apt(lines);
  expect(own.show('linux-image-6').version).toBe('1:6.1-2');
  expect(() => own.show('linux-image-none')).toThrow(/apt knows no package linux-image-none/);
  expect(lines).toEqual(['fetching package lists for amd64 with apt-get']);
  expect(calls('apt-get')).toEqual([expect.stringMatching(new RegExp(`Dir::State=${join(root, 'cache')}.*update`))]);
  // And kept for the next time.
  expect(apt(lines).show('linux-image-6').version).toBe('1:6.1-2');
  expect(lines).toHaveLength(1);
});

test("another architecture's packages have lists and files of their own", () => {
  installApt({ systemListsEmpty: true });
  publish('linux-image-686');
  const other = apt([], 'i386');
  expect(basename(other.download(other.show('linux-image-686')))).toBe('linux-image-686_1%3a6.1-2_i386.deb');
  expect(calls('apt-get')[0]).toMatch(/APT::Architecture=i386 -o APT::Architectures=i386 .*update$/);
  expect(calls('apt-cache').at(-1)).toMatch(/linux-image-686:i386$/);
  expect(existsSync(join(root, 'cache/apt-amd64'))).toBe(false);
});

test('a machine without apt is told so', () => {
  process.env.PATH = join(root, 'bin');
  expect(() => apt().show('linux-image-amd64')).toThrow('this machine has no apt: give the file of a kernel instead');
});

test('the metadata of a package: the first paragraph alone', () => {
  const text = 'Package: a\nVersion: 1\nDepends: b (>= 2), c:any | d\nSHA256: AB\nSize: 7\n\nPackage: z\nVersion: 9\n';
  const dependencies = ['b', 'c', 'd'];
  expect(parseControl(text)).toEqual({ name: 'a', version: '1', dependencies, sha256: 'ab', size: 7 });
  expect(parseControl('Package: virtual\n')).toBeNull();
});
