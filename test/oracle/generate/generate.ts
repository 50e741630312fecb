// Makes cases for every encoding, runs them on this machine's processor and returns groups ready to be stored.
import iced from 'iced-x86';
import {
  type Case,
  type CaseInput,
  codeBase,
  type Group,
  initialOf,
  type Mode,
  type Outcome,
  placeOf,
} from '../case.ts';
import { physical } from '../fixture-file.ts';
import { Flavor, FX, initialRegisters } from '../initial-state.ts';
import { type NativeResult, runNatively } from '../native/stream.ts';
import { backingOffset, CODE_BACKING } from '../places.ts';
import { hashName, Prng } from '../prng.ts';
import { type Built, build, type Form, formOf, release } from './builder.ts';
import { type Encoding, encodings, type Family, MODES } from './codes.ts';
import {
  ignoredMemory,
  ignoredRegisters,
  isOutOfDomain,
  precisionOf,
  undefinedFlags,
  undefinedFsw,
} from './definedness.ts';
import { Draft, redecode, shape } from './operands.ts';
import { undefinedCases } from './undefined.ts';

/** Cases for an encoding in 64-, 32- and 16-bit code. */
const COUNTS: Record<Family, Record<Mode, number>> = {
  integer: { 64: 26, 32: 11, 16: 4 },
  control: { 64: 14, 32: 12, 16: 6 },
  system: { 64: 24, 32: 24, 16: 6 },
  string: { 64: 60, 32: 40, 16: 12 },
  x87: { 64: 32, 32: 8, 16: 2 },
  mmx: { 64: 24, 32: 5, 16: 1 },
  sse: { 64: 26, 32: 5, 16: 1 },
  'sse-float': { 64: 44, 32: 5, 16: 1 },
  undefined: { 64: 1500, 32: 900, 16: 100 },
};

interface Pending {
  family: Family;
  group: Group;
  input: CaseInput;
  undefinedFlags: number;
  ignoredRegisters: number;
  ignored: { offset: number; length: number }[];
}

export interface Report {
  dropped: Record<string, number>;
  notes: string[];
}

function flavorOf(e: Encoding, prng: Prng): number {
  if (e.family === 'x87') return Flavor.x87;
  const size = iced.MemorySize[iced.CodeExt.opCode(e.code).memorySize] ?? '';
  const f64 = /Float64/.test(size) || /[sp]d_|pd2/.test(e.name.toLowerCase());
  if (e.family === 'mmx') {
    if (/^Cvt/.test(e.name)) return f64 ? Flavor.mixedF64 : Flavor.mixedF32;
    return /xmm/.test(e.name) ? Flavor.mixedF32 : Flavor.mmx;
  }
  if (e.family === 'sse') {
    if (/^Pcmp[ei]str/.test(e.name)) return Flavor.vectorText;
    if (/^Ps(ll|rl|ra)/.test(e.name)) return prng.oneIn(2) ? Flavor.vectorCounts : Flavor.vectorInteger;
    return Flavor.vectorInteger;
  }
  if (e.family === 'sse-float') {
    if (/^(Fxsave|Fxrstor|Xsave|Xrstor)/.test(e.name)) return prng.oneIn(3) ? Flavor.mixedF32 : Flavor.x87;
    if (/^Cvtdq2/.test(e.name)) return Flavor.vectorInteger;
    return f64 ? Flavor.vectorF64 : Flavor.vectorF32;
  }
  return Flavor.general;
}

function placeFor(mode: Mode, prng: Prng): number {
  const high = mode === 64 && prng.oneIn(4) ? 64 : 0;
  const r = prng.below(40);
  if (r === 0) return high | 16 | (1 + prng.below(12));
  if (r === 1) return high | 32 | (1 + prng.below(12));
  return high;
}

function draft(e: Encoding, form: Form, group: Group, seed: number): Pending | null {
  const prng = new Prng(hashName(e.name) ^ (seed * 0x85ebca6b), form.mode);
  const place = placeFor(form.mode, prng);
  const linear = placeOf(place);
  const memory = form.memory && (!form.register || prng.oneIn(2));
  const size = prng.below(4) ? form.sizes[0] : prng.pick(form.sizes);
  const built = build(form, prng, { size, memory, lean: prng.oneIn(4), rip: linear - codeBase(form.mode) });
  if (!built) return null;
  let final: Built | null = null;
  try {
    const input: CaseInput = {
      mode: form.mode,
      code: built.bytes,
      place,
      seed,
      flavor: flavorOf(e, prng),
      registers: [],
      windows: [],
      patches: [],
    };
    // Branches go wherever they like, but their bytes must be there to be fetched: a cut-off place needs no target.
    const d = new Draft(group.name, e.name, input, built);
    if (/^Cvt(dq2|si2)/.test(e.name)) {
      d.assign(
        22,
        BigInt(new DataView(initialRegisters(seed, Flavor.vectorF32).fxsave.buffer).getUint32(FX.mxcsr, true)),
      );
    }
    if (!shape(d, prng)) return null;
    final = redecode(d);
    if (!final) return null;
    const initial = initialOf(group.name, input);
    if (isOutOfDomain(e.name, final.instruction, initial)) return null;
    const flags = undefinedFlags(e.name, final.instruction, initial);
    if (flags === null) return null;
    if (group.cases.length === 0) {
      group.undefinedFsw = undefinedFsw(final.instruction);
    }
    const address = d.address;
    const ignored = ignoredMemory(e.name, address, initial.gpr[4]);
    return {
      family: e.family,
      group,
      input,
      undefinedFlags: flags,
      ignoredRegisters: ignoredRegisters(e.name, final.instruction),
      ignored,
    };
  } finally {
    release(built);
    if (final) release(final);
  }
}

const RF = 0x10000n;

/** Tells the INT3 behind a case from an exception of its own, and drops what cannot be told. */
function normalize(p: Pending, r: NativeResult): Outcome | string {
  if (r.timedOut) return 'timed out';
  const before = initialOf(p.group.name, p.input);
  const base = codeBase(p.input.mode);
  const start = before.rip;
  const inside = r.rip >= start && r.rip < start + BigInt(p.input.code.length);
  const outcome: Outcome = {
    ...r,
    fxsave: r.fxsave.slice(),
    rflags: r.rflags & ~RF,
    address: r.vector === 14 ? r.address : 0n,
  };
  const csBase = r.selectors.cs === before.selectors.cs ? base : r.selectors.cs === 0x3f ? codeBase(16) : 0n;
  if (r.vector === 3) {
    const at = r.rip - 1n;
    const offset = backingOffset(at + csBase);
    const sentinel = offset >= CODE_BACKING && at !== start && !/^Int3/.test(p.group.name);
    if (sentinel) {
      outcome.vector = -1;
      outcome.rip = at;
      outcome.error = 0;
    } else if (!/^Int3/.test(p.group.name)) return 'an INT3 from elsewhere';
  } else if (
    r.vector === 14 &&
    (r.error & 0x10) !== 0 &&
    !inside &&
    ((r.rip + csBase) & 0xffffffffffffffffn) === r.address
  ) {
    // The branch was made; the fetch at its target faulted.
    outcome.vector = -1;
    outcome.error = 0;
    outcome.address = 0n;
  } else if (r.rip !== start && !/^(Int1|Into|Int3)/.test(p.group.name)) {
    return `vector ${r.vector} elsewhere`;
  }
  if (p.family === 'undefined' && outcome.vector !== 6) {
    return `vector ${r.vector} for undefined ${Buffer.from(p.input.code).toString('hex')}`;
  }
  // The kernel makes up the present bit for addresses that are not user space.
  if (outcome.vector === 14 && outcome.address >= 0x7fff_ffff_f000n) return 'page fault beyond user space';
  // How much of several stores is done before one faults is nobody's business, except for repeated strings.
  if (outcome.vector >= 0 && outcome.changes.length > 0 && p.family !== 'string') return 'stored before its exception';
  if (outcome.vector >= 0 && /^Popa/.test(p.group.name) && outcome.gpr.some((v, i) => v !== before.gpr[i]))
    return 'some registers popped before its exception';
  if (/^Rd(rand|seed)/.test(p.group.name) && outcome.vector < 0 && !(outcome.rflags & 1n)) return 'no random number';
  if (p.input.mode !== 64) {
    outcome.gpr = outcome.gpr.slice();
    for (let i = 0; i < 16; i++) outcome.gpr[i] = i < 8 ? outcome.gpr[i] & 0xffffffffn : before.gpr[i];
    outcome.fsBase = before.fsBase;
    outcome.gsBase = before.gsBase;
    outcome.fxsave.set(before.fxsave.subarray(FX.xmm + 128), FX.xmm + 128);
  }
  if (outcome.error === 0 || ![8, 10, 11, 12, 13, 14, 17].includes(outcome.vector)) outcome.error = 0;
  // Whether MMX state is entered before an exception differs: the tags and TOP of a case that faulted are taken back.
  if (outcome.vector >= 0 && p.family === 'mmx') {
    outcome.fxsave.set(before.fxsave.subarray(0, FX.mxcsr));
    outcome.fxsave.set(before.fxsave.subarray(FX.st, FX.xmm), FX.st);
  }
  // A host that intercepts INT1 reports it at the instruction; it is a trap.
  if (/^Int1/.test(p.group.name) && outcome.vector === 1) outcome.rip = start + BigInt(p.input.code.length);
  // An empty register's old contents mean nothing.
  const tags = outcome.fxsave[FX.ftw];
  for (let i = 0; i < 8; i++) if (!(tags & (1 << i))) physical(outcome.fxsave, i).set(physical(before.fxsave, i));
  outcome.changes = outcome.changes.map(c => ({ offset: c.offset, bytes: c.bytes }));
  return outcome;
}

export interface GenerateOptions {
  /** Encodings by name; all where absent. */
  only?: RegExp | undefined;
  /** How many times the usual number of cases, and from which seed on: for runs that are not kept. */
  scale?: number;
  seed?: number;
}

/** All groups of all families, run natively. `program` is the compiled run-cases.c. */
export function generateAll(
  program: string,
  options: GenerateOptions = {},
): { families: Map<Family, Group[]>; report: Report } {
  const { only, scale = 1, seed: firstSeed = 0 } = options;
  const report: Report = { dropped: {}, notes: [] };
  const pending: Pending[] = [];
  const families = new Map<Family, Group[]>();
  for (const e of encodings()) {
    if (only && !only.test(e.name)) continue;
    const group: Group = { name: e.name, precision: precisionOf(e.name), undefinedFsw: 0, cases: [] };
    const before = pending.length;
    for (const mode of MODES) {
      const form = formOf(e.code, mode, new Prng(hashName(e.name), mode));
      if (!form) continue;
      let seed = mode * 1000 + firstSeed;
      const trivial = !form.modrm && e.family === 'integer' && !form.registerInOpcode ? 2 : 1;
      const wanted = Math.ceil((COUNTS[e.family][mode] * scale) / trivial);
      let made = 0;
      for (let tries = 0; made < wanted && tries < wanted * 12; tries++) {
        const p = draft(e, form, group, seed++);
        if (!p) continue;
        pending.push(p);
        made++;
      }
      if (made < wanted) report.notes.push(`${e.name} in ${mode}-bit code: ${made} of ${wanted} cases`);
    }
    if (pending.length === before) {
      report.notes.push(`${e.name}: no case`);
      continue;
    }
    let groups = families.get(e.family);
    if (!groups) families.set(e.family, (groups = []));
    groups.push(group);
  }
  if (!only || only.test('Undefined')) {
    const group: Group = { name: 'Undefined', precision: 0, undefinedFsw: 0, cases: [] };
    families.set('undefined', [group]);
    for (const mode of MODES)
      for (const input of undefinedCases(mode, COUNTS.undefined[mode]))
        pending.push({ family: 'undefined', group, input, undefinedFlags: 0, ignoredRegisters: 0, ignored: [] });
  }
  const results = runNatively(
    program,
    pending.map(p => ({ mode: p.input.mode, initial: initialOf(p.group.name, p.input) })),
  );
  pending.forEach((p, n) => {
    const outcome = normalize(p, results[n]);
    if (typeof outcome === 'string') {
      report.dropped[outcome] = (report.dropped[outcome] ?? 0) + 1;
      if (report.notes.length < 2000)
        report.notes.push(`${p.group.name} (${p.input.mode}-bit, seed ${p.input.seed}): ${outcome}`);
      return;
    }
    const done: Case = {
      input: p.input,
      outcome,
      undefinedFlags: p.undefinedFlags,
      ignoredRegisters: p.ignoredRegisters,
      ignored: p.ignored,
    };
    p.group.cases.push(done);
  });
  return { families, report };
}
