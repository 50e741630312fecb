/**
 * The back end of a PV network device, as xen-netback is one: features, queues, and the port of the network that it is plugged into. Sources:
 * xen/include/public/io/netif.h, drivers/net/xen-netfront.c in Linux (what front ends ask for).
 *
 * Not offered: page flipping, which Linux's has long dropped, and grants that stay mapped.
 */
import type { BackendDriver, FrontendNodes } from '../../xenbus/backend-device.ts';
import { FrontendError } from '../../xenbus/backend-device.ts';
import type { FrontendDomain } from '../../xenbus/frontend-domain.ts';
import { type Frame, type FrameAbilities, type NetworkDevice, type NetworkPort, NO_ABILITIES } from '../link.ts';
import { getMac } from '../packet/addresses.ts';
import { ControlRing } from './control-ring.ts';
import { flowHash } from './flow-hash.ts';
import { FrontendHash } from './frontend-hash.ts';
import { MulticastFilter } from './multicast-filter.ts';
import { NetbackQueue, type QueueNodes, type QueueOwner } from './queue.ts';

const MAX_REF = 0xffffffff;
const MAX_PORT = 0x1ffff;
const PAGE = 4096;

export interface NetbackOptions {
  domain: FrontendDomain;
  port: NetworkPort;
  /** Queues that the front end may have: one a processor of the host, with Linux's back end. */
  maxQueues?: number;
  /** The front end does not keep to the protocol; BackendDevice.fail() is to be called. */
  broken: (reason: string) => void;
}

export class Netback implements BackendDriver, NetworkDevice {
  readonly #options: NetbackOptions;
  readonly #maxQueues: number;
  readonly #filter = new MulticastFilter();
  #queues: NetbackQueue[] = [];
  #control: ControlRing | null = null;
  #hash = new FrontendHash();
  #front: FrontendNodes | null = null;
  #canScatter = false;
  accepts: FrameAbilities = NO_ABILITIES;

  constructor(options: NetbackOptions) {
    this.#options = options;
    this.#maxQueues = options.maxQueues ?? 1;
  }

  features(): Record<string, string> {
    return {
      'feature-sg': '1',
      'feature-gso-tcpv4': '1',
      'feature-gso-tcpv6': '1',
      'feature-ipv6-csum-offload': '1',
      'feature-rx-copy': '1',
      'feature-rx-flip': '0',
      'feature-multicast-control': '1',
      'feature-dynamic-multicast-control': '1',
      'feature-split-event-channels': '1',
      'feature-ctrl-ring': '1',
      'multi-queue-max-queues': String(this.#maxQueues),
    };
  }

  connect(front: FrontendNodes): Record<string, string> {
    if (!front.flag('request-rx-copy')) throw new FrontendError('the front end does not want received frames copied');
    const count = front.number('multi-queue-num-queues', this.#maxQueues, 1);
    if (count === 0) throw new FrontendError('no queues');
    this.#front = front;
    this.#canScatter = front.flag('feature-sg');
    this.accepts = {
      checksum: !front.flag('feature-no-csum-offload') && front.flag('feature-ipv6-csum-offload'),
      tcpv4: this.#canScatter && front.flag('feature-gso-tcpv4'),
      tcpv6: this.#canScatter && front.flag('feature-gso-tcpv6'),
    };
    const owner = this.#owner();
    for (let n = 0; n < count; n++) {
      const nodes = readQueue(front, count === 1 ? '' : `queue-${n}/`);
      this.#queues.push(new NetbackQueue(this.#options.domain, nodes, owner));
    }
    if (front.text('ctrl-ring-ref') !== undefined) {
      const nodes = { ref: front.number('ctrl-ring-ref', MAX_REF), port: front.number('event-channel-ctrl', MAX_PORT) };
      const { domain, broken } = this.#options;
      this.#control = new ControlRing(domain, nodes, { hash: this.#hash, queues: count, broken });
    }
    this.#options.port.attach(this);
    return {};
  }

  disconnect(): void {
    this.#options.port.attach(null);
    for (const queue of this.#queues.splice(0)) queue.close();
    this.#control?.close();
    this.#control = null;
    this.#hash = new FrontendHash();
    this.#filter.clear();
    this.#front = null;
    this.accepts = NO_ABILITIES;
  }

  #owner(): QueueOwner {
    const { port, broken } = this.#options;
    return {
      transmitted: frame => port.send(frame),
      filter: (add, address) => {
        if (add) return this.#filter.add(address);
        this.#filter.remove(address);
        return true;
      },
      refilled: () => port.resume(),
      broken,
    };
  }

  /** Frames that the front end cannot take are dropped here, as on a wire; false only where it has no room for now. */
  receive(frame: Frame): boolean {
    const { bytes } = frame;
    if (this.#queues.length === 0) return true;
    if (bytes.length > PAGE && !this.#canScatter) return true;
    const destination = getMac(bytes, 0);
    if (!this.#filter.passes(destination) && this.#front!.flag('request-multicast-control')) return true;
    const { length } = this.#queues;
    const hash = this.#hash.of(bytes);
    const queue = length === 1 ? 0 : hash === null ? flowHash(bytes) % length : this.#hash.queueOf(hash, length);
    return this.#queues[queue]!.receive(frame, hash);
  }
}

function readQueue(front: FrontendNodes, at: string): QueueNodes {
  const isSplit = front.text(`${at}event-channel-tx`) !== undefined;
  const event = (which: string): number => front.number(`${at}event-channel${isSplit ? which : ''}`, MAX_PORT);
  return {
    txRing: front.number(`${at}tx-ring-ref`, MAX_REF),
    rxRing: front.number(`${at}rx-ring-ref`, MAX_REF),
    txEvent: event('-tx'),
    rxEvent: event('-rx'),
  };
}
