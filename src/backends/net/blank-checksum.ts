// Where the checksum of a packet is that a PV front end left blank: its flag says that, but not where. Sources: xen/include/public/io/netif.h
// (NETTXF_csum_blank), Linux's skb_checksum_setup().
import type { PartialChecksum } from './link.ts';
import { get16, get32, set16 } from './packet/addresses.ts';
import { fold, pseudoSum, sum } from './packet/checksum.ts';
import { ETHER_TYPE, ETHERNET_HEADER } from './packet/ethernet.ts';
import { IP_PROTOCOL, IPV4_HEADER } from './packet/ipv4.ts';

const IPV6_HEADER = 40;
const HEADERS_V6 = new Set([0, 43, 60]);
const MAX_HEADERS_V6 = 8;
const FIELD: Readonly<Record<number, number>> = { [IP_PROTOCOL.tcp]: 16, [IP_PROTOCOL.udp]: 6 };

/** Finds the field and puts the pseudo header's sum there; null where this is no packet that has one. */
export function blankChecksum(bytes: Uint8Array): PartialChecksum | null {
  if (bytes.length < ETHERNET_HEADER + IPV4_HEADER) return null;
  const ip = ETHERNET_HEADER;
  const type = get16(bytes, 12);
  if (type === ETHER_TYPE.ipv4 && bytes[ip]! >> 4 === 4) {
    const headerLength = (bytes[ip]! & 15) * 4;
    const isFragment = (get16(bytes, ip + 6) & 0x3fff) !== 0;
    if (headerLength < IPV4_HEADER || isFragment) return null;
    const protocol = bytes[ip + 9]!;
    const length = get16(bytes, ip + 2) - headerLength;
    return place(bytes, ip + headerLength, protocol, length, () =>
      pseudoSum(get32(bytes, ip + 12), get32(bytes, ip + 16), protocol, length),
    );
  }
  return type === ETHER_TYPE.ipv6 && bytes[ip]! >> 4 === 6 ? inIpv6(bytes, ip) : null;
}

function inIpv6(bytes: Uint8Array, ip: number): PartialChecksum | null {
  let at = ip + IPV6_HEADER;
  if (bytes.length < at) return null;
  let protocol = bytes[ip + 6]!;
  for (let n = 0; HEADERS_V6.has(protocol); n++) {
    if (n >= MAX_HEADERS_V6 || at + 8 > bytes.length) return null;
    protocol = bytes[at]!;
    at += 8 + bytes[at + 1]! * 8;
  }
  const length = get16(bytes, ip + 4) - (at - ip - IPV6_HEADER);
  return place(bytes, at, protocol, length, () => sum(bytes, ip + 8, ip + IPV6_HEADER) + protocol + length);
}

function place(
  bytes: Uint8Array,
  start: number,
  protocol: number,
  length: number,
  pseudo: () => number,
): PartialChecksum | null {
  const offset = FIELD[protocol];
  if (offset === undefined || length < offset + 2 || start + length > bytes.length) return null;
  set16(bytes, start + offset, fold(pseudo()));
  return { start, offset };
}
