// The ring by which a network front end says how frames are to be spread over its queues. Source: "Control ring" in xen/include/public/io/netif.h.
import {
  XEN_NETIF_CTRL_STATUS,
  XEN_NETIF_CTRL_TYPE,
  xenNetifCtrlRequest,
  xenNetifCtrlResponse,
} from '../../../abi/xen/io/netif.ts';
import type { HostPort } from '../../../hypervisor/events/host-port.ts';
import { BackRing } from '../../../protocols/ring.ts';
import { RING_BROKEN } from '../../../protocols/ring-buffer.ts';
import { viewOf } from '../../../util/bytes.ts';
import { FrontendError } from '../../xenbus/backend-device.ts';
import type { FrontendDomain, GrantedPage } from '../../xenbus/frontend-domain.ts';
import { type FrontendHash, MAX_MAPPING } from './frontend-hash.ts';

export interface ControlRingOwner {
  readonly hash: FrontendHash;
  readonly queues: number;
  /** The front end does not keep to the protocol. The ring is closed within the call. */
  broken(reason: string): void;
}

export class ControlRing {
  readonly #domain: FrontendDomain;
  readonly #owner: ControlRingOwner;
  readonly #page: GrantedPage;
  readonly #ring: BackRing;
  readonly #port: HostPort;
  #isOpen = true;

  /** Throws FrontendError, having given everything back, where ring or port are wrong. */
  constructor(domain: FrontendDomain, nodes: { ref: number; port: number }, owner: ControlRingOwner) {
    this.#domain = domain;
    this.#owner = owner;
    this.#page = domain.map(nodes.ref, false);
    try {
      this.#ring = new BackRing({ pages: [this.#page], entrySize: xenNetifCtrlRequest.size(64) });
      if (this.#ring.waiting === RING_BROKEN) throw new FrontendError('control ring: indices out of range');
      this.#port = domain.bind(nodes.port, () => this.#serve());
    } catch (error) {
      this.#page.release();
      throw error;
    }
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#port.close();
    this.#page.release();
  }

  /** While this runs the guest does not: there is one ringful at most. */
  #serve(): void {
    if (!this.#isOpen) return;
    for (let left = this.#ring.size; left > 0; left--) {
      const { waiting } = this.#ring;
      if (waiting === RING_BROKEN) {
        this.#owner.broken('control ring: indices out of range');
        return;
      }
      if (waiting === 0) break;
      const { id, type, data } = xenNetifCtrlRequest.read(viewOf(this.#ring.take()), 0, 64);
      const answer = this.#perform(type, data);
      const response = new Uint8Array(xenNetifCtrlResponse.size(64));
      xenNetifCtrlResponse.write(viewOf(response), 0, { id, type, data: 0, ...answer }, 64);
      this.#ring.answer(response);
    }
    this.#ring.askFor(1);
    if (this.#ring.push()) this.#port.notify();
  }

  #perform(type: number, [first, second, third]: readonly number[]): { status: number; data?: number } {
    const { hash, queues } = this.#owner;
    const { success, notSupported } = XEN_NETIF_CTRL_STATUS;
    const page = (length: number) => this.#read(first!, length);
    switch (type) {
      case XEN_NETIF_CTRL_TYPE.setHashAlgorithm:
        return { status: hash.setAlgorithm(first!) };
      case XEN_NETIF_CTRL_TYPE.getHashFlags: {
        const data = hash.supportedTypes;
        return data === null ? { status: notSupported } : { status: success, data };
      }
      case XEN_NETIF_CTRL_TYPE.setHashFlags:
        return { status: hash.setTypes(first!) };
      case XEN_NETIF_CTRL_TYPE.setHashKey:
        return { status: hash.setKey(second!, page) };
      case XEN_NETIF_CTRL_TYPE.getHashMappingSize:
        return { status: success, data: MAX_MAPPING };
      case XEN_NETIF_CTRL_TYPE.setHashMappingSize:
        return { status: hash.setMappingSize(first!) };
      case XEN_NETIF_CTRL_TYPE.setHashMapping:
        return { status: hash.setMapping(second!, third!, queues, page) };
      default:
        return { status: notSupported };
    }
  }

  /** A copy of the beginning of a granted page; null where the grant is not one for us. */
  #read(ref: number, length: number): Uint8Array | null {
    try {
      const page = this.#domain.map(ref, true);
      const bytes = page.bytes().slice(0, length);
      page.release();
      return bytes;
    } catch (error) {
      if (error instanceof FrontendError) return null;
      throw error;
    }
  }
}
