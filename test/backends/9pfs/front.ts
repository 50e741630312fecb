// A 9pfs front end over a domain's granted pages, and what stands between it and its back end.
import { P9Back } from '../../../src/backends/9pfs/p9-back.ts';
import type { SharedFolder } from '../../../src/backends/9pfs/shared-folder.ts';
import { FrontendError } from '../../../src/backends/xenbus/backend-device.ts';
import { FlexConsumer, FlexProducer } from '../../../src/protocols/flex-ring.ts';
import { P9_HEADER, p9Header } from '../../../src/protocols/p9.ts';
import { setPageU32, sharedPage } from '../../../src/protocols/shared-page.ts';
import { FakeDomain } from '../net/netback/front.ts';

const INDICES = 50;
const FIRST_DATA = 100;
export const PORT = 2;

export class P9Front {
  readonly domain = new FakeDomain();
  readonly back: P9Back;
  readonly indices: Uint8Array;
  readonly requests: FlexProducer;
  readonly replies: FlexConsumer;
  readonly nodes: Record<string, string> = {
    version: '1',
    'num-rings': '1',
    'ring-ref0': String(INDICES),
    'event-channel-0': String(PORT),
  };
  readonly later: (() => void)[] = [];
  problem: string | null = null;

  constructor(folder: SharedFolder, { order = 2, isReadOnly = false } = {}) {
    this.indices = this.domain.grant(INDICES);
    const pages = Array.from({ length: 1 << order }, (_, i) => {
      setPageU32(this.indices, 132 + i * 4, FIRST_DATA + i);
      return sharedPage(this.domain.grant(FIRST_DATA + i));
    });
    setPageU32(this.indices, 128, order);
    const shape = { indices: sharedPage(this.indices) };
    this.replies = new FlexConsumer({ ...shape, cons: 0, prod: 4, pages: pages.slice(0, pages.length / 2) });
    this.requests = new FlexProducer({ ...shape, cons: 64, prod: 68, pages: pages.slice(pages.length / 2) });
    this.back = new P9Back({
      domain: this.domain,
      folder,
      isReadOnly,
      later: handler => void this.later.push(handler),
      broken: reason => {
        this.problem = reason;
        this.back.disconnect();
      },
    });
  }

  connect(): this {
    const text = (name: string): string | undefined => this.nodes[name];
    this.back.connect({
      text,
      number: (name, max) => {
        const value = Number(text(name) ?? Number.NaN);
        if (!(value >= 0 && value <= max)) throw new FrontendError(`reading ${name}`);
        return value;
      },
      flag: () => false,
    });
    return this;
  }

  kick(): void {
    this.domain.send(PORT);
    // Each handler may ask for another turn; all of them end, or this test does not.
    for (let turns = 0; this.later.length > 0; turns++) {
      if (turns > 10_000) throw new Error('the back end does not come to an end');
      this.later.shift()!();
    }
  }

  /** The reply that waits; null where none does. */
  reply(): Uint8Array | null {
    if (this.replies.waiting < P9_HEADER) return null;
    const header = new Uint8Array(P9_HEADER);
    this.replies.peek(header);
    const reply = new Uint8Array(p9Header(header).size);
    this.replies.peek(reply);
    this.replies.drop(reply.length);
    return reply;
  }

  /** Sends a request and takes its reply. */
  readonly exchange = (message: Uint8Array): Uint8Array => {
    this.requests.put(message);
    this.kick();
    const reply = this.reply();
    if (reply === null) throw new Error(`no reply; ${this.problem ?? 'no problem'}`);
    return reply;
  };
}
