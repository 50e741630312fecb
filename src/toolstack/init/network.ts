// A check of a network interface: brings it up and wants echoes of its gateway (RFC 792; netdevice(7), raw(7)).

import { joinPath, PATH_ROOM } from './files.ts';
import { add, all, and, byte, eq, ge, half, lt, mul, ne, or, room, shr, sub, xor } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { reportStatus } from './lines.ts';
import {
  AF_INET,
  ENETDOWN,
  IFF_RUNNING,
  IFF_UP,
  IPPROTO_ICMP,
  POLLIN,
  SIOCGIFFLAGS,
  SIOCSIFADDR,
  SIOCSIFFLAGS,
  SIOCSIFNETMASK,
  SOCK_DGRAM,
  SOCK_RAW,
  sys,
} from './linux.ts';
import { patiently } from './patience.ts';
import { ECHOES } from './protocol.ts';
import { clear, copyString, sameBytes } from './strings.ts';

const ECHO_TIMEOUT_MS = 1000;
const ECHO_REQUEST = 8;
const ECHO_REPLY = 0;
/** ICMP's header and what the echo carries: more than the driver copies into a packet's first bytes. */
const HEADER = 8;
const PAYLOAD = 1000;
const PACKET = HEADER + PAYLOAD;
const IDENTIFIER = 0x5a44;

/** struct ifreq: the name, then an address or flags (include/uapi/linux/if.h). */
const request = room('interface_request', 40);
const REQUEST_VALUE = 16;
/** struct sockaddr_in: family, port, address. */
const SOCKADDR_IN = 16;
const SIN_ADDR = 4;
const gatewayAddress = room('gateway_address', SOCKADDR_IN);
const packet = room('packet', PACKET);
const received = room('received', 2048);
/** struct pollfd: descriptor, events, returned events. */
const polled = room('polled', 8);
const key = room('network_key', PATH_ROOM);

const putAddress = routine('put_address', (r, to, address) => {
  r.store(2, to, AF_INET);
  r.store(2, add(to, 2), 0);
  for (const i of [0, 1, 2, 3]) r.store(1, add(to, SIN_ADDR + i), shr(address, 24 - 8 * i));
});

/** SIOCGIFFLAGS: the flags, or an error. */
const interfaceFlags = routine('interface_flags', (r, socket) => {
  const result = r.local(sys('ioctl', socket, SIOCGIFFLAGS, request));
  r.if(lt(result, 0), () => r.return(result));
  r.return(half(request, REQUEST_VALUE));
});

/** Whether it has a carrier: 0, or an error. */
const carrier = routine('carrier', (r, socket) => {
  const flags = r.local(interfaceFlags(socket));
  r.if(lt(flags, 0), () => r.return(flags));
  r.if(and(flags, IFF_RUNNING), () => r.return(0));
  r.return(-ENETDOWN);
});

/** Up, with this address; 0 or an error. */
const bringUp = routine('bring_up', (r, name, address, netmask) => {
  const socket = r.local(sys('socket', AF_INET, SOCK_DGRAM, 0));
  r.if(lt(socket, 0), () => r.return(socket));
  r.do(clear(request, REQUEST_VALUE), copyString(request, name));
  const flags = patiently(r, () => interfaceFlags(socket));
  r.if(lt(flags, 0), () => r.return(flags));
  const result = r.local(0);
  for (const [call, value] of [
    [SIOCSIFADDR, address],
    [SIOCSIFNETMASK, netmask],
  ] as const) {
    r.do(putAddress(add(request, REQUEST_VALUE), value));
    r.set(result, sys('ioctl', socket, call, request));
    r.if(lt(result, 0), () => r.return(result));
  }
  r.store(2, add(request, REQUEST_VALUE), or(flags, IFF_UP));
  r.set(result, sys('ioctl', socket, SIOCSIFFLAGS, request));
  r.if(lt(result, 0), () => r.return(result));
  const up = patiently(r, () => carrier(socket));
  r.do(sys('close', socket));
  r.return(up);
});

/** The one's complement of the one's complement sum (RFC 1071), to be stored as it is. */
const internetChecksum = routine('internet_checksum', (r, bytes, length) => {
  const sum = r.local(0);
  const end = r.local(add(bytes, length));
  r.while(ne(bytes, end), () => {
    r.set(sum, add(sum, half(bytes)));
    r.set(bytes, add(bytes, 2));
  });
  r.while(shr(sum, 16), () => r.set(sum, add(and(sum, 0xffff), shr(sum, 16))));
  r.return(xor(sum, 0xffff));
});

/** One request and the wait for its reply: 1, 0 for none in time, or an error. */
const echo = routine('echo', (r, socket, sequence) => {
  r.store(2, packet, ECHO_REQUEST);
  r.store(2, add(packet, 2), 0);
  r.store(2, add(packet, 4), IDENTIFIER);
  r.store(2, add(packet, 6), sequence);
  const at = r.local(HEADER);
  r.while(ne(at, PACKET), () => {
    r.store(1, add(packet, at), add(at, sequence));
    r.set(at, add(at, 1));
  });
  r.store(2, add(packet, 2), internetChecksum(packet, PACKET));
  const result = r.local(sys('write', socket, packet, PACKET));
  r.if(lt(result, 0), () => r.return(result));
  r.loop(() => {
    r.store(4, polled, socket);
    r.store(4, add(polled, 4), POLLIN);
    r.set(result, sys('poll', polled, 1, ECHO_TIMEOUT_MS));
    r.if(lt(result, 1), () => r.return(result));
    r.set(result, sys('read', socket, received, 2048));
    r.if(lt(result, 0), () => r.return(result));
    // The IP header comes first, its length in words of 32 bits.
    const message = r.local(add(received, mul(and(byte(received), 15), 4)));
    const isOurs = all(
      ge(result, add(sub(message, received), PACKET)),
      eq(byte(message), ECHO_REPLY),
      sameBytes(add(message, 4), add(packet, 4), PACKET - 4),
    );
    r.if(isOurs, () => r.return(1));
  });
});

/** Reports how many echoes came of ECHOES that were asked for, or the error. Addresses are numbers, the first byte highest. */
export const checkNetwork = routine('check_network', (r, name, address, netmask, gateway) => {
  r.do(joinPath(key, 'network', name));
  const up = r.local(bringUp(name, address, netmask));
  r.if(lt(up, 0), () => r.return(reportStatus(key, up)));
  const socket = r.local(sys('socket', AF_INET, SOCK_RAW, IPPROTO_ICMP));
  r.if(lt(socket, 0), () => r.return(reportStatus(key, socket)));
  r.do(putAddress(gatewayAddress, gateway));
  const result = r.local(sys('connect', socket, gatewayAddress, SOCKADDR_IN));
  const count = r.local(0);
  const sequence = r.local(0);
  r.while(all(ge(result, 0), lt(sequence, ECHOES)), () => {
    r.set(sequence, add(sequence, 1));
    r.set(result, echo(socket, sequence));
    r.if(eq(result, 1), () => r.set(count, add(count, 1)));
  });
  r.do(sys('close', socket));
  r.if(lt(result, 0), () => r.return(reportStatus(key, result)));
  r.do(reportStatus(key, count));
});
