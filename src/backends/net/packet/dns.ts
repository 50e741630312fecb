// DNS messages: one question in, an answer out. Sources: RFC 1035 section 4, RFC 3596 (AAAA), RFC 2181 section 8 (times to live).
import { concatBytes } from '../../../util/bytes.ts';
import { get16, set16, set32 } from './addresses.ts';

export const DNS_PORT = 53;
export const DNS_TYPE = { a: 1, ptr: 12, aaaa: 28 } as const;
export const DNS_CLASS_INTERNET = 1;
export const DNS_STATUS = { ok: 0, formatError: 1, serverFailure: 2, noSuchName: 3, notImplemented: 4 } as const;

const HEADER = 12;
const RESPONSE = 0x8000;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;
const OPCODE = 0x7800;
/** What fits into an answer over UDP without further agreement. */
const MAX_MESSAGE = 512;
/** A pointer to the question's name. */
const QUESTION_NAME = 0xc000 | HEADER;

export interface DnsQuestion {
  id: number;
  flags: number;
  /** Labels with dots between, as they were asked; one character a byte. */
  name: string;
  type: number;
  class: number;
  /** As it stands in the message, for the answer to repeat. */
  bytes: Uint8Array;
}

/** A query that asks one thing; otherwise the status to answer with, or null where nothing can be answered. */
export function parseDnsQuery(message: Uint8Array): DnsQuestion | { id: number; flags: number; status: number } | null {
  if (message.length < HEADER) return null;
  const id = get16(message, 0);
  const flags = get16(message, 2);
  if ((flags & RESPONSE) !== 0) return null;
  if ((flags & OPCODE) !== 0) return { id, flags, status: DNS_STATUS.notImplemented };
  const labels: string[] = [];
  let at = HEADER;
  let isWhole = get16(message, 4) === 1;
  while (isWhole) {
    const length = message[at] ?? 64;
    // No pointers: there is nothing before a question to point to.
    isWhole = length < 64 && at + 1 + length <= message.length && at + length - HEADER < 254;
    if (!isWhole || length === 0) break;
    labels.push(String.fromCharCode(...message.subarray(at + 1, at + 1 + length)));
    at += 1 + length;
  }
  if (!isWhole || at + 5 > message.length) return { id, flags, status: DNS_STATUS.formatError };
  const end = at + 5;
  return {
    id,
    flags,
    name: labels.join('.'),
    type: get16(message, at + 1),
    class: get16(message, at + 3),
    bytes: message.slice(HEADER, end),
  };
}

/** An answer without records. */
export function dnsStatus(query: { id: number; flags: number; bytes?: Uint8Array }, status: number): Uint8Array {
  return dnsAnswer({ ...query, type: 0 }, status, [], 0);
}

/** The answer to a question: records of its own type, as many as fit. `ttl` in seconds. */
export function dnsAnswer(
  query: { id: number; flags: number; type: number; bytes?: Uint8Array },
  status: number,
  records: readonly Uint8Array[],
  ttl: number,
): Uint8Array {
  const question = query.bytes ?? new Uint8Array(0);
  const header = new Uint8Array(HEADER);
  set16(header, 0, query.id);
  set16(header, 2, RESPONSE | RECURSION_AVAILABLE | (query.flags & (OPCODE | RECURSION_DESIRED)) | status);
  set16(header, 4, question.length > 0 ? 1 : 0);
  const parts = [header, question];
  let length = HEADER + question.length;
  let count = 0;
  for (const data of records) {
    length += 12 + data.length;
    if (length > MAX_MESSAGE) break;
    const record = new Uint8Array(12);
    set16(record, 0, QUESTION_NAME);
    set16(record, 2, query.type);
    set16(record, 4, DNS_CLASS_INTERNET);
    set32(record, 6, ttl);
    set16(record, 10, data.length);
    parts.push(record, data);
    count++;
  }
  set16(header, 6, count);
  return concatBytes(parts);
}

/** A name as a record has it; null where it cannot be one. */
export function encodeDnsName(name: string): Uint8Array | null {
  const labels = name.replace(/\.$/, '').split('.');
  if (labels.some(label => label.length < 1 || label.length > 63) || name.length > 253) return null;
  const bytes = labels.flatMap(label => [label.length, ...Array.from(label, char => char.charCodeAt(0) & 0xff)]);
  return Uint8Array.from([...bytes, 0]);
}

/** The 16 bytes of an IPv6 address as text (RFC 4291 section 2.2); null for anything else. */
export function parseIpv6(text: string): Uint8Array | null {
  const v4 = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  const all = v4
    ? `${v4[1]}${((Number(v4[2]) << 8) | Number(v4[3])).toString(16)}:${((Number(v4[4]) << 8) | Number(v4[5])).toString(16)}`
    : text;
  const halves = all.split('::');
  if (halves.length > 2) return null;
  const [head, tail] = halves.map(half => (half === '' ? [] : half.split(':')));
  const gap = tail === undefined ? 0 : 8 - head!.length - tail.length;
  const groups = [...head!, ...Array.from({ length: Math.max(0, gap) }, () => '0'), ...(tail ?? [])];
  if (groups.length !== 8 || groups.some(group => !/^[0-9a-f]{1,4}$/i.test(group))) return null;
  const bytes = new Uint8Array(16);
  for (const [i, group] of groups.entries()) set16(bytes, i * 2, Number.parseInt(group, 16));
  return bytes;
}
