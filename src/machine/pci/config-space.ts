// The configuration space of one PCI function as bytes with write masks (PCI Local Bus 3.0, chapter 6): which bits stick, which are cleared by
// writing ones, and where capabilities stand. What registers mean is other files' business.
import type { AccessSize, RegisterSpace, Saveable } from '../chip.ts';

/** Registers of a type 0 header, by offset. */
export const PciRegister = {
  vendor: 0x00,
  device: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendor: 0x2c,
  subsystem: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
} as const;

/** Capability ids (PCI Code and ID Assignment). */
export const PciCapability = { msi: 0x05, vendorSpecific: 0x09, msix: 0x11 } as const;

/** Without the extended part: none of our functions has anything there. */
export const CONFIG_SIZE = 256;
const FIRST_CAPABILITY = 0x40;
const STATUS_CAPABILITIES = 1 << 4;

interface Watch {
  readonly start: number;
  readonly end: number;
  readonly call: () => void;
}

export class ConfigSpace implements RegisterSpace, Saveable<Uint8Array> {
  readonly bytes = new Uint8Array(CONFIG_SIZE);
  readonly view = new DataView(this.bytes.buffer);
  /** Bits that software may set and clear. */
  private readonly writable = new Uint8Array(CONFIG_SIZE);
  /** Bits that writing a one clears. */
  private readonly clearable = new Uint8Array(CONFIG_SIZE);
  private readonly watches: Watch[] = [];
  private readonly readers: Watch[] = [];
  private nextCapability = FIRST_CAPABILITY;
  /** Where the offset of the next capability goes. */
  private link: number = PciRegister.capabilities;

  /** Lets software write the bits of `mask` in the `size` bytes at `offset`. */
  allowWrites(offset: number, size: AccessSize, mask: number): void {
    for (let i = 0; i < size; i++) this.writable[offset + i] |= (mask >>> (8 * i)) & 0xff;
  }

  /** Bits of `mask` in the 16-bit register at `offset` are cleared by writing ones. */
  clearByOnes(offset: number, mask: number): void {
    this.clearable[offset] |= mask & 0xff;
    this.clearable[offset + 1] |= mask >>> 8;
  }

  /** Appends a capability of `length` bytes, its id and link included; returns its offset. Throws RangeError where none is left. */
  addCapability(id: number, length: number): number {
    const at = this.nextCapability;
    if (at + length > CONFIG_SIZE) throw new RangeError('no room for another PCI capability');
    this.bytes[this.link] = at;
    this.bytes[at] = id;
    this.link = at + 1;
    this.nextCapability = (at + length + 3) & ~3;
    this.bytes[PciRegister.status] |= STATUS_CAPABILITIES;
    return at;
  }

  /** Calls `changed` after each write by software that touches these bytes. */
  watch(offset: number, length: number, changed: () => void): void {
    this.watches.push({ start: offset, end: offset + length, call: changed });
  }

  /** Calls `refresh` before each read by software that touches these bytes. */
  beforeRead(offset: number, length: number, refresh: () => void): void {
    this.readers.push({ start: offset, end: offset + length, call: refresh });
  }

  /** Offsets from 0 on; an access that goes over the end reads zeros there. */
  read(offset: number, size: AccessSize): number {
    for (const reader of this.readers) if (reader.start < offset + size && reader.end > offset) reader.call();
    let value = 0;
    for (let i = 0; i < size; i++) value |= (this.bytes[offset + i] ?? 0) << (8 * i);
    return value >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    const end = Math.min(offset + size, CONFIG_SIZE);
    for (let at = offset; at < end; at++) {
      const byte = (value >>> (8 * (at - offset))) & 0xff;
      const mask = this.writable[at];
      this.bytes[at] = ((this.bytes[at] & ~mask) | (byte & mask)) & ~(byte & this.clearable[at]);
    }
    for (const watch of this.watches) if (watch.start < end && watch.end > offset) watch.call();
  }

  save(): Uint8Array {
    return this.bytes.slice();
  }

  load(state: Uint8Array): void {
    this.bytes.set(state.subarray(0, CONFIG_SIZE));
  }
}
