/**
 * The back end of a 9pfs device, as QEMU's is: rings that lead to one server. Sources: docs/misc/9pfs.pandoc, net/9p/trans_xen.c in Linux.
 */
import { type BackendDriver, FrontendError, type FrontendNodes } from '../xenbus/backend-device.ts';
import type { FrontendDomain } from '../xenbus/frontend-domain.ts';
import { MAX_RING_PAGE_ORDER, P9Ring } from './p9-ring.ts';
import { P9Server } from './p9-server.ts';
import type { SharedFolder } from './shared-folder.ts';

const MAX_REF = 0xffffffff;
const MAX_PORT = 0x1ffff;
const MAX_RINGS = 8;
const VERSION = '1';

export interface P9BackOptions {
  readonly domain: FrontendDomain;
  /** Not closed by the back end: it may serve again. */
  readonly folder: SharedFolder;
  readonly isReadOnly: boolean;
  readonly later: (handler: () => void) => void;
  /** The front end does not keep to the protocol; BackendDevice.fail() is to be called. */
  readonly broken: (reason: string) => void;
}

export class P9Back implements BackendDriver {
  readonly #options: P9BackOptions;
  #rings: P9Ring[] = [];
  #server: P9Server | null = null;

  constructor(options: P9BackOptions) {
    this.#options = options;
  }

  features(): Record<string, string> {
    return {
      versions: VERSION,
      'max-rings': String(MAX_RINGS),
      'max-ring-page-order': String(MAX_RING_PAGE_ORDER),
    };
  }

  connect(front: FrontendNodes): Record<string, string> {
    const version = front.text('version');
    if (version !== VERSION) throw new FrontendError(`unknown version ${version?.slice(0, 20)}`);
    const count = front.number('num-rings', MAX_RINGS);
    if (count === 0) throw new FrontendError('no rings');
    const { domain, folder, isReadOnly, later, broken } = this.#options;
    const owner = { handle: (message: Uint8Array) => this.#server!.handle(message), later, broken };
    for (let n = 0; n < count; n++) {
      const nodes = {
        ref: front.number(`ring-ref${n}`, MAX_REF),
        port: front.number(`event-channel-${n}`, MAX_PORT),
      };
      this.#rings.push(new P9Ring(domain, nodes, owner));
    }
    const mostBytes = Math.min(...this.#rings.map(ring => ring.mostBytes));
    this.#server = new P9Server({ folder, isReadOnly, mostBytes });
    return {};
  }

  disconnect(): void {
    for (const ring of this.#rings.splice(0)) ring.close();
    this.#server?.close();
    this.#server = null;
  }
}
