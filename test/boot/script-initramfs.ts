// An initramfs whose init is a shell script: busybox, some of the kernel's modules, and files of Debian's packages where tests want their programs.
import { basename } from 'node:path';
import { Apt } from '../../src/platform/node/debian/apt.ts';
import { readFile } from '../../src/platform/node/files.ts';
import { DebianPackage } from '../../src/toolstack/image/debian-package.ts';
import { loadImages } from '../../src/toolstack/image/index.ts';
import { CpioWriter } from '../../src/util/cpio.ts';

export interface ScriptOptions {
  /** Loaded before anything else, with what they depend on. */
  modules?: readonly string[];
  /** Packages beside busybox, and which of their files are wanted. */
  packages?: readonly string[];
  wanted?: RegExp;
  /** Lines of the script before the commands. */
  prepare?: readonly string[];
}

const BUSYBOX = /^bin\/busybox$/;
const DIRECTORIES = [
  'proc',
  'sys',
  'dev',
  'etc',
  'etc/xen',
  'run',
  'var',
  'var/lib',
  'var/lib/xen',
  'var/run',
  'var/run/xen',
  'var/log',
  'var/log/xen',
];

/** Runs the commands one after the other; each line of output has its command's number before it: see outputOf. Then the machine is off. */
export async function scriptInitramfs(
  kernel: readonly string[],
  commands: readonly string[],
  { modules = [], packages = [], wanted = BUSYBOX, prepare = [] }: ScriptOptions = {},
): Promise<Uint8Array> {
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
  const apt = new Apt();
  for (const name of ['busybox-static', ...packages]) {
    const file = apt.download(apt.show(name));
    for (const entry of new DebianPackage(readFile(file), basename(file)).files()) {
      if (!BUSYBOX.test(entry.path) && !wanted.test(entry.path)) continue;
      parents(entry.path);
      if (entry.type === 'file') archive.file(entry.path, entry.read(), { mode: 0o755 });
      else if (entry.type === 'symlink') archive.symlink(entry.path, entry.linkTarget);
      else if (entry.type === 'hardlink') archive.symlink(entry.path, `/${entry.linkTarget.replace(/^[./]+/, '')}`);
    }
  }
  parents('modules/x');
  const image =
    modules.length > 0 ? await loadImages(kernel.map(path => ({ name: basename(path), bytes: readFile(path) }))) : null;
  const order = (await image?.modules?.withDependencies(modules)) ?? [];
  for (const { name, bytes } of order) archive.file(`modules/${name}.ko`, bytes);
  for (const directory of DIRECTORIES) parents(`${directory}/x`);
  archive.file('etc/xen/xl.conf', new Uint8Array(0));
  const script = [
    '#!/bin/busybox sh',
    '/bin/busybox --install -s /bin',
    'export PATH=/bin:/usr/bin:/usr/lib/xen-4.17/bin',
    'mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev',
    ...order.map(({ name }) => `insmod /modules/${name}.ko`),
    ...prepare,
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
