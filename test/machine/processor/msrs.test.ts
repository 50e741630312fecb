import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GuestFault } from '../../../src/cpu/exits.ts';
import { CPU_MODELS, cpuModel } from '../../../src/cpu/models/index.ts';
import type { CpuModel } from '../../../src/cpu/models/model.ts';
import { CpuState } from '../../../src/cpu/state.ts';
import { apicKindOf } from '../../../src/machine/interrupts/apic-registers.ts';
import { InterruptBus } from '../../../src/machine/interrupts/interrupt-bus.ts';
import { LocalApic } from '../../../src/machine/interrupts/local-apic.ts';
import { MachineRegisters } from '../../../src/machine/processor/msrs.ts';
import { Clock, VirtualTicks } from '../../../src/machine/time/clock.ts';

const GIB = 2 ** 30;

function registers(model: CpuModel, high = 0) {
  const clock = new Clock(new VirtualTicks(() => 0n));
  const cpu = new CpuState();
  const apic = new LocalApic({
    id: 1,
    bootstrap: false,
    kind: apicKindOf(model),
    clock,
    tsc: () => clock.cycles(),
    tscHz: clock.tscHz,
    processor: { changed: () => {}, nmi: () => {}, init: () => {}, startUp: () => {} },
    bus: new InterruptBus(),
  });
  const all = new MachineRegisters({
    model,
    apic,
    clock,
    tscHz: clock.tscHz,
    processors: 2,
    memory: { low: 3 * GIB, high },
    holeStart: 3 * GIB,
    cpu: () => cpu,
  });
  const faults = (act: () => unknown): boolean => {
    try {
      act();
      return false;
    } catch (error) {
      expect(error).toBeInstanceOf(GuestFault);
      return true;
    }
  };
  return {
    all,
    cpu,
    apic,
    clock,
    tscHz: clock.tscHz,
    read: (index: number) => all.rdmsr(index),
    /** Whether it is #GP. */
    refuses: (index: number, value: bigint) => faults(() => all.wrmsr(index, value)),
    isAbsent: (index: number) => faults(() => all.rdmsr(index)),
  };
}

const AMD = cpuModel('epyc')!;
const INTEL = cpuModel('skylake')!;
/** A model with bits of a leaf set. */
const having = (model: CpuModel, leaf: number, bits: Partial<Record<'ebx' | 'ecx' | 'edx', number>>): CpuModel => {
  const known = model.leaves.find(row => row.leaf === leaf) ?? { leaf, subleaf: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
  const more = Object.fromEntries(Object.entries(bits).map(([r, n]) => [r, known[r as 'ebx'] | n]));
  return { ...model, leaves: [{ ...known, ...more }, ...model.leaves] };
};

describe('memory types', () => {
  it('are what firmware makes of the memory map', () => {
    const { read } = registers(INTEL);
    expect(read(0xfe)).toBe(0x508n);
    expect(read(0x2ff)).toBe(0xc06n);
    expect(read(0x250)).toBe(0x0606060606060606n);
    expect(read(0x259)).toBe(0n);
    expect(read(0x268)).toBe(0x0505050505050505n);
    // one gibibyte from 3 GiB on, uncached
    expect([read(0x200), read(0x201)]).toEqual([0xc0000000n, 0xffc0000800n]);
    expect(read(0x203)).toBe(0n);
  });

  it.each([
    ['a variable base', 0x204, 0x1234_5000n | 6n, false],
    ['a reserved type', 0x204, 2n, true],
    ['a reserved bit', 0x204, 0x100n, true],
    ['an address beyond the physical ones', 0x204, 1n << 40n, true],
    ['a mask', 0x205, 0xff_ffff_f800n, false],
    ['a reserved bit of a mask', 0x205, 1n, true],
    ['fixed ranges', 0x250, 0x0106050400010604n, false],
    ['a reserved type of one of them', 0x250, 0x0106050200010604n, true],
    ['the default', 0x2ff, 0xc00n, false],
    ['a reserved bit of the default', 0x2ff, 0x1c00n, true],
    ['capabilities', 0xfe, 0x508n, true],
    ['a ninth variable range', 0x210, 0n, true],
  ])('%s', (_name, index, value, refused) => {
    const { read, refuses } = registers(AMD);
    expect(refuses(index, value)).toBe(refused);
    if (!refused) expect(read(index)).toBe(value);
  });
});

describe('machine checks', () => {
  it('can be enabled and cleared, not invented', () => {
    for (const model of [AMD, INTEL]) {
      const { read, refuses } = registers(model);
      const banks = Number(read(0x179) & 0xffn);
      for (let bank = 0; bank < banks; bank++) {
        expect(refuses(0x400 + 4 * bank, (1n << 64n) - 1n)).toBe(false);
        expect(refuses(0x401 + 4 * bank, 0n)).toBe(false);
        expect(refuses(0x401 + 4 * bank, 1n)).toBe(true);
      }
      expect(refuses(0x400 + 4 * banks, 0n)).toBe(true);
      expect(refuses(0x17a, 0n)).toBe(false);
    }
  });

  it('can be injected on AMD’s where HWCR allows it', () => {
    const { read, refuses } = registers(AMD);
    expect(refuses(0xc0010015, read(0xc0010015) | (1n << 18n))).toBe(false);
    expect(refuses(0x405, 1n << 63n)).toBe(false);
    expect(read(0x405)).toBe(1n << 63n);
  });

  it('have interrupts for corrected ones on Intel’s', () => {
    const { refuses, isAbsent } = registers(INTEL);
    expect(refuses(0x280, 0x40000001n)).toBe(false);
    expect(refuses(0x280, 1n << 31n)).toBe(true);
    expect(isAbsent(0x17b)).toBe(true);
    expect(registers(AMD).isAbsent(0x280)).toBe(true);
  });
});

describe('what CPUID decides', () => {
  it.each([
    ['no speculation controls', INTEL, {}],
    ['Intel’s', having(INTEL, 7, { edx: (1 << 26) | (1 << 28) | (1 << 29) }), { 72: 1n, 73: 1n, 267: 1n }],
    ['AMD’s', having(AMD, 0x80000008, { ebx: (1 << 12) | (1 << 14) | (1 << 15) | (1 << 24) }), { 72: 7n, 73: 1n }],
  ])('%s', (_name, model, expected: Record<number, bigint>) => {
    const { refuses } = registers(model);
    for (const index of [0x48, 0x49, 0x10b]) {
      const bits = expected[index];
      if (bits === undefined) expect(refuses(index, 0n)).toBe(true);
      else {
        expect(refuses(index, bits)).toBe(false);
        expect(refuses(index, bits + 8n)).toBe(true);
      }
    }
  });

  it('the deadline of the timer', () => {
    expect(registers(having(INTEL, 1, { ecx: 1 << 24 })).refuses(0x6e0, 5n)).toBe(false);
    const without = { ...INTEL, leaves: INTEL.leaves.map(row => ({ ...row, ecx: row.leaf === 1 ? 0 : row.ecx })) };
    expect(registers(without).refuses(0x6e0, 5n)).toBe(true);
    expect(registers(without).isAbsent(0x802)).toBe(true);
  });

  it('counts of active cycles', () => {
    expect(registers({ ...AMD, leaves: AMD.leaves.filter(row => row.leaf !== 6) }).isAbsent(0xe7)).toBe(true);
    const { read, refuses } = registers(having(AMD, 6, { ecx: 1 }));
    expect(refuses(0xe8, 100n)).toBe(false);
    expect([read(0xe7), read(0xe8)]).toEqual([0n, 100n]);
  });
});

describe('vendors', () => {
  it('AMD: ends of RAM, the TSC’s rate, microcode', () => {
    const { read, refuses, isAbsent } = registers(AMD, 5 * GIB);
    expect(read(0xc001001a)).toBe(0xc0000000n);
    expect(read(0xc001001d)).toBe(0x140000000n);
    expect((read(0xc0010010) >> 21n) & 3n).toBe(3n);
    expect((read(0xc0010015) >> 24n) & 1n).toBe(1n);
    expect(read(0x8b)).toBe(0xb00215an);
    expect(refuses(0x8b, 0n)).toBe(true);
    expect(isAbsent(0x1a0)).toBe(true);
    // family 1Ah: steps of 5 MHz
    expect(read(0xc0010064)).toBe((1n << 63n) | BigInt(AMD.frequencyKHz / 5000));
    expect(registers(AMD).read(0xc001001d)).toBe(0n);
  });

  it('Intel: microcode is asked for by writing 0 first', () => {
    const { read, refuses, isAbsent } = registers(INTEL);
    expect(refuses(0x8b, 0n)).toBe(false);
    expect(read(0x8b) >> 32n).toBe(0x2007006n);
    expect(read(0xce)).toBe(BigInt(INTEL.frequencyKHz / 100_000) * 0x100_00000100n);
    expect(refuses(0x3a, 5n)).toBe(true);
    expect(read(0x3a)).toBe(1n);
    expect(isAbsent(0xc0010015)).toBe(true);
  });
});

describe('any register of any model', () => {
  it('throws nothing but #GP, reads 64 bits, and a saved state reads the same', () => {
    const interesting = fc.oneof(
      fc.integer({ min: 0, max: 0x1fff }),
      fc.integer({ min: 0xc0010000, max: 0xc0011fff }),
      fc.integer({ min: 0, max: 0xffffffff }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...CPU_MODELS),
        fc.array(fc.tuple(interesting, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }))),
        (model, writes) => {
          const { all, read, refuses, isAbsent } = registers(model);
          for (const [index, value] of writes) refuses(index, value);
          const copy = registers(model);
          copy.all.load(structuredClone(all.save()));
          for (const [index] of writes) {
            if (isAbsent(index)) continue;
            expect(BigInt.asUintN(64, read(index))).toBe(read(index));
            if (index !== 0x1b && (index < 0x800 || index > 0x8ff)) expect(copy.read(index)).toBe(read(index));
          }
        },
      ),
    );
  });
});
