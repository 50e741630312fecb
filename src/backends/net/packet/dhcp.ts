// DHCP messages. Sources: RFC 2131 (message), RFC 2132 (options).
import { get16, get32, getMac, type Ipv4Address, type MacAddress, set16, set32, setMac } from './addresses.ts';

export const DHCP_PORT = { server: 67, client: 68 } as const;
export const DHCP_MESSAGE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const;
export const DHCP_OPTION = {
  subnetMask: 1,
  router: 3,
  dns: 6,
  hostName: 12,
  domainName: 15,
  mtu: 26,
  requestedAddress: 50,
  leaseTime: 51,
  messageType: 53,
  serverId: 54,
  message: 56,
  renewalTime: 58,
  rebindingTime: 59,
} as const;

const FIXED = 236;
const COOKIE = 0x63825363;
/** RFC 2131 section 2: clients take at least that; some refuse shorter ones (RFC 1542). */
const MIN_LENGTH = 300;
const BOOT_REQUEST = 1;
const BOOT_REPLY = 2;
const FLAG_BROADCAST = 0x8000;
const PAD = 0;
const END = 255;

export interface DhcpRequest {
  type: number;
  transaction: number;
  wantsBroadcast: boolean;
  /** ciaddr: the address that the client has already; 0 for none. */
  clientAddress: Ipv4Address;
  mac: MacAddress;
  /** Options of four bytes; null where they are not there. */
  requested: Ipv4Address | null;
  server: Ipv4Address | null;
}

/** From a UDP payload; null where it is no request of an Ethernet client. */
export function parseDhcp(bytes: Uint8Array): DhcpRequest | null {
  if (bytes.length < FIXED + 4 || bytes[0] !== BOOT_REQUEST || bytes[1] !== 1 || bytes[2] !== 6) return null;
  if (get32(bytes, FIXED) !== COOKIE) return null;
  const options = new Map<number, Uint8Array>();
  for (let at = FIXED + 4; at < bytes.length && bytes[at] !== END; ) {
    const code = bytes[at]!;
    if (code === PAD) {
      at++;
      continue;
    }
    const length = at + 1 < bytes.length ? bytes[at + 1]! : 256;
    if (at + 2 + length > bytes.length) return null;
    options.set(code, bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  const type = options.get(DHCP_OPTION.messageType);
  if (type === undefined || type.length !== 1) return null;
  const address = (code: number): Ipv4Address | null => {
    const value = options.get(code);
    return value !== undefined && value.length === 4 ? get32(value, 0) : null;
  };
  return {
    type: type[0]!,
    transaction: get32(bytes, 4),
    wantsBroadcast: (get16(bytes, 10) & FLAG_BROADCAST) !== 0,
    clientAddress: get32(bytes, 12),
    mac: getMac(bytes, 28),
    requested: address(DHCP_OPTION.requestedAddress),
    server: address(DHCP_OPTION.serverId),
  };
}

/** A server's answer, as a UDP payload. `your`: yiaddr, the client's new address. */
export function dhcpReply(
  request: DhcpRequest,
  server: Ipv4Address,
  your: Ipv4Address,
  options: readonly (readonly [code: number, value: Uint8Array])[],
): Uint8Array {
  const length = options.reduce((total, [, value]) => total + 2 + value.length, FIXED + 4 + 1);
  const bytes = new Uint8Array(Math.max(MIN_LENGTH, length));
  bytes.set([BOOT_REPLY, 1, 6, 0]);
  set32(bytes, 4, request.transaction);
  set16(bytes, 10, request.wantsBroadcast ? FLAG_BROADCAST : 0);
  set32(bytes, 12, request.clientAddress);
  set32(bytes, 16, your);
  set32(bytes, 20, server);
  setMac(bytes, 28, request.mac);
  set32(bytes, FIXED, COOKIE);
  let at = FIXED + 4;
  for (const [code, value] of options) {
    bytes[at] = code;
    bytes[at + 1] = value.length;
    bytes.set(value, at + 2);
    at += 2 + value.length;
  }
  bytes[at] = END;
  return bytes;
}
