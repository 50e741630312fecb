// Who has an IPv4 address: ARP over Ethernet. Source: RFC 826.
import {
  BROADCAST_MAC,
  get16,
  get32,
  getMac,
  type Ipv4Address,
  type MacAddress,
  set16,
  set32,
  setMac,
} from './addresses.ts';
import { ETHER_TYPE, ETHERNET_HEADER, writeEthernet } from './ethernet.ts';

export const ARP_OPERATION = { request: 1, reply: 2 } as const;
const ARP_LENGTH = 28;
const HARDWARE_ETHERNET = 1;

export interface ArpPacket {
  operation: number;
  senderMac: MacAddress;
  sender: Ipv4Address;
  targetMac: MacAddress;
  target: Ipv4Address;
}

/** From an Ethernet frame; null where it is not ARP for IPv4 over Ethernet. */
export function parseArp(frame: Uint8Array): ArpPacket | null {
  const at = ETHERNET_HEADER;
  if (frame.length < at + ARP_LENGTH) return null;
  if (get16(frame, at) !== HARDWARE_ETHERNET || get16(frame, at + 2) !== ETHER_TYPE.ipv4) return null;
  if (frame[at + 4] !== 6 || frame[at + 5] !== 4) return null;
  return {
    operation: get16(frame, at + 6),
    senderMac: getMac(frame, at + 8),
    sender: get32(frame, at + 14),
    targetMac: getMac(frame, at + 18),
    target: get32(frame, at + 24),
  };
}

/** A whole frame: requests go to everyone, replies to their target. */
export function arpFrame(packet: ArpPacket): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER + ARP_LENGTH);
  const isRequest = packet.operation === ARP_OPERATION.request;
  const destination = isRequest ? BROADCAST_MAC : packet.targetMac;
  writeEthernet(frame, { destination, source: packet.senderMac, type: ETHER_TYPE.arp });
  const at = ETHERNET_HEADER;
  set16(frame, at, HARDWARE_ETHERNET);
  set16(frame, at + 2, ETHER_TYPE.ipv4);
  frame[at + 4] = 6;
  frame[at + 5] = 4;
  set16(frame, at + 6, packet.operation);
  setMac(frame, at + 8, packet.senderMac);
  set32(frame, at + 14, packet.sender);
  setMac(frame, at + 18, packet.targetMac);
  set32(frame, at + 24, packet.target);
  return frame;
}
