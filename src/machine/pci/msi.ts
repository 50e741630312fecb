// Message signalled interrupts (PCI Local Bus 3.0, 6.8.1): up to 32 vectors that differ in the low bits of one message's data; 64-bit addresses
// and per-vector masking.
import { PciCapability } from './config-space.ts';
import type { PciFunction } from './function.ts';

const CONTROL = 2;
const ADDRESS = 4;
const DATA = 12;
const MASK = 16;
const PENDING = 20;
const LENGTH = 24;

const ENABLE = 1 << 0;
const MULTIPLE_ENABLE = 7 << 4;
const CAPABLE_64 = 1 << 7;
const CAPABLE_MASKING = 1 << 8;

export class Msi {
  private readonly device: PciFunction;
  private readonly at: number;
  private readonly capable: number;

  /** Gives the function the capability. `vectors` is a power of two up to 32. State is in the function's configuration space. */
  constructor(device: PciFunction, vectors = 1) {
    const { config } = device;
    this.device = device;
    this.capable = Math.log2(vectors);
    if (!Number.isInteger(this.capable) || vectors > 32) throw new RangeError(`${vectors} MSI vectors`);
    this.at = config.addCapability(PciCapability.msi, LENGTH);
    config.view.setUint16(this.at + CONTROL, CAPABLE_64 | CAPABLE_MASKING | (this.capable << 1), true);
    config.allowWrites(this.at + CONTROL, 2, ENABLE | MULTIPLE_ENABLE);
    config.allowWrites(this.at + ADDRESS, 4, 0xfffffffc);
    config.allowWrites(this.at + ADDRESS + 4, 4, 0xffffffff);
    config.allowWrites(this.at + DATA, 2, 0xffff);
    config.allowWrites(this.at + MASK, 4, vectors === 32 ? 0xffffffff : (1 << vectors) - 1);
    config.watch(this.at, LENGTH, () => this.sendPending());
  }

  /** While it is, the function must not use its pin. */
  get isEnabled(): boolean {
    return (this.control & ENABLE) !== 0;
  }

  /** Signals a vector. More than software has enabled share what there is. */
  notify(vector: number): void {
    if (!this.isEnabled) return;
    const index = vector & ((1 << this.enabledLog) - 1);
    if (this.word(MASK) & (1 << index) && !this.device.ignoresMask(this.dataOf(index)))
      this.setPending(this.word(PENDING) | (1 << index));
    else this.send(index);
  }

  private get control(): number {
    return this.device.config.view.getUint16(this.at + CONTROL, true);
  }

  private get enabledLog(): number {
    return Math.min((this.control & MULTIPLE_ENABLE) >> 4, this.capable);
  }

  private word(offset: number): number {
    return this.device.config.view.getUint32(this.at + offset, true);
  }

  private setPending(bits: number): void {
    this.device.config.view.setUint32(this.at + PENDING, bits >>> 0, true);
  }

  private send(index: number): void {
    this.device.sendMessage(this.word(ADDRESS + 4) * 0x1_0000_0000 + this.word(ADDRESS), this.dataOf(index));
  }

  private dataOf(index: number): number {
    const data = this.device.config.view.getUint16(this.at + DATA, true);
    return (data & ~((1 << this.enabledLog) - 1)) | index;
  }

  private sendPending(): void {
    const due = this.isEnabled ? this.word(PENDING) & ~this.word(MASK) : 0;
    if (due === 0) return;
    this.setPending(this.word(PENDING) & ~due);
    for (let index = 0; index < 32; index++) if (due & (1 << index)) this.send(index);
  }
}
