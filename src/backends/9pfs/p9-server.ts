/**
 * A 9P2000.L server over a folder: a request in, its reply out, in order. Several rings may lead to one server, which knows one session.
 * Source: https://github.com/chaos/diod/blob/master/protocol.md; conduct as QEMU's, with security_model=none, where the host's rights decide.
 *
 * Not offered: extended attributes, device nodes and FIFOs (EPERM), set-user-id bits (left out). Locks are granted: one guest has a share, and
 * its kernel keeps its own processes apart.
 */
import {
  P9_VERSION,
  P9Malformed,
  type P9Name,
  p9Error,
  p9Header,
  p9Reply,
  p9RequestName,
  readP9Request,
} from '../../protocols/p9.ts';
import { FidTable } from './fid-table.ts';
import { OPERATIONS, type Session } from './p9-operations.ts';
import { qids } from './qid.ts';
import { ERRNO, type SharedFolder, ShareError } from './shared-folder.ts';

/** Largest message of a client that has not said what it can do. */
const FIRST_SIZE = 8192;
/** Linux's client wants this at least. */
const LEAST_SIZE = 4096;

export interface P9ServerOptions {
  readonly folder: SharedFolder;
  readonly isReadOnly: boolean;
  /** Bytes of the largest message that the transport carries. */
  readonly mostBytes: number;
}

export class P9Server {
  readonly #session: Session;
  readonly #mostBytes: number;
  #isAgreed = false;

  constructor({ folder, isReadOnly, mostBytes }: P9ServerOptions) {
    this.#session = { folder, isReadOnly, fids: new FidTable(), qidOf: qids(), messageSize: FIRST_SIZE };
    this.#mostBytes = mostBytes;
  }

  /** Fids that the client has. */
  get fids(): number {
    return this.#session.fids.size;
  }

  /** @param message a whole one, at least its header; the reply is no longer than the agreed size */
  handle(message: Uint8Array): Uint8Array {
    const { type, tag } = p9Header(message);
    const name = p9RequestName(type);
    if (name === undefined) return p9Error(tag, ERRNO.EOPNOTSUPP);
    try {
      if (name === 'version') return this.#version(message, tag);
      if (!this.#isAgreed) throw new ShareError(ERRNO.EINVAL);
      return this.#perform(name, message, tag);
    } catch (error) {
      if (error instanceof ShareError) return p9Error(tag, error.code);
      if (error instanceof P9Malformed) return p9Error(tag, ERRNO.EINVAL);
      throw error;
    }
  }

  /** Ends the session: what it has open is closed. */
  close(): void {
    this.#isAgreed = false;
    this.#session.fids.clear();
  }

  #perform<N extends Exclude<P9Name, 'version'>>(name: N, message: Uint8Array, tag: number): Uint8Array {
    return p9Reply(name, tag, OPERATIONS[name](this.#session, readP9Request(name, message)));
  }

  /** Begins a session anew. */
  #version(message: Uint8Array, tag: number): Uint8Array {
    const { size, version } = readP9Request('version', message);
    this.close();
    if (size < LEAST_SIZE) throw new ShareError(ERRNO.EMSGSIZE);
    this.#session.messageSize = Math.min(size, this.#mostBytes);
    this.#isAgreed = version === P9_VERSION;
    const answer = this.#isAgreed ? P9_VERSION : 'unknown';
    return p9Reply('version', tag, { size: this.#session.messageSize, version: answer });
  }
}
