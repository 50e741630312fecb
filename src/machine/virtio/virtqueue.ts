// A split virtqueue as the device sees it (virtio 1.2, 2.7): a table of descriptors, a ring of chains that the driver makes available and a ring
// of those that the device has used. All three lie in memory that a hostile driver writes: each value is read once, and what makes no
// sense breaks the queue.
import type { Saveable } from '../chip.ts';
import type { PhysicalMemory } from '../physical-memory.ts';
import { Chain, type Segment } from './chain.ts';

/** What a queue needs of its device. */
export interface QueueOwner {
  readonly memory: PhysicalMemory;
  /** Whether the device may reach memory now. */
  readonly canAccessMemory: boolean;
  /** Negotiated: VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX. */
  readonly indirect: boolean;
  readonly eventIndex: boolean;
  /** The driver has broken the rules. The queue gives nothing more until the device is reset. */
  broken(queue: Virtqueue, reason: string): void;
  /** An interrupt for this queue. */
  interrupt(queue: Virtqueue): void;
}

export interface VirtqueueState {
  size: number;
  ready: boolean;
  addresses: [descriptors: number, driver: number, device: number];
  lastAvailable: number;
  usedIndex: number;
  signalled: number;
  waiting: number[];
  isBroken: boolean;
}

const DESCRIPTOR = 16;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const NO_INTERRUPT = 1;
const RING_HEADER = 4;
const USED_ELEMENT = 8;
/** Descriptors of a chain at most, those of an indirect table included. */
const MAX_DESCRIPTORS = 1024;
/** Addresses from here on are no processor's, nor exact numbers. */
const HIGH_ADDRESS = 1 << 20;
const TWO32 = 0x1_0000_0000;
/** Alignment of the used ring in the legacy layout (2.7.2). */
const LEGACY_ALIGN = 4096;

export class Virtqueue implements Saveable<VirtqueueState> {
  readonly index: number;
  readonly maxSize: number;
  /** What the driver has set up. Sizes are powers of two up to maxSize. */
  size: number;
  ready = false;
  descriptors = 0;
  /** The available ring. */
  driver = 0;
  /** The used ring. */
  device = 0;
  private readonly owner: QueueOwner;
  private lastAvailable = 0;
  private usedIndex = 0;
  /** The used index when an interrupt was last considered. */
  private signalled = 0;
  /** Chains that were taken and are not used yet, by their heads, in order. */
  private readonly taken = new Map<number, Chain>();
  /** Heads to be taken once more: given back, or in use when a state was saved. */
  private again: number[] = [];
  private isBroken = false;
  private readonly bytes = new Uint8Array(DESCRIPTOR);
  private readonly view = new DataView(this.bytes.buffer);

  constructor(owner: QueueOwner, index: number, maxSize: number) {
    this.owner = owner;
    this.index = index;
    this.maxSize = maxSize;
    this.size = maxSize;
  }

  reset(): void {
    this.size = this.maxSize;
    this.ready = false;
    this.descriptors = this.driver = this.device = 0;
    this.lastAvailable = this.usedIndex = this.signalled = 0;
    this.taken.clear();
    this.again = [];
    this.isBroken = false;
  }

  /** Sets the legacy layout: all three parts in one piece of memory from `address` on. 0 takes the queue away. */
  setLegacyAddress(address: number): void {
    const { maxSize } = this;
    this.reset();
    this.descriptors = address;
    this.driver = address + DESCRIPTOR * maxSize;
    this.device = Math.ceil((this.driver + RING_HEADER + 2 * maxSize + 2) / LEGACY_ALIGN) * LEGACY_ALIGN;
    this.ready = address !== 0;
  }

  /** Takes the next chain that the driver has made available; null where there is none, or none that makes sense. */
  take(): Chain | null {
    if (!this.ready || this.isBroken || !this.owner.canAccessMemory) return null;
    const head = this.again.shift() ?? this.nextHead();
    if (head === null) return null;
    const chain = this.chainAt(head);
    if (chain) this.taken.set(head, chain);
    return chain;
  }

  /** Gives back the chain that was taken last, as if it had not been. */
  untake(chain: Chain): void {
    if (this.forget(chain)) this.again.unshift(chain.head);
  }

  /** A chain is done, and this many bytes of its writable part are new. Nothing happens where the queue was reset since it was taken. */
  use(chain: Chain, written: number): void {
    if (!this.forget(chain) || !this.ready || this.isBroken || !this.owner.canAccessMemory) return;
    const { memory } = this.owner;
    const { view, bytes } = this;
    view.setUint32(0, chain.head, true);
    view.setUint32(4, written, true);
    memory.write(this.device + RING_HEADER + USED_ELEMENT * (this.usedIndex % this.size), bytes.subarray(0, 8));
    this.usedIndex = (this.usedIndex + 1) & 0xffff;
    memory.setU16(this.device + 2, this.usedIndex);
  }

  /** Interrupts the driver if it wants to know of what was used since the last call. */
  signal(): void {
    const { usedIndex, signalled } = this;
    if (usedIndex === signalled || this.isBroken || !this.owner.canAccessMemory) return;
    this.signalled = usedIndex;
    if (this.owner.eventIndex) {
      const event = this.u16(this.driver + RING_HEADER + 2 * this.size);
      const passed = ((usedIndex - event - 1) & 0xffff) < ((usedIndex - signalled) & 0xffff);
      if (!passed) return;
    } else if (this.u16(this.driver) & NO_INTERRUPT) return;
    this.owner.interrupt(this);
  }

  /** False for a chain from before a reset: its head may be another one's by now. */
  private forget(chain: Chain): boolean {
    return this.taken.get(chain.head) === chain && this.taken.delete(chain.head);
  }

  private nextHead(): number | null {
    const { size, lastAvailable } = this;
    const waiting = (this.u16(this.driver + 2) - lastAvailable) & 0xffff;
    if (waiting === 0) {
      // avail_event: a notification for the next one, please
      if (this.owner.eventIndex) {
        this.owner.memory.setU16(this.device + RING_HEADER + USED_ELEMENT * size, lastAvailable);
      }
      return null;
    }
    if (waiting > size) return this.fail(`${waiting} chains available in a queue of ${size}`);
    const head = this.u16(this.driver + RING_HEADER + 2 * (lastAvailable % size));
    if (head >= size) return this.fail(`chain starts at descriptor ${head} of ${size}`);
    if (this.taken.has(head)) return this.fail(`descriptor ${head} is in use already`);
    this.lastAvailable = (lastAvailable + 1) & 0xffff;
    return head;
  }

  private chainAt(head: number): Chain | null {
    const { view } = this;
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    let table = this.descriptors;
    let entries = this.size;
    let inIndirect = false;
    for (let index = head, count = 0; ; ) {
      if (!this.owner.memory.read(table + DESCRIPTOR * index, this.bytes))
        return this.fail('descriptor outside of RAM');
      const high = view.getUint32(4, true);
      const address = high * TWO32 + view.getUint32(0, true);
      const length = view.getUint32(8, true);
      const flags = view.getUint16(12, true);
      const next = view.getUint16(14, true);
      if (high >= HIGH_ADDRESS) return this.fail('buffer beyond the physical address space');
      if (flags & INDIRECT) {
        if (!this.owner.indirect || inIndirect || flags & NEXT)
          return this.fail('indirect descriptor in the wrong place');
        if (length === 0 || length % DESCRIPTOR) return this.fail(`indirect table of ${length} bytes`);
        table = address;
        entries = Math.min(length / DESCRIPTOR, MAX_DESCRIPTORS);
        inIndirect = true;
        index = 0;
        continue;
      }
      if (++count > (inIndirect ? MAX_DESCRIPTORS : this.size)) return this.fail('chain without an end');
      if (flags & WRITE) writable.push({ address, length });
      else if (writable.length > 0) return this.fail('buffer to be read behind one to be written');
      else readable.push({ address, length });
      if (!(flags & NEXT)) return new Chain(this.owner.memory, head, readable, writable);
      if (next >= entries) return this.fail(`chain goes on at descriptor ${next} of ${entries}`);
      index = next;
    }
  }

  private u16(address: number): number {
    this.owner.memory.read(address, this.bytes.subarray(0, 2));
    return this.view.getUint16(0, true);
  }

  /** The driver has broken the rules: nothing more is taken or used until the device is reset. */
  fail(reason: string): null {
    this.isBroken = true;
    this.owner.broken(this, reason);
    return null;
  }

  save(): VirtqueueState {
    const { size, ready, lastAvailable, usedIndex, signalled, isBroken } = this;
    return {
      size,
      ready,
      addresses: [this.descriptors, this.driver, this.device],
      lastAvailable,
      usedIndex,
      signalled,
      waiting: [...this.taken.keys(), ...this.again],
      isBroken,
    };
  }

  load(state: VirtqueueState): void {
    this.size = state.size;
    this.ready = state.ready;
    [this.descriptors, this.driver, this.device] = state.addresses;
    this.lastAvailable = state.lastAvailable;
    this.usedIndex = state.usedIndex;
    this.signalled = state.signalled;
    this.taken.clear();
    this.again = [...state.waiting];
    this.isBroken = state.isBroken;
  }
}
