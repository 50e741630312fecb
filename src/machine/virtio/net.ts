// virtio-net (virtio 1.2, 5.1): an Ethernet card with one pair of queues. Checksums and segmentation are left to whoever needs them: the network
// takes frames unfinished, and gives them so as far as the driver has said that it takes them.
import type { Frame, FrameAbilities, NetworkDevice, NetworkPort } from '../../backends/net/link.ts';
import type { Chain } from './chain.ts';
import { VirtioDevice, type VirtioMachine } from './device.ts';
import { type FilterState, ReceiveFilter } from './net-filter.ts';
import { decodeHeader, encodeHeader, HEADER, HEADER_WITH_BUFFERS } from './net-header.ts';
import type { Virtqueue } from './virtqueue.ts';

export interface VirtioNetOptions {
  /** Six bytes. */
  readonly mac: Uint8Array;
  readonly port: NetworkPort;
}

const NETWORK = { name: 'net', type: 1, classCode: 0x020000 } as const;

const Feature = {
  checksum: 1n << 0n,
  guestChecksum: 1n << 1n,
  controlGuestOffloads: 1n << 2n,
  mtu: 1n << 3n,
  mac: 1n << 5n,
  guestTso4: 1n << 7n,
  guestTso6: 1n << 8n,
  hostTso4: 1n << 11n,
  hostTso6: 1n << 12n,
  mergeableBuffers: 1n << 15n,
  status: 1n << 16n,
  controlQueue: 1n << 17n,
  controlReceive: 1n << 18n,
  controlReceiveExtra: 1n << 20n,
  controlMac: 1n << 23n,
} as const;
const OFFERED = Object.values(Feature).reduce((all, feature) => all | feature, 0n);
/** What the driver can turn off and on again while it runs. */
const GUEST_OFFLOADS = Feature.guestChecksum | Feature.guestTso4 | Feature.guestTso6;

const Config = { mac: 0, status: 6, mtu: 10 } as const;
const CONFIG_SIZE = 12;
const LINK_UP = 1;
const RECEIVE = 0;
const TRANSMIT = 1;
const CONTROL = 2;
const QUEUE_SIZES = [256, 256, 64] as const;
/** The largest frame: a segment of 64 KiB with its Ethernet header. */
const MAX_FRAME = 65535 + 14;

/** Commands of the control queue (5.1.6.5): class and, within one, command. */
const ControlClass = { receive: 0, mac: 1, guestOffloads: 5 } as const;
const MacCommand = { tableSet: 0, addressSet: 1 } as const;
const OFFLOADS_SET = 0;
const MAX_COMMAND = 4096;
const Ack = { ok: 0, error: 1 } as const;

interface VirtioNetState {
  filter: FilterState;
  offloads: bigint;
}

export class VirtioNet extends VirtioDevice implements NetworkDevice {
  private readonly port: NetworkPort;
  private readonly mac: Uint8Array;
  private readonly filter: ReceiveFilter;
  private readonly frame = new Uint8Array(MAX_FRAME);
  /** Those of GUEST_OFFLOADS that are on. */
  private offloads = 0n;

  constructor(machine: VirtioMachine, { mac, port }: VirtioNetOptions) {
    super(machine, NETWORK, OFFERED, QUEUE_SIZES, CONFIG_SIZE);
    this.port = port;
    this.mac = mac.slice(0, 6);
    this.filter = new ReceiveFilter(this.config.subarray(Config.mac, Config.mac + 6));
    this.config.set(this.mac, Config.mac);
    this.configView.setUint16(Config.status, LINK_UP, true);
    this.configView.setUint16(Config.mtu, port.mtu, true);
    port.attach(this);
  }

  /** Pulls the cable, or puts it in again. */
  setLink(isUp: boolean): void {
    this.configView.setUint16(Config.status, isUp ? LINK_UP : 0, true);
    this.configChanged();
    if (isUp) this.port.resume();
  }

  get accepts(): FrameAbilities {
    const { offloads } = this;
    return {
      checksum: (offloads & Feature.guestChecksum) !== 0n,
      tcpv4: (offloads & Feature.guestTso4) !== 0n,
      tcpv6: (offloads & Feature.guestTso6) !== 0n,
    };
  }

  /** Drivers before 1.0 set their address here; later ones use the control queue. */
  override writeConfig(offset: number, value: number): void {
    if (!this.isModern && offset < 6) this.config[Config.mac + offset] = value;
  }

  receive(frame: Frame): boolean {
    if (!this.isRunning || !this.isLinkUp || !this.filter.accepts(frame.bytes)) return true;
    const queue = this.queues[RECEIVE];
    const length = this.headerLength + frame.bytes.length;
    const chains = this.buffersFor(queue, length);
    if (chains === null) return false;
    if (chains.length === 0) return true;
    const whole = new Uint8Array(length);
    encodeHeader(whole, frame, this.hasBufferCount ? chains.length : null);
    whole.set(frame.bytes, this.headerLength);
    let at = 0;
    for (const chain of chains) {
      const part = whole.subarray(at, at + chain.writableLength);
      chain.write(0, part);
      queue.use(chain, part.length);
      at += part.length;
    }
    queue.signal();
    return true;
  }

  protected override started(): void {
    this.offloads = this.features & GUEST_OFFLOADS;
    this.port.resume();
  }

  protected override stopped(): void {
    this.config.set(this.mac, Config.mac);
    this.filter.reset();
    this.offloads = 0n;
  }

  protected serve(queue: Virtqueue): void {
    if (queue.index === RECEIVE) this.port.resume();
    else if (queue.index === TRANSMIT) this.takeEach(queue, chain => this.transmit(queue, chain));
    else if (queue.index === CONTROL) this.takeEach(queue, chain => this.control(queue, chain));
  }

  private get isLinkUp(): boolean {
    return (this.configView.getUint16(Config.status, true) & LINK_UP) !== 0;
  }

  /** The header has a number of buffers: always since 1.0, before only with mergeable buffers. */
  private get hasBufferCount(): boolean {
    return this.isModern || this.has(Feature.mergeableBuffers);
  }

  private get headerLength(): number {
    return this.hasBufferCount ? HEADER_WITH_BUFFERS : HEADER;
  }

  /** Buffers for a frame with its header: null where there are not enough now, none where it can never fit. */
  private buffersFor(queue: Virtqueue, length: number): Chain[] | null {
    const chains: Chain[] = [];
    let room = 0;
    while (room < length) {
      const chain = queue.take();
      if (!chain || (chains.length > 0 && !this.has(Feature.mergeableBuffers))) {
        if (chain) queue.untake(chain);
        for (const taken of chains.reverse()) queue.untake(taken);
        return chain ? [] : null;
      }
      if (chain.writableLength < this.headerLength) {
        queue.fail(`buffer of ${chain.writableLength} bytes for frames`);
        return [];
      }
      chains.push(chain);
      room += chain.writableLength;
    }
    return chains;
  }

  private transmit(queue: Virtqueue, chain: Chain): boolean {
    const length = chain.readableLength - this.headerLength;
    const header = new Uint8Array(this.headerLength);
    if (length > 0 && length <= MAX_FRAME && this.isLinkUp && chain.read(0, header)) {
      const bytes = this.frame.subarray(0, length);
      const frame = chain.read(this.headerLength, bytes) ? decodeHeader(header, bytes) : null;
      if (frame && this.mayLeaveUndone(frame)) this.port.send(frame);
    }
    queue.use(chain, 0);
    return true;
  }

  /** What the driver leaves to us is what it has negotiated. */
  private mayLeaveUndone({ checksum, segmentation }: Frame): boolean {
    if (checksum && !this.has(Feature.checksum)) return false;
    return !segmentation || this.has(segmentation.type === 'tcpv4' ? Feature.hostTso4 : Feature.hostTso6);
  }

  private control(queue: Virtqueue, chain: Chain): boolean {
    if (chain.readableLength < 2 || chain.writableLength < 1) {
      queue.fail('command without class or acknowledgement');
      return true;
    }
    const bytes = new Uint8Array(Math.min(chain.readableLength, MAX_COMMAND));
    const isDone = chain.read(0, bytes) && this.command(bytes[0], bytes[1], bytes.subarray(2));
    chain.write(0, Uint8Array.of(isDone ? Ack.ok : Ack.error));
    queue.use(chain, 1);
    return true;
  }

  private command(group: number, command: number, data: Uint8Array): boolean {
    if (group === ControlClass.receive) return data.length >= 1 && this.filter.setMode(command, data[0] !== 0);
    if (group === ControlClass.mac && command === MacCommand.tableSet) return this.filter.setTables(data);
    if (group === ControlClass.mac && command === MacCommand.addressSet && data.length >= 6) {
      this.config.set(data.subarray(0, 6), Config.mac);
      return true;
    }
    if (group === ControlClass.guestOffloads && command === OFFLOADS_SET && data.length >= 8) {
      const wanted = new DataView(data.buffer, data.byteOffset, 8).getBigUint64(0, true);
      if (wanted & ~(this.features & GUEST_OFFLOADS)) return false;
      this.offloads = wanted;
      return true;
    }
    return false;
  }

  protected override saveOwn(): VirtioNetState {
    return { filter: this.filter.save(), offloads: this.offloads };
  }
  protected override loadOwn(state: unknown): void {
    const { filter, offloads } = state as VirtioNetState;
    this.filter.load(filter);
    this.offloads = offloads;
  }
}
