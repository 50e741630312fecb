// TCP segments. Sources: RFC 9293 section 3.1 (header, MSS option), RFC 7323 section 2 (window scale).
import { get16, get32, type Ipv4Address, set16, set32 } from '../packet/addresses.ts';
import { checksumOf, fold, pseudoSum, sum } from '../packet/checksum.ts';
import { IP_PROTOCOL, type Ipv4Packet } from '../packet/ipv4.ts';

export const TCP_HEADER = 20;
export const TCP_CHECKSUM_OFFSET = 16;
export const TCP = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;
const OPTION = { end: 0, nop: 1, mss: 2, windowScale: 3 } as const;
/** RFC 7323: a larger shift counts as this one. */
const MAX_SCALE = 14;

export interface TcpOptions {
  /** Largest payload that the sender takes. */
  mss?: number;
  /** Shift of the sender's windows. */
  windowScale?: number;
}

export interface TcpSegment {
  sourcePort: number;
  destinationPort: number;
  seq: number;
  ack: number;
  flags: number;
  /** As it stands in the header, without scale. */
  window: number;
  options: TcpOptions;
  payload: Uint8Array;
}

/** Sequence numbers that a segment takes: SYN and FIN count as one each. */
export function segmentLength({ flags, payload }: TcpSegment): number {
  return payload.length + ((flags & TCP.syn) !== 0 ? 1 : 0) + ((flags & TCP.fin) !== 0 ? 1 : 0);
}

/** Null where it is cut off or its checksum is wrong (unless that is still to be computed: `trusted`). */
export function parseTcp(packet: Ipv4Packet, trusted: boolean): TcpSegment | null {
  const { payload: bytes } = packet;
  if (bytes.length < TCP_HEADER) return null;
  const headerLength = (bytes[12]! >> 4) * 4;
  if (headerLength < TCP_HEADER || headerLength > bytes.length) return null;
  if (!trusted) {
    const pseudo = pseudoSum(packet.source, packet.destination, IP_PROTOCOL.tcp, bytes.length);
    if (fold(pseudo + sum(bytes, 0, bytes.length)) !== 0xffff) return null;
  }
  return {
    sourcePort: get16(bytes, 0),
    destinationPort: get16(bytes, 2),
    seq: get32(bytes, 4),
    ack: get32(bytes, 8),
    flags: bytes[13]! & 0x3f,
    window: get16(bytes, 14),
    options: parseOptions(bytes, headerLength),
    payload: bytes.subarray(headerLength),
  };
}

function parseOptions(bytes: Uint8Array, end: number): TcpOptions {
  const options: TcpOptions = {};
  for (let at = TCP_HEADER; at < end; ) {
    const kind = bytes[at]!;
    if (kind === OPTION.end) break;
    if (kind === OPTION.nop) {
      at++;
      continue;
    }
    const length = at + 1 < end ? bytes[at + 1]! : 0;
    if (length < 2 || at + length > end) break;
    if (kind === OPTION.mss && length === 4) options.mss = get16(bytes, at + 2);
    if (kind === OPTION.windowScale && length === 3) options.windowScale = Math.min(bytes[at + 2]!, MAX_SCALE);
    at += length;
  }
  return options;
}

/** An IPv4 payload without checksum: the field holds the pseudo header's sum, as for PartialChecksum. */
export function tcpBytes(source: Ipv4Address, destination: Ipv4Address, segment: TcpSegment): Uint8Array {
  const { options, payload } = segment;
  const optionBytes = (options.mss === undefined ? 0 : 4) + (options.windowScale === undefined ? 0 : 4);
  const headerLength = TCP_HEADER + optionBytes;
  const bytes = new Uint8Array(headerLength + payload.length);
  set16(bytes, 0, segment.sourcePort);
  set16(bytes, 2, segment.destinationPort);
  set32(bytes, 4, segment.seq);
  set32(bytes, 8, segment.ack);
  bytes[12] = (headerLength / 4) << 4;
  bytes[13] = segment.flags;
  set16(bytes, 14, segment.window);
  let at = TCP_HEADER;
  if (options.mss !== undefined) {
    bytes.set([OPTION.mss, 4, options.mss >> 8, options.mss & 0xff], at);
    at += 4;
  }
  if (options.windowScale !== undefined) bytes.set([OPTION.nop, OPTION.windowScale, 3, options.windowScale], at);
  bytes.set(payload, headerLength);
  set16(bytes, TCP_CHECKSUM_OFFSET, fold(pseudoSum(source, destination, IP_PROTOCOL.tcp, bytes.length)));
  return bytes;
}

/** Computes the checksum for which tcpBytes left room. */
export function finishTcp(bytes: Uint8Array): void {
  set16(bytes, TCP_CHECKSUM_OFFSET, checksumOf(sum(bytes, 0, bytes.length)));
}
