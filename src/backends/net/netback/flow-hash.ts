// Spreads flows over queues: frames of one flow go to one queue, so that they stay in order.
import { get16, get32 } from '../packet/addresses.ts';
import { ETHER_TYPE, ETHERNET_HEADER } from '../packet/ethernet.ts';
import { IP_PROTOCOL, IPV4_HEADER } from '../packet/ipv4.ts';

/** An unsigned number from addresses and, of TCP and UDP, ports; 0 for what is not IPv4. */
export function flowHash(bytes: Uint8Array): number {
  const ip = ETHERNET_HEADER;
  if (bytes.length < ip + IPV4_HEADER || get16(bytes, 12) !== ETHER_TYPE.ipv4) return 0;
  let hash = get32(bytes, ip + 12) ^ get32(bytes, ip + 16);
  const protocol = bytes[ip + 9];
  const ports = ip + (bytes[ip]! & 15) * 4;
  const hasPorts = protocol === IP_PROTOCOL.tcp || protocol === IP_PROTOCOL.udp;
  const isFragment = (get16(bytes, ip + 6) & 0x3fff) !== 0;
  if (hasPorts && !isFragment && ports + 4 <= bytes.length) hash ^= get32(bytes, ports);
  // Mixes all bits into the low ones, of which few are used (the multiplier is that of Fibonacci hashing).
  return Math.imul(hash ^ (hash >>> 16), 0x9e3779b1) >>> 16;
}
