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
  const [guest, xen] = [openLog(directory, name, 'console'), openLog(directory, name, 'xen')];
  return {
    console: bytes => void writeSync(guest, bytes),
    log: line => void writeSync(xen, `${line}\n`),
    close: () => {
      closeSync(guest);
      closeSync(xen);
    },
  };
}

/** Opens `NAME.console.log` alone, for a guest beside another domain. Throws FileError. */
export function openConsoleLog(directory: string, name: string): Pick<BootLogs, 'console' | 'close'> {
  const file = openLog(directory, name, 'console');
  return { console: bytes => void writeSync(file, bytes), close: () => closeSync(file) };
}

function openLog(directory: string, name: string, kind: string): number {
  withFile(directory, () => mkdirSync(directory, { recursive: true }));
  const path = join(directory, `${name.replace(/[^\w.+-]/g, '_')}.${kind}.log`);
  return withFile(path, () => openSync(path, 'w'));
}
