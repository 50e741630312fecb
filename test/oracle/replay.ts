// Runs the fixtures' cases on domzero's processor, as a PV guest at CPL 3 (every exception comes back to us), and compares everything
// with what the real processor did.
import { Evaluator } from '../../src/cpu/eval/evaluator.ts';
import { Exit } from '../../src/cpu/exits.ts';
import { ModeBit, R, S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../src/cpu/layout.ts';
import { EngineMemory } from '../../src/cpu/memory.ts';
import { featureBit } from '../../src/cpu/models/features.ts';
import { CPU_MODELS } from '../../src/cpu/models/index.ts';
import type { CpuModel } from '../../src/cpu/models/model.ts';
import { InterpretingProcessor } from '../../src/cpu/processor.ts';
import type { CpuState } from '../../src/cpu/state.ts';
import { type Case, codeBase, type Group, type Initial, initialOf, type Mode, Precision } from './case.ts';
import { physical } from './fixture-file.ts';
import { FX } from './initial-state.ts';
import {
  BACKING_SIZE,
  backgroundMemory,
  CODE_BACKING,
  type Descriptor,
  GDT,
  GDT_LIMIT,
  LDT,
  REGIONS,
  USER_CS64,
} from './places.ts';

/** The model that runs the cases: the default one with every feature that has cases. */
export function testModel(): CpuModel {
  const model = structuredClone(CPU_MODELS[0]);
  for (const feature of ['bmi1']) {
    const [leaf, subleaf, register, bit] = featureBit(feature);
    const l = model.leaves.find(x => x.leaf === leaf && (x.subleaf === null || x.subleaf === subleaf));
    if (l) l[register] = (l[register] | (1 << bit)) >>> 0;
  }
  return model;
}

const FRAME = 4096;
/** Frames of the case machine: the cases' backing memory, descriptor tables, page tables. */
const BACKING_FRAME = 1;
const GDT_FRAME = 8;
const LDT_FRAME = 9;
const FIRST_TABLE_FRAME = 16;
const RAM_FRAMES = 64;
/** Descriptor tables stand where user code can't reach them. */
const GDT_LINEAR = 0xffff_8000_0000_0000n;
const LDT_LINEAR = GDT_LINEAR + 0x1000n;

const P = 1n;
const W = 2n;
const U = 4n;
const AD = 0x60n;
const NX = 1n << 63n;

/** Builds four-level page tables in an engine memory. */
class PageTables {
  readonly root = FIRST_TABLE_FRAME;
  private next = FIRST_TABLE_FRAME + 1;
  private readonly memory: EngineMemory;
  constructor(memory: EngineMemory) {
    this.memory = memory;
  }
  map(linear: bigint, frame: number, flags: bigint): void {
    let table = this.root;
    for (const shift of [39n, 30n, 21n]) {
      const at = this.memory.frameOffset(table) + Number((linear >> shift) & 511n) * 8;
      const entry = this.memory.view.getBigUint64(at, true);
      if (entry & P) table = Number(entry >> 12n);
      else {
        table = this.next++;
        this.memory.view.setBigUint64(at, (BigInt(table) << 12n) | P | W | U | AD, true);
      }
    }
    const at = this.memory.frameOffset(table) + Number((linear >> 12n) & 511n) * 8;
    this.memory.view.setBigUint64(at, (BigInt(frame) << 12n) | P | AD | flags, true);
  }
}

function descriptorBytes(d: Descriptor): bigint {
  const [b, l, a] = [BigInt(d.base), BigInt(d.limit), BigInt(d.attributes)];
  return (
    (l & 0xffffn) |
    ((b & 0xffffffn) << 16n) |
    ((a & 0xffn) << 40n) |
    (((l >> 16n) & 15n) << 48n) |
    (((a >> 12n) & 15n) << 52n) |
    ((b >> 24n) << 56n)
  );
}

/** What a back end left behind: the state in a CpuState, and how it ended. */
export interface Ended {
  exit: number;
  vector: number;
  error: number;
  address: bigint;
  /** Vector of INT n. */
  info: bigint;
  /** RIP after the instruction, of traps. */
  nextRip: bigint;
}

/** Executes the one instruction at the state's RIP. */
export interface BackEnd {
  readonly name: string;
  readonly memory: EngineMemory;
  readonly live: CpuState;
  step(): Ended;
  /** The host wrote to a frame. */
  wrote(frame: number, offset: number, length: number): void;
}

function backEnd(name: string, makeStep: (processor: InterpretingProcessor) => () => number): BackEnd {
  const memory = new EngineMemory(RAM_FRAMES * FRAME);
  const processor = new InterpretingProcessor(memory, testModel());
  const { live } = processor;
  const step = makeStep(processor);
  let selected = false;
  return {
    name,
    memory,
    live,
    step() {
      if (!selected) processor.selectAddressSpace(BigInt(FIRST_TABLE_FRAME * FRAME), true);
      selected = true;
      processor.modeChanged();
      return endedOf(live, step());
    },
    wrote: (frame, offset, length) => processor.wroteFrame(frame, offset, length),
  };
}

/** The interpreter: records, handlers emitted as WebAssembly. */
export function interpreterBackEnd(): BackEnd {
  return backEnd('interpreter', processor => () => processor.run(1));
}

/** The evaluation of the same semantic functions on BigInts. */
export function evaluatorBackEnd(): BackEnd {
  return backEnd('evaluation', processor => {
    const evaluator = new Evaluator(processor);
    return () => evaluator.evaluateOne();
  });
}

export function endedOf(live: CpuState, exit: number): Ended {
  return {
    exit,
    vector: live.get32(S.faultVector),
    error: live.get32(S.faultHasCode) ? live.get32(S.faultCode) : 0,
    address: live.get(S.faultAddress),
    info: live.get(S.exitInfo),
    nextRip: live.get(S.nextRip),
  };
}

const IMAGE = /^(Fldenv|Fnstenv|Frstor|Fnsave|Fxsave|Fxrstor|Xsave|Xrstor|Pusha|Popa|Enter|Maskmov|Retf|Iret)/;

const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;
const CR0 = 0x80050033n;
const CR4 = 0x506b0n | (1n << 16n);
const EFER = 0xd01n;

/** The machine that cases run on, and the comparison of results. */
export class CaseMachine {
  readonly backEnd: BackEnd;
  private readonly pristine = backgroundMemory();
  private readonly backing: Uint8Array;
  private readonly expected = new Uint8Array(BACKING_SIZE);
  /** The live general registers as words: most are compared without making numbers of 64 bits. */
  private readonly gprWords: Uint32Array;

  constructor(backEnd: BackEnd) {
    this.backEnd = backEnd;
    const { memory } = backEnd;
    const { gpr } = backEnd.live;
    this.gprWords = new Uint32Array(gpr.buffer, gpr.byteOffset, gpr.length * 2);
    const tables = new PageTables(memory);
    for (const r of REGIONS) {
      for (let page = 0; page < r.size; page += FRAME) {
        const frame = BACKING_FRAME + (r.offset + page) / FRAME;
        tables.map(r.address + BigInt(page), frame, U | (r.writable ? W : 0n) | (r.executable ? 0n : NX));
      }
    }
    tables.map(GDT_LINEAR, GDT_FRAME, W);
    tables.map(LDT_LINEAR, LDT_FRAME, W);
    const gdt = memory.frameOffset(GDT_FRAME);
    for (const [index, d] of Object.entries(GDT))
      memory.view.setBigUint64(gdt + Number(index) * 8, descriptorBytes(d), true);
    LDT.forEach((d, i) => {
      memory.view.setBigUint64(memory.frameOffset(LDT_FRAME) + i * 8, descriptorBytes(d), true);
    });
    const at = memory.frameOffset(BACKING_FRAME);
    this.backing = memory.u8.subarray(at, at + BACKING_SIZE);
    this.backing.set(this.pristine);
  }

  private writeBacking(offset: number, bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length; ) {
      const inFrame = (offset + from) % FRAME;
      const length = Math.min(FRAME - inFrame, bytes.length - from);
      this.backEnd.wrote(BACKING_FRAME + Math.floor((offset + from) / FRAME), inFrame, length);
      from += length;
    }
    this.backing.set(bytes, offset);
  }

  private descriptor(selector: number): Descriptor | null {
    const index = selector >> 3;
    return selector & 4 ? (LDT[index] ?? null) : (GDT[index] ?? null);
  }

  private setState(initial: Initial, mode: Mode): void {
    const { live } = this.backEnd;
    live.bytes.fill(0, S.fpr, S.scratch);
    live.gpr.set(initial.gpr);
    live.rip = initial.rip;
    live.set(S.zero, 0n);
    for (const [i, name] of SEGMENT_NAMES.entries()) {
      const selector = initial.selectors[name];
      const d = this.descriptor(selector);
      let base = d ? BigInt(d.base) : 0n;
      if (mode === 64 && name === 'fs') base = initial.fsBase;
      if (mode === 64 && name === 'gs') base = initial.gsBase;
      const scaled = d && d.attributes & 0x8000 ? d.limit * 4096 + 4095 : (d?.limit ?? 0);
      live.writeSegment(i, { selector, base, limit: scaled, attributes: d?.attributes ?? 0 });
      const hidden = mode === 64 && i < SEG.fs;
      live.set(S.segments + i * SEGMENT_SIZE + SEG_FIELD.effectiveBase, hidden ? 0n : base);
    }
    live.writeSegment(SEG.ldtr, { selector: 0x50, base: LDT_LINEAR, limit: LDT.length * 8 - 1, attributes: 0x82 });
    live.writeSegment(SEG.tr, { selector: 0x40, base: 0n, limit: 0x67, attributes: 0x8b });
    live.writeSegment(SEG.gdtr, { selector: 0, base: GDT_LINEAR, limit: GDT_LIMIT, attributes: 0 });
    live.writeSegment(SEG.idtr, { selector: 0, base: GDT_LINEAR, limit: 0, attributes: 0 });
    live.set(S.cr0, CR0);
    live.set(S.cr4, CR4);
    live.set(S.cr2, 0n);
    live.set(S.efer, EFER);
    live.set(S.xcr0, 3n);
    live.set32(S.cpl, 3);
    live.set32(S.pv, 1);
    live.set32(S.shadow, 0);
    live.rflags = initial.rflags;
    const { view } = live;
    const fx = initial.fxsave;
    const fxView = new DataView(fx.buffer, fx.byteOffset, fx.byteLength);
    view.setUint16(S.fcw, fxView.getUint16(FX.fcw, true), true);
    view.setUint16(S.fsw, fxView.getUint16(FX.fsw, true), true);
    view.setUint8(S.ftw, fx[FX.ftw]);
    for (let r = 0; r < 8; r++) live.bytes.set(physical(fx, r), S.fpr + r * 16);
    view.setUint32(S.mxcsr, fxView.getUint32(FX.mxcsr, true), true);
    for (let i = 0; i < 16; i++) live.bytes.set(fx.subarray(FX.xmm + i * 16, FX.xmm + i * 16 + 16), S.xmm + i * 32);
  }

  /** What differs from the real processor's result, or null. */
  run(group: Group, c: Case): string | null {
    const initial = c.initial ?? initialOf(group.name, c.input);
    for (const p of initial.patches) this.writeBacking(p.offset, p.bytes);
    this.setState(initial, c.input.mode);
    const expected = this.expected;
    expected.set(this.backing);
    for (const change of c.outcome.changes) expected.set(change.bytes, change.offset);
    let difference: string | null;
    try {
      const ended = this.backEnd.step();
      difference = this.compare(group, c, initial, ended, expected);
    } catch (error) {
      difference = `threw ${error instanceof Error ? (error.stack ?? error.message).split('\n').slice(0, 3).join(' ') : String(error)}`;
    }
    for (const p of initial.patches)
      this.writeBacking(p.offset, this.pristine.subarray(p.offset, p.offset + p.bytes.length));
    this.backing.set(this.pristine);
    return difference;
  }

  private compare(group: Group, c: Case, initial: Initial, ended: Ended, memory: Uint8Array): string | null {
    const { live } = this.backEnd;
    const { outcome: want, input } = c;
    const got = describeEnd(ended);
    const wanted = want.vector < 0 ? 'went on' : `raised ${want.vector}`;
    let rip = live.rip;
    if (ended.exit === Exit.softwareInterrupt) {
      // INT n without a gate for user mode: the kernel's IDT made it #GP; the vector is what can be compared.
      const vector = Number(ended.info & 0xffn); // bit 8: INT1, INT3 or INTO
      const asFault = want.vector === 13 && want.error === vector * 8 + 2;
      const asTrap = want.vector === vector;
      if (!asFault && !asTrap) return `${got}, should have ${wanted}`;
      if (asTrap) rip = ended.nextRip;
    } else if (ended.exit === Exit.exception && want.vector < 0 && isNextFetch(ended, rip, input.mode, want.rip)) {
      // the instruction is done; the fetch of the next one faults, as it did on the real processor
    } else if (ended.exit === Exit.exception) {
      if (want.vector !== ended.vector) return `${got}, should have ${wanted}`;
      // ARPL may look at its operand for reading first, or for writing at once
      const either = /^Arpl/.test(group.name) ? 2 : 0;
      if ((want.error ^ ended.error) & ~either) return `${got}, the error code should be ${want.error.toString(16)}`;
      const bits = IMAGE.test(group.name) ? ~0xfffn : ~0n; // of many accesses, which one comes first is free
      if (want.vector === 14 && ((want.address ^ ended.address) & bits) !== 0n)
        return `${got}, CR2 should be ${want.address.toString(16)}`;
      if ((want.vector === 1 || want.vector === 3) && want.rip !== rip) rip = ended.nextRip;
    } else if (ended.exit !== Exit.fuel || want.vector >= 0) return `${got}, should have ${wanted}`;
    if (rip !== want.rip) return `RIP is ${rip.toString(16)}, should be ${want.rip.toString(16)}`;
    // the upper halves mean nothing outside 64-bit mode
    const wide = input.mode === 64 && want.selectors.cs === USER_CS64;
    let mask = wide ? 0xffffffffffffffffn : 0xffffffffn;
    if (/^Lar/.test(group.name)) mask &= ~0xf0000n; // undefined
    const got32 = this.gprWords;
    const want32 = new Uint32Array(want.gpr.buffer, want.gpr.byteOffset, 32);
    for (let i = 0; i < (input.mode === 64 ? 16 : 8); i++) {
      if (got32[i * 2] === want32[i * 2] && (!wide || got32[i * 2 + 1] === want32[i * 2 + 1])) continue;
      if (c.ignoredRegisters & (1 << i) || (live.gpr[i] & mask) === (want.gpr[i] & mask)) continue;
      return `${Object.keys(R)[i]} is ${(live.gpr[i] & mask).toString(16)}, should be ${want.gpr[i].toString(16)} (was ${initial.gpr[i].toString(16)})`;
    }
    const flags = (live.rflags ^ want.rflags) & ~BigInt(c.undefinedFlags) & 0x3c7fd5n & ~0x10000n;
    if (flags !== 0n)
      return `RFLAGS is ${live.rflags.toString(16)}, should be ${want.rflags.toString(16)} (but for ${c.undefinedFlags.toString(16)}; was ${initial.rflags.toString(16)})`;
    return (
      this.compareMemory(c, memory) ??
      this.compareVectors(group, input.mode, want.fxsave) ??
      this.compareX87(group, want.fxsave) ??
      this.compareSegments(c)
    );
  }

  private compareMemory(c: Case, memory: Uint8Array): string | null {
    for (const { offset, length } of c.ignored) memory.set(this.backing.subarray(offset, offset + length), offset);
    if (Buffer.compare(memory.subarray(0, CODE_BACKING), this.backing.subarray(0, CODE_BACKING)) === 0) return null;
    for (let i = 0; i < CODE_BACKING; i++) {
      if (memory[i] !== this.backing[i]) {
        const hex = (b: Uint8Array): string => Buffer.from(b.subarray(i & ~7, (i & ~7) + 16)).toString('hex');
        return `memory at ${(i & ~7).toString(16)} is ${hex(this.backing)}, should be ${hex(memory)}`;
      }
    }
    return null;
  }

  private compareVectors(group: Group, mode: Mode, fx: Uint8Array): string | null {
    const { live } = this.backEnd;
    const hex = (b: Uint8Array): string => Buffer.from(b).reverse().toString('hex');
    for (let i = 0; i < (mode === 64 ? 16 : 8); i++) {
      const got = live.bytes.subarray(S.xmm + i * 32, S.xmm + i * 32 + 16);
      const want = fx.subarray(FX.xmm + i * 16, FX.xmm + i * 16 + 16);
      if (got.every((b, k) => b === want[k])) continue;
      if (group.precision === Precision.reciprocal && nearSingles(got, want)) continue;
      return `XMM${i} is ${hex(got)}, should be ${hex(want)}`;
    }
    const mxcsr = live.get32(S.mxcsr);
    const want = new DataView(fx.buffer, fx.byteOffset).getUint32(FX.mxcsr, true);
    return mxcsr === want ? null : `MXCSR is ${mxcsr.toString(16)}, should be ${want.toString(16)}`;
  }

  private compareX87(group: Group, fx: Uint8Array): string | null {
    const { live } = this.backEnd;
    const want = new DataView(fx.buffer, fx.byteOffset, fx.byteLength);
    const text = (v: number): string => v.toString(16);
    const fcw = live.view.getUint16(S.fcw, true);
    if (fcw !== want.getUint16(FX.fcw, true))
      return `FCW is ${text(fcw)}, should be ${text(want.getUint16(FX.fcw, true))}`;
    const transcendental = group.precision === Precision.transcendental;
    const ignored = group.undefinedFsw | (transcendental ? 0x220 | (fcw & 0x20 ? 0 : 0x8080) : 0);
    const fsw = live.view.getUint16(S.fsw, true);
    if ((fsw ^ want.getUint16(FX.fsw, true)) & ~ignored) {
      return `FSW is ${text(fsw)}, should be ${text(want.getUint16(FX.fsw, true))} (but for ${text(ignored)})`;
    }
    const ftw = live.view.getUint8(S.ftw);
    if (ftw !== fx[FX.ftw]) return `FTW is ${text(ftw)}, should be ${text(fx[FX.ftw])}`;
    for (let r = 0; r < 8; r++) {
      if (!(ftw & (1 << r))) continue;
      const got = live.bytes.subarray(S.fpr + r * 16, S.fpr + r * 16 + 10);
      const wanted = physical(fx, r);
      if (wanted.every((b, k) => b === got[k])) continue;
      if (transcendental && nearExtended(got, wanted)) continue;
      const hex = (b: Uint8Array): string => Buffer.from(b).reverse().toString('hex');
      return `x87 register ${r} is ${hex(got)}, should be ${hex(wanted)}`;
    }
    return null;
  }

  private compareSegments(c: Case): string | null {
    const { live } = this.backEnd;
    const { outcome: want, input } = c;
    for (const [i, name] of SEGMENT_NAMES.entries()) {
      const { selector, base } = live.readSegment(i);
      // Returning to user mode turns null selectors of 1-3 into 0, so that the fixtures can't tell them apart.
      const bothNull = name !== 'cs' && name !== 'ss' && selector < 4 && want.selectors[name] < 4;
      if (selector !== want.selectors[name] && !bothNull)
        return `${name} is ${selector.toString(16)}, should be ${want.selectors[name].toString(16)}`;
      if (input.mode !== 64) continue;
      const wantedBase = name === 'fs' ? want.fsBase : name === 'gs' ? want.gsBase : null;
      if (wantedBase !== null && base !== wantedBase)
        return `${name} base is ${base.toString(16)}, should be ${wantedBase.toString(16)}`;
    }
    if (live.get32(S.cpl) !== 3) return `CPL is ${live.get32(S.cpl)}`;
    const long = (live.get32(S.mode) & ModeBit.long64) !== 0;
    if (want.vector < 0 && long !== (want.selectors.cs === 0x33)) return `64-bit mode is ${long}`;
    return null;
  }
}

function isNextFetch(e: Ended, rip: bigint, mode: Mode, next: bigint): boolean {
  return e.vector === 14 && (e.error & 0x10) !== 0 && rip === next && e.address === next + codeBase(mode);
}

function describeEnd(e: Ended): string {
  const kind = Object.entries(Exit).find(([, n]) => n === e.exit)?.[0] ?? String(e.exit);
  if (e.exit === Exit.exception) return `raised ${e.vector}(${e.error.toString(16)}) at ${e.address.toString(16)}`;
  if (e.exit === Exit.softwareInterrupt) return `INT ${e.info}`;
  return e.exit === Exit.fuel ? 'went on' : `left with ${kind}`;
}

/** RCPPS and RSQRTPS: |relative error| of each at most 1.5 * 2^-12, so at most twice that apart. */
function nearSingles(got: Uint8Array, want: Uint8Array): boolean {
  const a = new DataView(got.buffer, got.byteOffset, 16);
  const b = new DataView(want.buffer, want.byteOffset, 16);
  for (let i = 0; i < 16; i += 4) {
    if (a.getUint32(i) === b.getUint32(i)) continue;
    const [x, y] = [a.getFloat32(i, true), b.getFloat32(i, true)];
    if (!(Math.abs(x - y) <= Math.abs(y) * 2 * 1.5 * 2 ** -12)) return false;
  }
  return true;
}

/** Transcendentals: within a few units in the last place of 64 bits, also across a power of two. */
function nearExtended(got: Uint8Array, want: Uint8Array): boolean {
  const place = (b: Uint8Array): bigint => {
    const v = new DataView(b.buffer, b.byteOffset, 10);
    return (BigInt(v.getUint16(8, true)) << 63n) | BigInt.asUintN(63, v.getBigUint64(0, true));
  };
  const distance = place(got) - place(want);
  return distance <= 4n && distance >= -4n;
}
