// A Debian binary package (deb(5)): an ar archive with a control and a data tar archive, each compressed.

import { type ArMember, isAr, readAr } from '../../util/ar.ts';
import { decompressPieces } from '../../util/decompress/index.ts';
import { readTar, type TarEntry } from '../../util/tar.ts';
import { ImageError } from './error.ts';

/** Bounds on what a broken or hostile package can make of memory and time. */
const MAX_FILE = 2 ** 30;
const MAX_UNPACKED = 2 ** 33;

export function isDebianPackage(bytes: Uint8Array): boolean {
  return isAr(bytes);
}

export class DebianPackage {
  /** What the package was given as; for messages. */
  readonly name: string;
  /** Fields of the control file, such as Package, Version and Depends. */
  readonly control: ReadonlyMap<string, string>;
  private readonly data: ArMember;

  /** Throws ImageError where the file is no readable package. */
  constructor(bytes: Uint8Array, name: string) {
    this.name = name;
    const members = this.guard(() => readAr(bytes));
    const find = (prefix: string) => members.find(member => member.name.startsWith(prefix));
    const [control, data] = [find('control.tar'), find('data.tar')];
    if (members[0]?.name !== 'debian-binary' || control === undefined || data === undefined) {
      throw new ImageError(`${name}: an ar archive, but not a Debian package`);
    }
    this.data = data;
    this.control = this.guard(() => readControl(control));
  }

  /**
   * The package's files in the archive's order, decompressed as they are asked for: leaving the loop early saves the rest.
   * Throws ImageError where the package is truncated or corrupted.
   */
  *files(): Generator<TarEntry, void> {
    const entries = readTar(pieces(this.data));
    for (;;) {
      const next = this.guard(() => entries.next());
      if (next.done) return;
      const entry = next.value;
      const read = () => {
        if (entry.size > MAX_FILE) throw new ImageError(`${this.name}: ${entry.path} in it is larger than 1 GiB`);
        return this.guard(() => entry.read());
      };
      yield { ...entry, read };
    }
  }

  /** The names of packages this one depends on, without versions; all alternatives. */
  get dependencies(): string[] {
    const list = `${this.control.get('Pre-Depends') ?? ''},${this.control.get('Depends') ?? ''}`;
    return list.split(/[,|]/).flatMap(item => item.trim().split(/[\s(:]/)[0] || []);
  }

  private guard<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof ImageError) throw error;
      const problem = error instanceof Error ? error.message : String(error);
      throw new ImageError(`${this.name}: the package cannot be read: ${problem}`, { cause: error });
    }
  }
}

function* pieces(member: ArMember): Generator<Uint8Array, void> {
  let size = 0;
  for (const piece of /\.tar$/.test(member.name) ? [member.data] : decompressPieces(member.data)) {
    size += piece.length;
    if (size > MAX_UNPACKED) throw new RangeError('it unpacks to more than 8 GiB');
    yield piece;
  }
}

function readControl(member: ArMember): Map<string, string> {
  const fields = new Map<string, string>();
  for (const entry of readTar(pieces(member))) {
    if (entry.path !== 'control') continue;
    let last = '';
    for (const line of new TextDecoder().decode(entry.read()).split('\n')) {
      const match = /^([!-9;-~]+):\s*(.*)$/.exec(line);
      if (match !== null) fields.set((last = match[1]), match[2]);
      else if (last !== '' && /^\s/.test(line)) fields.set(last, `${fields.get(last)}\n${line.trim()}`);
    }
    break;
  }
  return fields;
}
