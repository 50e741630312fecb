// One of the rings between a 9pfs front end and its server: requests from one half of the pages, replies into the other. Source: docs/misc/9pfs.pandoc.
import type { HostPort } from '../../hypervisor/events/host-port.ts';
import { FlexConsumer, FlexProducer } from '../../protocols/flex-ring.ts';
import { P9_HEADER, p9Header } from '../../protocols/p9.ts';
import { RING_BROKEN } from '../../protocols/ring-buffer.ts';
import { pageU32 } from '../../protocols/shared-page.ts';
import { FrontendError } from '../xenbus/backend-device.ts';
import { type FrontendDomain, type GrantedPage, mapAll } from '../xenbus/frontend-domain.ts';

/** struct xen_9pfs_data_intf. */
const IN = { cons: 0, prod: 4 } as const;
const OUT = { cons: 64, prod: 68 } as const;
const RING_ORDER = 128;
const REFS = 132;
/** A ring of so many pages, as a power of two: replies have half of them. */
export const MAX_RING_PAGE_ORDER = 9;
const LEAST_ORDER = 1;
/** Work in one turn, in bytes of messages, and what one costs beside them: it may walk a long path. */
const TURN = 4 << 20;
const MESSAGE_COST = 4096;

export interface RingOwner {
  /** Answers a request. */
  handle(message: Uint8Array): Uint8Array;
  /** Has a handler run soon, outside of any run of a guest. */
  later(handler: () => void): void;
  /** The front end does not keep to the protocol. */
  broken(reason: string): void;
}

export class P9Ring {
  readonly #owner: RingOwner;
  readonly #pages: GrantedPage[];
  readonly #requests: FlexConsumer;
  readonly #replies: FlexProducer;
  readonly #port: HostPort;
  readonly #header = new Uint8Array(P9_HEADER);
  readonly #turn = (): void => this.#serve();
  /** A reply for which there was no room. */
  #reply: Uint8Array | null = null;
  #isOpen = true;

  /** Throws FrontendError, having given everything back, where grants or ports are wrong. */
  constructor(domain: FrontendDomain, nodes: { ref: number; port: number }, owner: RingOwner) {
    this.#owner = owner;
    const indices = domain.map(nodes.ref, false);
    this.#pages = [indices];
    try {
      const data = mapAll(domain, refsOf(indices.bytes()));
      this.#pages.push(...data);
      const half = data.length / 2;
      this.#replies = new FlexProducer({ indices, ...IN, pages: data.slice(0, half) });
      this.#requests = new FlexConsumer({ indices, ...OUT, pages: data.slice(half) });
      this.#port = domain.bind(nodes.port, this.#turn);
    } catch (error) {
      for (const page of this.#pages) page.release();
      throw error;
    }
    // Requests may stand there already, made before anyone listened.
    owner.later(this.#turn);
  }

  /** Bytes of the largest message. */
  get mostBytes(): number {
    return this.#replies.size;
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#port.close();
    for (const page of this.#pages) page.release();
  }

  #serve(): void {
    if (!this.#isOpen) return;
    let moved = this.#put();
    for (let work = 0; this.#isOpen && this.#reply === null; ) {
      if (work >= TURN) {
        this.#owner.later(this.#turn);
        break;
      }
      const message = this.#take();
      if (message === null) break;
      this.#reply = this.#owner.handle(message);
      work += MESSAGE_COST + message.length + this.#reply.length;
      this.#put();
      moved = true;
    }
    if (this.#isOpen && moved) this.#port.notify();
  }

  /** The next request, whole; null where there is none yet. */
  #take(): Uint8Array | null {
    const { waiting } = this.#requests;
    if (waiting === RING_BROKEN) return this.#fail('request ring: indices out of range');
    if (waiting < P9_HEADER) return null;
    this.#requests.peek(this.#header);
    const { size } = p9Header(this.#header);
    if (size < P9_HEADER || size > this.#requests.size) return this.#fail(`a request of ${size} bytes`);
    if (waiting < size) return null;
    const message = new Uint8Array(size);
    this.#requests.peek(message);
    this.#requests.drop(size);
    // The page may say something else by the second look.
    if (p9Header(message).size !== size) return this.#fail('a request that changes');
    return message;
  }

  /** Puts the reply that waits into its ring, where there is room. True where it did. */
  #put(): boolean {
    const reply = this.#reply;
    if (reply === null) return false;
    const { free } = this.#replies;
    if (free === RING_BROKEN) {
      this.#fail('reply ring: indices out of range');
      return false;
    }
    if (free < reply.length) return false;
    this.#replies.put(reply);
    this.#reply = null;
    return true;
  }

  #fail(reason: string): null {
    this.#owner.broken(reason);
    return null;
  }
}

/** Grants of the ring's pages, read once. */
function refsOf(page: Uint8Array): number[] {
  const order = pageU32(page, RING_ORDER);
  if (order < LEAST_ORDER || order > MAX_RING_PAGE_ORDER) throw new FrontendError(`a ring of order ${order}`);
  return Array.from({ length: 1 << order }, (_, i) => pageU32(page, REFS + i * 4));
}
