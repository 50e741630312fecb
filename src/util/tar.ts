// Reading tar archives (POSIX.1-2001 "ustar" and pax, GNU long names), entry by entry as the bytes come.

import { ByteSource } from './byte-source.ts';
import { cString } from './bytes.ts';

const BLOCK = 512;
/** No path is longer; what claims to be is not read into memory. */
const MAX_HEADER_DATA = 1 << 20;

export type TarType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'other';

export interface TarEntry {
  /** Without a leading `./` or `/`, and without a trailing slash. */
  readonly path: string;
  readonly type: TarType;
  readonly mode: number;
  readonly size: number;
  /** Where a link points, as written. */
  readonly linkTarget: string;
  /** The contents; only until the next entry is asked for, and once. Throws RangeError where the archive ends early. */
  read(): Uint8Array;
}

/** The archive's entries in order. Throws RangeError where it is truncated or corrupted. */
export function* readTar(pieces: Iterable<Uint8Array>): Generator<TarEntry, void> {
  const source = new ByteSource(pieces);
  let extra = new Map<string, string>();
  for (;;) {
    const header = source.read(BLOCK);
    // Two zero blocks end an archive; archives without them exist and are read as well.
    if (header.length === 0 || header.every(byte => byte === 0)) return;
    if (header.length < BLOCK) throw truncated();
    checkSum(header);
    const kind = String.fromCharCode(header[156] || 0x30);
    const size = numberField(header, 124, 12);
    if ('LKxg'.includes(kind)) {
      if (size > MAX_HEADER_DATA) throw corrupted();
      const data = source.read(size);
      if (data.length < size) throw truncated();
      source.skip(padding(size));
      if (kind === 'L') extra.set('path', cString(data, 0));
      else if (kind === 'K') extra.set('linkpath', cString(data, 0));
      else if (kind === 'x') extra = new Map([...extra, ...paxRecords(data)]);
      continue;
    }
    const realSize = extra.has('size') ? Number(extra.get('size')) : size;
    if (!Number.isSafeInteger(realSize) || realSize < 0) throw corrupted();
    const type = typeOf(kind);
    const dataSize = type === 'file' ? realSize : 0;
    let left = dataSize;
    yield {
      path: cleanPath(extra.get('path') ?? ustarPath(header)),
      type,
      mode: numberField(header, 100, 8),
      size: dataSize,
      linkTarget: extra.get('linkpath') ?? cString(header, 157, 100),
      read() {
        const data = source.read(left);
        if (data.length < left) throw truncated();
        left = 0;
        return data;
      },
    };
    const rest = left + padding(dataSize);
    if (source.skip(rest) < rest) throw truncated();
    extra = new Map();
  }
}

function typeOf(kind: string): TarType {
  switch (kind) {
    case '0':
    case '7':
      return 'file';
    case '1':
      return 'hardlink';
    case '2':
      return 'symlink';
    case '5':
      return 'directory';
    default:
      return 'other';
  }
}

function ustarPath(header: Uint8Array): string {
  const name = cString(header, 0, 100);
  // GNU's own format ("ustar  ") has other fields where POSIX has the prefix.
  const prefix = cString(header, 257, 6) === 'ustar' ? cString(header, 345, 155) : '';
  return prefix === '' ? name : `${prefix}/${name}`;
}

function cleanPath(path: string): string {
  return path.replace(/^(?:\.?\/)+/, '').replace(/\/+$/, '');
}

/** Octal text, or GNU's big-endian binary where bit 7 of the first byte is set. */
function numberField(header: Uint8Array, at: number, length: number): number {
  if (header[at] & 0x80) {
    let value = header[at] & 0x7f;
    for (let i = 1; i < length; i++) value = value * 256 + header[at + i];
    if (!Number.isSafeInteger(value)) throw corrupted();
    return value;
  }
  const text = cString(header, at, length).trim();
  if (text === '') return 0;
  if (!/^[0-7]+$/.test(text)) throw corrupted();
  return Number.parseInt(text, 8);
}

function checkSum(header: Uint8Array): void {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 0x20 : header[i];
  if (sum !== numberField(header, 148, 8)) throw corrupted();
}

/** Records of the form "LENGTH KEY=VALUE\n". */
function paxRecords(data: Uint8Array): Map<string, string> {
  const records = new Map<string, string>();
  const text = new TextDecoder();
  let at = 0;
  while (at < data.length) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(text.decode(data.subarray(at, space)));
    if (!Number.isInteger(length) || length <= space - at || at + length > data.length) throw corrupted();
    const record = text.decode(data.subarray(space + 1, at + length - 1));
    const equals = record.indexOf('=');
    if (equals > 0) records.set(record.slice(0, equals), record.slice(equals + 1));
    at += length;
  }
  return records;
}

const padding = (size: number) => (BLOCK - (size % BLOCK)) % BLOCK;
const truncated = () => new RangeError('the tar archive is truncated');
const corrupted = () => new RangeError('the tar archive is corrupted');
