import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Reg } from '../../../src/machine/interrupts/apic-registers.ts';
import { IoApic } from '../../../src/machine/interrupts/io-apic.ts';
import { EXTERNAL_VECTOR } from '../../../src/machine/interrupts/local-apic.ts';
import { drain, rig } from './rig.ts';

const LEVEL = 1 << 15;
const MASKED = 1 << 16;
const ACTIVE_LOW = 1 << 13;
const REMOTE_IRR = 1 << 14;
const STATUS = 1 << 12;

function board(options: { pins?: number; version?: 0x11 | 0x20 } = {}) {
  const { bus, apics, log } = rig(2);
  const ioApic = new IoApic({ bus, ...options });
  const read = (index: number) => {
    ioApic.write(0, 4, index);
    return ioApic.read(0x10, 4);
  };
  const write = (index: number, value: number) => {
    ioApic.write(0, 4, index);
    ioApic.write(0x10, 4, value);
  };
  const entry = (pin: number, low: number, destination = 0) => {
    write(0x11 + 2 * pin, destination << 24);
    write(0x10 + 2 * pin, low);
  };
  return { bus, apics, log, ioApic, read, write, entry };
}

describe('registers', () => {
  it('are selected by 8 bits', () => {
    const { ioApic, read, write } = board({ pins: 48 });
    expect(read(0x101)).toBe(0x2f0020);
    expect(ioApic.read(0, 4)).toBe(1);
    expect(ioApic.read(0x12, 1) & 0xff).toBe(0x2f);
    write(0, 0xffffffff);
    expect([read(0), read(2)]).toEqual([0x0f000000, 0x0f000000]);
    expect(read(0x10 + 95)).toBe(0);
    expect(read(0x10 + 96)).toBe(0);
    expect(read(9)).toBe(0);
  });

  it('start masked and keep what can be written', () => {
    const { read, write } = board();
    expect(read(0x10)).toBe(MASKED);
    write(0x10, 0xffffffff & ~LEVEL);
    write(0x11, 0xffffffff);
    expect(read(0x10)).toBe(0x12fff);
    expect(read(0x11)).toBe(0xff000000);
  });
});

describe('edges', () => {
  it('are delivered once each, to whom the entry says', () => {
    const { apics, ioApic, entry } = board();
    entry(4, 0x40, 1);
    ioApic.input(4, true);
    ioApic.input(4, true);
    expect(apics.map(drain)).toEqual([[], [0x40]]);
    ioApic.input(4, false);
    ioApic.input(4, true);
    expect(apics.map(drain)).toEqual([[], [0x40]]);
  });

  it('are lost while masked, and fall where the polarity is low', () => {
    const { apics, ioApic, entry } = board();
    entry(4, 0x40 | MASKED);
    ioApic.input(4, true);
    entry(4, 0x40);
    expect(drain(apics[0])).toEqual([]);
    entry(5, 0x41 | ACTIVE_LOW);
    ioApic.input(5, true);
    expect(drain(apics[0])).toEqual([]);
    ioApic.input(5, false);
    expect(drain(apics[0])).toEqual([0x41]);
  });

  it('can be NMIs, INITs and the 8259A’s', () => {
    const { apics, ioApic, entry, log } = board();
    entry(1, 0x400);
    entry(2, 0x500, 1);
    entry(3, 0x700);
    for (const pin of [1, 2, 3]) ioApic.input(pin, true);
    expect(log).toEqual(['0: nmi', '1: init']);
    expect(apics[0].pending()).toBe(EXTERNAL_VECTOR);
  });
});

describe('levels', () => {
  it('stay with the processor until its EOI, and come again while they last', () => {
    const { apics, ioApic, entry, read } = board();
    entry(9, 0x50 | LEVEL);
    ioApic.input(9, true);
    expect(read(0x22) & REMOTE_IRR).toBe(REMOTE_IRR);
    expect(apics[0].acknowledge()).toBe(0x50);
    ioApic.input(9, false);
    ioApic.input(9, true);
    expect(apics[0].pending()).toBe(-1);
    apics[0].writeRegister(Reg.eoi, 0);
    expect(apics[0].acknowledge()).toBe(0x50);
    ioApic.input(9, false);
    apics[0].writeRegister(Reg.eoi, 0);
    expect(apics[0].pending()).toBe(-1);
    expect(read(0x22) & REMOTE_IRR).toBe(0);
  });

  it('wait behind a mask', () => {
    const { apics, ioApic, entry } = board();
    entry(9, 0x50 | LEVEL | MASKED);
    ioApic.input(9, true);
    expect(apics[0].pending()).toBe(-1);
    entry(9, 0x50 | LEVEL);
    expect(apics[0].pending()).toBe(0x50);
  });

  it('are held while no processor accepts them', () => {
    const { apics, ioApic, entry, read, write } = board();
    entry(9, 0x50 | LEVEL, 7);
    ioApic.input(9, true);
    expect(read(0x22) & (STATUS | REMOTE_IRR)).toBe(STATUS);
    write(0x23, 0);
    write(0x22, 0x50 | LEVEL);
    expect(read(0x22) & (STATUS | REMOTE_IRR)).toBe(REMOTE_IRR);
    expect(apics[0].pending()).toBe(0x50);
  });

  it.each([
    [0x20 as const, 0],
    [0x11 as const, REMOTE_IRR],
  ])('of version %i end by the EOI register', (version, left) => {
    const { ioApic, entry, read } = board({ version });
    entry(9, 0x50 | LEVEL);
    ioApic.input(9, true);
    ioApic.input(9, false);
    ioApic.write(0x40, 4, 0x50);
    expect(read(0x22) & REMOTE_IRR).toBe(left);
  });

  it('end by becoming an edge, as kernels do it without that register', () => {
    const { ioApic, entry, read } = board({ version: 0x11 });
    entry(9, 0x50 | LEVEL);
    ioApic.input(9, true);
    ioApic.input(9, false);
    entry(9, 0x50 | MASKED);
    entry(9, 0x50 | LEVEL);
    expect(read(0x22) & REMOTE_IRR).toBe(0);
  });
});

describe('messages of devices', () => {
  const msi = (address: number, data: number) => {
    const { bus, apics, log } = rig(3);
    apics.forEach((apic, i) => {
      apic.writeRegister(Reg.logicalDestination, 0x1000000 << i);
      apic.cr8 = 3 - i;
    });
    const taken = bus.writeMsi(address, data);
    return { taken, got: apics.map(drain), log };
  };

  it.each([
    ['physical', 0xfee01000, 0x51, [0, 1, 0]],
    ['everyone', 0xfeeff000, 0x51, [1, 1, 1]],
    ['logical', 0xfee05004, 0x51, [1, 0, 1]],
    ['logical, lowest priority', 0xfee03004, 0x151, [0, 1, 0]],
    ['logical, redirected', 0xfee0300c, 0x51, [0, 1, 0]],
    ['physical, redirected', 0xfee00008, 0x51, [1, 0, 0]],
    ['level, asserted', 0xfee00000, 0xc051, [1, 0, 0]],
    ['level, de-asserted', 0xfee00000, 0x8051, [0, 0, 0]],
    ['reserved delivery', 0xfee00000, 0x351, [0, 0, 0]],
  ])('%s', (_name, address, data, counts) => {
    expect(msi(address, data).got.map(vectors => vectors.length)).toEqual(counts);
  });

  it('are told from memory by their address', () => {
    expect(msi(0xfef00000, 0x51).taken).toBe(false);
    expect(msi(0xfee00000, 0x451).log).toEqual(['0: nmi']);
  });
});

describe('any traffic', () => {
  it('throws nothing, and a saved state goes on as the original does', () => {
    const operation = fc.tuple(
      fc.constantFrom('line', 'low', 'high', 'eoi', 'serve' as const),
      fc.integer({ min: 0, max: 23 }),
      fc.integer({ min: 0, max: 0x1ffff }),
    );
    fc.assert(
      fc.property(fc.array(operation), fc.array(operation), (first, then) => {
        const run = ({ apics, ioApic, read, write }: ReturnType<typeof board>, list: typeof first) =>
          list.map(([kind, pin, value]) => {
            if (kind === 'line') ioApic.input(pin, (value & 1) === 1);
            else if (kind === 'low') write(0x10 + 2 * pin, value);
            else if (kind === 'high') write(0x11 + 2 * pin, (value & 1) << 24);
            else if (kind === 'eoi') ioApic.write(0x40, 4, value);
            else if (apics[pin & 1].acknowledge() < 0xff) apics[pin & 1].writeRegister(Reg.eoi, 0);
            return [read(0x10 + 2 * pin), ...apics.map(apic => apic.pending())];
          });
        const original = board();
        run(original, first);
        const copy = board();
        original.apics.forEach((apic, i) => void copy.apics[i].load(structuredClone(apic.save())));
        copy.ioApic.load(original.ioApic.save());
        expect(run(copy, then)).toEqual(run(original, then));
      }),
    );
  });
});
