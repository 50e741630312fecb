// What this tool calls itself in reports: "domzero 0.1.0".

import { readFileSync } from 'node:fs';

export function version(): string {
  // From src/cli and from dist/src/cli: package.json is at the root of either.
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8'));
      if (name === 'domzero') return version;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  throw new Error('package.json is missing');
}

export const toolVersion = () => `domzero ${version()}`;
