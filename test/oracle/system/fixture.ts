// System cases and their results as a file: gzip of 'DZC2' and cases, numbers as LEB128, 64-bit values with a length byte.
import { gunzipSync, gzipSync } from 'node:zlib';
import { Reader, Writer } from '../binary.ts';
import type { SystemCase, SystemOutcome } from './fields.ts';

const MAGIC = 'DZC2';

export interface SystemResult {
  case: SystemCase;
  outcome: SystemOutcome;
}

function writePatches(w: Writer, patches: readonly { address: number; bytes: Uint8Array }[]): void {
  w.varint(patches.length);
  for (const p of patches) {
    w.varint(p.address);
    w.varint(p.bytes.length);
    w.raw(p.bytes);
  }
}

function readPatches(r: Reader): { address: number; bytes: Uint8Array }[] {
  return Array.from({ length: r.varint() }, () => ({ address: r.varint(), bytes: r.raw(r.varint()) }));
}

function writeFields(w: Writer, fields: readonly [number, bigint][]): void {
  w.varint(fields.length);
  for (const [index, value] of fields) {
    w.u8(index);
    w.u64(value);
  }
}

function readFields(r: Reader): [number, bigint][] {
  return Array.from({ length: r.varint() }, (): [number, bigint] => [r.u8(), r.u64()]);
}

export function writeSystemFixture(results: readonly SystemResult[]): Uint8Array {
  const w = new Writer();
  w.raw(new TextEncoder().encode(MAGIC));
  w.varint(results.length);
  for (const { case: c, outcome } of results) {
    w.string(c.name);
    w.string(c.start);
    w.varint(c.code.length);
    w.raw(c.code);
    writeFields(w, c.fields);
    writePatches(w, c.patches);
    w.u8(outcome.end);
    writeFields(w, outcome.changed);
    writePatches(w, outcome.memory);
  }
  return gzipSync(w.taken(), { level: 9 });
}

export function readSystemFixture(file: Uint8Array): SystemResult[] {
  const r = new Reader(gunzipSync(file));
  if (new TextDecoder().decode(r.raw(4)) !== MAGIC) throw new Error('not a fixture of system cases');
  return Array.from({ length: r.varint() }, () => {
    const name = r.string();
    const start = r.string();
    const code = r.raw(r.varint());
    const fields = readFields(r);
    const patches = readPatches(r);
    const outcome = { end: r.u8(), changed: readFields(r), memory: readPatches(r) };
    return { case: { name, start, code, fields, patches, userTargets: [] }, outcome };
  });
}
