// Where a stock kernel package may lie, for tests that read one: DOMZERO_KERNEL, or what `npm start` keeps in its cache.
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const CACHES = [process.env.XDG_CACHE_HOME, join(homedir(), '.cache')].flatMap(c => (c ? [join(c, 'domzero')] : []));

/** Path of a kernel package or image, or null where there is none. */
export function kernelPackage(): string | null {
  const given = process.env.DOMZERO_KERNEL;
  if (given) return existsSync(given) ? given : null;
  for (const cache of CACHES) {
    if (!existsSync(cache)) continue;
    const file = readdirSync(cache).find(f => f.startsWith('linux-image-') && f.endsWith('.deb'));
    if (file) return join(cache, file);
  }
  return null;
}
