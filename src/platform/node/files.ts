// Files that a person names, read and written with errors that a person understands.

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The message is one sentence with the file's name. */
export class FileError extends Error {
  constructor(problem: string, options?: ErrorOptions) {
    super(problem, options);
    this.name = 'FileError';
  }
}

const WORDS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  ENOTDIR: 'a part of its path is no directory',
  EACCES: 'reading or writing it is not permitted',
  EPERM: 'reading or writing it is not permitted',
  EISDIR: 'it is a directory',
  ENOSPC: 'the disk is full',
  EROFS: 'the file system is read-only',
  EEXIST: 'it exists and is no directory',
  ERR_FS_FILE_TOO_LARGE: 'it is too large',
};

/** Runs `action` on `path`. Throws FileError for what the file system refuses. */
export function withFile<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === undefined) throw error;
    throw new FileError(`${path}: ${WORDS[code] ?? code}`, { cause: error });
  }
}

export function readFile(path: string): Uint8Array {
  return withFile(path, () => {
    const buffer = readFileSync(path);
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
  });
}

/** Makes the directory where it is missing. */
export function writeFile(path: string, content: Uint8Array | string): void {
  withFile(path, () => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  });
}

/** An entry of a directory tree; paths are relative to the tree's root, directories come before what is in them. */
export interface TreeEntry {
  readonly path: string;
  readonly isDirectory: boolean;
  read(): Uint8Array;
}

/** Everything in a directory, in the order of names; symbolic links are followed to files and left out otherwise. */
export function* walkTree(root: string, under = ''): Generator<TreeEntry, void> {
  const entries = withFile(join(root, under), () => readdirSync(join(root, under), { withFileTypes: true }));
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = under === '' ? entry.name : `${under}/${entry.name}`;
    const full = join(root, path);
    if (entry.isDirectory()) {
      yield { path, isDirectory: true, read: () => new Uint8Array(0) };
      yield* walkTree(root, path);
    } else if (statSync(full, { throwIfNoEntry: false })?.isFile()) {
      yield { path, isDirectory: false, read: () => readFile(full) };
    }
  }
}
