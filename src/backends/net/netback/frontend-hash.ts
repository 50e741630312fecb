/**
 * Which queue gets a frame, and what hash comes with it, where the front end has said how: by its control ring. Source:
 * xen/include/public/io/netif.h ("Hash types", XEN_NETIF_CTRL_TYPE_*); what is refused is what Linux's xen-netback refuses.
 */
import {
  XEN_NETIF_CTRL_HASH_ALGORITHM,
  XEN_NETIF_CTRL_HASH_TYPE,
  XEN_NETIF_CTRL_STATUS,
} from '../../../abi/xen/io/netif.ts';
import { concatBytes } from '../../../util/bytes.ts';
import { get16 } from '../packet/addresses.ts';
import { ETHER_TYPE, ETHERNET_HEADER } from '../packet/ethernet.ts';
import { IP_PROTOCOL, IPV4_HEADER } from '../packet/ipv4.ts';
import { MAX_KEY, toeplitz } from './toeplitz.ts';

/** Entries of the table from hashes to queues. */
export const MAX_MAPPING = 128;
const ALL_TYPES = Object.values(XEN_NETIF_CTRL_HASH_TYPE).reduce((all: number, type) => all | (1 << type), 0);
const IPV6_HEADER = 40;
const { success, invalidParameter, bufferOverflow } = XEN_NETIF_CTRL_STATUS;

/** What a frame is known by. */
export interface FlowHash {
  /** XEN_NETIF_CTRL_HASH_TYPE. */
  readonly type: number;
  readonly value: number;
}

export class FrontendHash {
  #algorithm: number = XEN_NETIF_CTRL_HASH_ALGORITHM.none;
  #types = 0;
  #key = new Uint8Array(MAX_KEY);
  #mapping = new Uint32Array(0);

  /** These methods give an XEN_NETIF_CTRL_STATUS. */
  setAlgorithm(algorithm: number): number {
    const { none, toeplitz } = XEN_NETIF_CTRL_HASH_ALGORITHM;
    if (algorithm !== none && algorithm !== toeplitz) return invalidParameter;
    this.#algorithm = algorithm;
    return success;
  }

  /** Types that can be had, where an algorithm was chosen. */
  get supportedTypes(): number | null {
    return this.#algorithm === XEN_NETIF_CTRL_HASH_ALGORITHM.none ? null : ALL_TYPES;
  }

  setTypes(types: number): number {
    if (types & ~ALL_TYPES || this.supportedTypes === null) return invalidParameter;
    this.#types = types;
    return success;
  }

  /** @param read gives so many bytes from the beginning of the page, or null */
  setKey(length: number, read: (length: number) => Uint8Array | null): number {
    if (length > MAX_KEY) return bufferOverflow;
    const key = length === 0 ? new Uint8Array(0) : read(length);
    if (key === null) return invalidParameter;
    this.#key = new Uint8Array(MAX_KEY);
    this.#key.set(key);
    return success;
  }

  setMappingSize(entries: number): number {
    if (entries > MAX_MAPPING) return invalidParameter;
    this.#mapping = new Uint32Array(entries);
    return success;
  }

  setMapping(entries: number, offset: number, queues: number, read: (length: number) => Uint8Array | null): number {
    if (entries > MAX_MAPPING) return bufferOverflow;
    if (offset + entries > this.#mapping.length) return invalidParameter;
    const bytes = entries === 0 ? new Uint8Array(0) : read(entries * 4);
    if (bytes === null) return invalidParameter;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const values = Uint32Array.from({ length: entries }, (_, i) => view.getUint32(i * 4, true));
    if (values.some(queue => queue >= queues)) return invalidParameter;
    this.#mapping.set(values, offset);
    return success;
  }

  /** Null where the front end wants none of such a frame. */
  of(frame: Uint8Array): FlowHash | null {
    if (this.#algorithm === XEN_NETIF_CTRL_HASH_ALGORITHM.none || this.#types === 0) return null;
    const input = this.#input(frame);
    return input && { type: input.type, value: toeplitz(this.#key, input.bytes) };
  }

  /** The queue of a hash. */
  queueOf({ value }: FlowHash, queues: number): number {
    const { length } = this.#mapping;
    const queue = length === 0 ? value : this.#mapping[value % length]!;
    return queue % queues;
  }

  /** What is hashed: addresses, and ports where they are there and wanted. The largest type that is wanted counts. */
  #input(frame: Uint8Array): { type: number; bytes: Uint8Array } | null {
    const { ipv4, ipv4Tcp, ipv6, ipv6Tcp } = XEN_NETIF_CTRL_HASH_TYPE;
    const ip = ETHERNET_HEADER;
    const ether = frame.length < ip + IPV4_HEADER ? 0 : get16(frame, 12);
    if (ether === ETHER_TYPE.ipv4) {
      const isFragment = (get16(frame, ip + 6) & 0x3fff) !== 0;
      const tcp = frame[ip + 9] === IP_PROTOCOL.tcp && !isFragment ? ip + (frame[ip]! & 15) * 4 : null;
      return this.#parts(frame, ip + 12, 8, tcp, ipv4, ipv4Tcp);
    }
    if (ether !== ETHER_TYPE.ipv6 || frame.length < ip + IPV6_HEADER) return null;
    const tcp = frame[ip + 6] === IP_PROTOCOL.tcp ? ip + IPV6_HEADER : null;
    return this.#parts(frame, ip + 8, 32, tcp, ipv6, ipv6Tcp);
  }

  #parts(frame: Uint8Array, at: number, length: number, ports: number | null, plain: number, withPorts: number) {
    const addresses = frame.subarray(at, at + length);
    if (ports !== null && ports + 4 <= frame.length && this.#types & (1 << withPorts)) {
      return { type: withPorts, bytes: concatBytes([addresses, frame.subarray(ports, ports + 4)]) };
    }
    return this.#types & (1 << plain) ? { type: plain, bytes: addresses } : null;
  }
}
