// The hypervisor: one processor, its frames, the domains on it.
import type { EngineMemory } from '../cpu/memory.ts';
import type { Processor } from '../cpu/types.ts';
import { Domain, type DomainConfig, type DomId } from './domain.ts';
import { XenError } from './errors.ts';
import type { HypercallRecord } from './hypercalls/trace.ts';
import { FrameTable } from './memory/frame-table.ts';
import type { Clock } from './time/clock.ts';
import { Vcpu } from './vcpu.ts';

/** Domain ids with a meaning of their own (public/xen.h). */
export const DOMID_FIRST_RESERVED = 0x7ff0;
export const DOMID_SELF = 0x7ff0;
export const DOMID_IO = 0x7ff1;
export const DOMID_XEN = 0x7ff2;
export const DOMID_COW = 0x7ff3;
export const DOMID_INVALID = 0x7ff4;

/** The version of Xen whose behaviour and interface this is. */
export const XEN_VERSION = { major: 4, minor: 17, extra: '.7' } as const;

export interface HypervisorOptions {
  processor: Processor;
  clock: Clock;
  /** Lines in Xen's form, `(XEN) ...`, without a line break. */
  log?: (line: string) => void;
}

export class Hypervisor {
  readonly processor: Processor;
  readonly memory: EngineMemory;
  readonly frames: FrameTable;
  readonly clock: Clock;
  readonly domains = new Map<DomId, Domain>();
  readonly log: (line: string) => void;
  /** The vCPU whose registers are in the processor's live block. */
  loaded: Vcpu | null = null;
  /** Called with every hypercall that has returned. */
  onHypercall: ((record: HypercallRecord) => void) | null = null;
  /** Called once for every domain that has shut down or crashed. */
  onDomainStopped: ((domain: Domain) => void) | null = null;

  constructor(options: HypervisorOptions) {
    this.processor = options.processor;
    this.memory = options.processor.memory;
    this.clock = options.clock;
    this.log = options.log ?? (() => {});
    this.frames = new FrameTable(this);
  }

  /** Makes an empty domain: no memory, vCPUs without a context. */
  createDomain(config: DomainConfig): Domain {
    if (config.id >= DOMID_FIRST_RESERVED || this.domains.has(config.id)) throw new XenError('EEXIST');
    const domain = new Domain(this, config);
    for (let i = 0; i < config.vcpus; i++) domain.vcpus.push(new Vcpu(domain, i));
    this.domains.set(config.id, domain);
    return domain;
  }

  /** Domain.shutDown reports here. */
  domainStopped(domain: Domain): void {
    this.onDomainStopped?.(domain);
  }

  /** Our own mistake, met while serving a domain: the domain stops, the host and the others go on. */
  bug(domain: Domain, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.log(`(XEN) BUG while serving d${domain.id}: ${text}`);
    domain.crash('the hypervisor failed an assertion');
  }

  /** A domain by the id that a guest gave: DOMID_SELF or its own id is the caller. */
  resolve(caller: Domain, id: number): Domain {
    if (id === DOMID_SELF || id === caller.id) return caller;
    const domain = this.domains.get(id);
    if (!domain) throw new XenError('ESRCH');
    return domain;
  }
}
