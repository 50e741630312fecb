// A Debian system on a disk image: an ext4 file system with systemd, a login on every console, and the network by DHCP. Made of
// Debian's packages by mmdebstrap and mke2fs, without mounting anything; by anyone where root is not there but fakeroot is. Kept
// in the cache under a digest of all that it is made from.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KernelModule } from '../../../toolstack/image/index.ts';
import { Apt, AptError, cacheDirectory, type Notify } from './apt.ts';

export interface DiskImageRecipe {
  /** Packages beside those that every image has. */
  readonly packages?: readonly string[];
  readonly rootPassword: string;
  /** The tested kernel's release, and those of its modules that the system shall find. */
  readonly kernel: { readonly release: string; readonly modules: readonly KernelModule[] } | null;
  /** Of the file system; the file is sparse. */
  readonly sizeMiB?: number;
}

const PACKAGES = ['systemd-sysv', 'udev', 'kmod', 'iproute2', 'iputils-ping', 'e2fsprogs', 'wget'];
const SIZE_MIB = 512;

/** What nobody reads on a test's machine. */
const LEFT_OUT = ['doc', 'man', 'locale', 'i18n', 'info', 'lintian'].map(name => `/usr/share/${name}/*`);

const FILES = {
  '/etc/hostname': 'domzero\n',
  '/etc/hosts': '127.0.0.1 localhost domzero\n',
  // That of user-mode networks everywhere, not that of the machine that makes the image.
  '/etc/resolv.conf': 'nameserver 10.0.2.3\n',
  // The same for every boot, and no questions of a first one.
  '/etc/machine-id': '00000000000000000000000000000001\n',
  '/etc/systemd/network/80-dhcp.network': '[Match]\nName=en* eth*\n\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n',
};
const ENABLED = ['systemd-networkd.service'];
/** What starts by the clock would make boots differ; and one login on a screen is enough. */
const MASKED = [
  'getty-static.service',
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'dpkg-db-backup.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
];

/** Counts changes of this file that change what it makes. */
const VERSION = 2;

/** The path of the image. Throws AptError, whose sentence says what it could not be made of. */
export function debianDiskImage(recipe: DiskImageRecipe, notify: Notify = () => {}, cache = cacheDirectory()): string {
  const directory = join(cache, 'disk-images');
  const file = join(directory, `debian-${digest(recipe)}.ext4`);
  if (existsSync(file)) return file;
  mkdirSync(directory, { recursive: true });
  const room = mkdtempSync(join(directory, 'build-'));
  try {
    notify('building a Debian system on a disk image');
    const tree = writeOverlay(join(room, 'overlay'), recipe);
    const archive = bootstrap(room, tree, recipe, new Apt({ notify, cache }));
    makeFileSystem(room, archive, recipe.sizeMiB ?? SIZE_MIB);
    renameSync(join(room, 'image'), file);
    return file;
  } finally {
    rmSync(room, { recursive: true, force: true });
  }
}

function digest({ packages = [], rootPassword, kernel, sizeMiB = SIZE_MIB }: DiskImageRecipe): string {
  const hash = createHash('sha256');
  const lists = [PACKAGES, packages, LEFT_OUT, FILES, ENABLED, MASKED];
  hash.update(JSON.stringify([VERSION, ...lists, rootPassword, sizeMiB, kernel?.release ?? null]));
  for (const { path, bytes } of kernel?.modules ?? []) hash.update(path).update(bytes);
  return hash.digest('hex').slice(0, 16);
}

/** What stands over Debian's own files. */
function writeOverlay(root: string, { kernel }: DiskImageRecipe): string {
  const write = (path: string, content: string | Uint8Array) => {
    const file = join(root, path);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, content);
  };
  for (const [path, content] of Object.entries(FILES)) write(path, content);
  if (kernel !== null) {
    const directory = `/usr/lib/modules/${kernel.release}`;
    for (const { path, bytes } of kernel.modules) write(join(directory, path), bytes);
    // depmod wants them, but can do without what they say.
    for (const list of ['modules.order', 'modules.builtin']) write(join(directory, list), '');
  }
  return root;
}

/** The system as a tar archive. */
function bootstrap(room: string, overlay: string, recipe: DiskImageRecipe, apt: Apt): string {
  const tool = join(room, 'mmdebstrap');
  run('dpkg-deb', ['-x', apt.download(apt.show('mmdebstrap')), tool]);
  const archive = join(room, 'system.tar');
  const { suite, sources } = apt.sources();
  const hooks = [
    `sync-in '${overlay}' /`,
    // Passed by the environment, so that no shell reads it.
    `printf 'root:%s' "$ROOT_PASSWORD" | chroot "$1" chpasswd`,
    `chroot "$1" systemctl --quiet enable ${ENABLED.join(' ')}`,
    `chroot "$1" systemctl --quiet mask ${MASKED.join(' ')}`,
    ...(recipe.kernel === null ? [] : [`chroot "$1" depmod ${recipe.kernel.release}`]),
  ];
  run(
    'perl',
    [
      join(tool, 'usr/bin/mmdebstrap'),
      ...['--quiet', '--variant=apt', '--format=tar', '--skip=output/dev'],
      `--include=${[...PACKAGES, ...(recipe.packages ?? [])].join(',')}`,
      ...['force-unsafe-io', ...LEFT_OUT.map(path => `path-exclude=${path}`)].map(option => `--dpkgopt=${option}`),
      '--aptopt=APT::Install-Recommends "false"',
      '--aptopt=Acquire::Languages "none"',
      ...hooks.map(hook => `--customize-hook=${hook}`),
      ...[suite, archive, '-'],
    ],
    // Its own helper programs are beside it.
    { input: sources, environment: { ROOT_PASSWORD: recipe.rootPassword }, path: join(tool, 'usr/bin') },
  );
  return archive;
}

/** `image`, with everything belonging to whom the archive says. */
function makeFileSystem(room: string, archive: string, sizeMiB: number): void {
  const tree = join(room, 'tree');
  const script = [
    'mkdir "$1"',
    'tar -C "$1" --numeric-owner -xpf "$2"',
    // Complete as it is made: no thread of the kernel's has to finish it.
    'mke2fs -q -t ext4 -L root -E lazy_itable_init=0,lazy_journal_init=0 -d "$1" "$3" "$4"',
  ].join(' && ');
  const command = ['sh', '-c', script, 'sh', tree, archive, join(room, 'image'), `${sizeMiB}M`];
  // Whom the files belong to is only remembered, where it cannot be set.
  const [program, ...args] = process.getuid?.() === 0 ? command : ['fakeroot', ...command];
  run(program, args);
}

interface RunOptions {
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** A directory to look for programs in before all others. */
  readonly path?: string;
}

function run(command: string, args: readonly string[], { input = '', environment = {}, path }: RunOptions = {}): void {
  const PATH = [...(path === undefined ? [] : [path]), process.env.PATH, '/usr/sbin', '/sbin'].join(':');
  const env = { ...process.env, ...environment, PATH, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  const result = spawnSync(command, args, { input, env, encoding: 'utf8', maxBuffer: 64 << 20 });
  // A program that ends before it has read its input is an error too, but what it says is worth more.
  if (result.error !== undefined && result.status === null)
    throw new AptError(`a disk image cannot be made without ${command}: ${result.error.message}`);
  if (result.status !== 0) {
    const problem = result.stderr.trim().split('\n').slice(-3).join('; ');
    throw new AptError(`a disk image could not be made: ${command}: ${problem}`);
  }
}
