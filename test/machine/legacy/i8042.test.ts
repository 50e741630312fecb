import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { I8042 } from '../../../src/machine/legacy/i8042.ts';

const [FULL, FROM_MOUSE] = [1, 0x20];

function controller() {
  const log: string[] = [];
  const wires = { irq1: false, irq12: false, a20: true };
  const chip = new I8042({
    keyboardInterrupt: level => {
      if (level && !wires.irq1) log.push('irq1');
      wires.irq1 = level;
    },
    mouseInterrupt: level => {
      if (level && !wires.irq12) log.push('irq12');
      wires.irq12 = level;
    },
    reset: () => void log.push('reset'),
    a20: level => {
      wires.a20 = level;
    },
  });
  const status = () => chip.control.read(0, 1);
  const command = (byte: number, ...data: number[]) => {
    chip.control.write(0, 1, byte);
    for (const d of data) chip.data.write(0, 1, d);
  };
  /** All that is to be read, the mouse's with bit 8. */
  const drain = () => {
    const bytes = [];
    for (let s = status(); s & FULL; s = status()) {
      bytes.push(chip.data.read(0, 1) | (s & FROM_MOUSE ? 0x100 : 0));
    }
    return bytes;
  };
  const toKeyboard = (...bytes: number[]) => {
    for (const byte of bytes) chip.data.write(0, 1, byte);
    return drain();
  };
  const toMouse = (...bytes: number[]) => {
    for (const byte of bytes) command(0xd4, byte);
    return drain().map(byte => byte & 0xff);
  };
  return { chip, log, wires, status, command, drain, toKeyboard, toMouse };
}

describe('I8042', () => {
  it("passes the probes of Linux's driver", () => {
    const { command, drain, status } = controller();
    expect(status()).toBe(0x14);
    command(0xaa);
    expect(drain()).toEqual([0x55]);
    command(0x20);
    const [control] = drain();
    expect(control).toBe(0x47);
    command(0x60, control | 0x30);
    // the mouse's line loops back, and no multiplexer answers
    for (const byte of [0x5a, 0xf0, 0x56, 0xa4]) {
      command(0xd3, byte);
      expect(drain()).toEqual([byte | 0x100]);
    }
    command(0xa8);
    command(0xa7);
    command(0x20);
    expect(drain()[0] & 0x20).toBe(0x20);
    command(0xa8);
    command(0x20);
    expect(drain()[0] & 0x20).toBe(0);
    command(0xa9);
    expect(drain()).toEqual([0]);
    command(0xab);
    expect(drain()).toEqual([0]);
  });

  it('has a keyboard that atkbd knows', () => {
    const { command, toKeyboard, chip } = controller();
    expect(toKeyboard(0xff)).toEqual([0xfa, 0xaa]);
    expect(toKeyboard(0xf2)).toEqual([0xfa, 0xab, 0x41]);
    command(0x60, 0x07);
    expect(toKeyboard(0xf2)).toEqual([0xfa, 0xab, 0x83]);
    expect(toKeyboard(0xed, 0x02)).toEqual([0xfa, 0xfa]);
    expect(chip.keyboard.leds).toBe(2);
    expect(toKeyboard(0xf3, 0x00)).toEqual([0xfa, 0xfa]);
    expect(toKeyboard(0xf0, 0)).toEqual([0xfa, 0xfa, 2]);
    expect(toKeyboard(0xf0, 3)).toEqual([0xfa, 0xfe]);
    expect(toKeyboard(0xee)).toEqual([0xee]);
    expect(toKeyboard(0xfe)).toEqual([0xee]);
    expect(toKeyboard(0xea)).toEqual([0xfe]);
    expect(toKeyboard(0xf4)).toEqual([0xfa]);
  });

  it('sends keys with an interrupt a byte, in set 1 and in set 2', () => {
    const { chip, drain, log, command } = controller();
    const ctrlAltDel = ['ControlLeft', 'AltLeft', 'Delete'] as const;
    for (const key of ctrlAltDel) chip.keyboard.press(key);
    for (const key of ctrlAltDel) chip.keyboard.release(key);
    expect(drain()).toEqual([0x1d, 0x38, 0xe0, 0x53, 0x9d, 0xb8, 0xe0, 0xd3]);
    expect(log).toEqual(Array(8).fill('irq1'));
    command(0x60, 0x07);
    chip.keyboard.press('F7');
    chip.keyboard.release('ArrowUp');
    chip.keyboard.press('Pause');
    expect(drain()).toEqual([0x83, 0xe0, 0xf0, 0x75, 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77]);
  });

  it('holds back a device that is off, and its interrupt where that is masked', () => {
    const { chip, drain, log, command, wires } = controller();
    command(0xad);
    chip.keyboard.press('KeyA');
    expect(drain()).toEqual([]);
    command(0xae);
    expect(wires.irq1).toBe(true);
    command(0x60, 0x46);
    expect(wires.irq1).toBe(false);
    expect(drain()).toEqual([0x1e]);
    expect(log).toEqual(['irq1']);
  });

  it('has a mouse that psmouse knows, with a wheel', () => {
    const { chip, toMouse, log, drain } = controller();
    expect(toMouse(0xff)).toEqual([0xfa, 0xaa, 0]);
    expect(log[0]).toBe('irq12');
    expect(toMouse(0xf2)).toEqual([0xfa, 0]);
    expect(toMouse(0xe8, 3, 0xe7, 0xe9)).toEqual([0xfa, 0xfa, 0xfa, 0xfa, 0x10, 3, 100]);
    expect(toMouse(0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2)).toEqual([0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 3]);
    chip.mouse.move(1, 1, 1);
    expect(drain()).toEqual([]);
    expect(toMouse(0xf4)).toEqual([0xfa]);
    chip.mouse.move(4, -3, 1, -1);
    expect(drain().map(b => b & 0xff)).toEqual([0x29, 5, 0xfe, 0xff]);
    chip.mouse.move(300, 0, 0);
    chip.mouse.move(0, 0, 0);
    expect(drain().map(b => b & 0xff)).toEqual([8, 0xff, 0, 0, 8, 45, 0, 0]);
  });

  it('resets by a pulse or the output port, and switches A20', () => {
    const { command, log, wires, drain } = controller();
    command(0xff);
    command(0xfe);
    command(0xd1, 0xdd);
    expect(wires.a20).toBe(false);
    command(0xd0);
    expect(drain()).toEqual([0xcd]);
    command(0xd1, 0xde);
    expect(wires.a20).toBe(true);
    expect(log.filter(entry => entry === 'reset')).toEqual(['reset', 'reset']);
  });

  it('keeps its memory bounded and its answers bytes, whatever is written', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(255)), { maxLength: 300 }), writes => {
        const { chip, drain } = controller();
        for (const [isCommand, byte] of writes) {
          (isCommand ? chip.control : chip.data).write(0, 1, byte);
        }
        chip.control.write(0, 1, 0x60);
        chip.data.write(0, 1, 0x47);
        expect(drain().length).toBeLessThan(150);
      }),
    );
  });

  it('goes on from a saved state', () => {
    const before = controller();
    before.command(0x60, 0x47);
    before.chip.keyboard.press('Enter');
    before.chip.keyboard.release('Enter');
    before.chip.data.read(0, 1);
    before.toMouse(0xf4);
    before.chip.mouse.move(1, 2, 0);
    const after = controller();
    after.chip.load(structuredClone(before.chip.save()));
    expect(after.wires).toEqual(before.wires);
    expect(after.drain()).toEqual(before.drain());
    expect(after.chip.save()).toEqual(before.chip.save());
  });
});
