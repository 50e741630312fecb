// Random cases for rows of the encoding table, run on both back ends: registers, flags, operands at the places that matter.
import { expect } from 'vitest';
import { Decoder, type Instruction } from '../../../src/cpu/decode/decoder.ts';
import type { Row } from '../../../src/cpu/decode/row.ts';
import { createEncodingTable } from '../../../src/cpu/encodings/index.ts';
import type { JitOptions } from '../../../src/cpu/jit/jit.ts';
import { ModeBit, R, S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../../src/cpu/layout.ts';
import type { CpuState } from '../../../src/cpu/state.ts';
import { fill, Kind } from '../../oracle/initial-state.ts';
import { Prng } from '../../oracle/prng.ts';
import { type Encoded, encode, type Form, formsOf } from './encode.ts';
import { CODE, DATA, type Profile, SELECTORS, Twins } from './twins.ts';

/** Cases for a row's form in a profile; a longer search: DOMZERO_CASES=500. */
const CASES = Number(process.env.DOMZERO_CASES ?? 3);
const table = createEncodingTable();
const decoder = new Decoder(table);

const MODE: Record<Profile, number> = {
  kernel64: ModeBit.long64 | ModeBit.protected | ModeBit.longActive | ModeBit.paging,
  user64: ModeBit.long64 | ModeBit.protected | ModeBit.longActive | ModeBit.paging | ModeBit.user,
  user32: ModeBit.default32 | ModeBit.protected | ModeBit.longActive | ModeBit.paging | ModeBit.user,
  user16: ModeBit.protected | ModeBit.longActive | ModeBit.paging | ModeBit.user,
};

/** Rows by what they are: every row is in exactly one group. */
export function groupOf(row: Row): string {
  if (row.unit === 'x87' || row.unit === 'wait') return 'x87';
  if (row.unit === 'mmx') return 'mmx';
  if (row.unit === 'sse') return row.map > 1 ? 'sse4' : 'sse';
  return row.map === 0 ? 'one-byte' : 'two-byte';
}

function hash(text: string): number {
  let h = 0x811c9dc5;
  for (const c of text) h = Math.imul(h ^ c.charCodeAt(0), 0x01000193);
  return h;
}

function integer(prng: Prng): bigint {
  const wide = (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());
  switch (prng.below(8)) {
    case 0:
    case 1:
    case 2:
      return BigInt(prng.below(256));
    case 3:
      return BigInt.asUintN(64, -BigInt(prng.below(256)));
    case 4:
      return 1n << BigInt(prng.below(64));
    case 5:
      return (wide & ~0xffffn) | BigInt(prng.pick(SELECTORS));
    default:
      return wide;
  }
}

/** A linear address for an operand. */
function place(prng: Prng): bigint {
  const page = (n: number) => DATA + BigInt(n * 4096);
  const before = (n: number) => page(n) - BigInt(1 + prng.below(15));
  switch (prng.below(24)) {
    case 0:
      return page(3) + BigInt(prng.below(4096));
    case 1:
      return before(3); // into an absent page
    case 2:
      return page(4) - BigInt(prng.below(8)) + 4n; // from an absent page, or in a read-only one
    case 3:
      return page(4) + BigInt(prng.below(4096) & ~15);
    case 4:
      return before(5); // read-only, then writable
    case 5:
      return prng.oneIn(2) ? before(6) : page(6) + BigInt(prng.below(4000)); // supervisor
    case 6:
      return prng.oneIn(3) ? before(7) : page(7) + BigInt(prng.below(4000)); // device
    case 7:
      return 0x8000_0000_0000n - BigInt(prng.below(24));
    case 8:
      return BigInt.asUintN(64, -(1n << 47n) - BigInt(prng.below(64)));
    case 9:
    case 10:
    case 11:
      return before(1 + prng.below(2)); // between two pages
    case 12:
    case 13:
      return page(0) + BigInt(prng.below(3 * 4096 - 600));
    default:
      return page(0) + BigInt(prng.below(3 * 256 - 40) * 16);
  }
}

/** Mostly in the middle of pages. */
function stackPlace(prng: Prng): bigint {
  return prng.oneIn(4) ? place(prng) : DATA + BigInt(0x400 + prng.below(0x400) * 8);
}

function patchDisplacement({ bytes, instruction, displacementAt }: Encoded, v: bigint): void {
  const moffs = instruction.operands.some(o => o.spec.source === 'moffs');
  const size = moffs ? instruction.addressWidth / 8 : instruction.addressWidth === 16 ? 2 : 4;
  for (let i = 0; i < size; i++) bytes[displacementAt + i] = Number((v >> BigInt(8 * i)) & 0xffn);
}

const KINDS = [Kind.integer, Kind.f32, Kind.f64, Kind.f80, Kind.text, Kind.repetitive, Kind.counts, Kind.bcd] as const;
const VECTOR_KINDS = [Kind.integer, Kind.integer, Kind.f32, Kind.f64, Kind.text, Kind.counts] as const;

function fillRegisters(prng: Prng, state: CpuState, long64: boolean): void {
  for (let n = 0; n < 16; n++) state.gpr[n] = long64 || prng.oneIn(16) ? integer(prng) : integer(prng) & 0xffffffffn;
  const kind = prng.pick(VECTOR_KINDS);
  for (let n = 0; n < 16; n++) fill(prng, kind, state.bytes.subarray(S.xmm + n * 32, S.xmm + n * 32 + 16));
  for (let n = 0; n < 8; n++) {
    const at = S.fpr + n * 16;
    if (prng.oneIn(3)) fill(prng, Kind.integer, state.bytes.subarray(at, at + 8));
    else fill(prng, Kind.f80, state.bytes.subarray(at, at + 10));
  }
  const { view } = state;
  view.setUint16(S.fcw, prng.oneIn(2) ? 0x37f : 0x40 | (prng.u32() & 0xf3f), true);
  view.setUint16(S.fsw, (prng.below(8) << 11) | (prng.oneIn(4) ? prng.u32() & 0x477f : 0), true);
  if (prng.oneIn(16)) view.setUint16(S.fsw, view.getUint16(S.fsw, true) | 0x8080, true);
  view.setUint8(S.ftw, prng.oneIn(2) ? 0xff : prng.u32() & 0xff);
  view.setUint32(S.mxcsr, prng.oneIn(2) ? 0x1f80 : prng.u32() & 0xffff, true);
  let rflags = BigInt(prng.u32() & 0x8d5) | 2n;
  if (!prng.oneIn(8)) rflags |= 0x200n;
  if (prng.oneIn(4)) rflags |= 0x400n;
  if (prng.oneIn(4)) rflags |= 0x3000n;
  if (prng.oneIn(24)) rflags |= 0x4000n;
  if (prng.oneIn(24)) rflags |= 0x40000n;
  if (prng.oneIn(24)) rflags |= 0x100n;
  state.rflags = rflags;
  // flags as the last operation left them, not only as they are loaded
  if (prng.oneIn(2)) {
    state.set(S.ccResult, integer(prng));
    state.set(S.ccAux, integer(prng) & 0xc00000000000ff09n);
  }
}

interface Case {
  state: CpuState;
  patches: [number, Uint8Array][];
}

class CaseMaker {
  private readonly prng: Prng;
  private readonly twins: Twins;
  private readonly profile: Profile;
  private readonly long64: boolean;
  constructor(prng: Prng, twins: Twins, profile: Profile) {
    this.prng = prng;
    this.twins = twins;
    this.profile = profile;
    this.long64 = profile === 'kernel64' || profile === 'user64';
  }

  make(encoded: Encoded): Case {
    const { prng, twins } = this;
    const state = twins.state(this.profile);
    const patches: [number, Uint8Array][] = [];
    fillRegisters(prng, state, this.long64);
    if (this.long64) {
      for (const segment of [SEG.fs, SEG.gs]) {
        const base = prng.oneIn(2) ? DATA - 0x123n : integer(prng);
        state.set(S.segments + segment * SEGMENT_SIZE + SEG_FIELD.base, base);
        state.set(S.segments + segment * SEGMENT_SIZE + SEG_FIELD.effectiveBase, base);
      }
    }
    if (prng.oneIn(40)) state.set(S.cr0, state.get(S.cr0) | 8n);
    if (prng.oneIn(40)) state.set(S.cr4, state.get(S.cr4) & ~0x40600n);
    const crossing = prng.oneIn(10);
    const start = crossing ? 0x1000 - 1 - prng.below(encoded.bytes.length) : prng.below(64) * 8;
    state.rip += BigInt(start);
    const target = place(prng);
    this.aim(state, encoded, target, patches);
    this.aimImplied(state, encoded.instruction, patches);
    const code = twins.ramOffset(CODE)! + start;
    patches.push([code, encoded.bytes]);
    return { state, patches };
  }

  /** Puts bytes of some kind at a linear address, as far as RAM is there. */
  private putOperand(linear: bigint, patches: [number, Uint8Array][]): void {
    const { prng } = this;
    const bytes = new Uint8Array(64);
    fill(prng, prng.pick(KINDS), bytes);
    if (prng.oneIn(4)) {
      const view = new DataView(bytes.buffer);
      for (let i = 0; i < 16; i += 2) view.setUint16(i, prng.pick(SELECTORS), true);
    }
    for (let i = 0; i < bytes.length; i++) {
      const at = this.twins.ramOffset(linear + BigInt(i));
      if (at !== null) patches.push([at, bytes.subarray(i, i + 1)]);
    }
  }

  private offsetIn(state: CpuState, segment: number, linear: bigint): bigint {
    if (this.long64 && segment < SEG.fs) return linear;
    return linear - state.readSegment(segment).base;
  }

  /** Sets base, index or displacement so that the memory operand is at the target. */
  private aim(state: CpuState, encoded: Encoded, target: bigint, patches: [number, Uint8Array][]): void {
    const { instruction } = encoded;
    const m = instruction.memory;
    if (!m) return;
    this.putOperand(target, patches);
    const offset = this.offsetIn(state, m.segment, target);
    if (instruction.operands.some(o => o.spec.source === 'moffs')) {
      patchDisplacement(encoded, BigInt.asUintN(64, offset));
      return;
    }
    if (m.base < 0 && m.index < 0) {
      const next = m.ripRelative ? state.rip + BigInt(instruction.length) : 0n;
      patchDisplacement(encoded, BigInt.asUintN(64, offset - next));
      return;
    }
    const rest = offset - BigInt(m.displacement);
    const set = (register: number, v: bigint): void => {
      const high = instruction.addressWidth === 32 && this.prng.oneIn(2) ? BigInt(this.prng.u32()) << 32n : 0n;
      state.gpr[register] = BigInt.asUintN(64, instruction.addressWidth === 64 ? v : BigInt.asUintN(32, v) | high);
    };
    if (m.base < 0) set(m.index, rest >> BigInt(m.scale));
    else if (m.base === m.index) set(m.base, rest / (1n + (1n << BigInt(m.scale))));
    else set(m.base, rest - (m.index < 0 ? 0n : state.gpr[m.index] << BigInt(m.scale)));
  }

  /** The stack, string operands and counts; control registers keep most of their bits. */
  private aimImplied(state: CpuState, { row, operands, memory }: Instruction, patches: [number, Uint8Array][]): void {
    const { prng } = this;
    const used = new Set(memory ? [memory.base, memory.index] : []);
    const put = (register: number, segment: number, linear: bigint): void => {
      if (used.has(register)) return;
      state.gpr[register] = BigInt.asUintN(64, this.offsetIn(state, segment, linear));
      this.putOperand(linear, patches);
    };
    put(R.rsp, SEG.ss, stackPlace(prng));
    if (prng.oneIn(2)) put(R.rbp, SEG.ss, stackPlace(prng));
    const string = operands.some(o => o.spec.source === 'string');
    if (string || row.rep) {
      put(R.rsi, memory?.segment ?? SEG.ds, place(prng));
      put(R.rdi, SEG.es, place(prng));
      put(R.rbx, memory?.segment ?? SEG.ds, place(prng));
      state.gpr[R.rcx] = BigInt(prng.below(24)) | (prng.oneIn(4) ? 1n << 32n : 0n);
      if (prng.oneIn(4)) state.gpr[R.rcx] += BigInt(prng.below(9000));
    }
    if (row.map === 1 && row.opcode === 0x22) {
      const [cr, source] = operands;
      const now = [S.cr0, 0, S.cr2, S.cr3, S.cr4, 0, 0, 0, S.cr8][cr.register & 15] ?? 0;
      if (now && prng.oneIn(2)) state.gpr[source.register] = state.get(now) ^ (1n << BigInt(prng.below(24)));
    }
  }
}

/** A form of a row that no bytes were found for: another row takes them all, or it does not exist in this mode. */
export interface Outcome {
  cases: number;
  failures: string[];
  /** Rows that nothing decodes to in any of the profiles. */
  unreachable: string[];
  /** Helpers that instructions call and that do not exist, with the rows. */
  missing: string[];
}

const describe = (row: Row): string => `${row.pattern} ${row.operands.map(o => `${o.source}${o.size}`).join(',')}`;

/**
 * @param most failures after which no more rows are looked at
 * @param jit the interpreter's second tier
 */
export function runGroup(
  group: string,
  profiles: readonly Profile[],
  most = Number.POSITIVE_INFINITY,
  jit: JitOptions | null = null,
): Outcome {
  const twins = new Twins(jit);
  const outcome: Outcome = { cases: 0, failures: [], unreachable: [], missing: [] };
  for (const row of table.rows.filter(r => groupOf(r) === group)) {
    if (outcome.failures.length >= most) break;
    let reached = false;
    for (const profile of profiles) {
      if (profile.endsWith('64') ? row.no64 : row.only64) continue;
      for (const form of formsOf(row)) reached = runForm(twins, row, form, profile, outcome) || reached;
    }
    if (!reached) outcome.unreachable.push(describe(row));
  }
  return outcome;
}

function runForm(twins: Twins, row: Row, form: Form, profile: Profile, outcome: Outcome): boolean {
  const prng = new Prng(hash(`${describe(row)} ${form} ${profile}`));
  const maker = new CaseMaker(prng, twins, profile);
  let shown = 0;
  for (let n = 0; n < CASES; n++) {
    const encoded = encode(prng, decoder, row, form, MODE[profile]);
    if (!encoded) return n > 0;
    const { state, patches } = maker.make(encoded);
    outcome.cases++;
    let difference: string | null;
    try {
      difference = twins.run(state, patches);
    } catch (error) {
      const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
      if (/has no helper/.test(message)) {
        outcome.missing.push(`${describe(row)}: ${message.split('\n')[0]}`);
        return true;
      }
      difference = message.split('\n').slice(0, 6).join('\n');
    }
    if (difference !== null && shown++ < 2) {
      const code = Buffer.from(encoded.bytes).toString('hex');
      outcome.failures.push(`${describe(row)} ${form} ${profile} ${code} at ${state.rip.toString(16)}: ${difference}`);
    }
  }
  return true;
}

/** Rows may be out of reach only where they are named here. */
export function expectAgreement(outcome: Outcome, unreachable: readonly string[] = []): void {
  expect(outcome.cases).toBeGreaterThan(0);
  expect(outcome).toEqual({ cases: outcome.cases, failures: [], unreachable, missing: [] });
}
