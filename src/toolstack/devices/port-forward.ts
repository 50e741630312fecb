// Ports of this machine that lead into a guest, in the notation of QEMU's hostfwd: protocol:[address]:port-[guest address]:port.
import { parseIpv4 } from '../../backends/net/packet/addresses.ts';
import type { PortForward } from '../../backends/net/user/user-network.ts';
import { DeviceSpecError } from './spec-error.ts';

export type { PortForward } from '../../backends/net/user/user-network.ts';

const MAX_PORT = 65535;

/** Throws DeviceSpecError. */
export function parseForward(text: string): PortForward {
  const match = /^(tcp|udp):([\d.]*):(\d+)-([\d.]*):(\d+)$/.exec(text);
  const [, protocol, hostAddress = '', hostPort, guestAddress = '', guestPort] = match ?? [];
  const ports = [Number(hostPort), Number(guestPort)];
  const addresses = [hostAddress, guestAddress].filter(address => address !== '');
  if (match === null || ports.some(port => port > MAX_PORT) || addresses.some(one => parseIpv4(one) === null)) {
    throw new DeviceSpecError(`"${text}" is not protocol:[address]:port-[guest address]:port, such as tcp::2222-:22`);
  }
  return {
    protocol: protocol as PortForward['protocol'],
    hostPort: ports[0]!,
    guestPort: ports[1]!,
    ...(hostAddress === '' ? {} : { hostAddress }),
    ...(guestAddress === '' ? {} : { guestAddress }),
  };
}
