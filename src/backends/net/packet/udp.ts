// UDP datagrams. Source: RFC 768.
import { get16, type Ipv4Address, set16 } from './addresses.ts';
import { checksumOf, fold, pseudoSum, sum } from './checksum.ts';
import { IP_PROTOCOL, type Ipv4Packet } from './ipv4.ts';

export const UDP_HEADER = 8;

export interface UdpDatagram {
  sourcePort: number;
  destinationPort: number;
  payload: Uint8Array;
}

/** Null where it is cut off or its checksum is wrong (unless that is still to be computed: `trusted`). */
export function parseUdp(packet: Ipv4Packet, trusted: boolean): UdpDatagram | null {
  const { payload: bytes } = packet;
  if (bytes.length < UDP_HEADER) return null;
  const length = get16(bytes, 4);
  if (length < UDP_HEADER || length > bytes.length) return null;
  if (!trusted && get16(bytes, 6) !== 0) {
    const pseudo = pseudoSum(packet.source, packet.destination, IP_PROTOCOL.udp, length);
    if (fold(pseudo + sum(bytes, 0, length)) !== 0xffff) return null;
  }
  return {
    sourcePort: get16(bytes, 0),
    destinationPort: get16(bytes, 2),
    payload: bytes.subarray(UDP_HEADER, length),
  };
}

/** An IPv4 payload. */
export function udpBytes(source: Ipv4Address, destination: Ipv4Address, datagram: UdpDatagram): Uint8Array {
  const length = UDP_HEADER + datagram.payload.length;
  const bytes = new Uint8Array(length);
  set16(bytes, 0, datagram.sourcePort);
  set16(bytes, 2, datagram.destinationPort);
  set16(bytes, 4, length);
  bytes.set(datagram.payload, UDP_HEADER);
  const total = pseudoSum(source, destination, IP_PROTOCOL.udp, length) + sum(bytes, 0, length);
  // A sum of zero would say that there is none.
  set16(bytes, 6, checksumOf(total) || 0xffff);
  return bytes;
}
