/**
 * XenStore's wire protocol: message types, header, payload strings, permissions and error names, apart from whatever
 * carries them. Source: xen/include/public/io/xs_wire.h and docs/misc/xenstore.txt.
 *
 * Paths and tokens are byte strings without NUL; they are held as JavaScript strings with one character a byte.
 */
import { strictStrtol } from './c-integers.ts';

/** enum xsd_sockmsg_type. 20 was RESTRICT and stays unused. */
export const XS = {
  CONTROL: 0,
  DIRECTORY: 1,
  READ: 2,
  GET_PERMS: 3,
  WATCH: 4,
  UNWATCH: 5,
  TRANSACTION_START: 6,
  TRANSACTION_END: 7,
  INTRODUCE: 8,
  RELEASE: 9,
  GET_DOMAIN_PATH: 10,
  WRITE: 11,
  MKDIR: 12,
  RM: 13,
  SET_PERMS: 14,
  WATCH_EVENT: 15,
  ERROR: 16,
  IS_DOMAIN_INTRODUCED: 17,
  RESUME: 18,
  SET_TARGET: 19,
  RESET_WATCHES: 21,
  DIRECTORY_PART: 22,
  GET_FEATURE: 23,
  SET_FEATURE: 24,
  GET_QUOTA: 25,
  SET_QUOTA: 26,
} as const;

export type XsOperation = keyof typeof XS;

const NAMES = new Map<number, XsOperation>(Object.entries(XS).map(([name, type]) => [type, name as XsOperation]));

/** The name of a message type, or undefined where the header does not define the number. */
export function operationName(type: number): XsOperation | undefined {
  return NAMES.get(type);
}

/** Errors that can be sent, in the order of xsd_errors[]. */
export const XS_ERRORS = [
  'EINVAL',
  'EACCES',
  'EEXIST',
  'EISDIR',
  'ENOENT',
  'ENOMEM',
  'ENOSPC',
  'EIO',
  'ENOTEMPTY',
  'ENOSYS',
  'EROFS',
  'EBUSY',
  'EAGAIN',
  'EISCONN',
  'E2BIG',
  'EPERM',
] as const;

export type XsErrno = (typeof XS_ERRORS)[number];

/** A request's failure, by the errno name that the ERROR reply carries. */
export class XsError extends Error {
  readonly errno: XsErrno;

  constructor(errno: XsErrno, detail?: string) {
    super(detail === undefined ? errno : `${errno}: ${detail}`);
    this.name = 'XsError';
    this.errno = errno;
  }
}

export const XS_HEADER_SIZE = 16;
/** Longest payload either way; a client that exceeds it loses its connection. */
export const XS_PAYLOAD_MAX = 4096;
export const XS_ABS_PATH_MAX = 3072;
export const XS_REL_PATH_MAX = 2048;

/** One message: `payload` is at most XS_PAYLOAD_MAX bytes. */
export interface XsMessage {
  type: number;
  reqId: number;
  txId: number;
  payload: Uint8Array;
}

export interface XsHeader {
  type: number;
  reqId: number;
  txId: number;
  length: number;
}

export function decodeHeader(bytes: Uint8Array, offset = 0): XsHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, XS_HEADER_SIZE);
  return {
    type: view.getUint32(0, true),
    reqId: view.getUint32(4, true),
    txId: view.getUint32(8, true),
    length: view.getUint32(12, true),
  };
}

export function encodeMessage(message: XsMessage): Uint8Array {
  const bytes = new Uint8Array(XS_HEADER_SIZE + message.payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, message.type, true);
  view.setUint32(4, message.reqId, true);
  view.setUint32(8, message.txId, true);
  view.setUint32(12, message.payload.length, true);
  bytes.set(message.payload, XS_HEADER_SIZE);
  return bytes;
}

/** One character a byte, so that any byte string survives the round trip. */
export function bytesToText(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) text += String.fromCharCode(bytes[i]!);
  return text;
}

/** The inverse of bytesToText(); a character above 0xff is our own mistake. */
export function textToBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** A payload of strings, each with its NUL. */
export function encodeStrings(...strings: string[]): Uint8Array {
  return textToBytes(strings.map(text => `${text}\0`).join(''));
}

/** The NUL-terminated strings of a payload; bytes after the last NUL are no string and are left out. */
export function decodeStrings(payload: Uint8Array): string[] {
  const strings: string[] = [];
  let start = 0;
  for (let end = payload.indexOf(0); end !== -1; end = payload.indexOf(0, start)) {
    strings.push(bytesToText(payload.subarray(start, end)));
    start = end + 1;
  }
  return strings;
}

/** The only string of a payload that holds exactly one NUL, its last byte; undefined otherwise. */
export function decodeOneString(payload: Uint8Array): string | undefined {
  const end = payload.indexOf(0);
  return end !== -1 && end === payload.length - 1 ? bytesToText(payload.subarray(0, end)) : undefined;
}

/** none, read, write, both. */
export type XsAccess = 'n' | 'r' | 'w' | 'b';

/** The first entry of a list names the owner, and its access holds for every domain without an entry of its own. */
export interface XsPermission {
  domid: number;
  access: XsAccess;
}

export function formatPermission({ domid, access }: XsPermission): string {
  return `${access}${domid | 0}`;
}

/** "r7", "n0x10": a letter and a whole C integer, kept as unsigned 32 bits. Undefined where it is neither. */
export function parsePermission(text: string): XsPermission | undefined {
  const access = text[0];
  if (access !== 'n' && access !== 'r' && access !== 'w' && access !== 'b') return undefined;
  const domid = strictStrtol(text.slice(1));
  return domid === undefined ? undefined : { domid: domid >>> 0, access };
}

/** Puts messages together from a byte stream that arrives in pieces of any size. Its state is plain data. */
export class XsMessageReader {
  #bytes: Uint8Array = new Uint8Array(XS_HEADER_SIZE);
  #used = 0;
  #header: XsHeader | null = null;

  /** Bytes that complete the header or the message: what to ask the stream for next; never 0. */
  get wanted(): number {
    return this.#bytes.length - this.#used;
  }

  /**
   * Takes at most `wanted` bytes. Returns a message once it is whole, 'too-long' where the header announces more than
   * XS_PAYLOAD_MAX (the stream cannot be followed any further), otherwise undefined.
   */
  push(chunk: Uint8Array): XsMessage | 'too-long' | undefined {
    this.#bytes.set(chunk, this.#used);
    this.#used += chunk.length;
    if (this.#used < this.#bytes.length) return undefined;
    if (this.#header === null) {
      const header = decodeHeader(this.#bytes);
      if (header.length > XS_PAYLOAD_MAX) return 'too-long';
      this.#header = header;
      this.#bytes = new Uint8Array(header.length);
      this.#used = 0;
      if (header.length > 0) return undefined;
    }
    const { type, reqId, txId } = this.#header;
    const message = { type, reqId, txId, payload: this.#bytes };
    this.reset();
    return message;
  }

  /** Drops a half-read message. */
  reset(): void {
    this.#header = null;
    this.#bytes = new Uint8Array(XS_HEADER_SIZE);
    this.#used = 0;
  }

  /** What has been read of the current message, header included; give it to restore() of a new reader. */
  save(): Uint8Array {
    const part = this.#bytes.slice(0, this.#used);
    if (this.#header === null) return part;
    const { type, reqId, txId, length } = this.#header;
    const bytes = new Uint8Array(XS_HEADER_SIZE + part.length);
    new Uint32Array(bytes.buffer, 0, 4).set([type, reqId, txId, length]);
    bytes.set(part, XS_HEADER_SIZE);
    return bytes;
  }

  restore(saved: Uint8Array): void {
    this.reset();
    for (let at = 0; at < saved.length; ) {
      const chunk = saved.subarray(at, at + this.wanted);
      at += chunk.length;
      this.push(chunk);
    }
  }
}
