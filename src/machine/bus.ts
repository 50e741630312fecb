// The two address spaces outside of RAM, I/O ports and device memory, and which chip answers where.
import type { Bus } from '../cpu/types.ts';
import { type AccessSize, floating, type RegisterSpace } from './chip.ts';

interface Range {
  /** First address, and the one after the last. */
  readonly start: number;
  readonly end: number;
  readonly space: RegisterSpace;
}

/** Takes a chip off the bus again. */
export type Detach = () => void;

/** Ranges that do not overlap, in order of their addresses. */
class AddressSpace {
  private readonly ranges: Range[] = [];
  private last: Range | null = null;

  /** Throws RangeError where something else is there. */
  attach(start: number, length: number, space: RegisterSpace): Detach {
    const range = { start, end: start + length, space };
    const at = this.ranges.findIndex(other => other.end > start);
    const behind = at < 0 ? null : this.ranges[at];
    if (behind && behind.start < range.end) {
      throw new RangeError(`0x${start.toString(16)} to 0x${(range.end - 1).toString(16)} is taken`);
    }
    this.ranges.splice(at < 0 ? this.ranges.length : at, 0, range);
    return () => {
      const place = this.ranges.indexOf(range);
      if (place >= 0) this.ranges.splice(place, 1);
      this.last = null;
    };
  }

  /** Whether nothing answers anywhere in a range. */
  isFree(start: number, length: number): boolean {
    return !this.ranges.some(range => range.start < start + length && range.end > start);
  }

  private find(address: number): Range | null {
    const { last } = this;
    if (last && address >= last.start && address < last.end) return last;
    const found = this.ranges.find(range => address < range.end);
    if (!found || address < found.start) return null;
    this.last = found;
    return found;
  }

  read(address: number, size: AccessSize): number {
    const range = this.find(address);
    if (range && address + size <= range.end)
      return (range.space.read(address - range.start, size) & floating(size)) >>> 0;
    if (size === 1 || this.isFree(address, size)) return floating(size);
    // over the edge of a range: a byte at a time, as a narrow bus does it
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.read(address + i, 1) << (8 * i);
    return value >>> 0;
  }

  write(address: number, size: AccessSize, value: number): void {
    const range = this.find(address);
    if (range && address + size <= range.end) range.space.write(address - range.start, size, value >>> 0);
    else if (size > 1 && !this.isFree(address, size)) {
      for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff);
    }
  }
}

const LOW = 0xffffffffn;

/** What a processor meets where there is no RAM. Reads of nothing give ones, writes to nothing are lost. */
export class PlatformBus implements Bus {
  /** Addresses are ports, 0 to 0xffff. */
  readonly ports = new AddressSpace();
  /** Addresses are physical, below 2^52. */
  readonly memory = new AddressSpace();
  /** Told of every access: it takes time. */
  onAccess: () => void = () => {};

  read(address: bigint, size: number): bigint {
    this.onAccess();
    const at = Number(address);
    if (size !== 8) return BigInt(this.memory.read(at, size as AccessSize));
    return BigInt(this.memory.read(at, 4)) | (BigInt(this.memory.read(at + 4, 4)) << 32n);
  }

  write(address: bigint, size: number, value: bigint): void {
    this.onAccess();
    const at = Number(address);
    this.memory.write(at, size === 8 ? 4 : (size as AccessSize), Number(value & LOW));
    if (size === 8) this.memory.write(at + 4, 4, Number(value >> 32n));
  }

  portRead(port: number, size: number): number {
    this.onAccess();
    return this.ports.read(port, size as AccessSize);
  }

  portWrite(port: number, size: number, value: number): void {
    this.onAccess();
    this.ports.write(port, size as AccessSize, value);
  }
}
