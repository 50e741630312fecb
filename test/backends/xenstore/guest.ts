// A guest's end of the XenStore ring, for tests: it sends requests and collects what comes back.

import { DomainConnection } from '../../../src/backends/xenstore/domain-connection.ts';
import { XenStore, type XenStoreOptions } from '../../../src/backends/xenstore/store.ts';
import { ByteRing } from '../../../src/protocols/ring-buffer.ts';
import { sharedPage } from '../../../src/protocols/shared-page.ts';
import {
  bytesToText,
  encodeMessage,
  operationName,
  textToBytes,
  XS,
  type XsMessage,
  XsMessageReader,
  type XsOperation,
} from '../../../src/protocols/xenstore.ts';
import { XENSTORE_REQ, XENSTORE_RSP } from '../../../src/protocols/xenstore-ring.ts';

/** A store whose hypervisor has domains 0 to 9. */
export function makeStore(options: Partial<XenStoreOptions> = {}): XenStore {
  return new XenStore({ domainExists: domid => domid < 10, ...options });
}

export class Guest {
  readonly page = new Uint8Array(4096);
  readonly connection: DomainConnection;
  readonly events: string[] = [];
  notified = 0;
  brokenBy: string | null = null;
  readonly #replies: XsMessage[] = [];
  readonly #requests: ByteRing;
  readonly #responses: ByteRing;
  readonly #reader = new XsMessageReader();
  #reqId = 0;
  readonly domid: number;

  constructor(store: XenStore, domid: number) {
    this.domid = domid;
    const page = sharedPage(this.page);
    this.#requests = new ByteRing(page, XENSTORE_REQ);
    this.#responses = new ByteRing(page, XENSTORE_RSP);
    this.connection = new DomainConnection({
      store,
      connection: store.introduce(domid),
      page,
      notify: () => void this.notified++,
      onBroken: reason => (this.brokenBy = reason),
    });
  }

  /** Takes everything out of the response ring, telling the other side, until nothing more comes. */
  receive(): void {
    for (;;) {
      let taken = 0;
      for (;;) {
        const chunk = this.#responses.read(this.#reader.wanted);
        if (typeof chunk === 'number' || chunk.length === 0) break;
        taken += chunk.length;
        const message = this.#reader.push(chunk);
        if (message === 'too-long') throw new Error('too long a message from the store');
        if (message === undefined) continue;
        if (message.type === XS.WATCH_EVENT)
          this.events.push(bytesToText(message.payload.subarray(0, -1)).replace('\0', ' '));
        else this.#replies.push(message);
      }
      if (taken === 0) return;
      this.connection.onEvent();
    }
  }

  /** Sends a request, byte by byte where the ring is full, without waiting for the answer. Returns its req_id. */
  send(operation: XsOperation | number, payload: string, txId = 0): number {
    const type = typeof operation === 'number' ? operation : XS[operation];
    const reqId = ++this.#reqId;
    let bytes = encodeMessage({ type, reqId, txId, payload: textToBytes(payload) });
    for (let tries = 0; bytes.length > 0; tries++) {
      const written = this.#requests.write(bytes);
      if (written < 0 || tries > 1000) throw new Error('request ring stuck');
      bytes = bytes.subarray(written);
      this.connection.onEvent();
      if (written === 0) this.receive();
    }
    return reqId;
  }

  reply(reqId: number): XsMessage {
    this.receive();
    const at = this.#replies.findIndex(message => message.reqId === reqId);
    if (at < 0) throw new Error(`no reply to ${reqId}`);
    return this.#replies.splice(at, 1)[0]!;
  }

  /** A whole exchange as text: the answer with NULs shown as |, an error as its name with an exclamation mark. */
  ask(operation: XsOperation | number, payload: string, txId = 0): string {
    const reply = this.reply(this.send(operation, payload.replaceAll('|', '\0'), txId));
    const text = bytesToText(reply.payload).replaceAll('\0', '|');
    if (reply.txId !== txId) throw new Error(`reply in transaction ${reply.txId}`);
    if (reply.type === XS.ERROR) return `!${text.slice(0, -1)}`;
    if (operationName(reply.type) !== operation) throw new Error(`reply of type ${reply.type} to ${operation}`);
    return text;
  }

  /** Events since the last call. */
  takeEvents(): string[] {
    this.receive();
    return this.events.splice(0);
  }
}
