// Modules of kernels' packages as they were taken out once: a package is one compressed stream, so that taking even one module out
// of it decompresses most of it.

import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KernelImage, KernelModule } from '../../toolstack/image/index.ts';
import { cacheDirectory } from './debian/apt.ts';

/** These modules of the image's package and all that they depend on, in loading order. Rejects with ImageError, as ModuleTree does. */
export async function cachedModules(
  { sha256, modules }: Pick<KernelImage, 'sha256' | 'modules'>,
  names: readonly string[],
  cache = cacheDirectory(),
): Promise<readonly KernelModule[]> {
  if (names.length === 0 || modules === null) return [];
  const key = createHash('sha256').update(JSON.stringify([sha256, modules.release, [...names].sort()]));
  const file = join(cache, 'modules', `${modules.release}-${key.digest('hex').slice(0, 16)}`);
  const kept = unpack(file);
  if (kept !== null) return kept;
  const found = await modules.withDependencies(names);
  keep(file, found);
  return found;
}

// The file: the number of bytes of a JSON list (32 bits, little-endian), the list, and the modules' contents one after another.

function keep(file: string, modules: readonly KernelModule[]): void {
  const list = modules.map(({ bytes, ...described }) => ({ ...described, size: bytes.length, sha256: digest(bytes) }));
  const header = Buffer.from(JSON.stringify(list));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  const unfinished = `${file}.${process.pid}`;
  try {
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(unfinished, Buffer.concat([length, header, ...modules.map(({ bytes }) => bytes)]));
    renameSync(unfinished, file);
  } catch {
    // Nowhere to keep them: next time takes as long as this time.
  }
}

/** Null where there is no such file, or not as it was written. */
function unpack(file: string): KernelModule[] | null {
  try {
    const bytes = readFileSync(file);
    let at = 4 + bytes.readUInt32LE(0);
    const list = JSON.parse(bytes.toString('utf8', 4, at)) as Array<
      Omit<KernelModule, 'bytes'> & { size: number; sha256: string }
    >;
    return list.map(({ size, sha256, ...described }) => {
      const content = new Uint8Array(bytes.subarray(at, at + size));
      at += size;
      if (digest(content) !== sha256) throw new RangeError('the file was changed');
      return { ...described, bytes: content };
    });
  } catch {
    return null;
  }
}

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
