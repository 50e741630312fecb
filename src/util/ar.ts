// The ar archive (ar(5), "common" and GNU short names), the outer wrapper of a .deb (deb(5)).

import { hasBytesAt } from './bytes.ts';

const MAGIC = new TextEncoder().encode('!<arch>\n');
const HEADER = 60;

export interface ArMember {
  readonly name: string;
  /** A view into the archive, not a copy. */
  readonly data: Uint8Array;
}

export function isAr(bytes: Uint8Array): boolean {
  return hasBytesAt(bytes, 0, MAGIC);
}

/** All members in order. Throws RangeError where the archive is truncated or corrupted. */
export function readAr(bytes: Uint8Array): ArMember[] {
  if (!isAr(bytes)) throw new RangeError('not an ar archive');
  const members: ArMember[] = [];
  const text = (at: number, length: number) =>
    new TextDecoder('latin1').decode(bytes.subarray(at, at + length)).trimEnd();
  let at = MAGIC.length;
  while (at < bytes.length) {
    if (at + HEADER > bytes.length) throw new RangeError('the ar archive is truncated');
    const size = text(at + 48, 10);
    if (!/^\d+$/.test(size) || text(at + 58, 2) !== '`') throw new RangeError('the ar archive is corrupted');
    const start = at + HEADER;
    const end = start + Number(size);
    if (end > bytes.length) throw new RangeError('the ar archive is truncated');
    members.push({ name: text(at, 16).replace(/\/$/, ''), data: bytes.subarray(start, end) });
    at = end + (end % 2);
  }
  return members;
}
