// Which group addresses a front end wants frames for, where it asked to be spared the others. Source: "feature-multicast-control" in netif.h.
import { BROADCAST_MAC, getMac, isMulticastMac, type MacAddress } from '../packet/addresses.ts';

/** As many as xen-netback keeps. */
const MAX_ADDRESSES = 64;

export class MulticastFilter {
  readonly #wanted = new Set<MacAddress>();

  /** False where the list is full or the address is no group's. */
  add(address: Uint8Array): boolean {
    const mac = getMac(address, 0);
    if (!isMulticastMac(mac)) return false;
    if (!this.#wanted.has(mac) && this.#wanted.size >= MAX_ADDRESSES) return false;
    this.#wanted.add(mac);
    return true;
  }

  remove(address: Uint8Array): void {
    this.#wanted.delete(getMac(address, 0));
  }

  clear(): void {
    this.#wanted.clear();
  }

  /** Broadcasts pass always, and what is for one address is not our business. */
  passes(destination: MacAddress): boolean {
    return !isMulticastMac(destination) || destination === BROADCAST_MAC || this.#wanted.has(destination);
  }
}
