// A front end in a few lines, and its domain's memory: pages that it grants, rings, and event channels that say when they were used.

import { member } from '../../../../src/abi/struct.ts';
import {
  NETTXF,
  netifExtraInfo,
  netifRxRequest,
  netifRxResponse,
  netifTxRequest,
  netifTxResponse,
} from '../../../../src/abi/xen/io/netif.ts';
import { FrontendError } from '../../../../src/backends/xenbus/backend-device.ts';
import type { FrontendDomain, GrantedPage } from '../../../../src/backends/xenbus/frontend-domain.ts';
import { RX_ENTRY, TX_ENTRY } from '../../../../src/protocols/netif.ts';
import { FrontRing } from '../../../../src/protocols/ring.ts';
import { sharedPage } from '../../../../src/protocols/shared-page.ts';
import { concatBytes, viewOf } from '../../../../src/util/bytes.ts';

export const TX_RING = 8;
export const RX_RING = 9;
export const EVENT = { tx: 3, rx: 4 } as const;
const FIRST_TX_PAGE = 100;
const FIRST_RX_PAGE = 1000;

/** Memory of a domain, page by page, and who uses it. */
export class FakeDomain implements FrontendDomain {
  readonly id = 1;
  readonly pages = new Map<number, { bytes: Uint8Array; readonly: boolean }>();
  /** Uses that have not been given back. */
  mapped = 0;
  readonly handlers = new Map<number, () => void>();
  readonly notified: number[] = [];

  grant(ref: number, bytes = new Uint8Array(4096), readonly = false): Uint8Array {
    this.pages.set(ref, { bytes, readonly });
    return bytes;
  }

  map(ref: number, readonly: boolean): GrantedPage {
    const page = this.pages.get(ref);
    if (page === undefined || (page.readonly && !readonly)) throw new FrontendError(`mapping grant ${ref}`);
    this.mapped++;
    let isMapped = true;
    return {
      bytes: () => {
        if (!isMapped) throw new Error('use of a page that was given back');
        return page.bytes;
      },
      wrote: (offset, length) => {
        if (readonly || offset < 0 || offset + length > 4096) throw new Error('wrote outside of the page');
      },
      release: () => {
        if (isMapped) this.mapped--;
        isMapped = false;
      },
    };
  }

  bind(port: number, onEvent: () => void): ReturnType<FrontendDomain['bind']> {
    if (port > 10 || this.handlers.has(port)) throw new FrontendError(`binding event channel ${port}`);
    this.handlers.set(port, onEvent);
    return {
      domain: 1,
      port,
      isConnected: true,
      notify: () => void this.notified.push(port),
      close: () => void this.handlers.delete(port),
    };
  }

  send(port: number): void {
    this.handlers.get(port)?.();
  }
}

export interface Piece {
  bytes: Uint8Array;
  offset?: number;
}

export class Front {
  readonly domain: FakeDomain;
  readonly tx: FrontRing;
  readonly rx: FrontRing;
  readonly txPage: Uint8Array;
  readonly rxPage: Uint8Array;
  readonly nodes: Record<string, string> = {
    'tx-ring-ref': String(TX_RING),
    'rx-ring-ref': String(RX_RING),
    'event-channel-tx': String(EVENT.tx),
    'event-channel-rx': String(EVENT.rx),
    'request-rx-copy': '1',
    'feature-rx-notify': '1',
    'feature-sg': '1',
    'feature-gso-tcpv4': '1',
    'feature-gso-tcpv6': '1',
    'feature-ipv6-csum-offload': '1',
  };
  #nextId = 0;

  constructor(domain = new FakeDomain()) {
    this.domain = domain;
    this.txPage = domain.grant(TX_RING);
    this.rxPage = domain.grant(RX_RING);
    this.tx = new FrontRing({ pages: [sharedPage(this.txPage)], entrySize: TX_ENTRY });
    this.rx = new FrontRing({ pages: [sharedPage(this.rxPage)], entrySize: RX_ENTRY });
  }

  /** Puts a packet's requests on the ring, without telling of it. Returns their ids. */
  queue(pieces: readonly Piece[], flags = 0, gso?: { size: number; type: number }): number[] {
    const total = pieces.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const ids: number[] = [];
    for (const [i, { bytes, offset = 0 }] of pieces.entries()) {
      const id = this.#nextId++ & 0xff;
      this.domain.grant(FIRST_TX_PAGE + id, undefined, true).set(bytes.subarray(0, 4096 - offset), offset);
      let own = i === 0 ? flags : 0;
      if (i + 1 < pieces.length) own |= NETTXF.moreData;
      if (i === 0 && gso) own |= NETTXF.extraInfo;
      const entry = new Uint8Array(netifTxRequest.size(64));
      const size = i === 0 ? total : bytes.length;
      netifTxRequest.write(viewOf(entry), 0, { gref: FIRST_TX_PAGE + id, offset, flags: own, id, size }, 64);
      this.tx.request(entry);
      ids.push(id);
      if (i === 0 && gso) {
        const extra = new Uint8Array(netifExtraInfo.size(64));
        const u = member<ReturnType<typeof netifExtraInfo.read>['u']>({ gso: { ...gso, pad: 0, features: 0 } });
        netifExtraInfo.write(viewOf(extra), 0, { type: 1, flags: 0, u }, 64);
        this.tx.request(extra);
      }
    }
    return ids;
  }

  kick(): void {
    if (this.tx.push()) this.domain.send(EVENT.tx);
  }

  /** Responses as "id:status". */
  txResponses(): string[] {
    const got: string[] = [];
    while (this.tx.waiting > 0) {
      const { id, status } = netifTxResponse.read(viewOf(this.tx.take()), 0, 64);
      got.push(status === 1 ? 'null' : `${id}:${status}`);
    }
    this.tx.askForNext();
    return got;
  }

  /** Posts buffers to receive with. */
  post(count: number): void {
    for (let i = 0; i < count; i++) {
      const id = this.#nextId++ & 0xff;
      this.domain.grant(FIRST_RX_PAGE + id);
      const entry = new Uint8Array(RX_ENTRY);
      netifRxRequest.write(viewOf(entry), 0, { id, pad: 0, gref: FIRST_RX_PAGE + id }, 64);
      this.rx.request(entry);
    }
    if (this.rx.push()) this.domain.send(EVENT.rx);
  }

  /** What was received, frame by frame; bytes are null where a piece could not be copied. */
  received(): { bytes: Uint8Array | null; flags: number; gso: { size: number; type: number } | null }[] {
    const frames: ReturnType<Front['received']> = [];
    while (this.rx.waiting > 0) {
      const pieces: Uint8Array[] = [];
      let isWhole = true;
      let gso: { size: number; type: number } | null = null;
      let first: number | null = null;
      for (;;) {
        const { id, offset, flags, status } = netifRxResponse.read(viewOf(this.rx.take()), 0, 64);
        first ??= flags;
        if (status < 0) isWhole = false;
        else pieces.push(this.domain.pages.get(FIRST_RX_PAGE + id)!.bytes.slice(offset, offset + status));
        if (flags & 8) {
          const { u } = netifExtraInfo.read(viewOf(this.rx.take()), 0, 64);
          gso = { size: u.gso.size, type: u.gso.type };
        }
        if (!(flags & 4)) break;
      }
      frames.push({ bytes: isWhole ? concatBytes(pieces) : null, flags: first, gso });
    }
    this.rx.askForNext();
    return frames;
  }
}
