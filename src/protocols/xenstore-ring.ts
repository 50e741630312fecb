/**
 * The page through which a guest talks to XenStore: two byte rings, feature bits, and the words for reconnecting and
 * for telling the guest that its connection is dead. Source: struct xenstore_domain_interface, xs_wire.h, and
 * docs/misc/xenstore-ring.txt.
 */
import { ByteRing } from './ring-buffer.ts';
import { pageU32, type SharedPage, setPageU32 } from './shared-page.ts';

export const XENSTORE_REQ = { buffer: 0, size: 1024, cons: 2048, prod: 2052 } as const;
export const XENSTORE_RSP = { buffer: 1024, size: 1024, cons: 2056, prod: 2060 } as const;
const SERVER_FEATURES = 2064;
const CONNECTION = 2068;
const ERROR = 2072;

export const XENSTORE_SERVER_FEATURE = { RECONNECTION: 1, ERROR: 2, WATCHDEPTH: 4, DOMID_ANY: 8 } as const;
export const XENSTORE_CONNECTION = { CONNECTED: 0, RECONNECT: 1 } as const;
/** What the error word can say: no error, event channel dead, bad ring index, protocol violation. */
export const XENSTORE_ERROR = { NONE: 0, COMM: 1, RINGIDX: 2, PROTO: 3 } as const;

export class XenStoreRing {
  readonly requests: ByteRing;
  readonly responses: ByteRing;
  readonly #page: SharedPage;

  constructor(page: SharedPage) {
    this.#page = page;
    this.requests = new ByteRing(page, XENSTORE_REQ);
    this.responses = new ByteRing(page, XENSTORE_RSP);
  }

  set serverFeatures(bits: number) {
    setPageU32(this.#page.bytes(), SERVER_FEATURES, bits);
  }

  get connection(): number {
    return pageU32(this.#page.bytes(), CONNECTION);
  }

  set connection(state: number) {
    setPageU32(this.#page.bytes(), CONNECTION, state);
  }

  set error(code: number) {
    setPageU32(this.#page.bytes(), ERROR, code);
  }
}
