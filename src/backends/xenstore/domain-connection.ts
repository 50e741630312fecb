/**
 * Carries one guest's XenStore connection over its ring page: requests in, replies and watch events out. The guest owns
 * the page and may scribble over it at any moment; the worst that comes of it is the end of its own connection.
 * Source: docs/misc/xenstore-ring.txt; xenstored's conduct for broken rings.
 */

import { RING_BROKEN } from '../../protocols/ring-buffer.ts';
import type { SharedPage } from '../../protocols/shared-page.ts';
import { encodeMessage, type XsMessage, XsMessageReader } from '../../protocols/xenstore.ts';
import {
  XENSTORE_CONNECTION,
  XENSTORE_ERROR,
  XENSTORE_SERVER_FEATURE,
  XenStoreRing,
} from '../../protocols/xenstore-ring.ts';
import type { Connection } from './connection.ts';
import type { XenStore } from './store.ts';

/** How a ring stands between two events, for snapshots. */
export interface DomainConnectionState {
  /** The part of a request that has come. */
  incoming: Uint8Array;
  /** Bytes of the first queued message that are in the ring already. */
  sent: number;
  broken: string | null;
}

export interface DomainConnectionOptions {
  store: XenStore;
  connection: Connection;
  page: SharedPage;
  /** Sends the guest's event channel. */
  notify: () => void;
  /** Told once, when the guest breaks its ring. */
  onBroken?: (reason: string) => void;
}

/** Requests served for one event. The ring holds 64 of the smallest, so only a guest at play ever sees this limit. */
const REQUESTS_PER_EVENT = 256;

export class DomainConnection {
  readonly #options: DomainConnectionOptions;
  readonly #ring: XenStoreRing;
  readonly #reader = new XsMessageReader();
  /** The message on its way into the ring. */
  #outgoing: { message: XsMessage; bytes: Uint8Array } | null = null;
  #sent = 0;
  #moved = false;
  #serving = false;
  #broken: string | null = null;

  constructor(options: DomainConnectionOptions) {
    this.#options = options;
    this.#ring = new XenStoreRing(options.page);
    const { connection, store } = options;
    connection.onOutput = () => this.#flushAndNotify();
    connection.onReset = () => this.#restart();
    connection.onClose = () => {
      this.#broken ??= 'the domain has been released';
    };
    this.#ring.serverFeatures = store.features;
  }

  /** Why the connection is dead, or null while it lives. */
  get broken(): string | null {
    return this.#broken;
  }

  /** The guest has sent its event channel: takes its requests and gives it what there is room for. */
  onEvent(): void {
    if (this.#broken !== null || this.#serving) return;
    this.#serving = true;
    try {
      this.#options.store.atomically(() => this.#serve());
    } finally {
      this.#serving = false;
    }
    this.#flushAndNotify();
  }

  #serve(): void {
    if (this.#wantsReconnect()) {
      this.#restart();
      return;
    }
    // Replies leave before more requests are taken: what the guest is owed decides how much more it may ask.
    for (let served = 0; served < REQUESTS_PER_EVENT; ) {
      this.#flush();
      if (this.#broken !== null || !this.#mayAsk()) return;
      const chunk = this.#ring.requests.read(this.#reader.wanted);
      if (chunk === RING_BROKEN) {
        this.#break('request ring indices out of range', XENSTORE_ERROR.RINGIDX);
        return;
      }
      if (chunk.length === 0) return;
      this.#moved = true;
      const message = this.#reader.push(chunk);
      if (message === 'too-long') {
        this.#break('request longer than 4096 bytes', XENSTORE_ERROR.PROTO);
        return;
      }
      if (message === undefined) continue;
      served++;
      this.#options.store.request(this.#options.connection, message);
    }
  }

  /** A guest that does not take its replies, or has used up its memory, waits; taking them brings it back here. */
  #mayAsk(): boolean {
    const { connection, store } = this.#options;
    const { quotas } = store.core;
    if (connection.privileged || connection.domain === null) return true;
    return connection.domain.outstanding < quotas.outstanding && connection.domain.memory < quotas.memoryHard;
  }

  #wantsReconnect(): boolean {
    const offered = (this.#options.store.features & XENSTORE_SERVER_FEATURE.RECONNECTION) !== 0;
    return offered && this.#ring.connection === XENSTORE_CONNECTION.RECONNECT;
  }

  /** Puts waiting messages into the ring, as far as they fit. */
  #flush(): void {
    const { connection } = this.#options;
    for (;;) {
      if (this.#outgoing === null) {
        const message = connection.peek();
        if (message === undefined) return;
        this.#outgoing = { message, bytes: encodeMessage(message) };
      }
      const { bytes } = this.#outgoing;
      const written = this.#ring.responses.write(bytes.subarray(this.#sent));
      if (written === RING_BROKEN) {
        this.#break('response ring indices out of range', XENSTORE_ERROR.RINGIDX);
        return;
      }
      if (written > 0) this.#moved = true;
      this.#sent += written;
      if (this.#sent < bytes.length) return;
      connection.pop();
      this.#outgoing = null;
      this.#sent = 0;
    }
  }

  #flushAndNotify(): void {
    if (this.#serving) return;
    if (this.#broken === null) this.#flush();
    if (!this.#moved) return;
    this.#moved = false;
    this.#options.notify();
  }

  #break(reason: string, code: number): void {
    this.#broken = reason;
    this.#ring.error = code;
    this.#options.store.ignore(this.#options.connection);
    this.#reader.reset();
    this.#outgoing = null;
    this.#sent = 0;
    this.#options.onBroken?.(reason);
  }

  /** A fresh start, asked for by the guest or by the toolstack: nothing of the past is left, broken or not. */
  #restart(): void {
    const { connection, store } = this.#options;
    store.reconnect(connection);
    connection.ignored = false;
    this.#broken = null;
    this.#reader.reset();
    this.#outgoing = null;
    this.#sent = 0;
    this.#ring.requests.reset();
    this.#ring.responses.reset();
    this.#ring.error = XENSTORE_ERROR.NONE;
    if (this.#ring.connection === XENSTORE_CONNECTION.RECONNECT) {
      this.#ring.connection = XENSTORE_CONNECTION.CONNECTED;
      this.#moved = true;
      this.#flushAndNotify();
    }
  }

  save(): DomainConnectionState {
    return { incoming: this.#reader.save(), sent: this.#sent, broken: this.#broken };
  }

  load(state: DomainConnectionState): void {
    this.#reader.restore(state.incoming);
    this.#broken = state.broken;
    this.#sent = state.sent;
    const message = this.#options.connection.peek();
    this.#outgoing = message && state.sent > 0 ? { message, bytes: encodeMessage(message) } : null;
  }
}
