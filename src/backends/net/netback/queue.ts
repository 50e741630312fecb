/**
 * One queue of a PV network device: a transmit and a receive ring with their event channels. Bytes are copied between granted pages and frames,
 * page by page, and no grant is kept longer than that. Source: xen/include/public/io/netif.h; conduct as Linux's xen-netback.
 */
import {
  NETIF_RSP,
  NETTXF,
  XEN_NETIF_CTRL_HASH_ALGORITHM,
  XEN_NETIF_EXTRA_TYPE,
  XEN_NETIF_GSO_TYPE,
} from '../../../abi/xen/io/netif.ts';
import type { HostPort } from '../../../hypervisor/events/host-port.ts';
import {
  pagesFor,
  RX_ENTRY,
  readRxRequest,
  rxExtras,
  rxFlags,
  rxResponse,
  TX_ENTRY,
  type TxPacket,
  takeTxPacket,
  txResponse,
} from '../../../protocols/netif.ts';
import { BackRing } from '../../../protocols/ring.ts';
import { RING_BROKEN } from '../../../protocols/ring-buffer.ts';
import { FrontendError } from '../../xenbus/backend-device.ts';
import { type FrontendDomain, type GrantedPage, mapAll } from '../../xenbus/frontend-domain.ts';
import { blankChecksum } from '../blank-checksum.ts';
import type { Frame, Segmentation } from '../link.ts';
import type { FlowHash } from './frontend-hash.ts';

const PAGE = 4096;

export interface QueueNodes {
  txRing: number;
  rxRing: number;
  /** The same where the front end does not split them. */
  txEvent: number;
  rxEvent: number;
}

export interface QueueOwner {
  /** A frame from the guest. */
  transmitted(frame: Frame): void;
  /** Changes the list of group addresses that the guest wants. False: it cannot be. */
  filter(add: boolean, address: Uint8Array): boolean;
  /** There may be room for frames again. */
  refilled(): void;
  /** The front end does not keep to the protocol. The queue is closed within the call. */
  broken(reason: string): void;
}

export class NetbackQueue {
  readonly #domain: FrontendDomain;
  readonly #owner: QueueOwner;
  readonly #pages: GrantedPage[];
  readonly #ports: HostPort[] = [];
  readonly #tx: BackRing;
  readonly #rx: BackRing;
  #txPort: HostPort | null = null;
  #rxPort: HostPort | null = null;
  #isOpen = true;
  /** receive() has refused a frame for want of requests. */
  #isStarved = false;

  /** Throws FrontendError, having given everything back, where rings or ports are wrong. */
  constructor(domain: FrontendDomain, nodes: QueueNodes, owner: QueueOwner) {
    this.#domain = domain;
    this.#owner = owner;
    this.#pages = mapAll(domain, [nodes.txRing, nodes.rxRing]);
    const [txPage, rxPage] = this.#pages as [GrantedPage, GrantedPage];
    this.#tx = new BackRing({ pages: [txPage], entrySize: TX_ENTRY });
    this.#rx = new BackRing({ pages: [rxPage], entrySize: RX_ENTRY });
    try {
      if (this.#tx.waiting === RING_BROKEN) throw new FrontendError('transmit ring: indices out of range');
      if (this.#rx.waiting === RING_BROKEN) throw new FrontendError('receive ring: indices out of range');
      const isSplit = nodes.txEvent !== nodes.rxEvent;
      this.#txPort = this.#bind(nodes.txEvent, isSplit ? () => this.#onTx() : () => this.#onBoth());
      this.#rxPort = isSplit ? this.#bind(nodes.rxEvent, () => this.#onRx()) : this.#txPort;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #bind(port: number, handler: () => void): HostPort {
    const end = this.#domain.bind(port, handler);
    this.#ports.push(end);
    return end;
  }

  close(): void {
    this.#isOpen = false;
    for (const port of this.#ports.splice(0)) port.close();
    for (const page of this.#pages.splice(0)) page.release();
  }

  #fail(reason: string): void {
    this.#owner.broken(reason);
  }

  #onBoth(): void {
    this.#onTx();
    this.#onRx();
  }

  /** Takes what the guest has sent. While this runs the guest does not, so that the ring holds no more than one ringful. */
  #onTx(): void {
    if (!this.#isOpen) return;
    let answered = false;
    for (let left = this.#tx.size; left > 0; left--) {
      const waiting = this.#tx.waiting;
      if (waiting === RING_BROKEN) {
        this.#fail('transmit ring: indices out of range');
        return;
      }
      if (waiting === 0) break;
      const packet = takeTxPacket(
        () => this.#tx.waiting > 0,
        () => this.#tx.take(),
      );
      if (typeof packet === 'string') {
        this.#fail(packet);
        return;
      }
      const status = this.#serve(packet);
      // What it was answered with may have shown a broken receive ring.
      if (!this.#isOpen) return;
      this.#answer(packet, status);
      answered = true;
    }
    this.#tx.askFor(1);
    if (answered && this.#tx.push()) this.#txPort!.notify();
  }

  /** NETIF_RSP_* for every request of the packet; extra infos get the null response. */
  #answer(packet: TxPacket, status: number): void {
    const [first, ...rest] = packet.ids;
    this.#tx.answer(txResponse(first!, status));
    for (let i = 0; i < packet.extras.length; i++) this.#tx.answer(txResponse(0, NETIF_RSP.null));
    for (const id of rest) this.#tx.answer(txResponse(id, status));
  }

  #serve(packet: TxPacket): number {
    for (const { type, u } of packet.extras) {
      const isAdd = type === XEN_NETIF_EXTRA_TYPE.mcastAdd;
      if (isAdd || type === XEN_NETIF_EXTRA_TYPE.mcastDel) {
        return this.#owner.filter(isAdd, u.mcast.addr) ? NETIF_RSP.okay : NETIF_RSP.error;
      }
    }
    if (packet.problem !== null) return NETIF_RSP.error;
    const bytes = this.#gather(packet);
    const frame = bytes && unfinished(packet, bytes);
    if (!frame) return NETIF_RSP.error;
    this.#owner.transmitted(frame);
    return NETIF_RSP.okay;
  }

  /** A copy of the packet's bytes; null where a grant is not one for us. */
  #gather({ size, pieces }: TxPacket): Uint8Array | null {
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const { gref, offset, size: length } of pieces) {
      const page = this.#map(gref, true);
      if (page === null) return null;
      bytes.set(page.bytes().subarray(offset, offset + length), at);
      page.release();
      at += length;
    }
    return bytes;
  }

  #map(ref: number, readonly: boolean): GrantedPage | null {
    try {
      return this.#domain.map(ref, readonly);
    } catch (error) {
      if (error instanceof FrontendError) return null;
      throw error;
    }
  }

  /** There are requests to receive with now. */
  #onRx(): void {
    if (!this.#isOpen || !this.#isStarved) return;
    this.#isStarved = false;
    this.#owner.refilled();
  }

  /** Puts a frame into the guest's buffers. False where there are too few; owner.refilled() follows once there are more. */
  receive(frame: Frame, hash: FlowHash | null): boolean {
    const { bytes, checksum, segmentation } = frame;
    const gso = segmentation && { type: gsoType(segmentation), size: segmentation.size };
    const extras = rxExtras(gso, hash && { ...hash, algorithm: XEN_NETIF_CTRL_HASH_ALGORITHM.toeplitz });
    const needed = pagesFor(bytes.length) + extras.length;
    let waiting = this.#rx.waiting;
    if (waiting >= 0 && waiting < needed) {
      this.#rx.askFor(needed);
      waiting = this.#rx.waiting;
    }
    if (waiting === RING_BROKEN) {
      this.#fail('receive ring: indices out of range');
      return true;
    }
    if (waiting < needed) {
      this.#isStarved = true;
      return false;
    }
    for (let at = 0; at < bytes.length; at += PAGE) {
      const piece = bytes.subarray(at, at + PAGE);
      const { id, gref } = readRxRequest(this.#rx.take());
      const isFirst = at === 0;
      const flags = rxFlags(isFirst && checksum !== null, at + PAGE < bytes.length, isFirst && extras.length > 0);
      this.#rx.answer(rxResponse(id, flags, this.#copyOut(gref, piece)));
      if (!isFirst) continue;
      for (const extra of extras) {
        this.#rx.take();
        this.#rx.answer(extra);
      }
    }
    if (this.#rx.push()) this.#rxPort!.notify();
    return true;
  }

  /** Bytes copied, or an error. */
  #copyOut(gref: number, piece: Uint8Array): number {
    const page = this.#map(gref, false);
    if (page === null) return NETIF_RSP.error;
    page.bytes().set(piece);
    page.wrote(0, piece.length);
    page.release();
    return piece.length;
  }
}

function gsoType({ type }: Segmentation): number {
  return XEN_NETIF_GSO_TYPE[type];
}

/** The frame with what of it is left to be done; null where the flags contradict the bytes. */
function unfinished(packet: TxPacket, bytes: Uint8Array): Frame | null {
  const gso = packet.extras.find(({ type }) => type === XEN_NETIF_EXTRA_TYPE.gso)?.u.gso;
  let segmentation: Segmentation | null = null;
  if (gso !== undefined) {
    if (gso.size === 0) return null;
    if (gso.type === XEN_NETIF_GSO_TYPE.tcpv4) segmentation = { type: 'tcpv4', size: gso.size };
    else if (gso.type === XEN_NETIF_GSO_TYPE.tcpv6) segmentation = { type: 'tcpv6', size: gso.size };
    else return null;
  }
  // A segment that is still to be cut has no checksum yet, whatever the flag says.
  if (segmentation === null && (packet.flags & NETTXF.csumBlank) === 0) {
    return { bytes, checksum: null, segmentation };
  }
  const checksum = blankChecksum(bytes);
  return checksum && { bytes, checksum, segmentation };
}
