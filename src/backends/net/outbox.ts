// What waits to go into a device: frames that it had no room for, in order and bounded.
import type { Frame, NetworkDevice } from './link.ts';
import { finishFrame } from './offload.ts';

/** As the transmit queue of a network card in Linux. */
const MAX_FRAMES = 1000;
const MAX_BYTES = 4 << 20;

export class Outbox {
  #device: NetworkDevice | null = null;
  #waiting: Frame[] = [];
  #bytes = 0;

  /** The device takes no more for now: what comes now waits, and is dropped once too much does. */
  get isBlocked(): boolean {
    return this.#waiting.length > 0;
  }

  /** What the device takes unfinished; null where there is none. */
  get accepts(): NetworkDevice['accepts'] | null {
    return this.#device?.accepts ?? null;
  }

  attach(device: NetworkDevice | null): void {
    this.#device = device;
    this.#waiting = [];
    this.#bytes = 0;
  }

  send(frame: Frame): void {
    const device = this.#device;
    if (device === null) return;
    for (const piece of finishFrame(frame, device.accepts)) {
      if (this.#waiting.length === 0 && device.receive(piece)) continue;
      if (this.#waiting.length >= MAX_FRAMES || this.#bytes + piece.bytes.length > MAX_BYTES) return;
      this.#bytes += piece.bytes.length;
      // The bytes may be another guest's, and are ours during this call alone.
      this.#waiting.push(piece.bytes === frame.bytes ? { ...piece, bytes: piece.bytes.slice() } : piece);
    }
  }

  resume(): void {
    const waiting = this.#waiting;
    let sent = 0;
    while (sent < waiting.length && this.#device !== null) {
      const frame = waiting[sent]!;
      // What the device takes may have changed since.
      const pieces = finishFrame(frame, this.#device.accepts);
      if (pieces.length === 1 && pieces[0] === frame) {
        if (!this.#device.receive(frame)) break;
        sent++;
      } else {
        waiting.splice(sent, 1, ...pieces);
      }
    }
    if (this.#waiting !== waiting) return;
    waiting.splice(0, sent);
    this.#bytes = waiting.reduce((total, { bytes }) => total + bytes.length, 0);
  }
}
