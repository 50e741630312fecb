// The initramfs of a boot, put together of archives that the kernel unpacks one after the other.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { readFile, walkTree } from '../platform/node/files.ts';
import type { KernelModule } from '../toolstack/image/modules.ts';
import { builtinInitramfs } from '../toolstack/init/initramfs.ts';
import type { Action } from '../toolstack/init/script.ts';
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

/** What the user gives is read once; the built-in init is added as each kernel needs it. */
export class InitramfsSource {
  private readonly options: InitramfsOptions;
  private readonly users: readonly Uint8Array[];
  private readonly made = new Map<32 | 64, Initramfs>();

  /** Throws FileError and UsageError. */
  constructor(options: InitramfsOptions) {
    const { initrd, modules } = options;
    this.options = options;
    this.users = [
      ...(initrd === undefined ? [] : [aligned(readFile(initrd))]),
      ...(modules === undefined ? [] : [moduleArchive(modules)]),
    ];
  }

  /**
   * @param bits of the kernel that gets it
   * @param drivers modules that the built-in init is to load
   * @param actions what it is to do then
   */
  for(bits: 32 | 64, drivers: readonly KernelModule[] = [], actions: readonly Action[] = []): Initramfs {
    if (drivers.length > 0 || actions.length > 0) return this.make(bits, drivers, actions);
    let made = this.made.get(bits);
    if (made === undefined) this.made.set(bits, (made = this.make(bits, [], [])));
    return made;
  }

  private make(bits: 32 | 64, modules: readonly KernelModule[], actions: readonly Action[]): Initramfs {
    const { initrd, command } = this.options;
    if (initrd === undefined) {
      const builtin = builtinInitramfs({ bits, modules, actions, ...(command === undefined ? {} : { command }) });
      return { bytes: concatBytes([...this.users, builtin]), append: '' };
    }
    if (command === undefined) return { bytes: concatBytes([...this.users]), append: '' };
    const builtin = builtinInitramfs({ bits, modules, actions, command, path: GUEST_INIT });
    return { bytes: concatBytes([...this.users, builtin]), append: `rdinit=${GUEST_INIT}` };
  }
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
