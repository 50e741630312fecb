import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { genericHostBridge, i440fxHostBridge, piix3IsaBridge } from '../../../src/machine/pci/bridges.ts';
import { assignResources } from '../../../src/machine/pci/firmware.ts';
import { PciFunction } from '../../../src/machine/pci/function.ts';
import { Board, ECAM, registers } from './board.ts';

const IDENTITY = { vendor: 0x1af4, device: 0x1001, classCode: 0x010000, interruptPin: 1 } as const;
const IO = 1;
const MEMORY = 2;
const MASTER = 4;

describe('configuration space', () => {
  it('is reached through ports and through the window alike', () => {
    const board = new Board();
    board.pci.add(genericHostBridge(), 0);
    board.pci.add(new PciFunction({ ...IDENTITY, revision: 7, subsystem: 0x1234 }), 3);
    expect(board.readConfig(3, 0)).toBe(0x10011af4);
    expect(board.readConfig(3, 8)).toBe(0x01000007);
    expect(board.readConfig(3, 0x3d, 1)).toBe(1);
    board.platform.portWrite(0xcf8, 4, 0x80001800 | 0x2c);
    expect(board.platform.portRead(0xcf8, 4)).toBe(0x8000182c);
    expect(board.platform.portRead(0xcfe, 2)).toBe(0x1234);
    board.platform.portWrite(0xcf8, 4, 0x8000183c);
    board.platform.portWrite(0xcfc, 1, 0x0b);
    expect(board.readConfig(3, 0x3c, 1)).toBe(0x0b);
    board.platform.portWrite(0xcf8, 4, 0x00001800);
    expect(board.platform.portRead(0xcfc, 4)).toBe(0xffffffff);
  });

  it('reads ones where nothing is, and zeros behind the 256 bytes of what is there', () => {
    const board = new Board();
    board.pci.add(genericHostBridge(), 0);
    expect(board.readConfig(1, 0)).toBe(0xffffffff);
    expect(board.platform.memory.read(ECAM + (1 << 20), 4)).toBe(0xffffffff);
    expect(board.readConfig(0, 0x100)).toBe(0);
    board.writeConfig(0, 0x100, 0xffffffff);
    board.writeConfig(1, 4, 0xffffffff);
    expect(board.readConfig(0, 0x100)).toBe(0);
  });

  it('keeps what is read-only', () => {
    const board = new Board();
    board.pci.add(new PciFunction(IDENTITY), 0);
    for (let offset = 0; offset < 256; offset += 4) board.writeConfig(0, offset, 0xffffffff);
    expect(board.readConfig(0, 0)).toBe(0x10011af4);
    expect(board.readConfig(0, 4)).toBe(0x0547);
    expect(board.readConfig(0, 8)).toBe(0x01000000);
    expect(board.readConfig(0, 0x10)).toBe(0);
    expect(board.readConfig(0, 0x3c)).toBe(0x01ff);
  });

  it('marks devices with several functions', () => {
    const board = new Board();
    board.pci.add(i440fxHostBridge(), 0);
    board.pci.add(piix3IsaBridge(), 1);
    expect(board.readConfig(1, 0x0e, 1)).toBe(0);
    board.pci.add(new PciFunction({ vendor: 0x8086, device: 0x7113, classCode: 0x068000 }), 1, 3);
    expect(board.readConfig(1, 0x0e, 1)).toBe(0x80);
    expect(board.readConfig(1, 0, 4, 3)).toBe(0x71138086);
    expect(board.readConfig(0, 0x0e, 1)).toBe(0);
    expect(() => board.pci.add(piix3IsaBridge(), 1)).toThrow(RangeError);
    expect(board.pci.add(new PciFunction(IDENTITY))).toEqual({ slot: 2, func: 0 });
  });
});

describe('base addresses', () => {
  function withBars(): { board: Board; device: PciFunction } {
    const board = new Board();
    const device = new PciFunction(IDENTITY);
    device.addBar(0, { kind: 'io', size: 0x40, space: registers(0x100) });
    device.addBar(1, { kind: 'memory', size: 0x1000, space: registers(0x2000) });
    device.addBar(4, { kind: 'memory64', size: 0x4000, space: registers(0x30000), prefetchable: true });
    board.pci.add(device, 2);
    return { board, device };
  }

  it('tell their kind and size', () => {
    const { board } = withBars();
    for (let bar = 0; bar < 6; bar++) board.writeConfig(2, 0x10 + 4 * bar, 0xffffffff);
    const read = [0, 1, 2, 3, 4, 5].map(bar => board.readConfig(2, 0x10 + 4 * bar));
    expect(read).toEqual([0xffffffc1, 0xfffff000, 0, 0, 0xffffc00c, 0xffffffff]);
  });

  it('are decoded where they are put while the command register says so', () => {
    const { board } = withBars();
    board.writeConfig(2, 0x10, 0xc000);
    board.writeConfig(2, 0x20, 0x0000_8000);
    board.writeConfig(2, 0x24, 0x12);
    expect(board.platform.portRead(0xc004, 4)).toBe(0xffffffff);
    board.writeConfig(2, 4, IO | MEMORY, 2);
    expect(board.platform.portRead(0xc004, 4)).toBe(0x104);
    expect(board.platform.read(0x12_0000_8010n, 4)).toBe(0x30010n);
    board.writeConfig(2, 0x10, 0xd000);
    expect(board.platform.portRead(0xc004, 4)).toBe(0xffffffff);
    expect(board.platform.portRead(0xd004, 4)).toBe(0x104);
    board.writeConfig(2, 4, MEMORY, 2);
    expect(board.platform.portRead(0xd004, 4)).toBe(0xffffffff);
    expect(board.platform.read(0x12_0000_8010n, 4)).toBe(0x30010n);
  });

  it('give way to what was there first, and take their place when it leaves', () => {
    const board = new Board();
    const detachClock = board.platform.memory.attach(0xfed00000, 0x400, registers(1));
    const first = new PciFunction(IDENTITY);
    const second = new PciFunction(IDENTITY);
    first.addBar(0, { kind: 'memory', size: 0x1000, space: registers(0x1000) });
    second.addBar(0, { kind: 'memory', size: 0x2000, space: registers(0x2000) });
    board.pci.add(first, 1);
    board.pci.add(second, 2);
    for (const slot of [1, 2]) board.writeConfig(slot, 4, MEMORY, 2);
    board.writeConfig(1, 0x10, 0xfed00000);
    expect(board.platform.memory.read(0xfed00000, 4)).toBe(1);
    expect(board.platform.memory.read(0xfed00800, 4)).toBe(0xffffffff);
    board.writeConfig(1, 0x10, 0xe0001000);
    board.writeConfig(2, 0x10, 0xe0000000);
    expect(board.platform.memory.read(0xe0000000, 4)).toBe(0xffffffff);
    expect(board.platform.memory.read(0xe0001000, 4)).toBe(0x1000);
    board.writeConfig(1, 0x10, 0xe0003000);
    expect(board.platform.memory.read(0xe0001000, 4)).toBe(0x3000);
    expect(board.platform.memory.read(0xe0003000, 4)).toBe(0x1000);
    detachClock();
  });

  it('survive whatever software writes, and never take what is not theirs', () => {
    const access = fc.record({
      slot: fc.integer({ min: 0, max: 3 }),
      offset: fc.integer({ min: 0, max: 0x104 }),
      size: fc.constantFrom<1 | 2 | 4>(1, 2, 4),
      value: fc.oneof(fc.constantFrom(0, 0xffffffff, 0xfee00000, ECAM, 0xcf8, 7), fc.nat(0xffffffff)),
    });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), accesses => {
        const board = new Board();
        board.platform.memory.attach(0xfee00000, 0x1000, registers(0xa01c));
        for (let slot = 0; slot < 3; slot++) {
          const device = new PciFunction(IDENTITY);
          device.addBar(0, { kind: 'io', size: 0x20, space: registers(slot) });
          device.addBar(1, { kind: 'memory', size: 0x1000, space: registers(slot) });
          device.addBar(2, { kind: 'memory64', size: 2 ** 33, space: registers(slot) });
          board.pci.add(device);
        }
        for (const { slot, offset, size, value } of accesses) board.writeConfig(slot, offset, value, size);
        expect(board.platform.memory.read(0xfee00000, 4)).toBe(0xa01c);
        expect(board.readConfig(2, 0)).toBe(0x10011af4);
      }),
      { numRuns: 200 },
    );
  });
});

describe('interrupt pins', () => {
  it('share lines, level by level, unless software disables them', () => {
    const board = new Board();
    const devices = [1, 9].map(slot => {
      const device = new PciFunction(IDENTITY);
      board.pci.add(device, slot);
      return device;
    });
    devices[0].setInterrupt(true);
    devices[1].setInterrupt(true);
    devices[0].setInterrupt(false);
    expect(board.wires[1]).toBe(true);
    expect(board.readConfig(9, 6, 2) & 8).toBe(8);
    board.writeConfig(9, 4, 0x400, 2);
    expect(board.wires[1]).toBe(false);
    expect(board.readConfig(9, 6, 2) & 8).toBe(8);
    board.writeConfig(9, 4, 0, 2);
    expect(board.wires[1]).toBe(true);
  });
});

describe('firmware', () => {
  it('gives every range an address in its window and has it decoded', () => {
    const board = new Board();
    board.pci.add(genericHostBridge(), 0);
    for (let i = 0; i < 4; i++) {
      const device = new PciFunction(IDENTITY);
      device.addBar(0, { kind: 'io', size: 0x40, space: registers(0x100 * i) });
      device.addBar(4, { kind: 'memory64', size: i % 2 ? 0x4000 : 0x1000, space: registers(0x1000 * i) });
      board.pci.add(device);
    }
    const windows = { io: { start: 0xc000, end: 0xd000 }, memory: { start: 0xc000_0000, end: 0xc010_0000 } };
    assignResources(board.pci, windows, (slot, pin) => 8 + slot + pin);
    for (let slot = 1; slot <= 4; slot++) {
      expect(board.readConfig(slot, 4, 2)).toBe(IO | MEMORY);
      const io = board.readConfig(slot, 0x10) & ~3;
      expect(board.platform.portRead(io, 4)).toBe(0x100 * (slot - 1));
      const memory = (board.readConfig(slot, 0x20) & ~15) >>> 0;
      expect(board.platform.memory.read(memory, 4)).toBe(0x1000 * (slot - 1));
      expect(board.readConfig(slot, 0x3c, 1)).toBe(8 + slot);
    }
    expect(() => assignResources(board.pci, { ...windows, io: { start: 0xc000, end: 0xc080 } }, () => 11)).toThrow(
      RangeError,
    );
  });
});

describe('state', () => {
  it('comes back with ranges decoded and lines driven', () => {
    const build = () => {
      const board = new Board();
      const device = new PciFunction(IDENTITY);
      device.addBar(0, { kind: 'io', size: 0x40, space: registers(0x100) });
      board.pci.add(device, 1);
      return { board, device };
    };
    const { board, device } = build();
    board.writeConfig(1, 0x10, 0xc000);
    board.writeConfig(1, 4, IO | MASTER, 2);
    device.setInterrupt(true);
    const copy = build();
    copy.device.load(structuredClone(device.save()));
    expect(copy.board.platform.portRead(0xc000, 4)).toBe(0x100);
    expect(copy.board.wires[1]).toBe(true);
    expect(copy.device.isBusMaster).toBe(true);
  });
});
