// A bare processor with descriptor tables, page tables and stacks in machine memory, for tests of system instructions one by one.
import { expect } from 'vitest';
import { Exit } from '../../../src/cpu/exits.ts';
import { R, S, SEG } from '../../../src/cpu/layout.ts';
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { cpuModel } from '../../../src/cpu/models/index.ts';
import type { CpuModel } from '../../../src/cpu/models/model.ts';
import { InterpretingProcessor } from '../../../src/cpu/processor.ts';
import { CpuState, type SegmentRegister } from '../../../src/cpu/state.ts';

export { Exit, Vector } from '../../../src/cpu/exits.ts';
export { Flag } from '../../../src/cpu/flags.ts';
export { ModeBit, R, S, SEG } from '../../../src/cpu/layout.ts';

export const AMD = 'AuthenticAMD';
export const INTEL = 'GenuineIntel';
export type Vendor = CpuModel['vendor'];

/** Physical addresses, equal to linear ones. */
export const At = {
  gdt: 0x1000, idt: 0x2000, tss: 0x4000, ldt: 0x5000, tss2: 0x6000,
  code: 0x8000, userCode: 0x9000, handlers: 0xa000, data: 0xc000,
  stack0: 0x20000, stack1: 0x22000, ist1: 0x24000, stack3: 0x28000,
  pml4: 0x40000, pdpt: 0x41000, pd: 0x42000, pt: 0x43000, pd32: 0x44000, pt32: 0x45000, pdptPae: 0x46000,
} as const; // biome-ignore format: a table
/** Offset of the top of a stack page in use. */
export const TOP = 0x800;

export const Sel = {
  code64: 0x08, data: 0x10, code32: 0x18, userCode64: 0x23, userCode32: 0x2b, userData: 0x33, tss: 0x38, ldt: 0x48,
  code16: 0x58, data16: 0x60, tss2: 0x68, free: 0x78, gate: 0x88, taskGate: 0x98, code1: 0xa1, data1: 0xa9,
} as const; // biome-ignore format: a table
const GDT_LIMIT = 0xff;

export const Type = { data: 0x93, code: 0x9b, ldt: 0x82, tss: 0x89, busyTss: 0x8b } as const;
const DPL3 = 0x60;
const L = 0x2000;
const B = 0x4000;
const G = 0x8000;

const P_RW_US = 7n;
const RAM = 1 << 20;

export interface Fault {
  vector: number;
  code: number | null;
  address: bigint;
}

function modelOf(vendor: Vendor): CpuModel {
  const model = cpuModel(vendor === AMD ? 'epyc' : 'skylake');
  if (!model) throw new Error('no such model');
  return model;
}

const bytesOf = (hex: string): Uint8Array =>
  Uint8Array.from(hex.match(/[0-9a-f]{2}/gi) ?? [], x => Number.parseInt(x, 16));

/** Processors are dear to make: a test that does not change the model gets a used one with everything cleared. Only the last is in use. */
const pool = new Map<Vendor, InterpretingProcessor>();

function cleared(vendor: Vendor): InterpretingProcessor {
  let cpu = pool.get(vendor);
  if (!cpu) {
    cpu = new InterpretingProcessor(new EngineMemory(RAM), modelOf(vendor));
    pool.set(vendor, cpu);
  }
  const { memory } = cpu;
  memory.u8.fill(0, memory.ramBase, memory.ramBase + RAM);
  cpu.blocks.reset();
  cpu.selectPhysicalMap(null);
  cpu.flushAll();
  cpu.load(new CpuState());
  cpu.interruptPending = false;
  cpu.nmiPending = false;
  cpu.onTaskPriority = null;
  return cpu;
}

export class Machine {
  readonly memory: EngineMemory;
  readonly cpu: InterpretingProcessor;
  constructor(vendor: Vendor = INTEL, change: ((model: CpuModel) => CpuModel) | null = null) {
    this.cpu = change ? new InterpretingProcessor(new EngineMemory(RAM), change(modelOf(vendor))) : cleared(vendor);
    this.memory = this.cpu.memory;
    this.tables();
  }

  get state() {
    return this.cpu.live;
  }

  // ---- memory

  bytes(address: number, length: number): Uint8Array {
    return this.memory.u8.subarray(this.memory.ramBase + address, this.memory.ramBase + address + length);
  }
  poke(address: number, size: 1 | 2 | 4 | 8, value: number | bigint): void {
    const v = new Uint8Array(8);
    new DataView(v.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
    this.put(address, v.subarray(0, size));
  }
  peek(address: number, size: 1 | 2 | 4 | 8): bigint {
    let value = 0n;
    this.bytes(address, size).forEach((b, i) => {
      value |= BigInt(b) << BigInt(8 * i);
    });
    return value;
  }
  put(address: number, bytes: Uint8Array): void {
    this.bytes(address, bytes.length).set(bytes);
    this.cpu.wroteFrame(address >> 12, address & 0xfff, bytes.length);
  }

  // ---- tables

  /** A descriptor in the GDT (or LDT by bit 2 of the selector). `limit` counts pages where attributes have G. */
  descriptor(selector: number, base: number, limit: number, attributes: number, upper?: number): void {
    const at = (selector & 4 ? At.ldt : At.gdt) + (selector & 0xfff8);
    this.poke(at, 4, ((limit & 0xffff) | ((base & 0xffff) << 16)) >>> 0);
    const high = ((base >>> 16) & 0xff) | ((attributes & 0xf0ff) << 8) | (limit & 0xf0000) | (base & 0xff000000);
    this.poke(at + 4, 4, high >>> 0);
    if (upper !== undefined) this.poke(at + 8, 8, upper);
  }
  /** A gate in a table: call gate of the GDT, or of the IDT with idt set. */
  gate(at: number, selector: number, offset: number | bigint, type: number, extra = 0): void {
    const o = BigInt(offset);
    this.poke(
      at,
      8,
      (o & 0xffffn) |
        (BigInt(selector) << 16n) |
        (BigInt(extra) << 32n) |
        (BigInt(type) << 40n) |
        (((o >> 16n) & 0xffffn) << 48n),
    );
  }
  longGate(at: number, selector: number, offset: number | bigint, type: number, ist = 0): void {
    this.gate(at, selector, offset, type, ist);
    this.poke(at + 8, 8, BigInt(offset) >> 32n);
  }
  idtLong(vector: number, offset: number | bigint, type = 0x8e, ist = 0, selector: number = Sel.code64): void {
    this.longGate(At.idt + vector * 16, selector, offset, type, ist);
  }

  /** 32-bit interrupt gates to At.handlers for all exceptions. */
  idt32(): this {
    for (let vector = 0; vector < 32; vector++) this.gate(At.idt + vector * 8, Sel.code32, At.handlers, 0x8e);
    return this;
  }

  private tables(): void {
    const flat = (selector: number, attributes: number): void => this.descriptor(selector, 0, 0xfffff, attributes | G);
    flat(Sel.code64, Type.code | L);
    flat(Sel.data, Type.data | B);
    flat(Sel.code32, Type.code | B);
    flat(Sel.userCode64, Type.code | L | DPL3);
    flat(Sel.userCode32, Type.code | B | DPL3);
    flat(Sel.userData, Type.data | B | DPL3);
    this.descriptor(Sel.tss, At.tss, 0x67, Type.busyTss, 0);
    this.descriptor(Sel.ldt, At.ldt, 0x2f, Type.ldt, 0);
    this.descriptor(Sel.code16, 0, 0xffff, Type.code);
    this.descriptor(Sel.data16, 0, 0xffff, Type.data);
    this.descriptor(Sel.tss2, At.tss2, 0x67, Type.tss, 0);
    flat(Sel.code1, Type.code | B | 0x20);
    flat(Sel.data1, Type.data | B | 0x20);
    this.poke(At.tss + 4, 8, At.stack0 + TOP);
    this.poke(At.tss + 12, 8, At.stack1 + TOP);
    this.poke(At.tss + 0x24, 8, At.ist1 + TOP);
    this.poke(At.tss + 0x66, 2, 0x68);
    this.pages();
  }

  private pages(): void {
    this.poke(At.pml4, 8, BigInt(At.pdpt) | P_RW_US);
    this.poke(At.pdpt, 8, BigInt(At.pd) | P_RW_US);
    this.poke(At.pd, 8, BigInt(At.pt) | P_RW_US);
    this.poke(At.pdptPae, 8, BigInt(At.pd) | 1n);
    this.poke(At.pd32, 4, At.pt32 | 7);
    for (let page = 0; page < 256; page++) this.page(page * 4096, P_RW_US);
  }

  /** Flags of the page at an address, in every set of tables. */
  page(address: number, flags: bigint): void {
    const page = address >> 12;
    this.poke(At.pt + page * 8, 8, BigInt(address) | flags);
    this.poke(At.pt32 + page * 4, 4, BigInt(address) | (flags & 0xfffn));
    this.cpu.flushAll();
  }

  // ---- modes

  private segment(index: number, selector: number, attributes: number, base = 0n, limit = 0xffffffff): void {
    this.state.writeSegment(index, { selector, base, limit, attributes });
  }

  private begin(
    cr0: bigint,
    cr4: bigint,
    efer: bigint,
    cpl: number,
    cs: number,
    csAttributes: number,
    pv: boolean,
  ): this {
    const { state } = this;
    state.set(S.cr0, cr0);
    state.set(S.cr4, cr4);
    state.set(S.efer, efer);
    state.set(S.pat, 0x0007040600070406n);
    state.set(S.xcr0, 1n);
    state.set(S.dr + 48, 0xffff0ff0n);
    state.set(S.dr + 56, 0x400n);
    state.set32(S.cpl, cpl);
    state.set32(S.pv, pv ? 1 : 0);
    const dpl = cpl << 5;
    this.segment(SEG.cs, cs, csAttributes | dpl);
    const data = cpl === 3 ? Sel.userData : cpl === 1 ? Sel.data1 : Sel.data;
    for (const index of [SEG.ss, SEG.ds, SEG.es, SEG.fs, SEG.gs]) this.segment(index, data, Type.data | B | G | dpl);
    this.segment(SEG.ldtr, Sel.ldt, Type.ldt, BigInt(At.ldt), 0x2f);
    this.segment(SEG.tr, Sel.tss, Type.busyTss, BigInt(At.tss), 0x67);
    this.segment(SEG.gdtr, 0, 0, BigInt(At.gdt), GDT_LIMIT);
    this.segment(SEG.idtr, 0, 0, BigInt(At.idt), 0xfff);
    state.rflags = 2n;
    state.rip = BigInt(cpl === 3 ? At.userCode : At.code);
    state.gpr[R.rsp] = BigInt((cpl === 3 ? At.stack3 : cpl === 1 ? At.stack1 : At.stack0) + 0x400);
    const root = state.get(S.cr3);
    this.cpu.selectAddressSpace(root, cpl === 3);
    this.cpu.modeChanged();
    return this;
  }

  /** 64-bit mode at a ring. `pv`: exceptions end run() instead of being delivered. */
  long(cpl = 0, pv = true): this {
    this.state.set(S.cr3, BigInt(At.pml4));
    return this.begin(0x80010033n, 0x220n, 0xd01n, cpl, cpl === 3 ? Sel.userCode64 : Sel.code64, Type.code | L | G, pv);
  }
  /** Compatibility mode. */
  compat(cpl = 0, pv = true): this {
    this.state.set(S.cr3, BigInt(At.pml4));
    return this.begin(0x80010033n, 0x220n, 0xd01n, cpl, cpl === 3 ? Sel.userCode32 : Sel.code32, Type.code | B | G, pv);
  }
  /** 32-bit protected mode without paging. */
  protected(cpl = 0, pv = true): this {
    const cs = cpl === 3 ? Sel.userCode32 : cpl === 1 ? Sel.code1 : Sel.code32;
    this.begin(0x33n, 0x200n, 0n, cpl, cs, Type.code | B | G, pv);
    this.poke(At.tss + 4, 4, At.stack0 + TOP);
    this.poke(At.tss + 8, 4, Sel.data);
    this.poke(At.tss + 12, 4, At.stack1 + TOP);
    this.poke(At.tss + 16, 4, Sel.data1);
    return this;
  }
  /** Real mode, CS 0. */
  real(pv = true): this {
    this.begin(0x32n, 0x200n, 0n, 0, 0, Type.code, pv);
    for (let i = 0; i <= SEG.gs; i++) this.segment(i, 0, Type.data, 0n, 0xffff);
    this.segment(SEG.idtr, 0, 0, 0n, 0x3ff);
    this.state.gpr[R.rsp] = 0x7c00n;
    this.cpu.modeChanged();
    return this;
  }
  /** Virtual-8086 mode with all segments 0. */
  v86(iopl = 3, pv = true): this {
    this.protected(3, pv);
    for (let i = 0; i <= SEG.gs; i++) this.segment(i, 0, 0xf3, 0n, 0xffff);
    this.state.rflags = 0x20002n | BigInt(iopl << 12);
    this.state.rip = BigInt(At.userCode);
    this.state.gpr[R.rsp] = 0x8000n;
    this.cpu.modeChanged();
    return this;
  }

  flags(value: number | bigint): this {
    this.state.rflags = BigInt(value) | 2n;
    this.cpu.modeChanged();
    return this;
  }
  set(register: number, value: number | bigint): this {
    this.state.gpr[register] = BigInt.asUintN(64, BigInt(value));
    return this;
  }
  get(register: number): bigint {
    return this.state.gpr[register];
  }
  sel(index: number): number {
    return this.state.readSegment(index).selector;
  }
  reg(index: number): SegmentRegister {
    return this.state.readSegment(index);
  }

  // ---- running

  /** Puts code (hexadecimal) at RIP. */
  code(hex: string): this {
    const base = this.state.get32(S.mode) & 1 ? 0n : this.reg(SEG.cs).base;
    this.put(Number(BigInt.asUintN(32, this.state.rip + base)), bytesOf(hex));
    return this;
  }

  /** Everything that an instruction that faults must leave alone. */
  visible(): unknown {
    const { state } = this;
    return {
      gpr: [...state.gpr], rip: state.rip, rflags: state.rflags, cpl: state.cpl, segments: Array.from({ length: 10 }, (_, i) => state.readSegment(i)),
      control: [S.cr0, S.cr3, S.cr4, S.cr8, S.efer, S.xcr0].map(at => state.get(at)),
    }; // biome-ignore format: a list
  }

  /** Runs one instruction that must not fault; the Exit is expected to be `exit`. */
  step(hex: string, exit: number = Exit.fuel): this {
    this.code(hex);
    const rip = this.state.rip;
    const got = this.cpu.run(1);
    if (got === Exit.exception)
      throw new Error(`#${this.state.get32(S.faultVector)}(${this.state.get32(S.faultCode)}) at ${rip.toString(16)}`);
    expect(got).toBe(exit);
    return this;
  }

  /** Runs one instruction that must fault (pv: the fault ends run()), and checks that nothing has changed. */
  fault(hex: string): Fault {
    this.code(hex);
    const before = this.visible();
    expect(this.cpu.run(1)).toBe(Exit.exception);
    expect(this.visible()).toEqual(before);
    const { state } = this;
    return {
      vector: state.get32(S.faultVector),
      code: state.get32(S.faultHasCode) ? state.get32(S.faultCode) : null,
      address: state.get(S.faultAddress),
    };
  }

  /** Values pushed one after the other at the top of the current stack, the last one at the top. */
  push(size: 2 | 4 | 8, ...values: (number | bigint)[]): this {
    const base = this.state.get32(S.mode) & 1 ? 0n : this.reg(SEG.ss).base;
    for (const value of values) {
      this.state.gpr[R.rsp] -= BigInt(size);
      this.poke(Number(this.state.gpr[R.rsp] + base), size, value);
    }
    return this;
  }
  /** What lies `index` values above the top of the stack. */
  stack(index: number, size: 2 | 4 | 8): bigint {
    const base = this.state.get32(S.mode) & 1 ? 0n : this.reg(SEG.ss).base;
    return this.peek(Number(this.get(R.rsp) + base) + index * size, size);
  }
}

/** Expected fault, for toMatchObject. */
export const fault = (vector: number, code: number | null = null): { vector: number; code: number | null } => ({
  vector,
  code,
});
