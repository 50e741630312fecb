import { describe, expect, it } from 'vitest';
import { PciFunction } from '../../../src/machine/pci/function.ts';
import { Msi } from '../../../src/machine/pci/msi.ts';
import { Msix } from '../../../src/machine/pci/msix.ts';
import { Board } from './board.ts';

const MEMORY_AND_MASTER = 6;
const TABLE = 0xe000_0000;

function device(): { board: Board; device: PciFunction } {
  const board = new Board();
  return { board, device: new PciFunction({ vendor: 0x1af4, device: 0x1001, classCode: 0x010000, interruptPin: 1 }) };
}

describe('MSI', () => {
  function withMsi(vectors: number): { board: Board; msi: Msi; at: number } {
    const { board, device: fn } = device();
    const msi = new Msi(fn, vectors);
    board.pci.add(fn, 1);
    board.writeConfig(1, 4, MEMORY_AND_MASTER, 2);
    const at = board.capability(1, 5);
    board.writeConfig(1, at + 4, 0xfee01000);
    board.writeConfig(1, at + 12, 0x4140, 2);
    return { board, msi, at };
  }

  it('sends its message while enabled, from bus masters only', () => {
    const { board, msi, at } = withMsi(1);
    msi.notify(0);
    expect(board.messages).toEqual([]);
    board.writeConfig(1, at + 2, 1, 2);
    expect(msi.isEnabled).toBe(true);
    msi.notify(0);
    expect(board.messages).toEqual([[0xfee01000, 0x4140]]);
    board.writeConfig(1, 4, 2, 2);
    msi.notify(0);
    expect(board.messages).toHaveLength(1);
  });

  it('puts the vector into the low bits, as many as software enabled', () => {
    const { board, msi, at } = withMsi(8);
    expect(board.readConfig(1, at + 2, 2)).toBe(0x186);
    board.writeConfig(1, at + 2, 0x21, 2);
    for (const vector of [0, 1, 3, 6]) msi.notify(vector);
    expect(board.messages.map(([, data]) => data)).toEqual([0x4140, 0x4141, 0x4143, 0x4142]);
    board.writeConfig(1, at + 2, 0x71, 2);
    msi.notify(7);
    expect(board.messages.at(-1)).toEqual([0xfee01000, 0x4147]);
  });

  it('holds back masked vectors and sends them once', () => {
    const { board, msi, at } = withMsi(2);
    board.writeConfig(1, at + 2, 0x11, 2);
    board.writeConfig(1, at + 16, 2);
    msi.notify(1);
    msi.notify(1);
    msi.notify(0);
    expect(board.readConfig(1, at + 20)).toBe(2);
    expect(board.messages).toHaveLength(1);
    board.writeConfig(1, at + 16, 0);
    expect(board.messages.map(([, data]) => data)).toEqual([0x4140, 0x4141]);
    expect(board.readConfig(1, at + 20)).toBe(0);
  });
});

describe('MSI-X', () => {
  function withMsix(): { board: Board; msix: Msix; at: number; fn: PciFunction } {
    const { board, device: fn } = device();
    const msix = new Msix(fn, 3, 1);
    board.pci.add(fn, 1);
    board.writeConfig(1, 0x14, TABLE);
    board.writeConfig(1, 4, MEMORY_AND_MASTER, 2);
    for (let i = 0; i < 3; i++) {
      board.platform.memory.write(TABLE + 16 * i, 4, 0xfee00000 + 0x1000 * i);
      board.platform.memory.write(TABLE + 16 * i + 8, 4, 0x40 + i);
    }
    return { board, msix, at: board.capability(1, 0x11), fn };
  }
  const unmask = (board: Board, vector: number): void =>
    void board.platform.memory.write(TABLE + 16 * vector + 12, 4, 0);

  it('says where the table is and how long', () => {
    const { board, at } = withMsix();
    expect(board.readConfig(1, at + 2, 2)).toBe(2);
    expect([board.readConfig(1, at + 4), board.readConfig(1, at + 8)]).toEqual([1, 0x801]);
    expect(board.platform.memory.read(TABLE + 12, 4)).toBe(1);
  });

  it('sends messages of the table, holding back what is masked', () => {
    const { board, msix, at } = withMsix();
    unmask(board, 0);
    msix.notify(0);
    expect(board.messages).toEqual([]);
    board.writeConfig(1, at + 2, 0x8000, 2);
    for (const vector of [0, 2, 2, 3, 0xffff]) msix.notify(vector);
    expect(board.messages).toEqual([[0xfee00000, 0x40]]);
    expect(board.platform.memory.read(TABLE + 0x800, 4)).toBe(4);
    unmask(board, 2);
    expect(board.messages).toEqual([
      [0xfee00000, 0x40],
      [0xfee02000, 0x42],
    ]);
    expect(board.platform.memory.read(TABLE + 0x800, 4)).toBe(0);
  });

  it('can be masked as a whole, and keeps what waits in its state', () => {
    const { board, msix, at, fn } = withMsix();
    unmask(board, 1);
    board.writeConfig(1, at + 2, 0xc000, 2);
    msix.notify(1);
    expect(board.messages).toEqual([]);
    const copy = withMsix();
    copy.fn.load(structuredClone(fn.save()));
    copy.msix.load(structuredClone(msix.save()));
    copy.board.writeConfig(1, at + 2, 0x8000, 2);
    expect(copy.board.messages).toEqual([[0xfee01000, 0x41]]);
  });

  it('takes accesses of every width anywhere in its range', () => {
    const { board, msix } = withMsix();
    for (let offset = 0; offset < 0x1000; offset += 3) board.platform.memory.write(TABLE + offset, 4, 0xffffffff);
    expect(board.platform.memory.read(TABLE + 0x800, 4)).toBe(0);
    expect(board.platform.memory.read(TABLE + 0x40, 4)).toBe(0);
    expect(board.platform.memory.read(TABLE + 1, 2)).toBe(0xffff);
    msix.reset();
    expect(board.platform.memory.read(TABLE + 12, 4)).toBe(1);
  });
});
