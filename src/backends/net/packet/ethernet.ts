// Ethernet II frames. Source: IEEE 802.3, types from the IANA's list.
import { get16, getMac, type MacAddress, set16, setMac } from './addresses.ts';

export const ETHERNET_HEADER = 14;
export const ETHER_TYPE = { ipv4: 0x0800, arp: 0x0806, vlan: 0x8100, ipv6: 0x86dd } as const;

export interface EthernetHeader {
  destination: MacAddress;
  source: MacAddress;
  type: number;
}

/** Null where there is no whole header. */
export function parseEthernet(frame: Uint8Array): EthernetHeader | null {
  if (frame.length < ETHERNET_HEADER) return null;
  return { destination: getMac(frame, 0), source: getMac(frame, 6), type: get16(frame, 12) };
}

export function writeEthernet(frame: Uint8Array, header: EthernetHeader): void {
  setMac(frame, 0, header.destination);
  setMac(frame, 6, header.source);
  set16(frame, 12, header.type);
}
