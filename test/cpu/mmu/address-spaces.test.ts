// Translations and jumps of several address spaces stay while one of them runs, and end in all of them with the mapping that they come from.
import { describe, expect, it } from 'vitest';
import { Exit } from '../../../src/cpu/exits.ts';
import { R, S, SEG } from '../../../src/cpu/layout.ts';
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { CPU_MODELS } from '../../../src/cpu/models/index.ts';
import { createProcessor } from '../../../src/cpu/processor.ts';

const USER_TABLE = 0x7n;
const CODE = 0x400000n;
const DATA = 0x401000n;
const CODE_SLOT = 0;
const DATA_SLOT = 1;
const RUNS = 40;

/** A PV guest's processor, with as many address spaces as wanted: each has a page of code at CODE and one of data at DATA. */
class AddressSpaces {
  readonly memory = new EngineMemory(16 << 20);
  readonly cpu = createProcessor(this.memory, CPU_MODELS[0]);
  private next = 1;

  constructor() {
    const { live } = this.cpu;
    live.set32(S.pv, 1);
    live.set32(S.cpl, 3);
    live.set(S.cr0, 0x80050033n);
    live.set(S.cr4, 0x660n);
    live.set(S.efer, 0xd01n);
    live.rflags = 0x202n;
    const segment = { base: 0n, limit: 0xffffffff };
    live.writeSegment(SEG.cs, { ...segment, selector: 0xe033, attributes: 0xa0fb });
    live.writeSegment(SEG.ss, { ...segment, selector: 0xe02b, attributes: 0xc0f3 });
    this.cpu.modeChanged();
  }

  private frame(): number {
    return this.next++;
  }

  entry(table: number, slot: number, value: bigint): void {
    this.memory.view.setBigUint64(this.memory.frameOffset(table) + slot * 8, value, true);
  }

  /** A frame with: mov eax, [DATA]; add eax, number; syscall. */
  code(number: number): number {
    const frame = this.frame();
    const bytes = [0x8b, 0x04, 0x25, 0x00, 0x10, 0x40, 0x00, 0x05, number, 0, 0, 0, 0x0f, 0x05];
    this.memory.frame(frame).set(bytes);
    return frame;
  }

  data(value: number): number {
    const frame = this.frame();
    this.memory.frame(frame)[0] = value;
    return frame;
  }

  space(code: number, data: number) {
    const [l4, l3, l2, l1] = [this.frame(), this.frame(), this.frame(), this.frame()];
    this.entry(l4, 0, (BigInt(l3) << 12n) | USER_TABLE);
    this.entry(l3, 0, (BigInt(l2) << 12n) | USER_TABLE);
    this.entry(l2, Number(CODE >> 21n), (BigInt(l1) << 12n) | USER_TABLE);
    this.entry(l1, CODE_SLOT, (BigInt(code) << 12n) | USER_TABLE);
    this.entry(l1, DATA_SLOT, (BigInt(data) << 12n) | USER_TABLE);
    return { l4, l1 };
  }

  /** Runs the address space's code: what it adds up to, or the address where it faults. */
  run({ l4 }: { l4: number }, user = true): number | bigint {
    const { live } = this.cpu;
    this.cpu.selectAddressSpace(BigInt(l4) << 12n, user);
    live.rip = CODE;
    const exit = this.cpu.run(1000);
    return exit === Exit.syscall ? Number(live.gpr[R.rax]) : live.get(S.faultAddress);
  }
}

describe('address spaces', () => {
  it('with other code and data at the same addresses keep apart, however many take turns', () => {
    const m = new AddressSpaces();
    const spaces = Array.from({ length: RUNS }, (_, i) => m.space(m.code(i), m.data(100)));
    for (let round = 0; round < 3; round++) expect(spaces.map(s => m.run(s))).toEqual(spaces.map((_, i) => 100 + i));
  });

  it('share what they map, and a changed mapping of one is no one else’s', () => {
    const m = new AddressSpaces();
    const [code, data] = [m.code(1), m.data(10)];
    const [a, b] = [m.space(code, data), m.space(code, data)];
    for (let i = 0; i < RUNS; i++) expect([m.run(a), m.run(b)]).toEqual([11, 11]);
    m.entry(a.l1, DATA_SLOT, (BigInt(m.data(20)) << 12n) | USER_TABLE);
    m.cpu.mappingChanged(data, true);
    m.cpu.flushChanged();
    expect([m.run(a), m.run(b), m.run(a)]).toEqual([21, 11, 21]);
  });

  it('that do not run lose a page with its mapping: data and code', () => {
    const m = new AddressSpaces();
    const [code, data] = [m.code(1), m.data(10)];
    const [a, b] = [m.space(code, data), m.space(m.code(2), m.data(30))];
    for (let i = 0; i < RUNS; i++) expect([m.run(a), m.run(b)]).toEqual([11, 32]);
    m.entry(a.l1, DATA_SLOT, 0n);
    m.cpu.mappingChanged(data, true);
    m.cpu.flushChanged();
    expect([m.run(b), m.run(a)]).toEqual([32, DATA]);

    m.entry(a.l1, DATA_SLOT, (BigInt(data) << 12n) | USER_TABLE);
    expect(m.run(a)).toBe(11);
    m.entry(a.l1, CODE_SLOT, 0n);
    m.cpu.mappingChanged(code, true);
    m.cpu.flushChanged();
    expect([m.run(b), m.run(a)]).toEqual([32, CODE]);
  });

  it('lose a frame that leaves its owner, also as the other of a guest’s two modes', () => {
    const m = new AddressSpaces();
    const [code, data] = [m.code(1), m.data(10)];
    const [kernel, user] = [m.space(code, data), m.space(code, data)];
    for (let i = 0; i < RUNS; i++) expect([m.run(kernel, false), m.run(user)]).toEqual([11, 11]);
    for (const { l1 } of [kernel, user]) m.entry(l1, DATA_SLOT, 0n);
    m.cpu.dropFrame(data);
    expect([m.run(user), m.run(kernel, false)]).toEqual([DATA, DATA]);
  });

  it('that are made of frames of former ones know nothing of them', () => {
    const m = new AddressSpaces();
    const a = m.space(m.code(1), m.data(10));
    expect(m.run(a)).toBe(11);
    m.cpu.flushAddressSpace(BigInt(a.l4) << 12n);
    m.entry(a.l1, CODE_SLOT, (BigInt(m.code(5)) << 12n) | USER_TABLE);
    m.entry(a.l1, DATA_SLOT, (BigInt(m.data(50)) << 12n) | USER_TABLE);
    expect(m.run(a)).toBe(55);
  });
});
