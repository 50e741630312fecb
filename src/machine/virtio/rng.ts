// virtio-rng (virtio 1.2, 5.4): fills buffers with random bytes.
import { VirtioDevice, type VirtioMachine } from './device.ts';
import type { Virtqueue } from './virtqueue.ts';

const ENTROPY = { name: 'entropy', type: 4, classCode: 0x00ff00 } as const;
const QUEUE_SIZE = 64;
/** Bytes of one request that are filled at most. Drivers take less as an answer. */
const MOST = 4096;

export class VirtioRng extends VirtioDevice {
  private readonly fill: (into: Uint8Array) => void;

  /** @param fill the source of entropy: what makes runs repeatable where they are to be, and secret where not. */
  constructor(machine: VirtioMachine, fill: (into: Uint8Array) => void) {
    super(machine, ENTROPY, 0n, [QUEUE_SIZE], 0);
    this.fill = fill;
  }

  protected serve(queue: Virtqueue): void {
    this.takeEach(queue, chain => {
      const bytes = new Uint8Array(Math.min(chain.writableLength, MOST));
      this.fill(bytes);
      chain.write(0, bytes);
      queue.use(chain, bytes.length);
      return true;
    });
  }
}
