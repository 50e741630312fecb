// ICMP: echo, and the errors that a router sends. Sources: RFC 792, RFC 1122 section 3.2.2 (when none is sent), RFC 1191 (next-hop MTU).
import { get16, isMulticastIpv4, set16 } from './addresses.ts';
import { checksumOf, fold, sum } from './checksum.ts';
import { IP_PROTOCOL, type Ipv4Packet } from './ipv4.ts';

export const ICMP = { echoReply: 0, unreachable: 3, echo: 8, timeExceeded: 11 } as const;
/** Codes of `unreachable`. */
export const UNREACHABLE = { net: 0, host: 1, protocol: 2, port: 3, fragmentationNeeded: 4, prohibited: 13 } as const;

/** The answer to an echo request; null where the message is another one or damaged. */
export function echoReply(request: Uint8Array): Uint8Array | null {
  if (request.length < 8 || request[0] !== ICMP.echo || request[1] !== 0) return null;
  if (fold(sum(request, 0, request.length)) !== 0xffff) return null;
  const reply = request.slice();
  reply[0] = ICMP.echoReply;
  finish(reply);
  return reply;
}

/** The message about a packet that could not be delivered; null where none may be sent about it. */
export function icmpError(type: number, code: number, packet: Ipv4Packet, broadcast: number): Uint8Array | null {
  const { source, destination, protocol, fragmentOffset, header, payload } = packet;
  if (fragmentOffset !== 0 || source === 0 || isMulticastIpv4(source) || source >>> 24 === 127) return null;
  if (isMulticastIpv4(destination) || destination === 0xffffffff || destination === broadcast) return null;
  if (protocol === IP_PROTOCOL.icmp && isError(payload)) return null;
  const message = new Uint8Array(8 + header.length + Math.min(8, payload.length));
  message[0] = type;
  message[1] = code;
  message.set(header, 8);
  message.set(payload.subarray(0, 8), 8 + header.length);
  finish(message);
  return message;
}

/** Everything that is not a question or its answer counts as an error. */
function isError(message: Uint8Array): boolean {
  return message.length === 0 || (message[0] !== ICMP.echo && message[0] !== ICMP.echoReply);
}

function finish(message: Uint8Array): void {
  set16(message, 2, 0);
  set16(message, 2, checksumOf(sum(message, 0, message.length)));
}

/** Identifier and sequence number of an echo message. */
export function echoNumbers(message: Uint8Array): { id: number; sequence: number } {
  return { id: get16(message, 4), sequence: get16(message, 6) };
}
