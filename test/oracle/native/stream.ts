// Talks to run-cases.c: cases out, results in. The layouts are that program's structs, little endian.
import { spawnSync } from 'node:child_process';
import { codeBase, type Initial, type MemoryChange, type Mode, type Outcome } from '../case.ts';
import { FXSAVE_SIZE } from '../initial-state.ts';
import { BACKING_SIZE, backgroundMemory, type Descriptor, LDT, REGIONS } from '../places.ts';

const MAGIC = 0x4f435831;
const CASE_HEADER = 4 + 4 + 12 + 4 + 32 + 128 + FXSAVE_SIZE;
const RESULT_HEADER = 24 + 40 + 16 + 128 + FXSAVE_SIZE;

export interface NativeCase {
  mode: Mode;
  initial: Initial;
}

/** What the kernel reported: not yet told apart whether the INT3 behind the case or the case itself trapped. */
export interface NativeResult extends Outcome {
  timedOut: boolean;
}

function ldtEntry(index: number, d: Descriptor): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  const bit = (n: number): number => (d.attributes >> n) & 1;
  view.setUint32(0, index, true);
  view.setUint32(4, d.base, true);
  view.setUint32(8, d.limit, true);
  // struct user_desc: seg_32bit, contents:2, read_exec_only, limit_in_pages, seg_not_present, useable
  const contents = (bit(3) << 1) | bit(2);
  const bits = bit(14) | (contents << 1) | ((bit(1) ^ 1) << 3) | (bit(15) << 4) | ((bit(7) ^ 1) << 5) | (bit(12) << 6);
  view.setUint32(12, bits, true);
  return bytes;
}

function streamHeader(): Uint8Array[] {
  const head = new Uint8Array(16 + REGIONS.length * 24);
  const view = new DataView(head.buffer);
  [MAGIC, REGIONS.length, LDT.length, BACKING_SIZE].forEach((v, i) => {
    view.setUint32(i * 4, v, true);
  });
  REGIONS.forEach((r, i) => {
    const at = 16 + i * 24;
    view.setBigUint64(at, r.address, true);
    view.setUint32(at + 8, r.size, true);
    view.setUint32(at + 12, r.offset, true);
    view.setUint32(at + 16, r.writable ? 1 : 0, true);
    view.setUint32(at + 20, r.executable ? 1 : 0, true);
  });
  return [head, ...LDT.map((d, i) => ldtEntry(i, d)), backgroundMemory()];
}

const padded = (n: number): number => (n + 7) & ~7;

function encodeCase({ mode, initial }: NativeCase, id: number): Uint8Array {
  const patchBytes = initial.patches.reduce((sum, p) => sum + 8 + padded(p.bytes.length), 0);
  const bytes = new Uint8Array(CASE_HEADER + patchBytes);
  const view = new DataView(bytes.buffer);
  const { cs, ss, ds, es, fs, gs } = initial.selectors;
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, id, true);
  [cs, ss, ds, es, fs, gs, mode === 64 ? 1 : 0, initial.patches.length].forEach((v, i) => {
    view.setUint16(8 + i * 2, v, true);
  });
  [initial.rip, initial.rflags, initial.fsBase, initial.gsBase, ...initial.gpr].forEach((v, i) => {
    view.setBigUint64(24 + i * 8, v, true);
  });
  bytes.set(initial.fxsave, 184);
  let at = CASE_HEADER;
  for (const p of initial.patches) {
    view.setUint32(at, p.offset, true);
    view.setUint32(at + 4, p.bytes.length, true);
    bytes.set(p.bytes, at + 8);
    at += 8 + padded(p.bytes.length);
  }
  return bytes;
}

function decodeResult(view: DataView, at: number): NativeResult {
  const u64 = (i: number): bigint => view.getBigUint64(at + 24 + i * 8, true);
  const u16 = (i: number): number => view.getUint16(at + 64 + i * 2, true);
  const changes: MemoryChange[] = [];
  const count = view.getUint32(at + 20, true);
  const size = view.getUint32(at, true);
  let run: number[] = [];
  let start = -1;
  const flush = (): void => {
    if (run.length) changes.push({ offset: start, bytes: Uint8Array.from(run) });
  };
  for (let i = 0; i < count; i++) {
    const entry = at + RESULT_HEADER + i * 8;
    const offset = view.getUint32(entry, true);
    if (offset !== start + run.length) {
      flush();
      start = offset;
      run = [];
    }
    run.push(view.getUint8(entry + 4));
  }
  flush();
  if (size !== RESULT_HEADER + count * 8) throw new Error('the results are garbled');
  const gpr = new BigUint64Array(16);
  for (let i = 0; i < 16; i++) gpr[i] = view.getBigUint64(at + 80 + i * 8, true);
  return {
    timedOut: view.getUint32(at + 8, true) === 1,
    vector: view.getUint32(at + 12, true),
    error: view.getUint32(at + 16, true),
    address: u64(0),
    rip: u64(1),
    rflags: u64(2),
    fsBase: u64(3),
    gsBase: u64(4),
    selectors: { cs: u16(0), ss: u16(1), ds: u16(2), es: u16(3), fs: u16(4), gs: u16(5) },
    gpr,
    fxsave: new Uint8Array(view.buffer, view.byteOffset + at + 208, FXSAVE_SIZE).slice(),
    changes,
  };
}

/** Runs cases on this machine's processor through the compiled run-cases.c. Throws where that program fails. */
export function runNatively(program: string, cases: readonly NativeCase[]): NativeResult[] {
  const results: NativeResult[] = [];
  const CHUNK = 20_000;
  for (let from = 0; from < cases.length; from += CHUNK) {
    const some = cases.slice(from, from + CHUNK);
    const input = Buffer.concat([...streamHeader(), ...some.map((c, i) => encodeCase(c, i))]);
    const done = spawnSync(program, [], { input, maxBuffer: 1 << 30 });
    if (done.status !== 0) {
      throw new Error(`run-cases failed (status ${done.status}, signal ${done.signal}): ${done.stderr.toString()}`);
    }
    const out = done.stdout;
    const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
    const before = results.length;
    for (let at = 0; at < out.length; at += view.getUint32(at, true)) {
      const id = view.getUint32(at + 4, true);
      if (id !== results.length - before)
        throw new Error(`result ${id} stands where ${results.length - before} should`);
      results.push(decodeResult(view, at));
    }
    if (results.length - before !== some.length) throw new Error('some cases have no result');
  }
  return results;
}

/** Native RIP is relative to the code segment already; kept for callers that want linear addresses. */
export function linearRip(mode: Mode, rip: bigint): bigint {
  return rip + codeBase(mode);
}
