// What the hypervisor tells whoever traces it. Hypervisor.tracer is null while nobody does: then each of these places costs a look at it.
import type { Domain, DomId } from './domain.ts';
import type { Channel } from './events/channel.ts';
import type { GrantRef } from './grants/shared-entries.ts';
import type { HypercallRecord } from './hypercalls/trace.ts';
import type { Vcpu } from './vcpu.ts';

/** bind: its state says to what. raise: an event has come on it. close: its state is still the old one. */
export type ChannelEvent = 'bind' | 'close' | 'send' | 'raise';

/** run and stop: its registers come onto the processor and leave it. */
export type SchedulingEvent = 'run' | 'stop' | 'block' | 'wake' | 'yield' | 'up' | 'down';

/** A use of a page that a domain grants. */
export interface GrantUse {
  /** Who grants. */
  readonly owner: DomId;
  readonly ref: GrantRef;
  readonly readonly: boolean;
}

/** Everything is told at the moment when it happens, with the guest's memory as it is then; nothing may be changed. */
export interface Tracer {
  /** A hypercall, or an entry of a multicall, has returned. `vcpu` is the loaded one. */
  hypercall(vcpu: Vcpu, record: HypercallRecord): void;
  channel(domain: Domain, channel: Channel, what: ChannelEvent): void;
  /** The guest enters its event callback. */
  upcall(vcpu: Vcpu): void;
  /** `user`: who uses it; null is a backend in the host. `detail` is a handle, or what was copied. */
  grant(user: Domain | null, what: 'map' | 'unmap' | 'copy' | 'write', use: GrantUse, detail: string): void;
  scheduling(vcpu: Vcpu, what: SchedulingEvent): void;
}

/** A tracer for those who want to know of a few things only. */
export function tracerOf(parts: Partial<Tracer>): Tracer {
  const nothing = () => {};
  return { hypercall: nothing, channel: nothing, upcall: nothing, grant: nothing, scheduling: nothing, ...parts };
}
