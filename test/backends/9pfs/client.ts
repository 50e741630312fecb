// A 9P client in a few lines, over whatever carries a message there and its reply back; and folders to share.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { P9Server } from '../../../src/backends/9pfs/p9-server.ts';
import { openSharedFolder } from '../../../src/platform/node/shared-folder.ts';
import {
  NO_FID,
  P9_VERSION,
  type P9Name,
  type P9Reply,
  type P9Request,
  p9Request,
  readP9Reply,
} from '../../../src/protocols/p9.ts';

const made: (() => void)[] = [];
afterEach(() => {
  for (const undo of made.splice(0).reverse()) undo();
});

/** A directory of its own, gone after the test. */
export function scratchDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'domzero-9p-'));
  made.push(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A server over a directory. */
export function serverOf(path: string, isReadOnly = false, mostBytes = 65536): P9Server {
  const folder = openSharedFolder(path);
  const server = new P9Server({ folder, isReadOnly, mostBytes });
  made.push(() => {
    server.close();
    folder.close();
  });
  return server;
}

export const ROOT = 1;

export class P9Client {
  readonly #send: (message: Uint8Array) => Uint8Array;
  #next = 100;

  constructor(send: (message: Uint8Array) => Uint8Array) {
    this.#send = send;
  }

  /** The reply, or the number of an error. */
  try<N extends P9Name>(name: N, fields: P9Request<N>): P9Reply<N> | number {
    return readP9Reply(name, this.#send(p9Request(name, 7, fields)));
  }

  call<N extends P9Name>(name: N, fields: P9Request<N>): P9Reply<N> {
    const reply = this.try(name, fields);
    if (typeof reply === 'number') throw new Error(`${name}: errno ${reply}`);
    return reply;
  }

  attach(size = 8192): this {
    this.call('version', { size, version: P9_VERSION });
    this.call('attach', { fid: ROOT, authFid: NO_FID, user: '', tree: '', uid: 0 });
    return this;
  }

  /** A new fid for this path from the root, or the number of an error. */
  tryWalk(path: string): number | { fid: number } {
    const fid = this.#next++;
    const names = path === '' ? [] : path.split('/');
    const reply = this.try('walk', { fid: ROOT, newFid: fid, names });
    if (typeof reply === 'number') return reply;
    return reply.qids.length === names.length ? { fid } : 2;
  }

  walk(path: string): number {
    const found = this.tryWalk(path);
    if (typeof found === 'number') throw new Error(`walk to ${path}: errno ${found}`);
    return found.fid;
  }

  read(path: string): string {
    const fid = this.walk(path);
    this.call('lopen', { fid, flags: 0 });
    const { data } = this.call('read', { fid, offset: 0n, count: 65536 });
    this.call('clunk', { fid });
    return Buffer.from(data).toString();
  }
}
