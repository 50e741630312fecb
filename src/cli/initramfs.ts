// The initramfs of a boot, put together of archives that the kernel unpacks one after the other.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readFile, walkTree } from '../platform/node/files.ts';
import { builtinInitramfs } from '../toolstack/init/initramfs.ts';
import { concatBytes } from '../util/bytes.ts';
import { CpioWriter } from '../util/cpio.ts';
import { UsageError } from './usage-error.ts';

export interface InitramfsOptions {
  /** A file; the built-in init where there is none. */
  readonly initrd: string | undefined;
  /** A directory with modules. */
  readonly modules: string | undefined;
  /** What the built-in init runs instead of its report. */
  readonly command?: readonly string[];
}

/** Where the built-in init stands beside a user's own initramfs. */
const GUEST_INIT = '/.domzero/init';

export interface Initramfs {
  readonly bytes: Uint8Array;
  /** What the kernel has to be told about it. */
  readonly append: string;
}

/** Throws FileError and UsageError. */
export function makeInitramfs({ initrd, modules, command }: InitramfsOptions): Initramfs {
  const parts: Uint8Array[] = [];
  let append = '';
  if (initrd !== undefined) parts.push(aligned(readFile(initrd)));
  if (modules !== undefined) parts.push(moduleArchive(modules));
  if (initrd === undefined) {
    parts.push(builtinInitramfs(command === undefined ? {} : { command }));
  } else if (command !== undefined) {
    parts.push(builtinInitramfs({ command, path: GUEST_INIT }));
    append = `rdinit=${GUEST_INIT}`;
  }
  return { bytes: concatBytes(parts), append };
}

/** Archives begin at multiples of 4 bytes; zeros between them are skipped. */
function aligned(bytes: Uint8Array): Uint8Array {
  return bytes.length % 4 === 0 ? bytes : concatBytes([bytes, new Uint8Array(4 - (bytes.length % 4))]);
}

/** `directory` holds lib/modules, or is lib/modules, or one release's directory in it. */
function moduleArchive(directory: string): Uint8Array {
  const root = ['lib/modules', 'usr/lib/modules'].map(path => join(directory, path)).find(path => existsSync(path));
  const from = root ?? directory;
  const isRelease = existsSync(join(from, 'modules.dep')) || existsSync(join(from, 'kernel'));
  const release = isRelease ? from.replace(/\/+$/, '').replace(/^.*\//, '') : '';
  const prefix = isRelease ? `lib/modules/${release}` : 'lib/modules';
  const archive = new CpioWriter().directory('lib').directory('lib/modules');
  if (isRelease) archive.directory(prefix);
  let files = 0;
  for (const entry of walkTree(from)) {
    const path = `${prefix}/${entry.path}`;
    if (entry.isDirectory) {
      archive.directory(path);
    } else {
      archive.file(path, entry.read());
      files++;
    }
  }
  if (files === 0) throw new UsageError(`${directory}: there are no modules in it`);
  return archive.finish();
}
