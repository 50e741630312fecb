// An initramfs with Debian's Xen tools, for tests that run them in Dom0: busybox, the tools with their libraries, and Xen's modules of the kernel.

import { basename } from 'node:path';
import { Apt } from '../../src/platform/node/debian/apt.ts';
import { readFile } from '../../src/platform/node/files.ts';
import { DebianPackage } from '../../src/toolstack/image/debian-package.ts';
import { loadImages } from '../../src/toolstack/image/index.ts';
import { CpioWriter } from '../../src/util/cpio.ts';

/** The tools, and the packages of all libraries that they are linked with. */
const PACKAGES = [
  'busybox-static', 'xen-utils-4.17', 'xenstore-utils', 'libxenmisc4.17', 'libxencall1', 'libxendevicemodel1', 'libxenevtchn1',
  'libxenforeignmemory1', 'libxengnttab1', 'libxenhypfs1', 'libxenstore4', 'libxentoolcore1', 'libxentoollog1', 'libc6', 'libyajl2',
  'libuuid1', 'zlib1g', 'liblzma5', 'libbz2-1.0', 'liblzo2-2', 'libzstd1', 'libfdt1', 'libnl-3-200', 'libnl-route-3-200', 'libtinfo6',
] as const; // biome-ignore format: a list
const MODULES = ['xen_privcmd', 'xenfs', 'xen_evtchn', 'xen_gntdev', 'xen_gntalloc'];
const WANTED =
  /^(?:bin\/busybox|usr\/lib\/xen-4\.17\/bin\/(?:xl|xen-diag|lsevtchn)|usr\/bin\/xenstore.*|(?:usr\/)?lib(?:64)?\/.*\.so[.\d]*)$/;

/** Runs the commands one after the other; each line of output has its command's number before it. Then the machine is off. */
export async function xenToolsInitramfs(kernel: readonly string[], commands: readonly string[]): Promise<Uint8Array> {
  const apt = new Apt();
  const archive = new CpioWriter();
  const made = new Set<string>();
  const parents = (path: string): void => {
    const parts = path.split('/').slice(0, -1);
    for (let i = 1; i <= parts.length; i++) {
      const directory = parts.slice(0, i).join('/');
      if (!made.has(directory)) archive.directory(directory);
      made.add(directory);
    }
  };
  for (const name of PACKAGES) {
    const file = apt.download(apt.show(name));
    for (const entry of new DebianPackage(readFile(file), basename(file)).files()) {
      if (!WANTED.test(entry.path)) continue;
      parents(entry.path);
      if (entry.type === 'file') archive.file(entry.path, entry.read(), { mode: 0o755 });
      else if (entry.type === 'symlink') archive.symlink(entry.path, entry.linkTarget);
      else if (entry.type === 'hardlink') archive.symlink(entry.path, `/${entry.linkTarget.replace(/^[./]+/, '')}`);
    }
  }
  const { modules } = await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFile(path) })));
  parents('modules/x');
  const order = (await modules?.withDependencies(MODULES)) ?? [];
  for (const { name, bytes } of order) archive.file(`modules/${name}.ko`, bytes);
  for (const directory of [
    'proc',
    'sys',
    'dev',
    'etc',
    'etc/xen',
    'run',
    'var',
    'var/lib',
    'var/lib/xen',
    'var/log',
    'var/log/xen',
  ])
    archive.directory(directory);
  archive.file('etc/xen/xl.conf', new Uint8Array(0));
  const script = [
    '#!/bin/busybox sh',
    '/bin/busybox --install -s /bin',
    'export PATH=/bin:/usr/bin:/usr/lib/xen-4.17/bin',
    'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev',
    ...order.map(({ name }) => `insmod /modules/${name}.ko`),
    'mount -t xenfs xenfs /proc/xen',
    ...commands.map((command, i) => `{ ${command}; echo "status $?"; } 2>&1 | sed 's/^/tool ${i}: /'`),
    'poweroff -f',
  ];
  archive.file('init', new TextEncoder().encode(`${script.join('\n')}\n`), { mode: 0o755 });
  return archive.finish();
}

/** What a command printed: its lines, without the last one, which is its status. */
export function outputOf(console: string, command: number): { lines: string[]; status: number } {
  const lines = [...console.matchAll(new RegExp(`^tool ${command}: (.*?)\\r?$`, 'gm'))].map(match => match[1]);
  const status = /^status (\d+)$/.exec(lines.pop() ?? '')?.[1];
  return { lines, status: status === undefined ? -1 : Number(status) };
}
