// One event channel as the hypervisor keeps it: plain data. Source: xen/include/public/event_channel.h.
import type { DomId } from '../domain.ts';
import type { HostPort } from './host-port.ts';

/** Number of an event channel within its domain. Port 0 is never used. */
export type Port = number;

export type ChannelState = 'free' | 'reserved' | 'unbound' | 'interdomain' | 'pirq' | 'virq' | 'ipi';

/** EVTCHN_FIFO_PRIORITY_*: 0 is the most urgent. */
export const Priority = { max: 0, default: 7, min: 15 } as const;

export interface Channel {
  readonly port: Port;
  state: ChannelState;
  /** The vCPU that is told. */
  vcpu: number;
  /** unbound: the domain that may bind to it; interdomain: the peer. */
  remoteDomain: DomId;
  /** interdomain: the peer's port. */
  remotePort: Port;
  /** Number of the VIRQ or physical interrupt. */
  irq: number;
  /** interdomain: the peer is a backend in the host instead of a guest. */
  host: HostPort | null;

  /** FIFO: queue for the next event. */
  priority: number;
  /** FIFO: an event came before the guest gave the array page that its word stands in. */
  pendingLater: boolean;
  /** FIFO: the queue that the word was last linked into. */
  lastVcpu: number;
  lastPriority: number;
}

export function freeChannel(port: Port): Channel {
  return {
    port,
    state: 'free',
    vcpu: 0,
    remoteDomain: 0,
    remotePort: 0,
    irq: 0,
    host: null,
    priority: Priority.default,
    pendingLater: false,
    lastVcpu: 0,
    lastPriority: 0,
  };
}

/** A channel that events may be raised on. */
export function isUsable(channel: Channel): boolean {
  return channel.state !== 'free' && channel.state !== 'reserved';
}

/** How a domain is told of events: the 2-level or the FIFO ABI. */
export interface Delivery {
  /** Ports beyond this cannot exist. */
  readonly maxPorts: number;
  /** A channel has just been bound. */
  init(channel: Channel): void;
  /** Raises an event on the channel for one of the domain's vCPUs. */
  setPending(vcpu: number, channel: Channel): void;
  clearPending(channel: Channel): void;
  unmask(channel: Channel): void;
  isPending(channel: Channel): boolean;
  isMasked(channel: Channel): boolean;
  /** The port must not be reused yet. */
  isBusy(channel: Channel): boolean;
  /** False where the ABI knows no priorities. */
  readonly hasPriorities: boolean;
}
