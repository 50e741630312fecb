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
