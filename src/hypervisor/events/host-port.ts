// The host's end of an event channel: how backends inside the host (XenStore, consoles, disks) send and receive events.
import type { DomId } from '../domain.ts';
import type { Port } from './channel.ts';

/** What a backend holds of a channel that it is bound to. */
export interface HostPort {
  /** The guest that the channel belongs to, and its port. */
  readonly domain: DomId;
  readonly port: Port;
  /** False once either side has closed. */
  readonly isConnected: boolean;
  /** Raises the event in the guest. Nothing happens where the channel is closed. */
  notify(): void;
  /** Closes the host's end: the guest's port becomes unbound. */
  close(): void;
}

/**
 * Notifications on their way to backends. They run between hypercalls, never inside one, so a backend may do whatever it likes
 * (destroy the sender, say). Several for one port before its turn are one, as with a pending bit.
 */
export class HostEvents {
  private queue = new Set<() => void>();

  /** Queues a backend's handler. */
  raise(handler: () => void): void {
    this.queue.add(handler);
  }

  get isEmpty(): boolean {
    return this.queue.size === 0;
  }

  /** Calls the handlers that were queued up to now, in order; what they raise waits for the next call. Returns how many ran. */
  deliver(): number {
    if (this.queue.size === 0) return 0;
    const due = this.queue;
    this.queue = new Set();
    for (const handler of due) handler();
    return due.size;
  }
}
