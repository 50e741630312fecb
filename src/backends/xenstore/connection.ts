/**
 * One client of the store: a guest's ring, or the host's own code. Holds its watches, its open transactions and the
 * messages that wait for it; whoever carries them takes them with peek() and pop().
 */
import { encodeStrings, XS, XS_PAYLOAD_MAX, type XsMessage } from '../../protocols/xenstore.ts';
import { type DomainRecord, implicitPath, PRIVILEGED_DOMID } from './domains.ts';
import type { Transaction } from './transaction.ts';

export interface Watch {
  /** Absolute, or a special name that begins with @. */
  path: string;
  token: string;
  /** It was set by a relative path, so its events carry relative paths too. */
  relative: boolean;
  /** Levels below `path` that matter; null for all. */
  depth: number | null;
}

/** What an answer of up to this many bytes never fails for want of memory: an errno's name fits. */
const ALWAYS_FITS = 16;

export class Connection {
  /** Null for the host's own. */
  readonly domain: DomainRecord | null;
  target: Connection | null = null;
  readonly watches: Watch[] = [];
  readonly transactions = new Map<number, Transaction>();
  nextTransactionId = 0;
  /** The client broke the protocol: it is neither heard nor answered any more. */
  ignored = false;
  /** Set while messages have come that the carrier has not been told of. */
  fresh = false;
  /** Told of every reply and event, for traces. */
  onQueued: ((message: XsMessage) => void) | null = null;
  /** Tells the carrier that messages wait. Called when the store is at rest, never in the middle of an operation. */
  onOutput: (() => void) | null = null;
  /** Tells the carrier that the connection starts from scratch (the domain was introduced again). */
  onReset: (() => void) | null = null;
  /** Tells the carrier that the connection is gone. */
  onClose: (() => void) | null = null;

  #queue: XsMessage[] = [];
  /** Messages at the front of the queue that have gone; cut off now and then, since shift() on a long array is slow. */
  #gone = 0;
  /** Events in the queue, to drop a repetition of one that has not been seen yet. */
  readonly #pendingEvents = new Set<string>();
  readonly #memoryHard: () => number;

  constructor(domain: DomainRecord | null, memoryHard: () => number) {
    this.domain = domain;
    this.#memoryHard = memoryHard;
  }

  get domid(): number {
    return this.domain?.domid ?? PRIVILEGED_DOMID;
  }

  get privileged(): boolean {
    return this.domid === PRIVILEGED_DOMID;
  }

  /** What relative paths are relative to. */
  get basePath(): string {
    return implicitPath(this.domain);
  }

  /** Adds to what the domain uses; false where `checked` and the quota forbids it. */
  addMemory(bytes: number, checked: boolean): boolean {
    if (this.domain === null) return true;
    const memory = this.domain.memory + bytes;
    if (checked && !this.privileged && !this.ignored && memory >= this.#memoryHard()) return false;
    this.domain.memory = memory;
    return true;
  }

  /** Queues a reply; false where the domain has no memory left for it. */
  reply(message: XsMessage): boolean {
    if (!this.addMemory(cost(message), message.payload.length > ALWAYS_FITS)) return false;
    if (this.domain !== null) this.domain.outstanding++;
    this.#enqueue(message);
    return true;
  }

  /**
   * Queues a watch event, unless the same one waits already (special events are counted, so never merged), is too long
   * to be sent, or the domain has no memory left: an event is never a reason to fail.
   */
  event(path: string, token: string): void {
    if (path.length + token.length + 2 > XS_PAYLOAD_MAX) return;
    const key = `${path}\0${token}`;
    const special = path[0] === '@';
    if (!special && this.#pendingEvents.has(key)) return;
    const message = { type: XS.WATCH_EVENT, reqId: 0, txId: 0, payload: encodeStrings(path, token) };
    if (!this.addMemory(cost(message), true)) return;
    if (!special) this.#pendingEvents.add(key);
    this.#enqueue(message);
  }

  #enqueue(message: XsMessage): void {
    this.#queue.push(message);
    this.fresh = true;
    this.onQueued?.(message);
  }

  get queueLength(): number {
    return this.#queue.length - this.#gone;
  }

  /** The next message to deliver. */
  peek(): XsMessage | undefined {
    return this.#queue[this.#gone];
  }

  /** Takes the next message off once it has been delivered. */
  pop(): XsMessage | undefined {
    const message = this.#queue[this.#gone];
    if (message === undefined) return undefined;
    this.#gone++;
    if (this.#gone * 2 >= this.#queue.length) {
      this.#queue = this.#queue.slice(this.#gone);
      this.#gone = 0;
    }
    this.addMemory(-cost(message), false);
    if (message.type === XS.WATCH_EVENT) this.#pendingEvents.delete(eventKey(message));
    else if (this.domain !== null) this.domain.outstanding--;
    return message;
  }

  dropWatches(): void {
    for (const watch of this.watches) this.addMemory(-watchCost(watch), false);
    if (this.domain !== null) this.domain.watches -= this.watches.length;
    this.watches.length = 0;
  }

  dropQueue(): void {
    while (this.pop() !== undefined);
  }

  queued(): readonly XsMessage[] {
    return this.#queue.slice(this.#gone);
  }

  /** Puts saved messages back; what they cost is in the saved domain record already. */
  restoreQueue(messages: readonly XsMessage[]): void {
    for (const message of messages) {
      if (message.type === XS.WATCH_EVENT && message.payload[0] !== 0x40) this.#pendingEvents.add(eventKey(message));
      this.#enqueue(message);
    }
  }
}

export function watchCost(watch: Watch): number {
  return watch.path.length + watch.token.length;
}

function cost(message: XsMessage): number {
  return message.payload.length + 16;
}

function eventKey(message: XsMessage): string {
  let key = '';
  for (const byte of message.payload.subarray(0, -1)) key += String.fromCharCode(byte);
  return key;
}
