// `--logs DIR`: what each guest printed, and the hypervisor's log beside it, written as they come.

import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { withFile } from '../platform/node/files.ts';

export interface BootLogs {
  console(bytes: Uint8Array): void;
  log(line: string): void;
  close(): void;
}

/** Opens `NAME.console.log` and `NAME.xen.log`. Throws FileError. */
export function openLogs(directory: string, name: string): BootLogs {
  withFile(directory, () => mkdirSync(directory, { recursive: true }));
  const open = (kind: string) => {
    const path = join(directory, `${name.replace(/[^\w.+-]/g, '_')}.${kind}.log`);
    return withFile(path, () => openSync(path, 'w'));
  };
  const [guest, xen] = [open('console'), open('xen')];
  return {
    console: bytes => void writeSync(guest, bytes),
    log: line => void writeSync(xen, `${line}\n`),
    close: () => {
      closeSync(guest);
      closeSync(xen);
    },
  };
}
