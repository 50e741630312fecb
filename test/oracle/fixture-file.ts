// The compact form of cases: what the seed does not give and what the instruction did not change is not stored.
//
// file:  gzip of: 'DZC1', groups until the end. group: name, precision, undefined FSW bits, number of cases, cases.
// case:  see writeCase. Numbers are LEB128 ("varint"); 64-bit values are a length byte and as many bytes.
import { gunzipSync, gzipSync } from 'node:zlib';
import { Reader, Writer } from './binary.ts';
import { type Case, type CaseInput, type Group, type Ignored, initialOf, type Mode, type Outcome } from './case.ts';
import { FX } from './initial-state.ts';

const MAGIC = [0x44, 0x5a, 0x43, 0x31];
const MODES: readonly Mode[] = [64, 32, 16];
const SELECTORS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;

/** Bits of a case's change mask. */
const Changed = {
  rip: 1,
  rflags: 2,
  gpr: 4,
  xmm: 8,
  x87: 16,
  mxcsr: 32,
  memory: 64,
  segments: 128,
  bases: 256,
} as const;

function writeInput(w: Writer, input: CaseInput): void {
  w.u8(input.code.length | (MODES.indexOf(input.mode) << 4));
  w.raw(input.code);
  w.varint(input.seed);
  w.u8(input.place);
  w.u8(input.flavor | (input.registers.length << 4));
  for (const [slot, value] of input.registers) {
    w.u8(slot);
    w.u64(value);
  }
  w.u8(input.windows.length | (input.patches.length << 4));
  for (const { offset, length, kind } of input.windows) {
    w.varint(offset);
    w.varint(length);
    w.u8(kind);
  }
  for (const { offset, bytes } of input.patches) {
    w.varint(offset);
    w.varint(bytes.length);
    w.raw(bytes);
  }
}

function readInput(r: Reader): CaseInput {
  const head = r.u8();
  const code = r.raw(head & 15);
  const seed = r.varint();
  const place = r.u8();
  const second = r.u8();
  const registers: [number, bigint][] = [];
  for (let i = 0; i < second >> 4; i++) registers.push([r.u8(), r.u64()]);
  const counts = r.u8();
  const windows = [];
  for (let i = 0; i < (counts & 15); i++) windows.push({ offset: r.varint(), length: r.varint(), kind: r.u8() });
  const patches = [];
  for (let i = 0; i < counts >> 4; i++) patches.push({ offset: r.varint(), bytes: r.raw(r.varint()) });
  return { mode: MODES[head >> 4], code, place, seed, flavor: second & 15, registers, windows, patches };
}

const same = (a: Uint8Array, b: Uint8Array, at: number, length: number): boolean => {
  for (let i = at; i < at + length; i++) if (a[i] !== b[i]) return false;
  return true;
};

/** The ten bytes of a physical x87 register, which FXSAVE stores relative to TOP: so a push changes one register, not eight. */
export function physical(fxsave: Uint8Array, register: number): Uint8Array {
  const top = (fxsave[FX.fsw + 1] >> 3) & 7;
  const at = FX.st + ((register - top) & 7) * 16;
  return fxsave.subarray(at, at + 10);
}

/** Bytes 0-4 of an FXSAVE image (FCW, FSW, FTW) and the eight registers. */
const X87_HEAD = 5;

function writeOutcome(
  w: Writer,
  group: string,
  { input, outcome, undefinedFlags, ignored, ignoredRegisters }: Case,
): void {
  const before = initialOf(group, input);
  const next = before.rip + BigInt(outcome.vector < 0 ? input.code.length : 0);
  let gprMask = 0;
  for (let i = 0; i < 16; i++)
    if (before.gpr[i] !== outcome.gpr[i] && !(ignoredRegisters & (1 << i))) gprMask |= 1 << i;
  let xmmMask = 0;
  for (let i = 0; i < 16; i++) if (!same(before.fxsave, outcome.fxsave, FX.xmm + i * 16, 16)) xmmMask |= 1 << i;
  let stMask = 0;
  for (let i = 0; i < 8; i++) {
    const was = physical(before.fxsave, i);
    const is = physical(outcome.fxsave, i);
    if (was.some((b, k) => b !== is[k])) stMask |= 1 << i;
  }
  const x87 = stMask !== 0 || !same(before.fxsave, outcome.fxsave, 0, X87_HEAD);
  let mask = 0;
  if (outcome.rip !== next) mask |= Changed.rip;
  if (outcome.rflags !== before.rflags) mask |= Changed.rflags;
  if (gprMask) mask |= Changed.gpr;
  if (xmmMask) mask |= Changed.xmm;
  if (x87) mask |= Changed.x87;
  if (!same(before.fxsave, outcome.fxsave, FX.mxcsr, 4)) mask |= Changed.mxcsr;
  if (outcome.changes.length) mask |= Changed.memory;
  if (SELECTORS.some(s => before.selectors[s] !== outcome.selectors[s])) mask |= Changed.segments;
  if (before.fsBase !== outcome.fsBase || before.gsBase !== outcome.gsBase) mask |= Changed.bases;
  w.varint(mask);
  w.u8(outcome.vector & 0xff);
  if (outcome.vector >= 0) {
    w.varint(outcome.error);
    w.u64(outcome.address);
  }
  w.varint(undefinedFlags);
  w.varint(ignoredRegisters);
  if (mask & Changed.rip) w.u64(outcome.rip);
  if (mask & Changed.rflags) w.varint(Number(outcome.rflags));
  if (gprMask) {
    w.varint(gprMask);
    for (let i = 0; i < 16; i++) if (gprMask & (1 << i)) w.u64(outcome.gpr[i]);
  }
  if (xmmMask) {
    w.varint(xmmMask);
    for (let i = 0; i < 16; i++)
      if (xmmMask & (1 << i)) w.raw(outcome.fxsave.subarray(FX.xmm + i * 16, FX.xmm + i * 16 + 16));
  }
  if (x87) {
    w.raw(outcome.fxsave.subarray(0, X87_HEAD));
    w.u8(stMask);
    for (let i = 0; i < 8; i++) if (stMask & (1 << i)) w.raw(physical(outcome.fxsave, i));
  }
  if (mask & Changed.mxcsr) w.raw(outcome.fxsave.subarray(FX.mxcsr, FX.mxcsr + 4));
  if (mask & Changed.memory) {
    w.varint(outcome.changes.length);
    for (const { offset, bytes } of outcome.changes) {
      w.varint(offset);
      w.varint(bytes.length);
      w.raw(bytes);
    }
  }
  if (mask & Changed.segments) for (const s of SELECTORS) w.varint(outcome.selectors[s]);
  if (mask & Changed.bases) {
    w.u64(outcome.fsBase);
    w.u64(outcome.gsBase);
  }
  w.u8(ignored.length);
  for (const { offset, length } of ignored) {
    w.varint(offset);
    w.varint(length);
  }
}

function readCase(r: Reader, group: string): Case {
  const input = readInput(r);
  const before = initialOf(group, input);
  const mask = r.varint();
  const vector = (r.u8() << 24) >> 24;
  const error = vector >= 0 ? r.varint() : 0;
  const address = vector >= 0 ? r.u64() : 0n;
  const undefinedFlags = r.varint();
  const ignoredRegisters = r.varint();
  const rip = mask & Changed.rip ? r.u64() : before.rip + BigInt(vector < 0 ? input.code.length : 0);
  const rflags = mask & Changed.rflags ? BigInt(r.varint()) : before.rflags;
  const gpr = before.gpr.slice();
  const fxsave = before.fxsave.slice();
  if (mask & Changed.gpr) {
    const changed = r.varint();
    for (let i = 0; i < 16; i++) if (changed & (1 << i)) gpr[i] = r.u64();
  }
  if (mask & Changed.xmm) {
    const changed = r.varint();
    for (let i = 0; i < 16; i++) if (changed & (1 << i)) fxsave.set(r.raw(16), FX.xmm + i * 16);
  }
  if (mask & Changed.x87) {
    fxsave.set(r.raw(X87_HEAD), 0);
    const changed = r.u8();
    for (let i = 0; i < 8; i++) physical(fxsave, i).set(changed & (1 << i) ? r.raw(10) : physical(before.fxsave, i));
  }
  if (mask & Changed.mxcsr) fxsave.set(r.raw(4), FX.mxcsr);
  const changes = [];
  if (mask & Changed.memory) {
    const n = r.varint();
    for (let i = 0; i < n; i++) changes.push({ offset: r.varint(), bytes: r.raw(r.varint()) });
  }
  const selectors = { ...before.selectors };
  if (mask & Changed.segments) for (const s of SELECTORS) selectors[s] = r.varint();
  const fsBase = mask & Changed.bases ? r.u64() : before.fsBase;
  const gsBase = mask & Changed.bases ? r.u64() : before.gsBase;
  const ignored: Ignored[] = [];
  for (let n = r.u8(); n > 0; n--) ignored.push({ offset: r.varint(), length: r.varint() });
  const outcome: Outcome = { vector, error, address, rip, rflags, gpr, fxsave, selectors, fsBase, gsBase, changes };
  return { input, outcome, undefinedFlags, ignoredRegisters, ignored, initial: before };
}

export function writeFixture(groups: readonly Group[]): Uint8Array {
  const w = new Writer();
  w.raw(Uint8Array.from(MAGIC));
  for (const g of groups) {
    w.string(g.name);
    w.u8(g.precision);
    w.varint(g.undefinedFsw);
    w.varint(g.cases.length);
    for (const c of g.cases) {
      writeInput(w, c.input);
      writeOutcome(w, g.name, c);
    }
  }
  return gzipSync(w.taken(), { level: 9 });
}

/** Groups one by one, so that a reader need not hold a whole file's cases. */
export function* readFixture(file: Uint8Array): Generator<Group> {
  const r = new Reader(gunzipSync(file));
  if (MAGIC.some(b => b !== r.u8())) throw new Error('not a fixture of processor cases');
  while (r.at < r.bytes.length) {
    const group: Group = { name: r.string(), precision: r.u8(), undefinedFsw: r.varint(), cases: [] };
    for (let n = r.varint(); n > 0; n--) group.cases.push(readCase(r, group.name));
    yield group;
  }
}
