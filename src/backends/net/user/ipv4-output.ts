// Packets to guests: who has an address (learnt from what guests send, else asked by ARP), headers, fragments, and the way out.
import type { Outbox } from '../outbox.ts';
import { BROADCAST_IPV4, BROADCAST_MAC, type Ipv4Address, type MacAddress } from '../packet/addresses.ts';
import { ARP_OPERATION, arpFrame } from '../packet/arp.ts';
import { ETHER_TYPE, ETHERNET_HEADER, writeEthernet } from '../packet/ethernet.ts';
import { fragments, IPV4_HEADER, writeIpv4 } from '../packet/ipv4.ts';
import { ownMac, type Subnet } from './subnet.ts';

/** Guests remembered; the one that was silent longest is forgotten first. */
const MAX_NEIGHBOURS = 256;
/** Guests that are asked for, each with the last packet that waits for the answer (RFC 1122 section 2.3.2.2). */
const MAX_ASKED = 16;

export interface Outgoing {
  source: Ipv4Address;
  destination: Ipv4Address;
  protocol: number;
  payload: Uint8Array;
  /** The destination's Ethernet address, where it is known otherwise. */
  mac?: MacAddress;
  /** The checksum is partial, and stands here in the payload. */
  checksumOffset?: number;
  /** The payload is a large TCP segment, for pieces of so many bytes. */
  segmentSize?: number;
}

export class Ipv4Output {
  readonly #outbox: Outbox;
  readonly #subnet: Subnet;
  readonly #mtu: number;
  readonly #neighbours = new Map<Ipv4Address, MacAddress>();
  readonly #asked = new Map<Ipv4Address, Outgoing>();
  #id = 0;

  constructor(outbox: Outbox, subnet: Subnet, mtu: number) {
    this.#outbox = outbox;
    this.#subnet = subnet;
    this.#mtu = mtu;
  }

  /** The guests' device has room. */
  get isReady(): boolean {
    return !this.#outbox.isBlocked;
  }

  /** The device takes large TCP segments. */
  get segmentsLater(): boolean {
    const accepts = this.#outbox.accepts;
    return accepts !== null && accepts.tcpv4 && accepts.checksum;
  }

  /** The device takes frames without their checksum. */
  get checksumsLater(): boolean {
    return this.#outbox.accepts?.checksum ?? false;
  }

  /** A guest has shown itself. */
  learn(address: Ipv4Address, mac: MacAddress): void {
    this.#neighbours.delete(address);
    this.#neighbours.set(address, mac);
    if (this.#neighbours.size > MAX_NEIGHBOURS) this.#neighbours.delete(this.#neighbours.keys().next().value!);
    const waiting = this.#asked.get(address);
    if (waiting === undefined) return;
    this.#asked.delete(address);
    this.send(waiting);
  }

  send(packet: Outgoing): void {
    const { source, destination, protocol, payload, checksumOffset, segmentSize } = packet;
    const mac = packet.mac ?? (destination === BROADCAST_IPV4 ? BROADCAST_MAC : this.#neighbours.get(destination));
    if (mac === undefined) {
      this.#asked.set(destination, packet);
      if (this.#asked.size > MAX_ASKED) this.#asked.delete(this.#asked.keys().next().value!);
      this.#askFor(destination);
      return;
    }
    this.#id = (this.#id + 1) & 0xffff;
    const header = { source, destination, protocol, id: this.#id };
    const isLarge = segmentSize !== undefined && payload.length > this.#mtu - IPV4_HEADER;
    const pieces: [number, number][] = isLarge ? [[0, payload.length]] : fragments(payload.length, this.#mtu);
    for (const [offset, length] of pieces) {
      const bytes = new Uint8Array(ETHERNET_HEADER + IPV4_HEADER + length);
      writeEthernet(bytes, { destination: mac, source: ownMac(this.#subnet.gateway), type: ETHER_TYPE.ipv4 });
      const moreFragments = offset + length < payload.length;
      const dontFragment = pieces.length === 1;
      writeIpv4(bytes, ETHERNET_HEADER, { ...header, dontFragment, moreFragments, fragmentOffset: offset }, length);
      bytes.set(payload.subarray(offset, offset + length), ETHERNET_HEADER + IPV4_HEADER);
      this.#outbox.send({
        bytes,
        checksum:
          checksumOffset === undefined ? null : { start: ETHERNET_HEADER + IPV4_HEADER, offset: checksumOffset },
        segmentation: isLarge ? { type: 'tcpv4', size: segmentSize } : null,
      });
    }
  }

  #askFor(target: Ipv4Address): void {
    const sender = this.#subnet.gateway;
    const question = {
      operation: ARP_OPERATION.request,
      senderMac: ownMac(sender),
      sender,
      targetMac: 0,
      target,
    };
    this.#outbox.send({ bytes: arpFrame(question), checksum: null, segmentation: null });
  }
}
