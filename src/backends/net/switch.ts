/**
 * A learning switch, as Linux's bridge of a Xen host (xenbr0) is one: frames go where their destination was last seen, and everywhere else
 * where nobody knows it or it is a group. Source: IEEE 802.1D section 7.8 (learning), without a spanning tree: there are no loops here.
 */
import type { Frame, NetworkDevice, NetworkPort } from './link.ts';
import { MAX_FRAME } from './link.ts';
import { finishFrame } from './offload.ts';
import { Outbox } from './outbox.ts';
import { isMulticastMac, type MacAddress } from './packet/addresses.ts';
import { parseEthernet } from './packet/ethernet.ts';

/** Addresses that the switch remembers; a guest that makes up more drives out the ones that were silent longest. */
const MAX_ADDRESSES = 1024;
const DEFAULT_MTU = 1500;

class SwitchPort implements NetworkPort {
  readonly mtu: number;
  readonly outbox = new Outbox();
  readonly #forward: (from: SwitchPort, frame: Frame) => void;

  constructor(mtu: number, forward: (from: SwitchPort, frame: Frame) => void) {
    this.mtu = mtu;
    this.#forward = forward;
  }

  send(frame: Frame): void {
    this.#forward(this, frame);
  }

  attach(device: NetworkDevice | null): void {
    this.outbox.attach(device);
  }

  resume(): void {
    this.outbox.resume();
  }
}

export class Switch {
  readonly mtu: number;
  readonly #ports = new Set<SwitchPort>();
  /** Where an address was last seen; the longest silent one first. */
  readonly #addresses = new Map<MacAddress, SwitchPort>();

  constructor(options: { mtu?: number } = {}) {
    this.mtu = options.mtu ?? DEFAULT_MTU;
  }

  addPort(): NetworkPort {
    const port = new SwitchPort(this.mtu, (from, frame) => this.#forward(from, frame));
    this.#ports.add(port);
    return port;
  }

  /** Takes a port away and forgets who was there. */
  removePort(port: NetworkPort): void {
    port.attach(null);
    this.#ports.delete(port as SwitchPort);
    for (const [mac, at] of this.#addresses) if (at === port) this.#addresses.delete(mac);
  }

  /** Addresses known. */
  get known(): number {
    return this.#addresses.size;
  }

  #forward(from: SwitchPort, frame: Frame): void {
    const header = parseEthernet(frame.bytes);
    if (header === null || frame.bytes.length > MAX_FRAME || !this.#ports.has(from)) return;
    // A frame with senseless offsets must not be anyone's but its sender's trouble.
    if (finishFrame(frame).length === 0) return;
    this.#learn(header.source, from);
    const to = isMulticastMac(header.destination) ? undefined : this.#addresses.get(header.destination);
    if (to === from) return;
    if (to !== undefined) to.outbox.send(frame);
    else for (const port of this.#ports) if (port !== from) port.outbox.send(frame);
  }

  #learn(source: MacAddress, port: SwitchPort): void {
    if (isMulticastMac(source) || source === 0) return;
    this.#addresses.delete(source);
    this.#addresses.set(source, port);
    if (this.#addresses.size > MAX_ADDRESSES) this.#addresses.delete(this.#addresses.keys().next().value!);
  }
}
