import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PlatformBus } from '../../../src/machine/bus.ts';
import { Lvt, Reg } from '../../../src/machine/interrupts/apic-registers.ts';
import { Delivery } from '../../../src/machine/interrupts/interrupt-message.ts';
import { EXTERNAL_VECTOR, type LocalApic } from '../../../src/machine/interrupts/local-apic.ts';
import { ProcessorBus } from '../../../src/machine/interrupts/processor-bus.ts';
import { readX2apic, writeX2apic } from '../../../src/machine/interrupts/x2apic.ts';
import { AMD, drain, INTEL, rig, X2APIC_ON } from './rig.ts';

describe('priorities', () => {
  it('gives the highest class first, and nothing of the class in service or below', () => {
    const [apic] = rig().apics;
    for (const vector of [0x31, 0x3f, 0x82, 0x40]) apic.inject(vector);
    expect(apic.acknowledge()).toBe(0x82);
    expect(apic.pending()).toBe(-1);
    apic.inject(0x8f);
    expect(apic.pending()).toBe(-1);
    apic.inject(0x90);
    expect(apic.acknowledge()).toBe(0x90);
    expect(apic.readRegister(Reg.processorPriority)).toBe(0x90);
    apic.writeRegister(Reg.eoi, 0);
    expect(apic.readRegister(Reg.processorPriority)).toBe(0x80);
    apic.writeRegister(Reg.eoi, 0);
    expect(drain(apic)).toEqual([0x8f, 0x40, 0x3f, 0x31]);
  });

  it('holds back what is not above the task priority, by TPR or CR8', () => {
    const [apic] = rig().apics;
    apic.writeRegister(Reg.taskPriority, 0x45);
    apic.inject(0x4f);
    expect(apic.pending()).toBe(-1);
    expect(apic.readRegister(Reg.processorPriority)).toBe(0x45);
    expect(apic.cr8).toBe(4);
    apic.cr8 = 3;
    expect(apic.readRegister(Reg.taskPriority)).toBe(0x30);
    expect(apic.pending()).toBe(0x4f);
  });

  it('gives the spurious vector, which is not in service, where the request is no longer deliverable', () => {
    const [apic] = rig().apics;
    apic.inject(0x40);
    apic.cr8 = 15;
    expect(apic.acknowledge()).toBe(0xff);
    expect(apic.readRegister(Reg.isr + 0x70)).toBe(0);
    apic.cr8 = 0;
    expect(drain(apic)).toEqual([0x40]);
  });

  it('delivers every injected vector once, in order of priority', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 16, max: 255 })), vectors => {
        const [apic] = rig().apics;
        for (const vector of vectors) apic.inject(vector);
        expect(drain(apic)).toEqual([...new Set(vectors)].sort((a, b) => b - a));
      }),
    );
  });
});

describe('modes', () => {
  it.each([
    ['off', 0xfee00000n, true],
    ['x2APIC', X2APIC_ON, true],
    ['x2APIC without enable', 0xfee00500n, false],
    ['reserved bit', 0xfee00901n, false],
    ['beyond physical memory', 0x100_fee00900n, false],
    ['elsewhere', 0xfec10900n, true],
  ])('from xAPIC to %s', (_name, value, allowed) => {
    expect(rig().apics[0].base.write(value)).toBe(allowed);
  });

  it('leaves x2APIC mode only by switching off, and off only to xAPIC', () => {
    const [{ base }] = rig().apics;
    expect(base.page).toBe(0xfee00000);
    base.write(X2APIC_ON);
    expect(base.page).toBeNull();
    expect(base.write(0xfee00900n)).toBe(false);
    expect(base.write(0xfee00100n)).toBe(true);
    expect(base.write(X2APIC_ON)).toBe(false);
    expect(base.write(0xfee00900n)).toBe(true);
  });

  it('has no x2APIC mode where the model has none', () => {
    expect(rig(1, AMD).apics[0].base.write(X2APIC_ON)).toBe(false);
  });

  it('accepts nothing and masks all entries while software has it off', () => {
    const [apic] = rig().apics;
    apic.writeRegister(Reg.lvtTimer, 0x40);
    apic.writeRegister(Reg.spurious, 0xff);
    expect(apic.readRegister(Reg.lvtTimer)).toBe(0x10040);
    apic.writeRegister(Reg.lvtTimer, 0x40);
    expect(apic.readRegister(Reg.lvtTimer)).toBe(0x10040);
    apic.inject(0x50);
    expect(apic.pending()).toBe(-1);
  });

  it('keeps id and base through INIT, and forgets all else', () => {
    const [apic] = rig().apics;
    apic.writeRegister(Reg.id, 0x7000000);
    apic.writeRegister(Reg.logicalDestination, 0x1000000);
    apic.inject(0x50);
    apic.init();
    expect(apic.pending()).toBe(-1);
    expect(apic.readRegister(Reg.id)).toBe(0x7000000);
    expect(apic.readRegister(Reg.logicalDestination)).toBe(0);
    expect(apic.readRegister(Reg.spurious)).toBe(0xff);
    expect(apic.readRegister(Reg.lvtLint0)).toBe(Lvt.masked);
  });
});

describe('the page of registers', () => {
  const bus = (apic: LocalApic) => new ProcessorBus(new PlatformBus(), apic);
  const NOTHING = 0xffffffffn;

  it('reads narrowly, writes 32 bits at multiples of 16', () => {
    const [apic] = rig().apics;
    const page = bus(apic);
    expect(page.read(0xfee00033n, 1)).toBe(1n);
    expect(page.read(0xfee00034n, 4)).toBe(0n);
    expect(page.read(0xfee00030n, 8)).toBe(0x1060015n);
    page.write(0xfee00080n, 1, 0x20n);
    page.write(0xfee00084n, 4, 0x20n);
    expect(page.read(0xfee00080n, 4)).toBe(0n);
    page.write(0xfee00080n, 4, 0x120n);
    expect(page.read(0xfee00080n, 4)).toBe(0x20n);
  });

  it('is each processor’s own, where its base register says, in xAPIC mode', () => {
    const { apics } = rig(2);
    const ids = () => apics.map(apic => bus(apic).read(0xfee00020n, 4));
    expect(ids()).toEqual([0n, 1n << 24n]);
    apics[1].base.write(0xfec10800n);
    expect(ids()).toEqual([0n, NOTHING]);
    expect(bus(apics[1]).read(0xfec10020n, 4)).toBe(1n << 24n);
    expect(bus(apics[1]).read(0xfec11020n, 4)).toBe(NOTHING);
    apics[0].base.write(X2APIC_ON);
    expect(ids()).toEqual([NOTHING, NOTHING]);
  });

  it('calls access to what is not there an error', () => {
    const [apic] = rig().apics;
    apic.readRegister(0x40);
    apic.writeRegister(Reg.errorStatus, 0);
    expect(apic.readRegister(Reg.errorStatus)).toBe(0x80);
    apic.writeRegister(Reg.errorStatus, 0);
    expect(apic.readRegister(Reg.errorStatus)).toBe(0);
  });

  it('raises the error interrupt for an illegal vector, once, even if its own vector is illegal', () => {
    const [apic] = rig().apics;
    apic.writeRegister(Reg.lvtError, 0xf);
    apic.writeRegister(Reg.command, 0x4000f | (1 << 14));
    apic.writeRegister(Reg.errorStatus, 0);
    expect(apic.readRegister(Reg.errorStatus)).toBe(0x60);
    expect(apic.pending()).toBe(-1);
    apic.writeRegister(Reg.lvtError, 0x37);
    apic.writeRegister(Reg.command, 0x4000f | (1 << 14));
    expect(drain(apic)).toEqual([0x37]);
  });
});

describe('x2APIC registers', () => {
  const x2 = () => {
    const { apics, ...rest } = rig(20);
    for (const apic of apics) {
      apic.base.write(X2APIC_ON);
    }
    return { ...rest, apics };
  };

  it('are #GP in xAPIC mode', () => {
    const [apic] = rig().apics;
    expect(readX2apic(apic, 0x802)).toBeNull();
    expect(writeX2apic(apic, 0x808, 0n)).toBe(false);
  });

  it('have ids and logical ids of their own', () => {
    const { apics } = x2();
    expect(readX2apic(apics[19], 0x802)).toBe(19n);
    expect(readX2apic(apics[19], 0x80d)).toBe(0x1_0008n);
  });

  it.each([
    ['EOI takes 0 alone', 0x80b, 1n, false],
    ['EOI', 0x80b, 0n, true],
    ['error status takes 0 alone', 0x828, 1n, false],
    ['id is read-only', 0x802, 0n, false],
    ['logical destination is read-only', 0x80d, 0n, false],
    ['no destination format', 0x80e, 0n, false],
    ['no high half of the command', 0x831, 0n, false],
    ['TPR has 8 bits', 0x808, 0x100n, false],
    ['spurious vector', 0x80f, 0x1ffn, true],
    ['a reserved bit of an entry', 0x835, 0x1_0800n, false],
    ['read-only bits of an entry', 0x835, 0x5700n, true],
    ['bits above 32', 0x808, 1n << 32n, false],
    ['the command has 64 bits', 0x830, (5n << 32n) | 0x40fdn, true],
    ['delivery status in the command', 0x830, 0x1040n, false],
    ['self-IPI', 0x83f, 0x40n, true],
    ['self-IPI with more bits', 0x83f, 0x140n, false],
  ])('%s', (_name, index, value, allowed) => {
    expect(writeX2apic(x2().apics[0], index, value)).toBe(allowed);
  });

  it('cannot be read where they are write-only', () => {
    const [apic] = x2().apics;
    expect(readX2apic(apic, 0x80b)).toBeNull();
    expect(readX2apic(apic, 0x83f)).toBeNull();
    expect(readX2apic(apic, 0x840)).toBeNull();
  });

  it('reach processors by cluster', () => {
    const { apics } = x2();
    writeX2apic(apics[0], 0x830, (0x1000cn << 32n) | 0x4850n);
    expect(apics.map(drain).flatMap((vectors, id) => vectors.map(() => id))).toEqual([18, 19]);
    writeX2apic(apics[0], 0x830, (0xffffffffn << 32n) | 0x4050n);
    expect(apics.map(drain)).toEqual(apics.map(() => [0x50]));
  });

  it('never throw', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0x800, max: 0x8ff }),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
        (index, value) => {
          const [apic] = x2().apics;
          writeX2apic(apic, index, value);
          const read = readX2apic(apic, index);
          expect(read === null || (read >= 0n && read < 1n << 64n)).toBe(true);
        },
      ),
    );
  });
});

describe('interrupt commands', () => {
  const send = (command: number, destination = 0, from = 0) => {
    const board = rig(3);
    board.apics[from].writeRegister(Reg.commandHigh, destination << 24);
    board.apics[from].writeRegister(Reg.command, command);
    return { ...board, got: board.apics.map(drain) };
  };

  it('reach one, oneself, all, and all others', () => {
    expect(send(0x4050, 2).got).toEqual([[], [], [0x50]]);
    expect(send(0x4050, 0xff).got).toEqual([[0x50], [0x50], [0x50]]);
    expect(send(0x44050, 2).got).toEqual([[0x50], [], []]);
    expect(send(0x84050).got).toEqual([[0x50], [0x50], [0x50]]);
    expect(send(0xc4050, 0, 1).got).toEqual([[0x50], [], [0x50]]);
  });

  it('start processors: INIT, its de-assertion, start-up', () => {
    expect(send(0xc500, 1).log).toEqual(['1: init']);
    expect(send(0x8500, 1).log).toEqual([]);
    expect(send(0x4698, 1).log).toEqual(['1: start-up 152']);
    expect(send(0xc4500).log).toEqual(['1: init', '2: init']);
    expect(send(0xc4400).log).toEqual(['1: nmi', '2: nmi']);
  });

  it('mean sets of processors in flat and cluster mode', () => {
    const { apics } = rig(3);
    const logical = (destination: number) => {
      apics[0].writeRegister(Reg.commandHigh, destination << 24);
      apics[0].writeRegister(Reg.command, 0x4850);
      return apics.map(apic => drain(apic).length);
    };
    apics.forEach((apic, i) => void apic.writeRegister(Reg.logicalDestination, 0x1000000 << i));
    expect(logical(0x05)).toEqual([1, 0, 1]);
    expect(logical(0xff)).toEqual([1, 1, 1]);
    apics.forEach((apic, i) => {
      apic.writeRegister(Reg.destinationFormat, 0x0fffffff);
      apic.writeRegister(Reg.logicalDestination, [0x11, 0x12, 0x21][i] << 24);
    });
    expect(logical(0x13)).toEqual([1, 1, 0]);
    expect(logical(0x21)).toEqual([0, 0, 1]);
    expect(logical(0xff)).toEqual([1, 1, 1]);
  });

  it('with lowest priority reach the least busy one', () => {
    const { apics } = rig(3);
    apics.forEach((apic, i) => {
      apic.writeRegister(Reg.logicalDestination, 0x1000000 << i);
      apic.cr8 = [5, 2, 2][i];
    });
    apics[0].writeRegister(Reg.commandHigh, 0x7000000);
    apics[0].writeRegister(Reg.command, 0x4960);
    expect(apics.map(drain)).toEqual([[], [0x60], []]);
  });
});

describe('the pins', () => {
  it('ask for acknowledge cycles of the 8259A as ExtINT, and without an APIC', () => {
    const { apics, bus } = rig(2);
    bus.acknowledger = { acknowledge: () => 0x08 };
    apics[0].enterVirtualWireMode();
    bus.intr(true);
    expect(apics.map(apic => apic.pending())).toEqual([EXTERNAL_VECTOR, -1]);
    expect(apics[0].acknowledge()).toBe(8);
    bus.intr(false);
    expect(apics[0].pending()).toBe(-1);
    apics[1].base.write(0xfee00000n);
    bus.intr(true);
    expect(apics[1].pending()).toBe(EXTERNAL_VECTOR);
  });

  it('deliver NMIs on edges', () => {
    const { apics, bus, log } = rig(1);
    apics[0].writeRegister(Reg.lvtLint1, 0x400);
    bus.nmi(true);
    bus.nmi(true);
    bus.nmi(false);
    bus.nmi(true);
    expect(log).toEqual(['0: nmi', '0: nmi']);
  });

  it('give a level-triggered LINT0 again after its EOI', () => {
    const { apics, bus } = rig(1);
    const [apic] = apics;
    apic.writeRegister(Reg.lvtLint0, Lvt.level | 0x50);
    bus.intr(true);
    expect(apic.readRegister(Reg.lvtLint0) & Lvt.remoteIrr).not.toBe(0);
    expect(apic.acknowledge()).toBe(0x50);
    expect(apic.pending()).toBe(-1);
    apic.writeRegister(Reg.eoi, 0);
    expect(apic.acknowledge()).toBe(0x50);
    bus.intr(false);
    apic.writeRegister(Reg.eoi, 0);
    expect(apic.pending()).toBe(-1);
  });
});

describe('ends of interrupts', () => {
  it.each([
    ['of edges are nobody else’s business', INTEL, 0x1ff, false, []],
    ['of levels are broadcast', INTEL, 0x1ff, true, [0x50]],
    ['are not broadcast where software says so', INTEL, 0x11ff, true, []],
    ['are broadcast where the APIC cannot leave it', AMD, 0x11ff, true, [0x50]],
  ])('%s', (_name, kind, spurious, level, heard) => {
    const { apics, bus } = rig(1, kind);
    const ends: number[] = [];
    bus.onEoi(vector => void ends.push(vector));
    apics[0].writeRegister(Reg.spurious, spurious);
    bus.deliver({ vector: 0x50, delivery: Delivery.fixed, level, destination: 0, logical: false });
    drain(apics[0]);
    expect(ends).toEqual(heard);
  });
});

describe('any traffic', () => {
  it('throws nothing, and a saved state goes on as the original does', () => {
    const operation = fc.record({
      apic: fc.integer({ min: 0, max: 1 }),
      offset: fc.integer({ min: 0, max: 0xff }).map(n => n << 4),
      value: fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 0xfffff })),
      ns: fc.bigInt({ min: 0n, max: 5000n }),
    });
    fc.assert(
      fc.property(fc.array(operation), fc.array(operation), (first, then) => {
        const original = rig(2);
        const run = (board: typeof original, list: typeof first) =>
          list.map(({ apic, offset, value, ns }) => {
            board.apics[apic].writeRegister(offset, value);
            board.pass(ns);
            if (value & 1) board.apics[apic].acknowledge();
            return [board.apics[apic].readRegister(offset), ...board.apics.map(a => a.pending())];
          });
        run(original, first);
        const copy = rig(2);
        copy.clock.advance(original.clock.nowNs());
        original.apics.forEach((apic, i) => void copy.apics[i].load(structuredClone(apic.save())));
        expect(copy.apics.map(a => a.save())).toEqual(original.apics.map(a => a.save()));
        expect(run(copy, then)).toEqual(run(original, then));
      }),
      { numRuns: 60 },
    );
  });
});
