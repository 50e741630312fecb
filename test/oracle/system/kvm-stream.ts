// Talks to run-system.c: states as the kernel's kvm_regs and kvm_sregs, cases out, results in.
import { spawnSync } from 'node:child_process';
import { attributes, base, F, FIELD_COUNT, limit, MSR_NAMES, MSRS, type State, selector } from './fields.ts';
import { MEMORY_SIZE } from './machine.ts';

const MAGIC = 0x4f435832;
const MAX_MSRS = 32;
const REGS = 144;
const SREGS = 312;
const CASE_HEADER = 16 + 32 + REGS + SREGS + 48 + MAX_MSRS * 16;
const RESULT_HEADER = 16 + REGS + SREGS + 48 + MAX_MSRS * 16;
const APIC_BASE = 0xfee00900n;

/** Order of the general registers in struct kvm_regs, as numbers of ours. */
const KVM_GPR = [0, 3, 1, 2, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15];
/** Order of the segments in struct kvm_sregs. */
const KVM_SEGMENTS = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldtr'] as const;

export const KvmExit = {
  debug: 4,
  halt: 5,
  shutdown: 8,
  failEntry: 9,
  internalError: 17,
  timedOut: 0xffffffff,
} as const;

function putState(view: DataView, at: number, s: State): void {
  const q = (offset: number, value: bigint): void => view.setBigUint64(at + offset, value, true);
  KVM_GPR.forEach((n, i) => {
    q(i * 8, s[n]);
  });
  q(128, s[F.rip]);
  q(136, s[F.rflags]);
  const sregs = REGS;
  KVM_SEGMENTS.forEach((name, i) => {
    const o = sregs + i * 24;
    const a = Number(s[attributes(name)]);
    q(o, s[base(name)]);
    view.setUint32(at + o + 8, Number(s[limit(name)]), true);
    view.setUint16(at + o + 12, Number(s[selector(name)]), true);
    // type present dpl db s l g avl unusable
    const bytes = [
      a & 15,
      (a >> 7) & 1,
      (a >> 5) & 3,
      (a >> 14) & 1,
      (a >> 4) & 1,
      (a >> 13) & 1,
      (a >> 15) & 1,
      (a >> 12) & 1,
    ];
    for (const [k, b] of bytes.entries()) view.setUint8(at + o + 14 + k, b);
    view.setUint8(at + o + 22, a & 0x80 ? 0 : 1);
  });
  q(sregs + 192, s[F.gdtrBase]);
  view.setUint16(at + sregs + 200, Number(s[F.gdtrLimit]), true);
  q(sregs + 208, s[F.idtrBase]);
  view.setUint16(at + sregs + 216, Number(s[F.idtrLimit]), true);
  [s[F.cr0], s[F.cr2], s[F.cr3], s[F.cr4], s[F.cr8], s[F.efer], APIC_BASE].forEach((v, i) => {
    q(sregs + 224 + i * 8, v);
  });
  for (let i = 0; i < 6; i++) q(REGS + SREGS + i * 8, s[F.dr0 + i]);
  MSR_NAMES.forEach((name, i) => {
    view.setUint32(at + REGS + SREGS + 48 + i * 16, MSRS[name], true);
    q(REGS + SREGS + 48 + i * 16 + 8, s[F.msrs + i]);
  });
}

function getState(view: DataView, at: number): State {
  const s = new BigUint64Array(FIELD_COUNT);
  const q = (offset: number): bigint => view.getBigUint64(at + offset, true);
  KVM_GPR.forEach((n, i) => {
    s[n] = q(i * 8);
  });
  s[F.rip] = q(128);
  s[F.rflags] = q(136);
  KVM_SEGMENTS.forEach((name, i) => {
    const o = REGS + i * 24;
    const b = (k: number): number => view.getUint8(at + o + 14 + k);
    s[base(name)] = q(o);
    s[limit(name)] = BigInt(view.getUint32(at + o + 8, true));
    s[selector(name)] = BigInt(view.getUint16(at + o + 12, true));
    const unusable = b(8) !== 0;
    const a =
      b(0) |
      (b(4) << 4) |
      (b(2) << 5) |
      ((unusable ? 0 : b(1)) << 7) |
      (b(7) << 12) |
      (b(5) << 13) |
      (b(3) << 14) |
      (b(6) << 15);
    s[attributes(name)] = BigInt(a);
  });
  s[F.gdtrBase] = q(REGS + 192);
  s[F.gdtrLimit] = BigInt(view.getUint16(at + REGS + 200, true));
  s[F.idtrBase] = q(REGS + 208);
  s[F.idtrLimit] = BigInt(view.getUint16(at + REGS + 216, true));
  [F.cr0, F.cr2, F.cr3, F.cr4, F.cr8, F.efer].forEach((f, i) => {
    s[f] = q(REGS + 224 + i * 8);
  });
  for (let i = 0; i < 6; i++) s[F.dr0 + i] = q(REGS + SREGS + i * 8);
  MSR_NAMES.forEach((_, i) => {
    s[F.msrs + i] = q(REGS + SREGS + 48 + i * 16 + 8);
  });
  return s;
}

export interface KvmCase {
  state: State;
  patches: { address: number; bytes: Uint8Array }[];
  breakpoints: bigint[];
}

export interface KvmResult {
  exit: number;
  state: State;
  memory: { address: number; bytes: Uint8Array }[];
}

const padded = (n: number): number => (n + 7) & ~7;

function encode(c: KvmCase, id: number): Uint8Array {
  const size = CASE_HEADER + c.patches.reduce((n, p) => n + 8 + padded(p.bytes.length), 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  [size, id, c.patches.length, MSR_NAMES.length].forEach((v, i) => {
    view.setUint32(i * 4, v, true);
  });
  c.breakpoints.slice(0, 4).forEach((b, i) => {
    view.setBigUint64(16 + i * 8, b, true);
  });
  putState(view, 48, c.state);
  let at = CASE_HEADER;
  for (const p of c.patches) {
    view.setUint32(at, p.address, true);
    view.setUint32(at + 4, p.bytes.length, true);
    bytes.set(p.bytes, at + 8);
    at += 8 + padded(p.bytes.length);
  }
  return bytes;
}

function decode(view: DataView, at: number): KvmResult {
  const count = view.getUint32(at + 12, true);
  const memory: { address: number; bytes: Uint8Array }[] = [];
  let run: number[] = [];
  let start = -1;
  const flush = (): void => {
    if (run.length) memory.push({ address: start, bytes: Uint8Array.from(run) });
  };
  for (let i = 0; i < count; i++) {
    const address = view.getUint32(at + RESULT_HEADER + i * 8, true);
    if (address !== start + run.length) {
      flush();
      start = address;
      run = [];
    }
    run.push(view.getUint8(at + RESULT_HEADER + i * 8 + 4));
  }
  flush();
  return { exit: view.getUint32(at + 8, true), state: getState(view, at + 16), memory };
}

/** Runs cases in a KVM guest through the compiled run-system.c. Throws where that program fails. */
export function runInGuest(program: string, memory: Uint8Array, cases: readonly KvmCase[]): KvmResult[] {
  const head = new Uint8Array(8);
  const headView = new DataView(head.buffer);
  headView.setUint32(0, MAGIC, true);
  headView.setUint32(4, MEMORY_SIZE, true);
  const input = Buffer.concat([head, memory, ...cases.map(encode)]);
  const done = spawnSync(program, [], { input, maxBuffer: 1 << 30 });
  if (done.status !== 0)
    throw new Error(`run-system failed (status ${done.status}, signal ${done.signal}): ${done.stderr.toString()}`);
  const out = done.stdout;
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  const results: KvmResult[] = [];
  for (let at = 0; at < out.length; at += view.getUint32(at, true)) results.push(decode(view, at));
  if (results.length !== cases.length) throw new Error(`${results.length} results for ${cases.length} cases`);
  return results;
}
