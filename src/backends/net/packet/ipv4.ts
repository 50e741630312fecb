// IPv4 packets: headers, and cutting what is too long into fragments. Source: RFC 791.
import { get16, get32, type Ipv4Address, set16, set32 } from './addresses.ts';
import { checksumOf, fold, sum } from './checksum.ts';

export const IPV4_HEADER = 20;
export const IP_PROTOCOL = { icmp: 1, tcp: 6, udp: 17 } as const;
const MORE_FRAGMENTS = 0x2000;
const DONT_FRAGMENT = 0x4000;
const MAX_PACKET = 65535;

export interface Ipv4Packet {
  source: Ipv4Address;
  destination: Ipv4Address;
  protocol: number;
  ttl: number;
  id: number;
  dontFragment: boolean;
  moreFragments: boolean;
  /** Of this fragment's payload in the whole datagram, in bytes. */
  fragmentOffset: number;
  /** Header with options, as error messages quote it. */
  header: Uint8Array;
  payload: Uint8Array;
}

/** The packet that starts at `at`; null where it is none, is cut off, or its header's checksum is wrong. What follows it is padding. */
export function parseIpv4(bytes: Uint8Array, at: number): Ipv4Packet | null {
  if (bytes.length < at + IPV4_HEADER || bytes[at]! >> 4 !== 4) return null;
  const headerLength = (bytes[at]! & 15) * 4;
  const length = get16(bytes, at + 2);
  if (headerLength < IPV4_HEADER || length < headerLength || at + length > bytes.length) return null;
  if (fold(sum(bytes, at, at + headerLength)) !== 0xffff) return null;
  const fragment = get16(bytes, at + 6);
  return {
    source: get32(bytes, at + 12),
    destination: get32(bytes, at + 16),
    protocol: bytes[at + 9]!,
    ttl: bytes[at + 8]!,
    id: get16(bytes, at + 4),
    dontFragment: (fragment & DONT_FRAGMENT) !== 0,
    moreFragments: (fragment & MORE_FRAGMENTS) !== 0,
    fragmentOffset: (fragment & 0x1fff) * 8,
    header: bytes.subarray(at, at + headerLength),
    payload: bytes.subarray(at + headerLength, at + length),
  };
}

export interface Ipv4Header {
  source: Ipv4Address;
  destination: Ipv4Address;
  protocol: number;
  id: number;
  ttl?: number;
  dontFragment?: boolean;
  moreFragments?: boolean;
  fragmentOffset?: number;
}

/** Writes a header of 20 bytes for a packet with so many bytes of payload. */
export function writeIpv4(bytes: Uint8Array, at: number, header: Ipv4Header, payloadLength: number): void {
  const { ttl = 64, dontFragment = false, moreFragments = false, fragmentOffset = 0 } = header;
  bytes[at] = 0x45;
  bytes[at + 1] = 0;
  set16(bytes, at + 2, IPV4_HEADER + payloadLength);
  set16(bytes, at + 4, header.id);
  const flags = (dontFragment ? DONT_FRAGMENT : 0) | (moreFragments ? MORE_FRAGMENTS : 0);
  set16(bytes, at + 6, flags | (fragmentOffset >> 3));
  bytes[at + 8] = ttl;
  bytes[at + 9] = header.protocol;
  set16(bytes, at + 10, 0);
  set32(bytes, at + 12, header.source);
  set32(bytes, at + 16, header.destination);
  set16(bytes, at + 10, checksumOf(sum(bytes, at, at + IPV4_HEADER)));
}

/** Pieces of a payload, as [offset, length], that fit the MTU; one where all of it does. */
export function fragments(payloadLength: number, mtu: number): [number, number][] {
  const room = mtu - IPV4_HEADER;
  if (payloadLength <= room) return [[0, payloadLength]];
  const step = room & ~7;
  const pieces: [number, number][] = [];
  for (let at = 0; at < payloadLength; at += step) pieces.push([at, Math.min(step, payloadLength - at)]);
  return pieces;
}

/** Longest payload that a packet or a sequence of fragments can have. */
export const MAX_IPV4_PAYLOAD = MAX_PACKET - IPV4_HEADER;
