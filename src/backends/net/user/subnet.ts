// The addresses of a user-mode network: those of QEMU's, so that what people know of one holds for the other.
import type { Ipv4Address, MacAddress } from '../packet/addresses.ts';

export interface Subnet {
  network: Ipv4Address;
  /** Length of the network's part in bits. */
  prefix: number;
  /** Router; connections to it reach the host's own loopback address. */
  gateway: Ipv4Address;
  dns: Ipv4Address;
  /** The first address that DHCP gives. */
  firstGuest: Ipv4Address;
}

export const DEFAULT_SUBNET: Subnet = {
  network: 0x0a000200,
  prefix: 24,
  gateway: 0x0a000202,
  dns: 0x0a000203,
  firstGuest: 0x0a00020f,
};

export const netmask = ({ prefix }: Subnet): number => (0xffffffff << (32 - prefix)) >>> 0;
export const broadcastOf = (subnet: Subnet): Ipv4Address => (subnet.network | ~netmask(subnet)) >>> 0;
export const isInside = (subnet: Subnet, address: Ipv4Address): boolean =>
  (address & netmask(subnet)) >>> 0 === subnet.network;

/** The Ethernet addresses of the network's own hosts. */
export const ownMac = (address: Ipv4Address): MacAddress => 0x5255 * 2 ** 32 + address;

/** Where a guest's packet to an address goes. */
export type Destination = 'gateway' | 'dns' | 'inside' | 'outside' | 'nowhere';

export function destinationOf(subnet: Subnet, address: Ipv4Address): Destination {
  if (address === subnet.gateway) return 'gateway';
  if (address === subnet.dns) return 'dns';
  if (isInside(subnet, address)) return 'inside';
  const first = address >>> 24;
  // "This" network, loopback, multicast and what is reserved (RFC 6890) mean something on their own host alone.
  return first === 0 || first === 127 || first >= 224 ? 'nowhere' : 'outside';
}
