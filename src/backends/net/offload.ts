/**
 * Finishes what a sender left to its network card: checksums, and cutting large TCP segments. For receivers that cannot. Sources: virtio 1.2
 * section 5.1.6.2 and xen/include/public/io/netif.h (what is left undone), RFC 9293 (what must be right in each segment).
 *
 * The offsets in a frame are the sending guest's: one that contradicts its headers is dropped, never followed.
 */
import { ALL_ABILITIES, type Frame, type FrameAbilities, type PartialChecksum, wholeFrame } from './link.ts';
import { get16, get32, set16, set32 } from './packet/addresses.ts';
import { checksumOf, pseudoSum, sum } from './packet/checksum.ts';
import { ETHER_TYPE, ETHERNET_HEADER } from './packet/ethernet.ts';
import { IP_PROTOCOL, IPV4_HEADER } from './packet/ipv4.ts';

const IPV6_HEADER = 40;
const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;
const FIN_PSH = 0x09;
const CWR = 0x80;
/** A sender that cuts finer makes us work for nothing. */
const MIN_SEGMENT = 48;

/** What is needed to reach a receiver with these abilities: the frame itself, several, or none where it makes no sense. */
export function finishFrame(frame: Frame, accepts: FrameAbilities = ALL_ABILITIES): Frame[] {
  const { checksum, segmentation, bytes } = frame;
  if (checksum !== null && !isInside(bytes, checksum)) return [];
  if (segmentation !== null) {
    const place = headersOf(bytes);
    if (checksum === null || place === null || segmentation.size < MIN_SEGMENT) return [];
    if (segmentation.type !== place.type || checksum.start !== place.tcp || checksum.offset !== TCP_CHECKSUM) return [];
    if (accepts[segmentation.type] && accepts.checksum) return [frame];
    return segments(bytes, place, segmentation.size);
  }
  if (checksum === null || accepts.checksum) return [frame];
  const finished = bytes.slice();
  fillChecksum(finished, checksum);
  return [wholeFrame(finished)];
}

function isInside(bytes: Uint8Array, { start, offset }: PartialChecksum): boolean {
  return start >= ETHERNET_HEADER && offset >= 0 && start + offset + 2 <= bytes.length;
}

/** The field holds the pseudo header's sum, which the sum over the bytes so takes in. */
export function fillChecksum(bytes: Uint8Array, { start, offset }: PartialChecksum): void {
  const value = checksumOf(sum(bytes, start, bytes.length));
  // UDP's zero means "none"; the complement of the same sum does for TCP as well.
  set16(bytes, start + offset, value || 0xffff);
}

/** Where a TCP segment's headers are and end, by the frame's own words. */
interface Headers {
  type: 'tcpv4' | 'tcpv6';
  ip: number;
  tcp: number;
  end: number;
}

/** Null where it is not TCP directly over IP. */
function headersOf(bytes: Uint8Array): Headers | null {
  const ip = ETHERNET_HEADER;
  if (bytes.length < ip + IPV4_HEADER) return null;
  const type = get16(bytes, 12);
  let place: Headers | null = null;
  if (type === ETHER_TYPE.ipv4 && bytes[ip]! >> 4 === 4 && bytes[ip + 9] === IP_PROTOCOL.tcp) {
    place = { type: 'tcpv4', ip, tcp: ip + Math.max(IPV4_HEADER, (bytes[ip]! & 15) * 4), end: 0 };
  } else if (type === ETHER_TYPE.ipv6 && bytes[ip]! >> 4 === 6 && bytes[ip + 6] === IP_PROTOCOL.tcp) {
    place = { type: 'tcpv6', ip, tcp: ip + IPV6_HEADER, end: 0 };
  }
  if (place === null || bytes.length < place.tcp + TCP_HEADER) return null;
  place.end = place.tcp + Math.max(TCP_HEADER, (bytes[place.tcp + 12]! >> 4) * 4);
  return place.end <= bytes.length ? place : null;
}

function segments(bytes: Uint8Array, place: Headers, size: number): Frame[] {
  const { ip, tcp, end: headers } = place;
  const cut: Frame[] = [];
  const sequence = get32(bytes, tcp + 4);
  const id = get16(bytes, ip + 4);
  const flags = bytes[tcp + 13]!;
  for (let at = headers, n = 0; at < bytes.length || n === 0; at += size, n++) {
    const end = Math.min(at + size, bytes.length);
    const segment = new Uint8Array(headers + end - at);
    segment.set(bytes.subarray(0, headers));
    segment.set(bytes.subarray(at, end), headers);
    set32(segment, tcp + 4, sequence + at - headers);
    let own = flags;
    if (end < bytes.length) own &= ~FIN_PSH;
    if (n > 0) own &= ~CWR;
    segment[tcp + 13] = own;
    finishHeaders(segment, place, id + n);
    cut.push(wholeFrame(segment));
  }
  return cut;
}

/** Lengths, identification and both checksums of one segment. */
function finishHeaders(segment: Uint8Array, { type, ip, tcp }: Headers, id: number): void {
  const length = segment.length - tcp;
  let pseudo: number;
  if (type === 'tcpv6') {
    set16(segment, ip + 4, segment.length - ip - IPV6_HEADER);
    pseudo = sum(segment, ip + 8, ip + IPV6_HEADER) + IP_PROTOCOL.tcp + length;
  } else {
    set16(segment, ip + 2, segment.length - ip);
    set16(segment, ip + 4, id);
    set16(segment, ip + 10, 0);
    set16(segment, ip + 10, checksumOf(sum(segment, ip, tcp)));
    pseudo = pseudoSum(get32(segment, ip + 12), get32(segment, ip + 16), IP_PROTOCOL.tcp, length);
  }
  set16(segment, tcp + TCP_CHECKSUM, 0);
  set16(segment, tcp + TCP_CHECKSUM, checksumOf(pseudo + sum(segment, tcp, segment.length)));
}
