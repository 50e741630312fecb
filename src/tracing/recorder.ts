// Makes records of what the hypervisor and XenStore tell, and hands them to a writer.

import { nameIn } from '../abi/xen/calls.ts';
import { VIRQ } from '../abi/xen/xen.ts';
import type { Domain } from '../hypervisor/domain.ts';
import type { Channel } from '../hypervisor/events/channel.ts';
import type { HypercallRecord } from '../hypervisor/hypercalls/trace.ts';
import type { ChannelEvent, GrantUse, SchedulingEvent, Tracer } from '../hypervisor/tracer.ts';
import type { Vcpu } from '../hypervisor/vcpu.ts';
import { operationName, XS, type XsMessage } from '../protocols/xenstore.ts';
import { callText, decodeCall, memoryOf } from './decode-call.ts';
import { CATEGORIES, type Category, type Flow, type TraceRecord, type TraceWriter } from './record.ts';
import { quoted, snake } from './value.ts';

export interface TraceFilter {
  /** Default: all. */
  readonly categories?: readonly Category[];
  /** Default: every domain and the host. */
  readonly domain?: number | null;
}

type Particulars = Pick<TraceRecord, 'name' | 'text' | 'fields'> & Partial<Pick<TraceRecord, 'flow' | 'phase'>>;

export class TraceRecorder implements Tracer {
  private readonly writer: TraceWriter;
  private readonly wanted: ReadonlySet<Category>;
  private readonly domain: number | null;
  private now: () => bigint = () => 0n;
  private flows = 0;
  /** The flow of the present send, until it arrives. */
  private sent: number | null = null;
  /** vCPUs on the processor. */
  private running: Vcpu | null = null;

  constructor(writer: TraceWriter, { categories = CATEGORIES, domain = null }: TraceFilter = {}) {
    this.writer = writer;
    this.wanted = new Set(categories);
    this.domain = domain;
  }

  start(now: () => bigint): void {
    this.now = now;
  }

  /** The machine has ended. */
  end(): void {
    if (this.running) this.scheduling(this.running, 'stop');
    this.writer.end(this.now());
  }

  hypercall(vcpu: Vcpu, record: HypercallRecord): void {
    if (!this.wants('hypercall', record.domain)) return;
    const decoded = decodeCall(record, memoryOf(vcpu));
    const { name, operation, parameters } = decoded;
    // It is made again for the rest.
    const result = vcpu.continuation ? '(continues)' : decoded.result;
    this.write('hypercall', record.domain, record.vcpu, {
      name: operation === null ? name : `${name}.${operation}`,
      text: `${callText(decoded)} = ${result}`,
      fields: [...parameters, ['result', result]],
    });
  }

  channel(domain: Domain, channel: Channel, what: ChannelEvent): void {
    const flow = this.flowOf(channel, what);
    if (!this.wants('event', domain.id)) return;
    const { port, vcpu } = channel;
    const end = otherEnd(channel);
    const sender = what === 'send' ? this.loadedVcpu(domain) : null;
    this.write('event', domain.id, what === 'raise' ? vcpu : sender, {
      name: what,
      text: `${what} port ${port}${what === 'raise' ? '' : what === 'send' ? ` to ${end}` : ` (${end})`}`,
      fields: [
        ['port', port],
        ['end', end],
      ],
      ...(flow ? { flow } : {}),
    });
  }

  upcall(vcpu: Vcpu): void {
    if (!this.wants('event', vcpu.domain.id)) return;
    this.write('event', vcpu.domain.id, vcpu.id, { name: 'upcall', text: 'upcall', fields: [] });
  }

  grant(user: Domain | null, what: string, { owner, ref, readonly }: GrantUse, detail: string): void {
    const id = user?.id ?? null;
    if (!this.wanted.has('grant') || (this.domain !== null && this.domain !== id && this.domain !== owner)) return;
    const access = readonly ? 'read' : 'read-write';
    this.write('grant', id, user ? this.loadedVcpu(user) : null, {
      name: what,
      text: `${what} d${owner} ref ${ref} ${access}${detail === '' ? '' : ` ${detail}`}`,
      fields: [
        ['owner', owner],
        ['ref', ref],
        ['access', access],
        ...(detail === '' ? [] : [['detail', detail] as const]),
      ],
    });
  }

  scheduling(vcpu: Vcpu, what: SchedulingEvent): void {
    if (what === 'run') this.running = vcpu;
    if (what === 'stop') this.running = null;
    if (!this.wants('sched', vcpu.domain.id)) return;
    const phase = what === 'run' ? 'begin' : what === 'stop' ? 'end' : undefined;
    this.write('sched', vcpu.domain.id, vcpu.id, {
      name: what,
      text: what,
      fields: [],
      ...(phase ? { phase } : {}),
    });
  }

  store(domid: number, direction: 'from' | 'to', { type, reqId, txId, payload }: XsMessage): void {
    if (!this.wants('xenstore', domid)) return;
    const name = operationName(type) ?? `operation ${type}`;
    const isRequest = direction === 'from';
    const isEvent = type === XS.WATCH_EVENT;
    const answers = isRequest || isEvent ? '' : ` (${reqId})`;
    const label = isEvent ? 'event' : isRequest ? `request ${name}` : `reply ${name}`;
    const transaction = txId === 0 ? '' : ` tx ${txId}`;
    const strings = payloadText(payload);
    this.write('xenstore', domid, null, {
      name: label,
      text: `${label}${isRequest ? ` (${reqId})` : answers}${transaction} ${strings}`.trimEnd(),
      fields: [
        ...(isEvent ? [] : [['request', reqId] as const]),
        ...(txId === 0 ? [] : [['transaction', txId] as const]),
        ['payload', strings],
      ],
    });
  }

  private wants(category: Category, domain: number): boolean {
    return this.wanted.has(category) && (this.domain === null || this.domain === domain);
  }

  private write(category: Category, domain: number | null, vcpu: number | null, what: Particulars): void {
    this.writer.write({ timeNs: this.now(), domain, vcpu, category, ...what });
  }

  /** A send to another domain, or to oneself, arrives within the call. */
  private flowOf(channel: Channel, what: ChannelEvent): Flow | null {
    if (what === 'send') {
      const arrives = channel.state === 'ipi' || (channel.state === 'interdomain' && !channel.host);
      this.sent = arrives ? ++this.flows : null;
      return arrives ? { id: this.flows, ends: false } : null;
    }
    if (what !== 'raise' || this.sent === null) return null;
    const flow = { id: this.sent, ends: true };
    this.sent = null;
    return flow;
  }

  /** The vCPU that does it, where it is a guest that does. */
  private loadedVcpu(domain: Domain): number | null {
    const { loaded } = domain.hypervisor;
    return loaded?.domain === domain ? loaded.id : null;
  }
}

/** What a channel is bound to. */
function otherEnd({ state, remoteDomain, remotePort, irq, vcpu, host }: Channel): string {
  switch (state) {
    case 'unbound':
      return `unbound, for d${remoteDomain}`;
    case 'interdomain':
      return host ? 'the host' : `d${remoteDomain} port ${remotePort}`;
    case 'virq':
      return `VIRQ ${snake(nameIn(VIRQ, irq) ?? String(irq))} of v${vcpu}`;
    case 'pirq':
      return `pirq ${irq}`;
    case 'ipi':
      return `IPI of v${vcpu}`;
    default:
      return state;
  }
}

/** The strings of a message; its last one may lack its zero, as a value does. */
function payloadText(payload: Uint8Array): string {
  const parts: string[] = [];
  for (let start = 0; start < payload.length; ) {
    const zero = payload.indexOf(0, start);
    const end = zero < 0 ? payload.length : zero;
    parts.push(quoted(payload.subarray(start, end)));
    start = end + 1;
  }
  return parts.join(' ');
}
