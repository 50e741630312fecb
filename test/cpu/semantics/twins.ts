// Two processors with the same machine state, one of which interprets and one of which evaluates, and the comparison of what they left.
import { Evaluator } from '../../../src/cpu/eval/evaluator.ts';
import { Exit } from '../../../src/cpu/exits.ts';
import type { JitOptions } from '../../../src/cpu/jit/jit.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../../src/cpu/layout.ts';
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { InterpretingProcessor } from '../../../src/cpu/processor.ts';
import { CpuState } from '../../../src/cpu/state.ts';
import { testModel } from '../../oracle/replay.ts';

const FRAME = 4096;
const RAM_FRAMES = 40;
/** Beyond RAM: device space. */
const DEVICE_FRAME = 0xfee00;
const FIRST_DATA_FRAME = 1;
const CODE_FRAME = 15;
const GDT_FRAME = 17;
const LDT_FRAME = 18;
const TSS_FRAME = 19;
const ROOT_FRAME = 20;

export const DATA = 0x1000_0000n;
export const CODE = 0x2000_0000n;
/** The frames of CODE once more, writable. */
export const CODE_ALIAS = 0x2001_0000n;
const TABLES = 0xffff_8000_0000_0000n;
const LDT = TABLES + 0x1000n;
const TSS = TABLES + 0x2000n;

const [P, W, U, AD, NX] = [1n, 2n, 4n, 0x60n, 1n << 63n];

/** The pages from DATA on. Accessed and dirty bits are clear in the sixth. From LONG on there is room for long strings. */
export const LONG = DATA + 0x8000n;
export const PAGES = [
  'rw',
  'rw',
  'rw',
  'absent',
  'ro',
  'rw',
  'supervisor',
  'device',
  'rw',
  'rw',
  'rw',
  'rw',
  'rw',
  'rw',
] as const;
const PAGE_FLAGS = {
  rw: P | W | U | AD | NX,
  absent: 0n,
  ro: P | U | NX,
  supervisor: P | W | NX,
  device: P | W | U | AD | NX,
};

/** Segment descriptors: attributes as in layout.ts, limits scaled. */
const GDT: readonly [attributes: number, base: number, limit: number][] = [
  [0, 0, 0],
  [0xa09b, 0, 0xfffff], // 08 kernel code, 64 bits
  [0xc093, 0, 0xfffff], // 10 kernel data
  [0xc09b, 0, 0xfffff], // 18 kernel code, 32 bits
  [0xc0fb, 0, 0xfffff], // 20 user code, 32 bits
  [0xc0f3, 0, 0xfffff], // 28 user data
  [0xa0fb, 0, 0xfffff], // 30 user code, 64 bits
  [0x00fb, Number(CODE), 0xffff], // 38 user code, 16 bits
  [0x40f3, Number(DATA) - 0x1000, 0xafff], // 40 user data with a base and a limit
  [0xc0f1, 0, 0xfffff], // 48 user data, read-only
  [0xa09f, 0, 0xfffff], // 50 conforming code
  [0xc073, 0, 0xfffff], // 58 user data, absent
  [0x0089, 0, 0x67], // 60 TSS, available (and its upper half)
  [0, 0, 0],
  [0x0082, 0, 0xff], // 70 LDT
  [0, 0, 0],
  [0x40f7, Number(DATA), 0x1fff], // 80 user data, expanding down
];
export const SELECTORS = [
  0, 3, 8, 0x10, 0x18, 0x23, 0x2b, 0x33, 0x3b, 0x43, 0x4b, 0x50, 0x5b, 0x60, 0x70, 0x83, 0x2f, 0xffff,
];

export type Profile = 'kernel64' | 'user64' | 'user32' | 'user16';
const CS: Record<Profile, number> = { kernel64: 0x08, user64: 0x33, user32: 0x23, user16: 0x3b };

/** What devices, MSRs and CPUID answer, and what reached them. */
interface World {
  log: string[];
}

interface Twin {
  processor: InterpretingProcessor;
  world: World;
  ram: Uint8Array;
}

function mixed(n: number | bigint): bigint {
  return BigInt.asUintN(64, (BigInt(n) + 1n) * 0x9e3779b97f4a7c15n);
}

function newTwin(jit: JitOptions | null = null): Twin {
  const memory = new EngineMemory(RAM_FRAMES * FRAME);
  const processor = new InterpretingProcessor(memory, testModel(), jit);
  const world: World = { log: [] };
  const note = <T>(what: string, result: T): T => {
    world.log.push(`${what} ${result}`);
    return result;
  };
  processor.bus = {
    read: (address, size) => note(`read ${address.toString(16)} ${size}`, BigInt.asUintN(size * 8, mixed(address))),
    write: (address, size, value) => note(`write ${address.toString(16)} ${size} ${value.toString(16)}`, undefined),
    portRead: (port, size) => note(`in ${port} ${size}`, Number(BigInt.asUintN(size * 8, mixed(port)))),
    portWrite: (port, size, value) => note(`out ${port} ${size} ${value}`, undefined),
  };
  processor.registers = {
    rdmsr: index => note(`rdmsr ${index}`, mixed(index)),
    wrmsr: (index, value) => note(`wrmsr ${index} ${value}`, undefined),
    cpuid: (leaf, subleaf) => {
      const v = Number(note(`cpuid ${leaf} ${subleaf}`, mixed(leaf ^ subleaf)) & 0xffffffffn);
      return { eax: v, ebx: v ^ 1, ecx: v ^ 2, edx: v ^ 3 };
    },
  };
  processor.cycles = () => note('cycles', mixed(world.log.length));
  const at = memory.frameOffset(0);
  return { processor, world, ram: memory.u8.subarray(at, at + RAM_FRAMES * FRAME) };
}

/** RAM as every case finds it, but for operands and code. */
function pristineRam(): Uint8Array {
  const ram = new Uint8Array(RAM_FRAMES * FRAME);
  const view = new DataView(ram.buffer);
  let x = 0x2545f491;
  for (let i = FIRST_DATA_FRAME * FRAME; i < CODE_FRAME * FRAME; i += 4) {
    x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) + 0x9e3779b9;
    view.setUint32(i, x, true);
  }
  ram.fill(0xcc, CODE_FRAME * FRAME, (CODE_FRAME + 2) * FRAME);
  GDT.forEach(([attributes, base, limit], i) => {
    const [a, b, l] = [BigInt(attributes), BigInt(base >>> 0), BigInt(limit)];
    const low = (l & 0xffffn) | ((b & 0xffffffn) << 16n) | ((a & 0xffn) << 40n);
    view.setBigUint64(
      GDT_FRAME * FRAME + i * 8,
      low | ((l >> 16n) << 48n) | (((a >> 12n) & 15n) << 52n) | ((b >> 24n) << 56n),
      true,
    );
  });
  let next = ROOT_FRAME + 1;
  const map = (linear: bigint, frame: number, flags: bigint): void => {
    let table = ROOT_FRAME;
    for (const shift of [39n, 30n, 21n]) {
      const at = table * FRAME + Number((linear >> shift) & 511n) * 8;
      const entry = view.getBigUint64(at, true);
      if (!(entry & P)) view.setBigUint64(at, (BigInt(next) << 12n) | P | W | U | (shift === 21n ? 0n : AD), true);
      table = entry & P ? Number((entry & ~NX) >> 12n) : next++;
    }
    view.setBigUint64(
      table * FRAME + Number((linear >> 12n) & 511n) * 8,
      flags && (BigInt(frame) << 12n) | flags,
      true,
    );
  };
  PAGES.forEach((kind, i) => {
    const flags = PAGE_FLAGS[kind] & (i === 5 ? ~AD : -1n);
    map(DATA + BigInt(i * FRAME), kind === 'device' ? DEVICE_FRAME : FIRST_DATA_FRAME + i, flags);
  });
  // accessed already: the interpreter may look at a jump's target before it is reached
  map(CODE, CODE_FRAME, P | U | AD);
  map(CODE + 0x1000n, CODE_FRAME + 1, P | U | AD);
  map(CODE_ALIAS, CODE_FRAME, P | W | U | AD | NX);
  map(CODE_ALIAS + 0x1000n, CODE_FRAME + 1, P | W | U | AD | NX);
  [GDT_FRAME, LDT_FRAME, TSS_FRAME].forEach((frame, i) => {
    map(TABLES + BigInt(i * FRAME), frame, P | W | AD);
  });
  if (next > RAM_FRAMES) throw new Error('the page tables do not fit');
  return ram;
}

/** Fields that a case may leave different: what only one of the two back ends keeps. */
const OWN_FIELDS: readonly [offset: number, bytes: number][] = [
  [S.ripBase, 8],
  [S.tlb, 8],
  [S.fuel, 8],
  [S.record, 4],
  [S.block, 4],
];
const FAULT_FIELDS: readonly [offset: number, bytes: number][] = [[S.faultVector, 24], [S.nextRip, 8]]; // biome-ignore format: a table

/** What one twin left. */
interface Left {
  exit: number;
  state: Uint8Array;
  log: string;
}

export class Twins {
  readonly interpreting: Twin;
  private readonly evaluating = newTwin();
  private readonly pristine = pristineRam();

  /** @param jit the interpreting twin's second tier */
  constructor(jit: JitOptions | null = null) {
    this.interpreting = newTwin(jit);
    new Evaluator(this.evaluating.processor).install();
  }

  /** A state in which the registers are 0 and everything else is as the profile wants it. RIP is CODE. */
  state(profile: Profile): CpuState {
    const state = new CpuState();
    const long64 = profile === 'kernel64' || profile === 'user64';
    const cs = CS[profile];
    const data = profile === 'kernel64' ? 0x10 : long64 ? 0x2b : 0x43;
    const load = (index: number, selector: number): void => {
      const [attributes, base, limit] = GDT[selector >> 3];
      const scaled = attributes & 0x8000 ? limit * FRAME + 0xfff : limit;
      state.writeSegment(index, { selector, base: BigInt(base), limit: scaled, attributes });
      const hidden = long64 && index < SEG.fs;
      state.set(S.segments + index * SEGMENT_SIZE + SEG_FIELD.effectiveBase, hidden ? 0n : BigInt(base));
    };
    for (const index of [SEG.es, SEG.ss, SEG.ds, SEG.fs, SEG.gs]) load(index, data);
    load(SEG.cs, cs);
    state.writeSegment(SEG.gdtr, { selector: 0, base: TABLES, limit: GDT.length * 8 - 1, attributes: 0 });
    state.writeSegment(SEG.idtr, { selector: 0, base: TABLES, limit: 0, attributes: 0 });
    state.writeSegment(SEG.ldtr, { selector: 0x70, base: LDT, limit: 0xff, attributes: 0x82 });
    state.writeSegment(SEG.tr, { selector: 0x60, base: TSS, limit: 0x67, attributes: 0x8b });
    state.set(S.cr0, 0x80050033n);
    state.set(S.cr3, BigInt(ROOT_FRAME * FRAME));
    state.set(S.cr4, 0x506b0n | (1n << 16n));
    state.set(S.efer, 0xd01n);
    state.set(S.xcr0, 3n);
    state.set(S.star, 0x0023_0008_0000_0000n);
    state.set(S.lstar, CODE + 0x800n);
    state.set(S.kernelGsBase, DATA);
    state.set(S.sysenterCs, 8n);
    state.set(S.sysenterEip, CODE);
    state.set(S.tscAux, 0x1234n);
    state.set32(S.cpl, profile === 'kernel64' ? 0 : 3);
    state.set32(S.pv, profile === 'kernel64' ? 0 : 1);
    state.rip = profile === 'user16' ? 0n : CODE;
    return state;
  }

  /** Offset of a linear address of the data or code pages in RAM, or null. */
  ramOffset(linear: bigint): number | null {
    const data = Number(linear - DATA);
    if (data >= 0 && data < PAGES.length * FRAME) {
      return PAGES[data >> 12] === 'device' || PAGES[data >> 12] === 'absent' ? null : FIRST_DATA_FRAME * FRAME + data;
    }
    const code = Number(linear - CODE);
    return code >= 0 && code < 2 * FRAME ? CODE_FRAME * FRAME + code : null;
  }

  private prepare(twin: Twin, state: CpuState, patches: readonly [number, Uint8Array][]): void {
    const { processor, ram } = twin;
    ram.set(this.pristine);
    for (const [at, bytes] of patches) ram.set(bytes, at);
    twin.world.log.length = 0;
    processor.dropFrame(CODE_FRAME);
    processor.dropFrame(CODE_FRAME + 1);
    processor.load(state);
    processor.selectAddressSpace(BigInt(ROOT_FRAME * FRAME), processor.live.cpl === 3);
    processor.flushAll();
  }

  /**
   * Runs one instruction on both.
   * @param patches bytes to be written to RAM first
   * @returns what differs, or null. Errors of the two back ends are thrown.
   */
  run(state: CpuState, patches: readonly [number, Uint8Array][]): string | null {
    this.start(state, patches);
    return this.go(1);
  }

  /** Sets both up afresh. */
  start(state: CpuState, patches: readonly [number, Uint8Array][]): void {
    this.prepare(this.interpreting, state, patches);
    this.prepare(this.evaluating, state, patches);
  }

  /** Goes on with other registers: what is decoded and translated stays so. */
  restart(state: CpuState): void {
    for (const { processor } of [this.interpreting, this.evaluating]) {
      processor.load(state);
      processor.selectAddressSpace(BigInt(ROOT_FRAME * FRAME), processor.live.cpl === 3);
    }
  }

  /** Runs so many instructions, or to an exit, on both. @returns what differs, or null */
  go(fuel: number): string | null {
    const interpreted = this.left(this.interpreting, this.interpreting.processor.run(fuel));
    const evaluated = this.left(this.evaluating, this.evaluating.processor.run(fuel));
    return this.compare(interpreted, evaluated);
  }

  private left({ processor, world }: Twin, exit: number): Left {
    const state = processor.live.bytes.slice();
    for (const [offset, bytes] of OWN_FIELDS) state.fill(0, offset, offset + bytes);
    // what an earlier fault left behind, and one that the interpreter met while it linked blocks, mean nothing
    if (exit === Exit.fuel) for (const [offset, bytes] of FAULT_FIELDS) state.fill(0, offset, offset + bytes);
    else if (![13, 14, 12, 1].includes(processor.live.get32(S.faultVector)))
      state.fill(0, S.faultAddress, S.faultAddress + 8);
    return { exit, state, log: world.log.join('; ') };
  }

  private compare(i: Left, e: Left): string | null {
    const exits = `interpreted: ${this.describe(i)}, evaluated: ${this.describe(e)}`;
    if (i.exit !== e.exit) return exits;
    if (i.log !== e.log) return `${exits}\n    interpreted: ${i.log}\n    evaluated: ${e.log}`;
    if (Buffer.compare(i.state, e.state) !== 0) return `${exits}: ${stateDifference(i.state, e.state)}`;
    const a = this.interpreting.ram;
    const b = this.evaluating.ram;
    if (Buffer.compare(a, b) === 0) return null;
    const at = a.findIndex((byte, n) => byte !== b[n]) & ~7;
    const hex = (ram: Uint8Array) => Buffer.from(ram.subarray(at, at + 16)).toString('hex');
    return `${exits}: memory at ${at.toString(16)}: interpreted ${hex(a)}, evaluated ${hex(b)}`;
  }

  private describe({ exit, state }: Left): string {
    const name = Object.entries(Exit).find(([, n]) => n === exit)?.[0] ?? exit;
    const view = new DataView(state.buffer);
    const at = (offset: number) => view.getBigUint64(offset, true).toString(16);
    if (exit === Exit.fuel) return `on to ${at(S.rip)}`;
    const code = view.getUint32(S.faultCode, true).toString(16);
    return `${name} ${view.getUint32(S.faultVector, true)}(${code}) address ${at(S.faultAddress)} at ${at(S.rip)}`;
  }
}

const NAMES = Object.entries(S).sort((a, b) => a[1] - b[1]);

function stateDifference(a: Uint8Array, b: Uint8Array): string {
  const out: string[] = [];
  for (let at = 0; at < a.length; at += 8) {
    const [x, y] = [a, b].map(bytes => new DataView(bytes.buffer).getBigUint64(at, true));
    if (x === y) continue;
    const [name, offset] = NAMES.findLast(([, o]) => o <= at) ?? ['?', 0];
    out.push(`${name}+${at - offset}: interpreted ${x.toString(16)}, evaluated ${y.toString(16)}`);
  }
  return out.slice(0, 4).join('; ');
}
