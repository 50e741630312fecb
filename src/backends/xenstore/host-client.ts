/**
 * The store for the host's own code: the toolstack and the backends. Dom0's rights, no wire format, no quotas. Paths may
 * be relative to /local/domain/0. Mistakes throw XsError; a missing node reads as undefined.
 */
import { bytesToText, decodeStrings, XS, XsError, type XsPermission } from '../../protocols/xenstore.ts';
import type { Connection } from './connection.ts';
import type { Caller, StoreCore } from './core.ts';
import * as operations from './operations.ts';
import { childPath } from './paths.ts';
import type { StoreNode } from './tree.ts';
import { addWatch, fireFirst, removeWatch } from './watches.ts';

type Atomically = <T>(body: () => T) => T;

const utf8 = new TextEncoder();

/** Reading and writing, directly or within a transaction. */
export class HostAccess {
  protected readonly core: StoreCore;
  protected readonly connection: Connection;
  protected readonly atomically: Atomically;
  readonly #caller: Caller;

  constructor(core: StoreCore, connection: Connection, atomically: Atomically, transaction: Caller['transaction']) {
    this.core = core;
    this.connection = connection;
    this.atomically = atomically;
    this.#caller = { connection, transaction };
  }

  #node(path: string): StoreNode | undefined {
    try {
      return operations.read(this.core, this.#caller, operations.canonical(this.connection, path));
    } catch (error) {
      if (error instanceof XsError && error.errno === 'ENOENT') return undefined;
      throw error;
    }
  }

  #change(path: string, body: (core: StoreCore, caller: Caller, path: string) => void): void {
    this.atomically(() => body(this.core, this.#caller, operations.canonical(this.connection, path)));
  }

  exists(path: string): boolean {
    return this.#node(path) !== undefined;
  }

  readBytes(path: string): Uint8Array | undefined {
    return this.#node(path)?.value.slice();
  }

  /** A value as text, one character a byte (guests write ASCII, or whatever they like). */
  read(path: string): string | undefined {
    const value = this.readBytes(path);
    return value && bytesToText(value);
  }

  /** Names of the children, in the order of their creation. */
  directory(path: string): readonly string[] | undefined {
    return this.#node(path)?.children;
  }

  permissions(path: string): XsPermission[] | undefined {
    return this.#node(path)?.perms.map(({ domid, access }) => ({ domid, access }));
  }

  /** Text is written as UTF-8. Missing parents are made. */
  write(path: string, value: string | Uint8Array): void {
    const bytes = typeof value === 'string' ? utf8.encode(value) : value.slice();
    this.#change(path, (core, caller, absolute) => operations.write(core, caller, absolute, bytes));
  }

  mkdir(path: string): void {
    this.#change(path, operations.mkdir);
  }

  /** Removes a node and all below it; nothing to remove is no error as long as the parent exists. */
  rm(path: string): void {
    this.#change(path, operations.rm);
  }

  /** Removes a node where it exists. */
  rmIfThere(path: string): void {
    if (this.exists(path)) this.rm(path);
  }

  setPermissions(path: string, permissions: readonly XsPermission[]): void {
    this.#change(path, (core, caller, absolute) => operations.setPermissions(core, caller, absolute, permissions));
  }

  /** Everything below a node as `xenstore-ls -f -p` prints it: path = "value"   (permissions). */
  list(path: string): string {
    const lines: string[] = [];
    const visit = (at: string): void => {
      const node = this.#node(at);
      if (node === undefined) return;
      const perms = node.perms.filter(entry => !entry.ignored).map(({ access, domid }) => `${access}${domid}`);
      if (at !== '/') lines.push(`${at} = "${printable(node.value)}"   (${perms.join(',')})\n`);
      for (const leaf of [...node.children].sort()) visit(childPath(at, leaf));
    };
    visit(operations.canonical(this.connection, path));
    return lines.join('');
  }
}

export class HostClient extends HostAccess {
  readonly #callbacks = new Map<string, (path: string) => void>();
  #nextToken = 0;

  constructor(core: StoreCore, connection: Connection, atomically: Atomically) {
    super(core, connection, atomically, null);
    connection.onOutput = () => this.#dispatch();
  }

  /**
   * Runs `body` in a transaction, again and again as long as somebody else changed what it read (at most a hundred times:
   * nobody else can while a synchronous body runs). What it throws aborts the transaction.
   */
  transaction<T>(body: (access: HostAccess) => T): T {
    return this.atomically(() => {
      for (let attempt = 0; ; attempt++) {
        const transaction = operations.startTransaction(this.core, { connection: this.connection, transaction: null });
        const caller = { connection: this.connection, transaction };
        let result: T;
        try {
          result = body(new HostAccess(this.core, this.connection, this.atomically, transaction));
        } catch (error) {
          operations.endTransaction(this.core, caller, false);
          throw error;
        }
        try {
          operations.endTransaction(this.core, caller, true);
          return result;
        } catch (error) {
          if (!(error instanceof XsError) || error.errno !== 'EAGAIN' || attempt >= 100) throw error;
        }
      }
    });
  }

  /**
   * Calls back with the path of every change at or below `path`, and once right away. Calls come when the store is at rest:
   * after the operation that caused them, in the order of the changes. Returns what ends the watch.
   */
  watch(path: string, callback: (path: string) => void): () => void {
    const token = String(this.#nextToken++);
    this.atomically(() => {
      const watch = addWatch(this.core, this.connection, path, token, null);
      this.#callbacks.set(token, callback);
      fireFirst(this.connection, watch);
    });
    return () => {
      if (!this.#callbacks.delete(token)) return;
      removeWatch(this.connection, operations.canonical(this.connection, path), token);
    };
  }

  /** Ends all watches of this client. */
  close(): void {
    this.#callbacks.clear();
    this.connection.dropWatches();
    this.connection.dropQueue();
    const at = this.core.connections.indexOf(this.connection);
    if (at >= 0) this.core.connections.splice(at, 1);
  }

  #dispatch(): void {
    for (let message = this.connection.pop(); message !== undefined; message = this.connection.pop()) {
      if (message.type !== XS.WATCH_EVENT) continue;
      const [path, token] = decodeStrings(message.payload);
      this.#callbacks.get(token!)?.(path!);
    }
  }
}

/** As xenstore-ls escapes values. */
function printable(value: Uint8Array): string {
  let text = '';
  for (const byte of value) {
    if (byte === 0x5c) text += '\\\\';
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else if (byte === 9) text += '\\t';
    else if (byte === 10) text += '\\n';
    else if (byte === 13) text += '\\r';
    else if (byte < 8) text += `\\${byte.toString(8).padStart(3, '0')}`;
    else text += `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return text;
}
