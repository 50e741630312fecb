// Addresses are numbers, most significant byte first on the wire: 48 bits for Ethernet, 32 for IPv4. They compare with === and are keys of maps.

/** 10.0.2.2 and the like. */
export type Ipv4Address = number;
/** 52:54:00:12:34:56 and the like. */
export type MacAddress = number;

export const BROADCAST_MAC: MacAddress = 0xffffffffffff;
export const BROADCAST_IPV4: Ipv4Address = 0xffffffff;

/** Group addresses: the first byte's lowest bit. */
export const isMulticastMac = (mac: MacAddress): boolean => (Math.floor(mac / 2 ** 40) & 1) === 1;
export const isMulticastIpv4 = (address: Ipv4Address): boolean => address >>> 28 === 14;

export function get16(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function get32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function set16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function set32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function getMac(bytes: Uint8Array, at: number): MacAddress {
  return get16(bytes, at) * 2 ** 32 + get32(bytes, at + 2);
}

export function setMac(bytes: Uint8Array, at: number, mac: MacAddress): void {
  set16(bytes, at, Math.floor(mac / 2 ** 32));
  set32(bytes, at + 2, mac % 2 ** 32);
}

export function ipv4Text(address: Ipv4Address): string {
  return [24, 16, 8, 0].map(shift => (address >>> shift) & 0xff).join('.');
}

/** Four decimal numbers of a byte each; null for anything else. */
export function parseIpv4(text: string): Ipv4Address | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return null;
  const parts = match.slice(1).map(Number);
  return parts.some(part => part > 255) ? null : parts.reduce((all, part) => all * 256 + part, 0);
}

export function macText(mac: MacAddress): string {
  return mac.toString(16).padStart(12, '0').match(/../g)!.join(':');
}

/** Six bytes in hexadecimal between colons; null for anything else. */
export function parseMac(text: string): MacAddress | null {
  return /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text) ? Number.parseInt(text.replaceAll(':', ''), 16) : null;
}
