// virtio-9p (virtio 1.2 knows its number; the device is described by QEMU and Linux's net/9p/trans_virtio.c): a 9P request in a chain, its reply in the
// same chain. Who answers is none of its business.
import type { Chain } from './chain.ts';
import { VirtioDevice, type VirtioMachine } from './device.ts';
import type { Virtqueue } from './virtqueue.ts';

/** A session of the 9P protocol; a message is whole, or shorter than it says. */
export interface P9Session {
  handle(message: Uint8Array): Uint8Array;
  /** The driver has forgotten all about it. */
  close(): void;
}

export interface VirtioP9Options {
  readonly session: P9Session;
  /** By which the guest mounts it. */
  readonly tag: string;
}

const P9 = { name: '9p', type: 9, classCode: 0x00ff00 } as const;
const Feature = { mountTag: 1n << 0n } as const;
const QUEUE_SIZE = 128;
const TAG = 2;
const LEAST = 7;
/** Bytes of a message at most: what Linux's driver sends, a page a descriptor. */
export const P9_MESSAGE_BYTES = 4096 * QUEUE_SIZE;
/** What a message costs beside its bytes: it may walk a long path. */
const MESSAGE_COST = 4096;

export class VirtioP9 extends VirtioDevice {
  private readonly session: P9Session;

  constructor(machine: VirtioMachine, { session, tag }: VirtioP9Options) {
    const name = new TextEncoder().encode(tag);
    super(machine, P9, Feature.mountTag, [QUEUE_SIZE], TAG + name.length);
    this.session = session;
    this.configView.setUint16(0, name.length, true);
    this.config.set(name, TAG);
  }

  protected serve(queue: Virtqueue): void {
    this.takeEach(queue, chain => {
      this.spend(MESSAGE_COST);
      const reply = this.answer(chain);
      if (reply === null || !chain.write(0, reply)) {
        this.broken(
          queue,
          reply === null ? 'no message' : `${chain.writableLength} bytes for a reply of ${reply.length}`,
        );
        return false;
      }
      queue.use(chain, reply.length);
      return true;
    });
  }

  /** Null for what is no message. */
  private answer(chain: Chain): Uint8Array | null {
    const length = chain.readableLength;
    if (length < LEAST || length > P9_MESSAGE_BYTES) return null;
    const message = new Uint8Array(length);
    return chain.read(0, message) ? this.session.handle(message) : null;
  }

  protected override stopped(): void {
    this.session.close();
  }
}
