// Gives guests their addresses. Source: RFC 2131 section 4.3. The same Ethernet address gets the same one again.
import type { Ipv4Address, MacAddress } from '../packet/addresses.ts';
import { set16, set32 } from '../packet/addresses.ts';
import { DHCP_MESSAGE, DHCP_OPTION, type DhcpRequest, dhcpReply, parseDhcp } from '../packet/dhcp.ts';
import { broadcastOf, isInside, netmask, type Subnet } from './subnet.ts';

const LEASE_SECONDS = 86400;
const NS = 1_000_000_000n;

export interface DhcpAnswer {
  payload: Uint8Array;
  /** Where it goes: the client's address, or everybody where it has none yet or asks for that. */
  destination: Ipv4Address;
  mac: MacAddress;
}

export interface DhcpServerOptions {
  subnet: Subnet;
  mtu: number;
  /** Option 12 for every guest. */
  hostName?: string | undefined;
}

export class DhcpServer {
  readonly #options: DhcpServerOptions;
  /** Address to holder. As many as the subnet has, and no more. */
  readonly #leases = new Map<Ipv4Address, { mac: MacAddress; endsNs: bigint }>();

  constructor(options: DhcpServerOptions) {
    this.#options = options;
  }

  get leases(): number {
    return this.#leases.size;
  }

  /** The answer to a UDP payload sent to port 67; null where none is due. */
  receive(bytes: Uint8Array, nowNs: bigint): DhcpAnswer | null {
    const request = parseDhcp(bytes);
    if (request === null) return null;
    const { gateway } = this.#options.subnet;
    switch (request.type) {
      case DHCP_MESSAGE.discover: {
        const address = this.#choose(request.mac, request.requested, nowNs);
        return address === null ? null : this.#answer(request, DHCP_MESSAGE.offer, address);
      }
      case DHCP_MESSAGE.request:
        return this.#request(request, nowNs);
      case DHCP_MESSAGE.decline:
        if (request.requested !== null) this.#decline(request.mac, request.requested, nowNs);
        return null;
      case DHCP_MESSAGE.release:
        if (this.#leases.get(request.clientAddress)?.mac === request.mac) this.#leases.delete(request.clientAddress);
        return null;
      case DHCP_MESSAGE.inform:
        // It has its address from elsewhere and asks for the rest.
        if (!isInside(this.#options.subnet, request.clientAddress)) return null;
        return {
          payload: dhcpReply(request, gateway, 0, this.#settings(DHCP_MESSAGE.ack, false)),
          destination: request.clientAddress,
          mac: request.mac,
        };
      default:
        return null;
    }
  }

  #request(request: DhcpRequest, nowNs: bigint): DhcpAnswer | null {
    const { gateway } = this.#options.subnet;
    if (request.server !== null && request.server !== gateway) return null; // it took another server's offer
    const wanted = request.requested ?? request.clientAddress;
    if (!this.#isFree(wanted, request.mac, nowNs)) return this.#answer(request, DHCP_MESSAGE.nak, 0);
    for (const [address, { mac }] of this.#leases) if (mac === request.mac) this.#leases.delete(address);
    this.#leases.set(wanted, { mac: request.mac, endsNs: nowNs + BigInt(LEASE_SECONDS) * NS });
    return this.#answer(request, DHCP_MESSAGE.ack, wanted);
  }

  /** Somebody else uses the address: it is nobody's for the length of a lease. */
  #decline(mac: MacAddress, address: Ipv4Address, nowNs: bigint): void {
    if (this.#leases.get(address)?.mac !== mac) return;
    this.#leases.set(address, { mac: -1, endsNs: nowNs + BigInt(LEASE_SECONDS) * NS });
  }

  #isFree(address: Ipv4Address, mac: MacAddress, nowNs: bigint): boolean {
    const { firstGuest } = this.#options.subnet;
    if (address < firstGuest || address >= broadcastOf(this.#options.subnet)) return false;
    const lease = this.#leases.get(address);
    return lease === undefined || lease.mac === mac || lease.endsNs <= nowNs;
  }

  #choose(mac: MacAddress, wanted: Ipv4Address | null, nowNs: bigint): Ipv4Address | null {
    for (const [address, lease] of this.#leases) if (lease.mac === mac) return address;
    if (wanted !== null && this.#isFree(wanted, mac, nowNs)) return wanted;
    const { subnet } = this.#options;
    for (let address = subnet.firstGuest; address < broadcastOf(subnet); address++) {
      if (this.#isFree(address, mac, nowNs)) return address;
    }
    return null;
  }

  #answer(request: DhcpRequest, type: number, address: Ipv4Address): DhcpAnswer {
    const { gateway } = this.#options.subnet;
    const isNak = type === DHCP_MESSAGE.nak;
    const options = isNak ? this.#identity(type) : this.#settings(type, true);
    const hasAddress = !isNak && request.clientAddress !== 0;
    const toAll = !hasAddress && (request.wantsBroadcast || isNak);
    return {
      payload: dhcpReply(request, gateway, address, options),
      destination: hasAddress ? request.clientAddress : toAll ? 0xffffffff : address,
      mac: request.mac,
    };
  }

  #identity(type: number): [number, Uint8Array][] {
    return [
      [DHCP_OPTION.messageType, Uint8Array.of(type)],
      [DHCP_OPTION.serverId, address32(this.#options.subnet.gateway)],
    ];
  }

  #settings(type: number, withLease: boolean): [number, Uint8Array][] {
    const { subnet, mtu, hostName } = this.#options;
    const settings = this.#identity(type);
    if (withLease) {
      settings.push([DHCP_OPTION.leaseTime, address32(LEASE_SECONDS)]);
      settings.push([DHCP_OPTION.renewalTime, address32(LEASE_SECONDS / 2)]);
      settings.push([DHCP_OPTION.rebindingTime, address32((LEASE_SECONDS * 7) / 8)]);
    }
    settings.push([DHCP_OPTION.subnetMask, address32(netmask(subnet))]);
    settings.push([DHCP_OPTION.router, address32(subnet.gateway)]);
    settings.push([DHCP_OPTION.dns, address32(subnet.dns)]);
    const mtuBytes = new Uint8Array(2);
    set16(mtuBytes, 0, mtu);
    settings.push([DHCP_OPTION.mtu, mtuBytes]);
    if (hostName) settings.push([DHCP_OPTION.hostName, new TextEncoder().encode(hostName).subarray(0, 255)]);
    return settings;
  }
}

/** Four bytes, most significant first: an address, or a number of seconds. */
function address32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  set32(bytes, 0, value);
  return bytes;
}
