// Chips of the eight-bit bus: a wider access reaches them a byte at a time, lowest offset first, as the PC's bus bridge does it.
import type { AccessSize, RegisterSpace } from './chip.ts';

type ReadByte = (offset: number) => number;
type WriteByte = (offset: number, value: number) => void;

function readBytes(readByte: ReadByte, offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= readByte(offset + i) << (8 * i);
  return value >>> 0;
}

function writeBytes(writeByte: WriteByte, offset: number, size: AccessSize, value: number): void {
  for (let i = 0; i < size; i++) writeByte(offset + i, (value >>> (8 * i)) & 0xff);
}

/** A chip with one such range of registers. */
export abstract class ByteRegisters implements RegisterSpace {
  abstract readByte(offset: number): number;
  abstract writeByte(offset: number, value: number): void;

  read(offset: number, size: AccessSize): number {
    return readBytes(at => this.readByte(at), offset, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    writeBytes((at, byte) => this.writeByte(at, byte), offset, size, value);
  }
}

/** One of several ranges of a chip. */
export function byteSpace(readByte: ReadByte, writeByte: WriteByte): RegisterSpace {
  return {
    read: (offset, size) => readBytes(readByte, offset, size),
    write: (offset, size, value) => writeBytes(writeByte, offset, size, value),
  };
}
