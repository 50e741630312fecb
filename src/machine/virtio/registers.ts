// Registers of fixed width at fixed offsets, as a table. Drivers are to access each with its own width; other reads are put together from bytes,
// other writes are lost.
import type { AccessSize } from '../chip.ts';

export interface Register {
  readonly offset: number;
  readonly size: AccessSize;
  readonly read: () => number;
  /** Absent: read-only. */
  readonly write?: (value: number) => void;
}

export class RegisterTable {
  private readonly at = new Map<number, Register>();

  constructor(registers: readonly Register[]) {
    for (const register of registers) this.at.set(register.offset, register);
  }

  read(offset: number, size: AccessSize): number {
    const register = this.at.get(offset);
    if (register?.size === size) return register.read() >>> 0;
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.byte(offset + i) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    const register = this.at.get(offset);
    if (register?.size === size) register.write?.(value);
  }

  private byte(offset: number): number {
    for (let back = 0; back < 4; back++) {
      const register = this.at.get(offset - back);
      if (register && register.size > back) return (register.read() >>> (8 * back)) & 0xff;
    }
    return 0;
  }
}

/** Bytes of the device's own configuration, which may be accessed with any width. */
export function readBytes(bytes: Uint8Array, offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= (bytes[offset + i] ?? 0) << (8 * i);
  return value >>> 0;
}
