/**
 * Messages of 9P2000.L, the file protocol that Linux's v9fs speaks: `size[4] type[1] tag[2]`, then fields, little-endian. Requests and replies are
 * declared here once and read and written by these declarations. Sources: https://github.com/chaos/diod/blob/master/protocol.md, Linux's
 * include/net/9p/9p.h.
 *
 * Names and targets of links are bytes, kept as strings with a character a byte (latin1): no system asks that they be UTF-8.
 */
import { viewOf } from '../util/bytes.ts';

/** A message that ends before its fields do, or has a field that cannot be. */
export class P9Malformed extends Error {
  override name = 'P9Malformed';
}

/** What a file is to the protocol: its type, a version that changes with it, and a number that is its own. */
export interface Qid {
  type: number;
  version: number;
  path: bigint;
}

export const QID_TYPE = { directory: 0x80, link: 0x02, file: 0 } as const;
export const P9_HEADER = 7;
export const P9_VERSION = '9P2000.L';
/** The fid that is none. */
export const NO_FID = 0xffffffff;
export const MOST_NAMES = 16;

class Cursor {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  at = P9_HEADER;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }

  /** Where the next `length` bytes begin. */
  take(length: number): number {
    const from = this.at;
    if (from + length > this.bytes.length) throw new P9Malformed('the message is too short');
    this.at += length;
    return from;
  }
}

/** How one kind of field is read, written, and how long it is. */
interface Kind<T> {
  read(from: Cursor): T;
  write(to: Cursor, value: T): void;
  length(value: T): number;
}

const u8: Kind<number> = {
  read: from => from.view.getUint8(from.take(1)),
  write: (to, value) => to.view.setUint8(to.take(1), value),
  length: () => 1,
};
const u16: Kind<number> = {
  read: from => from.view.getUint16(from.take(2), true),
  write: (to, value) => to.view.setUint16(to.take(2), value, true),
  length: () => 2,
};
const u32: Kind<number> = {
  read: from => from.view.getUint32(from.take(4), true),
  write: (to, value) => to.view.setUint32(to.take(4), value, true),
  length: () => 4,
};
const u64: Kind<bigint> = {
  read: from => from.view.getBigUint64(from.take(8), true),
  write: (to, value) => to.view.setBigUint64(to.take(8), value, true),
  length: () => 8,
};
const text: Kind<string> = {
  read: from => {
    const length = u16.read(from);
    const at = from.take(length);
    let value = '';
    for (let i = at; i < at + length; i++) value += String.fromCharCode(from.bytes[i]!);
    return value;
  },
  write: (to, value) => {
    u16.write(to, value.length);
    const at = to.take(value.length);
    for (let i = 0; i < value.length; i++) to.bytes[at + i] = value.charCodeAt(i);
  },
  length: value => 2 + value.length,
};
/** Read as a view of the message. */
const data: Kind<Uint8Array> = {
  read: from => {
    const length = u32.read(from);
    const at = from.take(length);
    return from.bytes.subarray(at, at + length);
  },
  write: (to, value) => {
    u32.write(to, value.length);
    to.bytes.set(value, to.take(value.length));
  },
  length: value => 4 + value.length,
};
const qid: Kind<Qid> = {
  read: from => ({ type: u8.read(from), version: u32.read(from), path: u64.read(from) }),
  write: (to, { type, version, path }) => {
    u8.write(to, type);
    u32.write(to, version);
    u64.write(to, path);
  },
  length: () => 13,
};

function list<T>(kind: Kind<T>): Kind<T[]> {
  return {
    read: from => {
      const count = u16.read(from);
      if (count > MOST_NAMES) throw new P9Malformed(`${count} names`);
      return Array.from({ length: count }, () => kind.read(from));
    },
    write: (to, values) => {
      u16.write(to, values.length);
      for (const value of values) kind.write(to, value);
    },
    length: values => values.reduce((sum, value) => sum + kind.length(value), 2),
  };
}

type Values<F> = { -readonly [N in keyof F]: F[N] extends Kind<infer T> ? T : never };

const time = { accessSeconds: u64, accessNs: u64, modifySeconds: u64, modifyNs: u64 };
const lockRange = { start: u64, length: u64, process: u32, client: text };

/** Each message's number and fields: of the request, and of its reply, which has the next number. */
const MESSAGES = {
  statfs: {
    type: 8,
    request: { fid: u32 },
    reply: {
      type: u32,
      blockSize: u32,
      blocks: u64,
      free: u64,
      available: u64,
      files: u64,
      filesFree: u64,
      id: u64,
      nameLength: u32,
    },
  },
  lopen: { type: 12, request: { fid: u32, flags: u32 }, reply: { qid, unit: u32 } },
  lcreate: {
    type: 14,
    request: { fid: u32, name: text, flags: u32, mode: u32, gid: u32 },
    reply: { qid, unit: u32 },
  },
  symlink: { type: 16, request: { fid: u32, name: text, target: text, gid: u32 }, reply: { qid } },
  mknod: {
    type: 18,
    request: { fid: u32, name: text, mode: u32, major: u32, minor: u32, gid: u32 },
    reply: { qid },
  },
  rename: { type: 20, request: { fid: u32, directory: u32, name: text }, reply: {} },
  readlink: { type: 22, request: { fid: u32 }, reply: { target: text } },
  getattr: {
    type: 24,
    request: { fid: u32, mask: u64 },
    reply: {
      valid: u64,
      qid,
      mode: u32,
      uid: u32,
      gid: u32,
      links: u64,
      device: u64,
      size: u64,
      blockSize: u64,
      blocks: u64,
      ...time,
      changeSeconds: u64,
      changeNs: u64,
      birthSeconds: u64,
      birthNs: u64,
      generation: u64,
      dataVersion: u64,
    },
  },
  setattr: {
    type: 26,
    request: { fid: u32, valid: u32, mode: u32, uid: u32, gid: u32, size: u64, ...time },
    reply: {},
  },
  xattrwalk: { type: 30, request: { fid: u32, newFid: u32, name: text }, reply: { size: u64 } },
  xattrcreate: { type: 32, request: { fid: u32, name: text, size: u64, flags: u32 }, reply: {} },
  readdir: { type: 40, request: { fid: u32, offset: u64, count: u32 }, reply: { data } },
  fsync: { type: 50, request: { fid: u32, dataOnly: u32 }, reply: {} },
  lock: { type: 52, request: { fid: u32, type: u8, flags: u32, ...lockRange }, reply: { status: u8 } },
  getlock: { type: 54, request: { fid: u32, type: u8, ...lockRange }, reply: { type: u8, ...lockRange } },
  link: { type: 70, request: { directory: u32, fid: u32, name: text }, reply: {} },
  mkdir: { type: 72, request: { fid: u32, name: text, mode: u32, gid: u32 }, reply: { qid } },
  renameat: {
    type: 74,
    request: { oldDirectory: u32, oldName: text, newDirectory: u32, newName: text },
    reply: {},
  },
  unlinkat: { type: 76, request: { directory: u32, name: text, flags: u32 }, reply: {} },
  version: { type: 100, request: { size: u32, version: text }, reply: { size: u32, version: text } },
  auth: { type: 102, request: { fid: u32, user: text, tree: text, uid: u32 }, reply: { qid } },
  attach: { type: 104, request: { fid: u32, authFid: u32, user: text, tree: text, uid: u32 }, reply: { qid } },
  flush: { type: 108, request: { oldTag: u16 }, reply: {} },
  walk: { type: 110, request: { fid: u32, newFid: u32, names: list(text) }, reply: { qids: list(qid) } },
  read: { type: 116, request: { fid: u32, offset: u64, count: u32 }, reply: { data } },
  write: { type: 118, request: { fid: u32, offset: u64, data }, reply: { count: u32 } },
  clunk: { type: 120, request: { fid: u32 }, reply: {} },
  remove: { type: 122, request: { fid: u32 }, reply: {} },
} as const;

export type P9Name = keyof typeof MESSAGES;
export type P9Request<N extends P9Name> = Values<(typeof MESSAGES)[N]['request']>;
export type P9Reply<N extends P9Name> = Values<(typeof MESSAGES)[N]['reply']>;

const RLERROR = 7;
const ERROR_FIELDS = { code: u32 };
const NAMES = new Map<number, P9Name>(Object.entries(MESSAGES).map(([name, { type }]) => [type, name as P9Name]));

/** A message's size by its own word, type and tag; the array holds a header at least. */
export function p9Header(bytes: Uint8Array): { size: number; type: number; tag: number } {
  const view = viewOf(bytes);
  return { size: view.getUint32(0, true), type: view.getUint8(4), tag: view.getUint16(5, true) };
}

/** The request that a type is the number of. */
export const p9RequestName = (type: number): P9Name | undefined => NAMES.get(type);

/** Throws P9Malformed. What stands behind the fields is ignored. */
export function readP9Request<N extends P9Name>(name: N, message: Uint8Array): P9Request<N> {
  return readFields(MESSAGES[name].request, message) as P9Request<N>;
}

export function p9Request<N extends P9Name>(name: N, tag: number, fields: P9Request<N>): Uint8Array {
  return writeFields(MESSAGES[name].type, tag, MESSAGES[name].request, fields);
}

export function p9Reply<N extends P9Name>(name: N, tag: number, fields: P9Reply<N>): Uint8Array {
  return writeFields(MESSAGES[name].type + 1, tag, MESSAGES[name].reply, fields);
}

/** @param code an errno of Linux */
export function p9Error(tag: number, code: number): Uint8Array {
  return writeFields(RLERROR, tag, ERROR_FIELDS, { code });
}

/** The reply to such a request, or the number of the error that came instead. Throws P9Malformed. */
export function readP9Reply<N extends P9Name>(name: N, message: Uint8Array): P9Reply<N> | number {
  const { type } = p9Header(message);
  if (type === RLERROR) return new Cursor(message).view.getUint32(P9_HEADER, true);
  if (type !== MESSAGES[name].type + 1) throw new P9Malformed(`type ${type}`);
  return readFields(MESSAGES[name].reply, message) as P9Reply<N>;
}

function readFields(fields: object, message: Uint8Array): Record<string, unknown> {
  const from = new Cursor(message);
  const values: Record<string, unknown> = {};
  for (const [name, kind] of Object.entries(fields as Record<string, Kind<unknown>>)) values[name] = kind.read(from);
  return values;
}

function writeFields(type: number, tag: number, fields: object, values: object): Uint8Array {
  const kinds = Object.entries(fields as Record<string, Kind<unknown>>);
  const given = values as Record<string, unknown>;
  const length = kinds.reduce((sum, [name, kind]) => sum + kind.length(given[name]), P9_HEADER);
  const to = new Cursor(new Uint8Array(length));
  to.view.setUint32(0, length, true);
  to.view.setUint8(4, type);
  to.view.setUint16(5, tag, true);
  for (const [name, kind] of kinds) kind.write(to, given[name]);
  return to.bytes;
}

/** An entry of a directory, as it stands in readdir's data: the offset is where to go on behind it. */
export function p9DirectoryEntry(entry: { qid: Qid; offset: bigint; type: number; name: string }): Uint8Array {
  const fields = { qid, offset: u64, type: u8, name: text };
  return writeFields(0, 0, fields, entry).subarray(P9_HEADER);
}

/** Entries of a reply to readdir. */
export function readP9Directory(bytes: Uint8Array): { qid: Qid; offset: bigint; type: number; name: string }[] {
  const from = new Cursor(bytes);
  from.at = 0;
  const entries: ReturnType<typeof readP9Directory> = [];
  while (from.at < bytes.length) {
    entries.push({ qid: qid.read(from), offset: u64.read(from), type: u8.read(from), name: text.read(from) });
  }
  return entries;
}
