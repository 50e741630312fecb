/**
 * The way out by a stream of frames, each with its length before it (32 bits, big-endian): what QEMU's `-netdev stream` and `-netdev socket` speak, and
 * with them passt, VDE's plug and others. Whoever is at the other end brings whatever network it has. Source: net/stream.c and net/net.c in QEMU.
 *
 * A length that no frame can have ends the stream: nothing behind it could be understood.
 */
import { type Frame, MAX_FRAME, type NetworkDevice, type NetworkPort, NO_ABILITIES, wholeFrame } from './link.ts';

/** Who is told of what a stream says; never within a call. */
export interface FrameEvents {
  /** Bytes, cut anywhere. */
  data(bytes: Uint8Array): void;
  end(reason: string): void;
}

export interface FrameStream {
  /** Sets who is told; nothing is read before. */
  start(events: FrameEvents): void;
  /** Takes all of it, now or later. */
  write(bytes: Uint8Array): void;
  /** Bytes that write() has taken and not yet passed on. */
  readonly pending: number;
  close(): void;
}

const LENGTH = 4;
const LEAST = 14;
/** More of what nobody reads is dropped, as on a wire. */
const MOST_PENDING = 4 << 20;

export class StreamLink implements NetworkDevice, FrameEvents {
  /** Others take frames that are finished. */
  readonly accepts = NO_ABILITIES;
  readonly #stream: FrameStream;
  readonly #port: NetworkPort;
  readonly #ended: (reason: string) => void;
  #rest: Uint8Array = new Uint8Array(0);
  #isOpen = true;

  /** @param ended told once why it has ended, where it did by itself */
  constructor(port: NetworkPort, stream: FrameStream, ended: (reason: string) => void) {
    this.#stream = stream;
    this.#port = port;
    this.#ended = ended;
    port.attach(this);
    stream.start(this);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  receive({ bytes }: Frame): boolean {
    if (!this.#isOpen || this.#stream.pending > MOST_PENDING) return true;
    const message = new Uint8Array(LENGTH + bytes.length);
    new DataView(message.buffer).setUint32(0, bytes.length);
    message.set(bytes, LENGTH);
    this.#stream.write(message);
    return true;
  }

  data(bytes: Uint8Array): void {
    if (!this.#isOpen) return;
    let all = bytes;
    if (this.#rest.length > 0) {
      all = new Uint8Array(this.#rest.length + bytes.length);
      all.set(this.#rest);
      all.set(bytes, this.#rest.length);
    }
    const view = new DataView(all.buffer, all.byteOffset, all.length);
    let at = 0;
    while (this.#isOpen && at + LENGTH <= all.length) {
      const length = view.getUint32(at);
      if (length > MAX_FRAME) return this.end(`a frame of ${length} bytes`);
      if (at + LENGTH + length > all.length) break;
      at += LENGTH;
      // Shorter ones have no addresses: nobody could be meant.
      if (length >= LEAST) this.#port.send(wholeFrame(all.slice(at, at + length)));
      at += length;
    }
    this.#rest = all.slice(at);
  }

  end(reason: string): void {
    if (!this.#isOpen) return;
    this.close();
    this.#ended(reason);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#port.attach(null);
    this.#stream.close();
  }
}
