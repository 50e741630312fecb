// virtio-console (virtio 1.2, 5.3) with its one port: hvc0 of a native Linux. Input that the driver has no buffer for waits.
import { VirtioDevice, type VirtioMachine } from './device.ts';
import type { Virtqueue } from './virtqueue.ts';

export interface VirtioConsoleOptions {
  /** Gets what the guest prints. */
  readonly output: (bytes: Uint8Array) => void;
  /** Columns and rows of the terminal, where it has some. */
  readonly size?: readonly [columns: number, rows: number];
}

const CONSOLE = { name: 'console', type: 3, classCode: 0x078000 } as const;
const Feature = { size: 1n << 0n, emergencyWrite: 1n << 2n } as const;
const Config = { columns: 0, rows: 2, emergencyWrite: 8 } as const;
const CONFIG_SIZE = 12;
const RECEIVE = 0;
const TRANSMIT = 1;
const QUEUE_SIZE = 64;
/** Bytes that are taken from a chain at a time. */
const PIECE = 4096;
/** A chain holds more text than this: nothing that prints does that, and memory is not for it. */
const MOST = 1 << 20;

export class VirtioConsole extends VirtioDevice {
  private readonly output: (bytes: Uint8Array) => void;
  private input: Uint8Array = new Uint8Array(0);

  constructor(machine: VirtioMachine, { output, size }: VirtioConsoleOptions) {
    const features = Feature.emergencyWrite | (size ? Feature.size : 0n);
    super(machine, CONSOLE, features, [QUEUE_SIZE, QUEUE_SIZE], CONFIG_SIZE);
    this.output = output;
    if (size) this.setSize(...size);
  }

  /** Types into the guest. */
  receive(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.input.length + bytes.length);
    joined.set(this.input);
    joined.set(bytes, this.input.length);
    this.input = joined;
    this.notify(RECEIVE);
  }

  /** Bytes of receive() that wait for the guest to take them. */
  get waitingInput(): number {
    return this.input.length;
  }

  /** The terminal has another size now. Told only where it had one at the start. */
  resize(columns: number, rows: number): void {
    if (!(this.offered & Feature.size)) return;
    this.setSize(columns, rows);
    this.configChanged();
  }

  /** A character printed before there are queues, or when there are none any more. */
  override writeConfig(offset: number, value: number): void {
    if (offset === Config.emergencyWrite) this.output(Uint8Array.of(value));
  }

  protected serve(queue: Virtqueue): void {
    this.takeEach(queue, chain => {
      if (queue.index === TRANSMIT) {
        const length = Math.min(chain.readableLength, MOST);
        for (let at = 0; at < length; at += PIECE) {
          const bytes = new Uint8Array(Math.min(PIECE, length - at));
          chain.read(at, bytes);
          this.output(bytes);
        }
        queue.use(chain, 0);
        return true;
      }
      const bytes = this.input.subarray(0, Math.min(this.input.length, chain.writableLength));
      if (bytes.length === 0) return false;
      chain.write(0, bytes);
      this.input = this.input.slice(bytes.length);
      queue.use(chain, bytes.length);
      return true;
    });
  }

  private setSize(columns: number, rows: number): void {
    this.configView.setUint16(Config.columns, columns, true);
    this.configView.setUint16(Config.rows, rows, true);
  }

  protected override saveOwn(): unknown {
    return this.input.slice();
  }
  protected override loadOwn(state: unknown): void {
    this.input = (state as Uint8Array).slice();
  }
}
