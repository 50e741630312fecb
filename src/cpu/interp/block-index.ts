// Where decoded blocks are found by frame, offset and mode: a hash table with open addressing in typed arrays. A Map would want a number
// beyond 31 bits as its key, which costs an allocation and several times as long; a new address space looks up thousands of blocks.
import { FRAME_SIZE } from '../layout.ts';
import type { Mfn } from '../memory.ts';

const FIRST_CAPACITY = 1 << 12;
const SCATTER = 0x9e3779b1;
/** No header is at address 0. */
const FREE = 0;

export class BlockIndex {
  private capacity = FIRST_CAPACITY;
  private shift = 32 - Math.log2(FIRST_CAPACITY);
  private used = 0;
  /** Machine address of the block's first byte: machine memory has 32 bits. */
  private addresses = new Uint32Array(FIRST_CAPACITY);
  private modes = new Uint32Array(FIRST_CAPACITY);
  private headers = new Uint32Array(FIRST_CAPACITY);

  /** Header of the block, or undefined. */
  get(mfn: Mfn, offset: number, mode: number): number | undefined {
    const header = this.headers[this.place((mfn * FRAME_SIZE + offset) >>> 0, mode)];
    return header === FREE ? undefined : header;
  }

  set(mfn: Mfn, offset: number, mode: number, header: number): void {
    if (2 * this.used >= this.capacity) this.grow();
    const address = (mfn * FRAME_SIZE + offset) >>> 0;
    const at = this.place(address, mode);
    if (this.headers[at] === FREE) this.used++;
    this.put(at, address, mode, header);
  }

  delete(mfn: Mfn, offset: number, mode: number): void {
    let hole = this.place((mfn * FRAME_SIZE + offset) >>> 0, mode);
    if (this.headers[hole] === FREE) return;
    this.used--;
    // what stands behind moves up where it would not be found any more
    const mask = this.capacity - 1;
    for (let at = (hole + 1) & mask; this.headers[at] !== FREE; at = (at + 1) & mask) {
      const home = this.home(this.addresses[at], this.modes[at]);
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      this.put(hole, this.addresses[at], this.modes[at], this.headers[at]);
      hole = at;
    }
    this.headers[hole] = FREE;
  }

  clear(): void {
    this.headers.fill(FREE);
    this.used = 0;
  }

  private home(address: number, mode: number): number {
    return Math.imul(address ^ (mode << 20), SCATTER) >>> this.shift;
  }

  /** Where a block is, or where it would be put. */
  private place(address: number, mode: number): number {
    const mask = this.capacity - 1;
    let at = this.home(address, mode);
    while (this.headers[at] !== FREE && (this.addresses[at] !== address || this.modes[at] !== mode))
      at = (at + 1) & mask;
    return at;
  }

  private put(at: number, address: number, mode: number, header: number): void {
    this.addresses[at] = address;
    this.modes[at] = mode;
    this.headers[at] = header;
  }

  private grow(): void {
    const { addresses, modes, headers } = this;
    this.capacity *= 2;
    this.shift--;
    this.addresses = new Uint32Array(this.capacity);
    this.modes = new Uint32Array(this.capacity);
    this.headers = new Uint32Array(this.capacity);
    for (let i = 0; i < headers.length; i++) {
      if (headers[i] !== FREE) this.put(this.place(addresses[i], modes[i]), addresses[i], modes[i], headers[i]);
    }
  }
}
