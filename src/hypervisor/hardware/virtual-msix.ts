// A function's MSI-X capability and its table as vPCI shows them to a domain: the table is trapped, entries hold the domain's messages, and the
// function's own table has Xen's. Source: xen/drivers/vpci/msix.c.
import type { AccessSize, RegisterSpace } from '../../machine/chip.ts';
import { MSIX } from './message-sources.ts';
import type { PassedMessage } from './passed-message.ts';
import type { VirtualCapability } from './virtual-msi.ts';

const HIGH_HALF = 16;
const MASK_ALL = 0x4000;
const CAPABILITY_BYTES = 12;
/** An entry's words. */
const WORD = { address: 0, addressHigh: 1, data: 2, control: 3 } as const;

class Entry {
  readonly words: [number, number, number, number] = [0, 0, 0, MSIX.masked];
  readonly interrupt: PassedMessage;

  constructor(interrupt: PassedMessage) {
    this.interrupt = interrupt;
  }

  get address(): number {
    return this.words[WORD.address];
  }
  get data(): number {
    return this.words[WORD.data];
  }

  update(on: boolean): void {
    if (on && !(this.words[WORD.control] & MSIX.masked)) this.interrupt.start(this);
    else this.interrupt.stop();
  }
}

export class VirtualMsix implements VirtualCapability {
  readonly at: number;
  readonly length = CAPABILITY_BYTES;
  /** The table, from its first entry on. */
  readonly table: RegisterSpace;
  readonly tableBytes: number;
  private readonly entries: readonly Entry[];
  private isOn = false;

  constructor(at: number, control: number, interruptOf: (entry: number) => PassedMessage) {
    const count = (control & MSIX.tableSize) + 1;
    this.at = at;
    this.entries = Array.from({ length: count }, (_, i) => new Entry(interruptOf(i)));
    this.tableBytes = count * MSIX.entryBytes;
    this.table = {
      read: (offset, size) => this.readTable(offset, size),
      write: (offset, size, value) => this.writeTable(offset, size, value),
    };
  }

  read(_offset: number, hardware: number): number {
    return hardware;
  }

  /** Enabling and masking as a whole are the function's business too. */
  write(offset: number, value: number): number | null {
    if (offset !== 0) return null;
    const control = value >>> HIGH_HALF;
    this.isOn = (control & MSIX.enable) !== 0 && (control & MASK_ALL) === 0;
    if (!this.isOn) this.update();
    return value;
  }

  /** After the function has been told. */
  update(): void {
    for (const entry of this.entries) entry.update(this.isOn);
  }

  /** Words are read and written whole; of narrower accesses nothing comes. */
  private readTable(offset: number, size: AccessSize): number {
    const entry = this.entries[Math.floor(offset / MSIX.entryBytes)];
    if (size !== 4 || (offset & 3) !== 0 || !entry) return 0xffffffff;
    return entry.words[((offset >> 2) & 3) as 0 | 1 | 2 | 3] >>> 0;
  }

  private writeTable(offset: number, size: AccessSize, value: number): void {
    const entry = this.entries[Math.floor(offset / MSIX.entryBytes)];
    if (size !== 4 || (offset & 3) !== 0 || !entry) return;
    const word = ((offset >> 2) & 3) as 0 | 1 | 2 | 3;
    entry.words[word] = word === WORD.control ? value & MSIX.masked : value >>> 0;
    entry.update(this.isOn);
  }
}
