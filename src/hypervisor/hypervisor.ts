// The hypervisor: one processor, its frames, the domains on it.
import type { EngineMemory } from '../cpu/memory.ts';
import type { Processor } from '../cpu/types.ts';
import { HostEvents } from '../machine/host-events.ts';
import type { Clock } from '../machine/time/clock.ts';
import { Domain, type DomainConfig, type DomId, type MemoryMapEntry, ShutdownReason } from './domain.ts';
import { DOMID_FIRST_RESERVED, DOMID_SELF } from './domain-ids.ts';
import { XenError } from './errors.ts';
import { EventChannels } from './events/event-channels.ts';
import { Virq } from './events/virq.ts';
import { GrantTable } from './grants/grant-table.ts';
import { releaseMappings } from './grants/mapping.ts';
import { type Hardware, type Machine, withIrqs } from './hardware/hardware.ts';
import { HypervisorConsole } from './hypervisor-console.ts';
import { AddressSpace } from './memory/address-space.ts';
import { FrameTable } from './memory/frame-table.ts';
import { M2p } from './memory/m2p.ts';
import { framesHeldByOthers, relinquishMemory } from './memory/relinquish.ts';
import { protectedStore } from './memory/writable-tables.ts';
import { MessageRing } from './message-ring.ts';
import { VcpuTime } from './time/vcpu-time.ts';
import { Watchdogs } from './time/watchdog.ts';
import type { Tracer } from './tracer.ts';
import { Vcpu } from './vcpu.ts';

export * from './domain-ids.ts';

/** The version of Xen whose behaviour and interface this is. */
export const XEN_VERSION = { major: 4, minor: 17, extra: '.7' } as const;

export interface HypervisorOptions {
  processor: Processor;
  clock: Clock;
  /** Lines in Xen's form, `(XEN) ...`, without a line break. */
  log?: (line: string) => void;
  /** The machine, where a control domain is to drive it. */
  machine?: Machine | undefined;
}

export class Hypervisor {
  readonly processor: Processor;
  readonly memory: EngineMemory;
  readonly frames: FrameTable;
  /** The machine that a control domain drives; null on a host of guests alone. */
  readonly hardware: Hardware | null;
  readonly m2p: M2p;
  readonly addressSpace: AddressSpace;
  readonly clock: Clock;
  readonly domains = new Map<DomId, Domain>();
  readonly log: (line: string) => void;
  /** The vCPU whose registers are in the processor's live block. */
  loaded: Vcpu | null = null;
  /**
   * What has been done for guests since the start: entries validated or taken apart, hypercalls. Batches stop when they did too much at
   * once, and the run loop charges for it.
   */
  work = 0;
  /** The machine's memory map for dom0: RAM, reserved ranges and holes. */
  machineMemoryMap: MemoryMapEntry[] = [];
  /** Whoever traces what guests do. */
  tracer: Tracer | null = null;
  /** Events for backends in the host; the run loop delivers them between hypercalls. */
  readonly hostEvents = new HostEvents();
  /**
   * VCPUOP_initialise: loads the context that `pointer` (in the caller's memory) has for another vCPU of the domain, and sets its
   * isInitialised. Throws EFAULT, then EEXIST where it has one already, then what the context deserves.
   */
  initialiseVcpu: ((caller: Vcpu, target: Vcpu, pointer: bigint) => void) | null = null;
  /** The log as the control domain reads it. */
  readonly messages = new MessageRing();
  readonly console = new HypervisorConsole(this);
  /** Bytes that the control domain writes to the hypervisor's console. */
  onConsoleOutput: ((domain: Domain, bytes: Uint8Array) => void) | null = null;
  /** Called once for every domain that has shut down or crashed. */
  onDomainStopped: ((domain: Domain) => void) | null = null;
  /** Called once for every domain that was taken down, by whomever. */
  onDomainDestroyed: ((domain: Domain) => void) | null = null;

  constructor(options: HypervisorOptions) {
    this.processor = options.processor;
    this.memory = options.processor.memory;
    this.clock = options.clock;
    const log = options.log ?? (() => {});
    this.log = line => {
      this.messages.add(line);
      log(line);
    };
    this.machineMemoryMap = [{ address: 0n, size: BigInt(this.memory.frames) * 4096n, type: 1 }];
    const { machine } = options;
    this.hardware = machine ? withIrqs(machine) : null;
    this.frames = new FrameTable(this);
    for (const [first, count] of machine?.reservedFrames ?? []) this.frames.reserve(first, count);
    this.m2p = new M2p(this.frames);
    this.addressSpace = new AddressSpace(this);
    this.processor.onProtectedStore = (linear, size, value) => protectedStore(this, linear, size, value);
  }

  /** Processors of the machine, as tools count them. */
  get processors(): number {
    return this.hardware?.processors ?? 1;
  }

  /** Makes an empty domain: no memory, vCPUs without a context. */
  createDomain(config: DomainConfig): Domain {
    if (config.id >= DOMID_FIRST_RESERVED || this.domains.has(config.id)) throw new XenError('EEXIST');
    const domain = new Domain(this, config);
    for (let i = 0; i < config.vcpus; i++) domain.vcpus.push(new Vcpu(domain, i));
    for (const vcpu of domain.vcpus) vcpu.time = new VcpuTime(vcpu);
    domain.events = new EventChannels(domain);
    domain.grants = new GrantTable(domain);
    domain.watchdogs = new Watchdogs(domain);
    this.domains.set(config.id, domain);
    return domain;
  }

  /**
   * Takes a domain down and gives back what it had. It is gone at once, unless others still map frames of its own: then it stays in
   * `domains`, dying, until reap() finds that they have let go.
   */
  destroyDomain(domain: Domain): void {
    if (domain.isDying) return;
    domain.shutdown ??= { code: ShutdownReason.poweroff };
    domain.isDying = true;
    domain.hvm?.clock.stop();
    for (const vcpu of domain.vcpus) vcpu.time.destroy();
    domain.watchdogs.destroy();
    domain.events.destroy();
    if (this.loaded?.domain === domain) {
      this.loaded.hvm?.logical.unload();
      this.loaded = null;
      this.processor.selectPhysicalMap(null);
      this.processor.selectAddressSpace(BigInt(this.addressSpace.idleRoot) << 12n, false);
    }
    releaseMappings(domain);
    domain.grants.destroy();
    relinquishMemory(domain);
    this.reap();
    this.domains.get(0)?.events.sendGlobalVirq(Virq.domExc);
    this.onDomainDestroyed?.(domain);
  }

  /** Forgets dying domains that nobody holds frames of any more. */
  reap(): void {
    for (const domain of this.domains.values()) {
      if (domain.isDying && framesHeldByOthers(domain) === 0) this.domains.delete(domain.id);
    }
  }

  /** Domain.shutDown reports here. */
  domainStopped(domain: Domain): void {
    this.domains.get(0)?.events.sendGlobalVirq(Virq.domExc);
    this.onDomainStopped?.(domain);
    if (domain.drivesHardware) this.machineEnds(domain);
  }

  /** The domain that drives the machine has stopped: so does the machine (xen/common/shutdown.c). */
  private machineEnds(domain: Domain): void {
    const { hardware } = this;
    const code = domain.shutdown?.code;
    if (code === ShutdownReason.poweroff) {
      this.log('(XEN) Hardware Dom0 halted: halting machine');
      hardware?.powerOff();
    } else {
      this.log(`(XEN) Hardware Dom0 ${code === ShutdownReason.crash ? 'crashed' : 'shutdown'}: rebooting machine`);
      hardware?.reset();
    }
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
