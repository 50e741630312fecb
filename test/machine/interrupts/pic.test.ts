import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pic } from '../../../src/machine/interrupts/pic.ts';

/** Initialised as PC firmware and kernels do: vectors 0x30 and 0x38, nothing masked. */
function pic({ icw4 = 1, masterIcw4 = icw4 }: { icw4?: number; masterIcw4?: number } = {}) {
  let intr = false;
  const chip = new Pic(level => {
    intr = level;
  });
  const master = (a0: number, value: number) => chip.masterPorts.write(a0, 1, value);
  const slave = (a0: number, value: number) => chip.slavePorts.write(a0, 1, value);
  master(0, 0x11);
  master(1, 0x30);
  master(1, 0x04);
  master(1, masterIcw4);
  slave(0, 0x11);
  slave(1, 0x38);
  slave(1, 0x02);
  slave(1, icw4);
  const pulse = (irq: number) => {
    chip.input(irq, true);
    chip.input(irq, false);
  };
  return { chip, master, slave, pulse, intr: () => intr };
}

const EOI = 0x20;

describe('requests', () => {
  it('before initialisation are nothing', () => {
    let raised = false;
    const chip = new Pic(level => {
      raised ||= level;
    });
    chip.input(1, true);
    expect(raised).toBe(false);
    expect(chip.masterPorts.read(1, 1)).toBe(0xff);
  });

  it('come in order of their levels, the slave’s in place of level 2', () => {
    const { chip, master, slave, pulse, intr } = pic();
    for (const irq of [12, 3, 8, 1, 0]) pulse(irq);
    const vectors: number[] = [];
    while (intr()) {
      vectors.push(chip.acknowledge());
      if (vectors.at(-1)! >= 0x38) slave(0, EOI);
      master(0, EOI);
    }
    expect(vectors).toEqual([0x30, 0x31, 0x38, 0x3c, 0x33]);
  });

  it('of higher levels interrupt lower ones, not the other way', () => {
    const { chip, master, pulse, intr } = pic();
    pulse(4);
    expect(chip.acknowledge()).toBe(0x34);
    pulse(5);
    expect(intr()).toBe(false);
    pulse(1);
    expect(intr()).toBe(true);
    expect(chip.acknowledge()).toBe(0x31);
    master(0, EOI);
    expect(intr()).toBe(false);
    master(0, EOI);
    expect(chip.acknowledge()).toBe(0x35);
  });

  it('of a line that stays high are one edge, or as many levels as it takes', () => {
    const { chip, master, intr } = pic();
    chip.input(5, true);
    chip.input(5, true);
    expect(chip.acknowledge()).toBe(0x35);
    master(0, EOI);
    expect(intr()).toBe(false);
    chip.triggerPorts.write(0, 1, 0xff);
    expect(chip.triggerPorts.read(0, 1)).toBe(0xf8);
    expect(intr()).toBe(true);
    expect(chip.acknowledge()).toBe(0x35);
    master(0, EOI);
    expect(intr()).toBe(true);
    chip.input(5, false);
    expect(intr()).toBe(false);
  });

  it('that have gone are spurious: level 7 of whoever was asked, not in service', () => {
    const { chip, master, slave, intr } = pic();
    expect(chip.acknowledge()).toBe(0x37);
    chip.triggerPorts.write(1, 1, 0x02);
    chip.input(9, true);
    expect(intr()).toBe(true);
    chip.input(9, false);
    expect(chip.acknowledge()).toBe(0x3f);
    slave(0, 0x0b);
    expect(chip.slavePorts.read(0, 1)).toBe(0);
    master(0, 0x0b);
    expect(chip.masterPorts.read(0, 1)).toBe(0x04);
  });

  it('that are masked wait', () => {
    const { chip, master, pulse, intr } = pic();
    master(1, 0xff);
    pulse(3);
    expect(intr()).toBe(false);
    expect(chip.masterPorts.read(0, 1)).toBe(0x08);
    master(1, 0xf7);
    expect(chip.acknowledge()).toBe(0x33);
  });
});

describe('modes', () => {
  it('automatic end of interrupt', () => {
    const { chip, pulse, intr } = pic({ icw4: 3 });
    pulse(3);
    pulse(4);
    expect(chip.acknowledge()).toBe(0x33);
    expect(intr()).toBe(true);
    expect(chip.acknowledge()).toBe(0x34);
    expect(intr()).toBe(false);
  });

  it('specific end of interrupt', () => {
    const { chip, master, pulse } = pic();
    pulse(4);
    chip.acknowledge();
    pulse(1);
    chip.acknowledge();
    master(0, 0x64);
    master(0, 0x0b);
    expect(chip.masterPorts.read(0, 1)).toBe(0x02);
  });

  it('rotation on end of interrupt, and set priority', () => {
    const { chip, master, pulse } = pic();
    pulse(3);
    chip.acknowledge();
    master(0, 0xa0); // level 3 is the lowest now
    pulse(3);
    pulse(5);
    expect(chip.acknowledge()).toBe(0x35);
    master(0, EOI);
    master(0, 0xc4); // level 4 the lowest, 5 the highest
    pulse(5);
    expect(chip.acknowledge()).toBe(0x35);
  });

  it('special mask: all but the masked level in service gets through', () => {
    const { chip, master, pulse, intr } = pic();
    pulse(1);
    chip.acknowledge();
    pulse(6);
    expect(intr()).toBe(false);
    master(1, 0x02);
    master(0, 0x68);
    expect(intr()).toBe(true);
    expect(chip.acknowledge()).toBe(0x36);
    master(0, 0x48);
    expect(intr()).toBe(false);
  });

  it('special fully nested: a slave’s higher request while its lower one is in service', () => {
    for (const [masterIcw4, nested] of [
      [0x01, false],
      [0x11, true],
    ] as const) {
      const { chip, pulse, intr } = pic({ masterIcw4 });
      pulse(12);
      expect(chip.acknowledge()).toBe(0x3c);
      pulse(8);
      expect(intr()).toBe(nested);
      if (nested) expect(chip.acknowledge()).toBe(0x38);
    }
  });

  it('poll', () => {
    const { chip, master, pulse } = pic();
    master(0, 0x0c);
    expect(chip.masterPorts.read(0, 1)).toBe(7);
    pulse(4);
    master(0, 0x0c);
    expect(chip.masterPorts.read(0, 1)).toBe(0x84);
    master(0, 0x0b);
    expect(chip.masterPorts.read(0, 1)).toBe(0x10);
  });

  it('initialisation forgets edges, masks and services', () => {
    const { chip, master, pulse, intr } = pic();
    pulse(3);
    chip.acknowledge();
    pulse(5);
    master(1, 0x20);
    master(0, 0x11);
    expect(intr()).toBe(false);
    master(1, 0x50);
    master(1, 0x04);
    master(1, 0x01);
    expect(chip.masterPorts.read(1, 1)).toBe(0);
    expect(intr()).toBe(false);
    pulse(0);
    expect(chip.acknowledge()).toBe(0x50);
  });
});

describe('any traffic', () => {
  it('throws nothing, and a saved state goes on as the original does', () => {
    const operation = fc.tuple(
      fc.constantFrom('masterPorts', 'slavePorts', 'triggerPorts', 'line', 'ack' as const),
      fc.integer({ min: 0, max: 15 }),
      fc.integer({ min: 0, max: 0xff }),
    );
    fc.assert(
      fc.property(fc.array(operation), fc.array(operation), (first, then) => {
        const run = ({ chip, intr }: ReturnType<typeof pic>, list: typeof first) =>
          list.map(([kind, n, value]) => {
            if (kind === 'ack') return chip.acknowledge();
            if (kind === 'line') chip.input(n, value > 0x7f);
            else chip[kind].write(n & 1, 1, value);
            return [intr(), chip.masterPorts.read(0, 2), chip.slavePorts.read(0, 2)];
          });
        const original = pic();
        run(original, first);
        const copy = pic();
        copy.chip.load(structuredClone(original.chip.save()));
        expect(copy.intr()).toBe(original.intr());
        expect(run(copy, then)).toEqual(run(original, then));
      }),
    );
  });
});
