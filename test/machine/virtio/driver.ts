// A virtio driver as a kernel has it, legacy or modern, over a PCI bus and RAM: finds the device, negotiates, sets queues up, sends chains.
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { HostEvents } from '../../../src/machine/host-events.ts';
import { assignResources } from '../../../src/machine/pci/firmware.ts';
import { PhysicalMemory } from '../../../src/machine/physical-memory.ts';
import type { VirtioDevice, VirtioMachine } from '../../../src/machine/virtio/device.ts';
import { VirtioPci } from '../../../src/machine/virtio/pci-device.ts';
import { Board } from '../pci/board.ts';

export type Face = 'legacy' | 'modern';
export const FACES: readonly Face[] = ['legacy', 'modern'];

const RAM_FRAMES = 256;
const QUEUES_AT = 0x10000;
const QUEUE_ROOM = 0x4000;
const BUFFERS_AT = 0x60000;
const MASTER = 7;
const EVENT_INDEX = 1n << 29n;
const VERSION_1 = 1n << 32n;

/** A PC's worth of surroundings with RAM from 0 to 1 MiB. */
export class Machine implements VirtioMachine {
  readonly board = new Board();
  readonly memory: PhysicalMemory;
  readonly events = new HostEvents();
  readonly log: (line: string) => void;
  readonly lines: string[] = [];
  readonly later = (handler: () => void): void => this.events.raise(handler);

  constructor() {
    const engine = new EngineMemory(RAM_FRAMES * 4096);
    this.memory = new PhysicalMemory(engine, { get: gfn => (gfn < RAM_FRAMES ? gfn : -1) }, () => {});
    this.log = line => void this.lines.push(line);
  }
}

interface DriverQueue {
  readonly index: number;
  readonly size: number;
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
  available: number;
  seen: number;
  nextDescriptor: number;
}

/** What a buffer of a chain is: bytes to be read by the device, or how many it may write. */
export type Part = Uint8Array | number;

export class VirtioDriver {
  readonly face: Face;
  readonly machine: Machine;
  readonly transport: VirtioPci;
  readonly queues: DriverQueue[] = [];
  features = 0n;
  private readonly slot: number;
  private readonly io: number;
  private readonly bar: number;
  private readonly parts = new Map<number, number>();
  private nextBuffer = BUFFERS_AT;

  constructor(machine: Machine, device: VirtioDevice, face: Face) {
    this.machine = machine;
    this.face = face;
    this.transport = new VirtioPci(device);
    const { board } = machine;
    this.slot = board.pci.add(this.transport.pci).slot;
    const windows = { io: { start: 0xc000, end: 0xd000 }, memory: { start: 0xc000_0000, end: 0xc100_0000 } };
    assignResources(board.pci, windows, () => 11);
    board.writeConfig(this.slot, 4, MASTER, 2);
    this.io = board.readConfig(this.slot, 0x10) & ~3;
    this.bar = (board.readConfig(this.slot, 0x20) & ~15) >>> 0;
    for (let nth = 0; ; nth++) {
      const at = board.capability(this.slot, 9, nth);
      if (at === 0) break;
      this.parts.set(board.readConfig(this.slot, at + 3, 1), board.readConfig(this.slot, at + 8));
    }
  }

  get pciSlot(): number {
    return this.slot;
  }

  /** Of the common configuration (modern) or the header (legacy). */
  read(offset: number, size: 1 | 2 | 4): number {
    const { ports, memory } = this.machine.board.platform;
    return this.face === 'legacy' ? ports.read(this.io + offset, size) : memory.read(this.part(1) + offset, size);
  }

  write(offset: number, size: 1 | 2 | 4, value: number): void {
    const { ports, memory } = this.machine.board.platform;
    if (this.face === 'legacy') ports.write(this.io + offset, size, value);
    else memory.write(this.part(1) + offset, size, value);
  }

  part(type: number): number {
    return this.bar + this.parts.get(type)!;
  }

  get status(): number {
    return this.read(this.face === 'legacy' ? 18 : 20, 1);
  }
  set status(value: number) {
    this.write(this.face === 'legacy' ? 18 : 20, 1, value);
  }

  /** Takes the interrupt status, which ends the interrupt. */
  takeIsr(): number {
    const { ports, memory } = this.machine.board.platform;
    return this.face === 'legacy' ? ports.read(this.io + 19, 1) : memory.read(this.part(3), 1);
  }

  /** Whether the pin is asserted. */
  get hasInterrupt(): boolean {
    return this.machine.board.wires.includes(true);
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    const { ports, memory } = this.machine.board.platform;
    if (this.face === 'legacy') return ports.read(this.io + 20 + offset, size);
    return memory.read(this.part(4) + offset, size);
  }

  writeConfig(offset: number, size: 1 | 2 | 4, value: number): void {
    const { ports, memory } = this.machine.board.platform;
    if (this.face === 'legacy') ports.write(this.io + 20 + offset, size, value);
    else memory.write(this.part(4) + offset, size, value);
  }

  get offered(): bigint {
    if (this.face === 'legacy') return BigInt(this.read(0, 4));
    let features = 0n;
    for (const word of [0, 1]) {
      this.write(0, 4, word);
      features |= BigInt(this.read(4, 4)) << BigInt(32 * word);
    }
    return features;
  }

  /** From reset to DRIVER_OK, with as much as is offered of what is wanted. */
  start(wanted = ~EVENT_INDEX): this {
    this.prepare(wanted);
    this.status = this.face === 'legacy' ? 7 : 15;
    return this;
  }

  /** All but DRIVER_OK. */
  prepare(wanted = ~EVENT_INDEX): this {
    this.status = 0;
    this.status = 1;
    this.status = 3;
    this.features = this.offered & (this.face === 'modern' ? wanted | VERSION_1 : wanted);
    if (this.face === 'legacy') this.write(4, 4, Number(this.features & 0xffffffffn));
    else {
      for (const word of [0, 1]) {
        this.write(8, 4, word);
        this.write(12, 4, Number((this.features >> BigInt(32 * word)) & 0xffffffffn));
      }
      this.status = 11;
    }
    for (let index = 0; index < this.transport.device.queues.length; index++) this.setUpQueue(index);
    return this;
  }

  private setUpQueue(index: number): void {
    const base = QUEUES_AT + index * QUEUE_ROOM;
    this.machine.memory.fill(base, QUEUE_ROOM, 0);
    this.write(this.face === 'legacy' ? 14 : 22, 2, index);
    const size = this.read(this.face === 'legacy' ? 12 : 24, 2);
    const driver = base + 16 * size;
    const device = Math.ceil((driver + 6 + 2 * size) / 4096) * 4096;
    this.queues[index] = {
      index,
      size,
      descriptors: base,
      driver,
      device,
      available: 0,
      seen: 0,
      nextDescriptor: 0,
    };
    if (this.face === 'legacy') {
      this.write(8, 4, base / 4096);
      return;
    }
    [base, driver, device].forEach((address, i) => {
      this.write(32 + 8 * i, 4, address);
      this.write(36 + 8 * i, 4, 0);
    });
    this.write(28, 2, 1);
  }

  /** RAM for a buffer. */
  allocate(length: number): number {
    const at = this.nextBuffer;
    this.nextBuffer += Math.ceil(length / 16) * 16;
    if (this.nextBuffer > RAM_FRAMES * 4096) throw new Error('the test needs more RAM');
    return at;
  }

  descriptor(queue: number, index: number, address: number, length: number, flags: number, next = 0): void {
    const { memory } = this.machine;
    const at = this.queues[queue].descriptors + 16 * index;
    memory.setU64(at, BigInt(address));
    memory.setU32(at + 8, length);
    memory.setU16(at + 12, flags);
    memory.setU16(at + 14, next);
  }

  /** Makes a chain available without telling. Returns its head and the addresses of its parts. */
  add(queue: number, parts: readonly Part[]): { head: number; addresses: number[] } {
    const q = this.queues[queue];
    const { memory } = this.machine;
    const head = q.nextDescriptor;
    const addresses = parts.map((part, i) => {
      const length = typeof part === 'number' ? part : part.length;
      const address = this.allocate(length);
      if (typeof part !== 'number') memory.write(address, part);
      const isLast = i === parts.length - 1;
      const index = (head + i) % q.size;
      const flags = (isLast ? 0 : 1) | (typeof part === 'number' ? 2 : 0);
      this.descriptor(queue, index, address, length, flags, (index + 1) % q.size);
      return address;
    });
    q.nextDescriptor = (head + parts.length) % q.size;
    this.expose(queue, head);
    return { head, addresses };
  }

  expose(queue: number, head: number): void {
    const q = this.queues[queue];
    const { memory } = this.machine;
    memory.setU16(q.driver + 4 + 2 * (q.available % q.size), head);
    q.available = (q.available + 1) & 0xffff;
    memory.setU16(q.driver + 2, q.available);
  }

  kick(queue: number): void {
    if (this.face === 'legacy') this.write(16, 2, queue);
    else this.machine.board.platform.memory.write(this.part(2) + 4 * queue, 2, queue);
  }

  /** What the device has used since the last call: [head, length]. */
  used(queue: number): [head: number, length: number][] {
    const q = this.queues[queue];
    const { memory } = this.machine;
    const now = memory.u16(q.device + 2);
    const out: [number, number][] = [];
    for (; q.seen !== now; q.seen = (q.seen + 1) & 0xffff) {
      const at = q.device + 4 + 8 * (q.seen % q.size);
      out.push([memory.u32(at), memory.u32(at + 4)]);
    }
    return out;
  }

  bytes(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.machine.memory.read(address, bytes);
    return bytes;
  }

  /** Sends a chain, and returns what the device wrote into its writable parts; null where it was not used. */
  request(queue: number, parts: readonly Part[]): { length: number; written: Uint8Array[] } | null {
    const { head, addresses } = this.add(queue, parts);
    this.kick(queue);
    const used = this.used(queue).find(([id]) => id === head);
    if (!used) return null;
    const written = parts.flatMap((part, i) => (typeof part === 'number' ? [this.bytes(addresses[i], part)] : []));
    return { length: used[1], written };
  }
}
