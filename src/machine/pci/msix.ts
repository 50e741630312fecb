// MSI-X (PCI Local Bus 3.0, 6.8.2): a table of messages, one a vector, and the bits of those that wait behind a mask, both in a memory range.
import { type AccessSize, floating, type RegisterSpace, type Saveable } from '../chip.ts';
import { PciCapability } from './config-space.ts';
import type { PciFunction } from './function.ts';

export interface MsixState {
  table: Uint8Array;
  pending: boolean[];
}

const CAPABILITY_LENGTH = 12;
const CONTROL = 2;
const TABLE = 4;
const PBA = 8;
const ENABLE = 1 << 15;
const FUNCTION_MASK = 1 << 14;

const ENTRY = 16;
const ENTRY_DATA = 8;
const ENTRY_CONTROL = 12;
const ENTRY_MASKED = 1;

/** Bytes of the range with the table and, in its second half, the pending bits: room for MAX_VECTORS. */
const RANGE = 4096;
const PENDING_AT = RANGE / 2;
const MAX_VECTORS = PENDING_AT / ENTRY;

export class Msix implements RegisterSpace, Saveable<MsixState> {
  readonly vectors: number;
  private readonly device: PciFunction;
  private readonly at: number;
  private readonly table: Uint8Array;
  private readonly view: DataView;
  private pending: boolean[];

  /** Gives the function the capability and base address register `bar` for `vectors` (1 to 128) vectors. */
  constructor(device: PciFunction, vectors: number, bar: number) {
    if (vectors < 1 || vectors > MAX_VECTORS) throw new RangeError(`${vectors} MSI-X vectors`);
    const { config } = device;
    this.device = device;
    this.vectors = vectors;
    this.table = new Uint8Array(vectors * ENTRY);
    this.view = new DataView(this.table.buffer);
    this.pending = new Array<boolean>(vectors).fill(false);
    this.at = config.addCapability(PciCapability.msix, CAPABILITY_LENGTH);
    config.view.setUint16(this.at + CONTROL, vectors - 1, true);
    config.view.setUint32(this.at + TABLE, bar, true);
    config.view.setUint32(this.at + PBA, PENDING_AT | bar, true);
    config.allowWrites(this.at + CONTROL, 2, ENABLE | FUNCTION_MASK);
    config.watch(this.at + CONTROL, 2, () => this.sendPending());
    device.addBar(bar, { kind: 'memory', size: RANGE, space: this });
    this.reset();
  }

  /** While it is, the function must not use its pin. */
  get isEnabled(): boolean {
    return (this.control & ENABLE) !== 0;
  }

  /** Signals a vector; one that the table does not have goes nowhere. */
  notify(vector: number): void {
    if (!this.isEnabled || vector >= this.vectors) return;
    if (this.isMasked(vector)) this.pending[vector] = true;
    else this.send(vector);
  }

  /** A reset of the function: all vectors are masked. */
  reset(): void {
    this.table.fill(0);
    this.pending.fill(false);
    for (let i = 0; i < this.vectors; i++) this.table[i * ENTRY + ENTRY_CONTROL] = ENTRY_MASKED;
  }

  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.byte(offset + i) << (8 * i);
    return (value & floating(size)) >>> 0;
  }

  write(offset: number, size: AccessSize, value: number): void {
    // the pending bits are read-only, and what is behind the table does not exist
    for (let i = 0; i < size && offset + i < this.table.length; i++) this.table[offset + i] = value >>> (8 * i);
    this.sendPending();
  }

  private byte(offset: number): number {
    if (offset < this.table.length) return this.table[offset];
    if (offset < PENDING_AT) return 0;
    let bits = 0;
    for (let i = 0; i < 8; i++) if (this.pending[(offset - PENDING_AT) * 8 + i]) bits |= 1 << i;
    return bits;
  }

  private get control(): number {
    return this.device.config.view.getUint16(this.at + CONTROL, true);
  }

  private isMasked(vector: number): boolean {
    const isMasked =
      (this.control & FUNCTION_MASK) !== 0 || (this.table[vector * ENTRY + ENTRY_CONTROL] & ENTRY_MASKED) !== 0;
    return isMasked && !this.device.ignoresMask(this.view.getUint32(vector * ENTRY + ENTRY_DATA, true));
  }

  private send(vector: number): void {
    const { view } = this;
    const entry = vector * ENTRY;
    const address = view.getUint32(entry + 4, true) * 0x1_0000_0000 + view.getUint32(entry, true);
    this.device.sendMessage(address, view.getUint32(entry + ENTRY_DATA, true));
  }

  private sendPending(): void {
    if (!this.isEnabled) return;
    for (let i = 0; i < this.vectors; i++) {
      if (!this.pending[i] || this.isMasked(i)) continue;
      this.pending[i] = false;
      this.send(i);
    }
  }

  save(): MsixState {
    return { table: this.table.slice(), pending: [...this.pending] };
  }

  load(state: MsixState): void {
    this.table.set(state.table);
    this.pending = [...state.pending];
  }
}
