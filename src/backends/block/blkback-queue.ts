// One ring of a PV disk: takes requests in turns of bounded work, answers them in the order in which they are done.
import type { Abi } from '../../abi/struct.ts';
import { BLKIF_OP } from '../../abi/xen/io/blkif.ts';
import type { HostPort } from '../../hypervisor/events/host-port.ts';
import { type BlkifRequest, blkifEntrySize, decodeBlkifRequest, encodeBlkifResponse } from '../../protocols/blkif.ts';
import { BackRing } from '../../protocols/ring.ts';
import { RING_BROKEN } from '../../protocols/ring-buffer.ts';
import { FrontendError } from '../xenbus/backend-device.ts';
import { type FrontendDomain, type GrantedPage, mapAll } from '../xenbus/frontend-domain.ts';
import { type BlkbackDisk, serveRequest, sizeOf } from './blkback-request.ts';
import { RequestPages } from './persistent-grants.ts';

/** Work in one turn, in bytes, and what a request costs beside them. */
const TURN = 16 << 20;
const REQUEST_COST = 512;
/** Bytes of requests that wait for a source which takes its time. */
const MAX_IN_FLIGHT = 32 << 20;
/** Grants kept for further requests, a ring: what Linux's back end keeps at most. */
const MAX_KEPT = 1056;

export interface QueueNodes {
  /** Grants of the ring's pages. */
  readonly refs: readonly number[];
  readonly port: number;
  readonly abi: Abi;
  readonly isPersistent: boolean;
}

export interface QueueOwner extends BlkbackDisk {
  /** Has a handler run soon, outside of any run of a guest. */
  later(handler: () => void): void;
  /** The front end does not keep to the protocol. */
  broken(reason: string): void;
}

export class BlkbackQueue {
  private readonly owner: QueueOwner;
  private readonly abi: Abi;
  private readonly ringPages: GrantedPage[];
  private readonly ring: BackRing;
  private readonly pages: RequestPages;
  private readonly port: HostPort;
  private isOpen = true;
  private isServing = false;
  private inFlight = 0;
  /** A barrier that waits until all before it is done, and whether one is being served: nothing behind it begins. */
  private barrier: BlkifRequest | null = null;
  private isBarred = false;
  private readonly turn = (): void => this.serve();

  /** Throws FrontendError, having given everything back, where ring or port are wrong. */
  constructor(domain: FrontendDomain, nodes: QueueNodes, owner: QueueOwner) {
    this.owner = owner;
    this.abi = nodes.abi;
    this.ringPages = mapAll(domain, nodes.refs);
    this.ring = new BackRing({ pages: this.ringPages, entrySize: blkifEntrySize(nodes.abi) });
    this.pages = new RequestPages(domain, nodes.isPersistent ? MAX_KEPT : 0);
    try {
      if (this.ring.waiting === RING_BROKEN) throw new FrontendError('ring: indices out of range');
      this.port = domain.bind(nodes.port, this.turn);
    } catch (error) {
      for (const page of this.ringPages) page.release();
      throw error;
    }
    // Requests may stand there already, made before anyone listened.
    owner.later(this.turn);
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.port.close();
    this.pages.close();
    for (const page of this.ringPages) page.release();
  }

  private serve(): void {
    if (!this.isOpen || this.isServing) return;
    this.isServing = true;
    for (let work = 0; this.isOpen; ) {
      if (work >= TURN) {
        this.owner.later(this.turn);
        break;
      }
      const request = this.next();
      if (!request) break;
      work += REQUEST_COST + sizeOf(request);
      this.begin(request);
    }
    this.isServing = false;
    if (this.isOpen) this.push();
  }

  /** The next request that can be begun now. */
  private next(): BlkifRequest | null {
    const { ring, barrier } = this;
    if (barrier) {
      if (this.outstanding > 1) return null;
      this.barrier = null;
      return barrier;
    }
    if (this.isBarred || this.inFlight >= MAX_IN_FLIGHT) return null;
    let { waiting } = ring;
    if (waiting === 0) {
      ring.askFor(1);
      waiting = ring.waiting;
    }
    if (waiting === RING_BROKEN) {
      this.owner.broken('ring: indices out of range');
      return null;
    }
    if (waiting === 0) return null;
    const request = decodeBlkifRequest(ring.take(), this.abi);
    if (request.operation !== BLKIF_OP.writeBarrier || this.outstanding === 1) return request;
    this.barrier = request;
    return null;
  }

  /** Requests taken and not answered. */
  private get outstanding(): number {
    return this.ring.outstanding;
  }

  private begin(request: BlkifRequest): void {
    const size = sizeOf(request);
    const isBarrier = request.operation === BLKIF_OP.writeBarrier;
    this.inFlight += size;
    if (isBarrier) this.isBarred = true;
    serveRequest(
      this.owner,
      this.pages,
      request,
      () => this.isOpen,
      status => {
        if (!this.isOpen) return;
        this.inFlight -= size;
        if (isBarrier) this.isBarred = false;
        this.ring.answer(encodeBlkifResponse({ id: request.id, operation: request.operation, status }, this.abi));
        if (this.isServing) return;
        this.push();
        this.serve();
      },
    );
  }

  private push(): void {
    if (this.ring.push()) this.port.notify();
  }
}
