// What all virtio devices share (virtio 1.2, chapters 2 and 3): status, negotiation of features, queues, configuration, and turns of bounded work.
// How a driver reaches it is the transport's business.
import type { Saveable } from '../chip.ts';
import type { PhysicalMemory } from '../physical-memory.ts';
import type { Chain } from './chain.ts';
import { type QueueOwner, Virtqueue, type VirtqueueState } from './virtqueue.ts';

/** Bits of the device status (2.1). */
export const VirtioStatus = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const;

/** Features that belong to no kind of device (chapter 6), as bits. */
export const VirtioFeature = {
  /** Legacy drivers may lay requests out as they like, too. */
  anyLayout: 1n << 27n,
  indirectDescriptors: 1n << 28n,
  eventIndex: 1n << 29n,
  version1: 1n << 32n,
} as const;
const COMMON_FEATURES = Object.values(VirtioFeature).reduce((all, feature) => all | feature, 0n);

/** What a device needs of the machine. */
export interface VirtioMachine {
  readonly memory: PhysicalMemory;
  /** Has a handler run between two runs of the processor: HostEvents.raise. */
  readonly later: (handler: () => void) => void;
  /** Told what a driver did wrong, one line; such a device stops until it is reset. */
  readonly log?: (line: string) => void;
}

/** What a device needs of its transport. */
export interface VirtioTransport {
  /** Whether it may reach memory now. */
  readonly canAccessMemory: boolean;
  queueInterrupt(queue: Virtqueue): void;
  configInterrupt(): void;
  /** The device has been reset. */
  reset(): void;
}

/** What kind of device it is, by number (chapter 5) and by class of PCI. */
export interface VirtioKind {
  readonly name: string;
  readonly type: number;
  readonly classCode: number;
}

export interface VirtioState {
  status: number;
  features: bigint;
  generation: number;
  config: Uint8Array;
  queues: VirtqueueState[];
  /** What the kind of device has beyond that. */
  own: unknown;
}

const NO_TRANSPORT: VirtioTransport = {
  canAccessMemory: false,
  queueInterrupt: () => {},
  configInterrupt: () => {},
  reset: () => {},
};

/** Work in one turn at most, in bytes; the rest waits until the processor has been given back. */
const TURN = 16 << 20;
const MOST_COMPLAINTS = 20;
/** What a chain costs beside its bytes. */
const CHAIN_COST = 256;

export abstract class VirtioDevice implements QueueOwner, Saveable<VirtioState> {
  readonly kind: VirtioKind;
  readonly offered: bigint;
  readonly queues: readonly Virtqueue[];
  /** The device's own configuration (chapter 5), as the driver reads it. */
  readonly config: Uint8Array;
  protected readonly configView: DataView;
  /** What the driver has accepted. Final with FEATURES_OK; a legacy driver can change it up to DRIVER_OK. */
  features = 0n;
  status = 0;
  /** Changes with every change of the configuration by the device. */
  generation = 0;
  protected readonly machine: VirtioMachine;
  private transport = NO_TRANSPORT;
  private readonly turns: (() => void)[];
  private complaints = 0;
  /** What has been done in this turn. */
  private work = 0;

  /** @param features the kind's own; those of chapter 6 are added. */
  constructor(
    machine: VirtioMachine,
    kind: VirtioKind,
    features: bigint,
    queueSizes: readonly number[],
    configSize: number,
  ) {
    this.machine = machine;
    this.kind = kind;
    this.offered = features | COMMON_FEATURES;
    this.queues = queueSizes.map((size, index) => new Virtqueue(this, index, size));
    this.turns = this.queues.map(queue => () => this.notify(queue.index));
    this.config = new Uint8Array(configSize);
    this.configView = new DataView(this.config.buffer);
  }

  /** @internal Called by the transport. */
  connect(transport: VirtioTransport): void {
    this.transport = transport;
  }

  get memory(): PhysicalMemory {
    return this.machine.memory;
  }
  get canAccessMemory(): boolean {
    return this.transport.canAccessMemory;
  }
  get indirect(): boolean {
    return this.has(VirtioFeature.indirectDescriptors);
  }
  get eventIndex(): boolean {
    return this.has(VirtioFeature.eventIndex);
  }
  /** A driver of virtio 1.0 or later. */
  protected get isModern(): boolean {
    return this.has(VirtioFeature.version1);
  }
  /** Whether a feature is negotiated. */
  protected has(feature: bigint): boolean {
    return (this.features & feature) !== 0n;
  }

  /** The driver accepts features. Some that were not offered are refused with FEATURES_OK. */
  acceptFeatures(features: bigint): void {
    if (this.status & (VirtioStatus.featuresOk | VirtioStatus.driverOk)) return;
    this.features = features;
  }

  /** The driver writes the status; 0 resets the device. */
  setStatus(value: number): void {
    if (value === 0) {
      this.reset();
      return;
    }
    const before = this.status;
    let next = value | (before & VirtioStatus.needsReset);
    if (next & ~before & VirtioStatus.featuresOk) {
      // transitional devices refuse modern drivers that are not (6.1)
      const isRefused = (this.features & ~this.offered) !== 0n || !this.has(VirtioFeature.version1);
      if (isRefused) next &= ~VirtioStatus.featuresOk;
    }
    this.status = next;
    if (next & ~before & VirtioStatus.driverOk) {
      // one that never asked whether its choice is right
      this.features &= this.offered;
      this.started();
    }
  }

  reset(): void {
    this.status = 0;
    this.features = 0n;
    for (const queue of this.queues) queue.reset();
    this.transport.reset();
    this.stopped();
  }

  /** The driver has made something available in a queue, or the device has room again for what is there. */
  notify(index: number): void {
    const queue = this.queues[index];
    if (queue?.ready && this.isRunning) this.serve(queue);
  }

  /** The driver writes a byte of the configuration. Most of it is read-only. */
  writeConfig(_offset: number, _value: number): void {}

  broken(queue: Virtqueue, reason: string): void {
    this.complain(`queue ${queue.index}: ${reason}`);
    this.status |= VirtioStatus.needsReset;
    if (this.isModern && this.status & VirtioStatus.driverOk) this.transport.configInterrupt();
  }

  /** A line for the log; a driver that provokes ever more of them is not listened to. */
  protected complain(what: string): void {
    if (++this.complaints <= MOST_COMPLAINTS) this.machine.log?.(`virtio ${this.kind.name}: ${what}`);
  }

  interrupt(queue: Virtqueue): void {
    this.transport.queueInterrupt(queue);
  }

  /** Legacy drivers may use queues before they set DRIVER_OK: Linux read partition tables so for years. */
  protected get isRunning(): boolean {
    const { status } = this;
    if (status & VirtioStatus.needsReset) return false;
    const ready = this.isModern ? VirtioStatus.driverOk : VirtioStatus.driverOk | VirtioStatus.driver;
    return (status & ready) !== 0;
  }

  /** The configuration has changed: tells the driver. */
  protected configChanged(): void {
    this.generation = (this.generation + 1) & 0xff;
    if (this.status & VirtioStatus.driverOk) this.transport.configInterrupt();
  }

  /** Serves what waits in a queue: as a rule takeEach(). */
  protected abstract serve(queue: Virtqueue): void;
  /** The driver has finished setting up. */
  protected started(): void {}
  /** The device was reset; chains that were taken are the driver's again. */
  protected stopped(): void {}

  /** Plain data for VirtioState.own, and back. */
  protected saveOwn(): unknown {
    return null;
  }
  protected loadOwn(_state: unknown): void {}

  /**
   * Gives chains of a queue to `each` until there is none, `each` says false (the device has no room for more: the chain comes again), or this
   * turn's work is done; what is left then has another turn soon. Interrupts the driver for what was used.
   */
  protected takeEach(queue: Virtqueue, each: (chain: Chain) => boolean): void {
    for (this.work = 0; ; ) {
      if (this.work >= TURN) {
        this.machine.later(this.turns[queue.index]);
        break;
      }
      const chain = queue.take();
      if (!chain) break;
      this.work += CHAIN_COST + chain.readableLength + chain.writableLength;
      if (each(chain)) continue;
      queue.untake(chain);
      break;
    }
    queue.signal();
  }

  /** Counts work of this turn that a chain's length does not show, in bytes. */
  protected spend(bytes: number): void {
    this.work += bytes;
  }

  save(): VirtioState {
    const { status, features, generation } = this;
    const queues = this.queues.map(queue => queue.save());
    return { status, features, generation, config: this.config.slice(), queues, own: this.saveOwn() };
  }

  /** Requests that were being served when the state was saved are served again. */
  load(state: VirtioState): void {
    this.status = state.status;
    this.features = state.features;
    this.generation = state.generation;
    this.config.set(state.config);
    this.loadOwn(state.own);
    this.queues.forEach((queue, i) => {
      queue.load(state.queues[i]);
      this.machine.later(this.turns[i]);
    });
  }
}
