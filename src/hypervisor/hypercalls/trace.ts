// The last hypercalls of each domain, for crash reports and traces.
import type { Domain } from '../domain.ts';

/** Enough to reach beyond a panic's own text: every line of it is sent to the console by an event or two. */
const KEPT = 256;

/** One hypercall that has returned. */
export interface HypercallRecord {
  domain: number;
  vcpu: number;
  name: string;
  number: number;
  args: readonly bigint[];
  /** Unsigned 64-bit result. */
  result: bigint;
}

const rings = new WeakMap<Domain, { records: HypercallRecord[]; next: number }>();

/** A return from a handler is left out: as frequent as system calls, it would push out all else and tells nothing. */
export function recordHypercall(domain: Domain, record: HypercallRecord): void {
  if (record.name === 'iret') return;
  let ring = rings.get(domain);
  if (!ring) rings.set(domain, (ring = { records: [], next: 0 }));
  ring.records[ring.next] = record;
  ring.next = (ring.next + 1) % KEPT;
}

/** The last hypercalls of a domain, oldest first. */
export function lastHypercalls(domain: Domain): HypercallRecord[] {
  const ring = rings.get(domain);
  if (!ring) return [];
  return [...ring.records.slice(ring.next), ...ring.records.slice(0, ring.next)];
}
