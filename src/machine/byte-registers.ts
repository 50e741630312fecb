// Chips of the eight-bit bus: a wider access reaches them a byte at a time, lowest offset first, as the PC's bus bridge does it.
import type { AccessSize, RegisterSpace } from './chip.ts';

export abstract class ByteRegisters implements RegisterSpace {
  abstract readByte(offset: number): number;
  abstract writeByte(offset: number, value: number): void;

  read(offset: number, size: AccessSize): number {
    if (size === 1) return this.readByte(offset);
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.readByte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size === 1) this.writeByte(offset, value & 0xff);
    else for (let i = 0; i < size; i++) this.writeByte(offset + i, (value >>> (8 * i)) & 0xff);
  }
}
