// A whole Xen host: processor, hypervisor, XenStore and console daemons, and the domains on it.
import { E820 } from '../abi/xen/memory.ts';
import { PvConsole } from '../backends/console/pv-console.ts';
import type { Connection } from '../backends/xenstore/connection.ts';
import { DomainConnection } from '../backends/xenstore/domain-connection.ts';
import {
  type DomainTreeSpec,
  initDom0Tree,
  removeDomainTree,
  writeDomainTree,
} from '../backends/xenstore/domain-tree.ts';
import { type StoreTrace, XenStore } from '../backends/xenstore/store.ts';
import type { JitOptions } from '../cpu/jit/jit.ts';
import { EngineMemory } from '../cpu/memory.ts';
import type { CpuModel } from '../cpu/models/model.ts';
import { createProcessor } from '../cpu/processor.ts';
import type { Processor } from '../cpu/types.ts';
import type { Domain } from '../hypervisor/domain.ts';
import type { HostPort } from '../hypervisor/events/host-port.ts';
import { type HostMapping, mapForHost } from '../hypervisor/grants/host-access.ts';
import type { Machine as XenMachine } from '../hypervisor/hardware/hardware.ts';
import { Hypervisor } from '../hypervisor/hypervisor.ts';
import { scheduleGuests } from '../hypervisor/schedule.ts';
import type { Tracer } from '../hypervisor/tracer.ts';
import type { Board } from '../machine/board.ts';
import { RealTimeRunLength } from '../machine/run-length.ts';
import type { Scheduler } from '../machine/schedule.ts';
import type { Clock } from '../machine/time/clock.ts';
import { type SharedPage, sharedPage } from '../protocols/shared-page.ts';
import { XsError } from '../protocols/xenstore.ts';
import { BuildError } from './builder/error.ts';
import { CONSOLE_GFN, STORE_GFN } from './builder/hvm-memory.ts';
import { buildPv } from './builder/pv.ts';
import { buildPvh } from './builder/pvh.ts';
import { buildPvHvm } from './builder/pvhvm.ts';
import { type ClockOptions, makeClock } from './clock.ts';
import { modelByName } from './cpu-model.ts';
import { Wakeable } from './event-loop.ts';
import { GuestConsole } from './guest-console.ts';
import { GuestDomain } from './guest-domain.ts';
import type { KernelImage } from './image/kernel.ts';
import { type RunEnd, type RunOptions, runMachine } from './run-machine.ts';
import { SerialPrelude } from './serial-prelude.ts';

export interface HostOptions extends ClockOptions {
  /** Machine memory of the host: that of all domains and a little for Xen itself (see ramForGuests). */
  ramBytes: number;
  /** A processor model or its name; default: the first of CPU_MODELS. */
  cpu?: CpuModel | string;
  /** How hot code is compiled; null: everything is interpreted. */
  jit?: JitOptions | null;
  /** The hypervisor's log: lines in Xen's form, `(XEN) ...`. */
  log?: (line: string) => void;
  /** Told of all that guests do with the hypervisor and with XenStore, from before the first instruction. */
  tracer?: HostTracer | null;
  /** Makes the machine that an initial domain is to drive; none for a host of guests alone. */
  machine?: (parts: { processor: Processor; memory: EngineMemory; clock: Clock }) => XenMachine;
}

/** Who traces a host: see src/tracing. */
export interface HostTracer extends Tracer {
  /** Called once, before anything else: how late it is, in ns of the machine's time. */
  start(now: () => bigint): void;
  store: StoreTrace;
  /** Nothing more happens. */
  end(): void;
}

/** A guest of any type. */
export interface GuestOptions {
  image: KernelImage;
  initrd?: Uint8Array | null;
  cmdline?: string;
  memoryMiB: number;
  vcpus?: number;
  name?: string;
}

/** What every builder is given. */
interface BuildOptions {
  image: KernelImage;
  initrd: Uint8Array | null;
  cmdline: string;
  pages: number;
  storePort: number;
  consolePort: number;
  console: GuestConsole;
}

/** Where a built domain's rings are, by the numbers that it knows the frames by. */
interface BuiltDomain {
  storeRef: number;
  consoleRef: number;
  /** Called with everything that comes from the PV console, before it is shown. */
  onPvOutput?: () => void;
  board?: Board;
}

const GUEST_NAMES: Readonly<Record<DomainTreeSpec['type'], string>> = { pv: 'PV', pvh: 'PVH', hvm: 'PVHVM' };
const MIB = 1 << 20;
const PAGES_PER_MIB = 256;
/** What a domain may own beyond its memory: libxl's slack of 1 MiB. */
const SLACK_PAGES = 256;
const MAX_VCPUS = 128;
const GNTTAB_RESERVED_CONSOLE = 0;
const GNTTAB_RESERVED_XENSTORE = 1;

/** Machine memory, in bytes, for a host with guests of this many MiB together. */
export function ramForGuests(memoryMiB: number): number {
  // Page tables, the M2P (1/512 of the memory), grant tables, the slack that a domain may take.
  return (memoryMiB + Math.ceil(memoryMiB / 256) + 8) * MIB;
}

/** A device's back end, which gives back what it has of its domain when that goes away. */
export interface AttachedDevice {
  stop(): void;
}

export class Host {
  readonly hypervisor: Hypervisor;
  readonly scheduler: Scheduler;
  readonly store: XenStore;
  readonly cpu: CpuModel;
  readonly processor: Processor;
  readonly domains = new Map<number, GuestDomain>();
  private readonly consoles = new Map<number, PvConsole>();
  /** What the daemons have mapped of each domain. */
  private readonly mappings = new Map<number, HostMapping[]>();
  /** Back ends of each domain's devices. */
  private readonly devices = new Map<number, AttachedDevice[]>();
  /** Called once for each guest that has shut down or crashed, after its last output. */
  onGuestStopped: ((guest: GuestDomain) => void) | null = null;
  /** Called once for each guest that was destroyed: by destroy(), or by the control domain's tools. */
  onGuestGone: ((guest: GuestDomain) => void) | null = null;
  private readonly sleeper = new Wakeable();
  private nextDomid = 1;

  /** Compiles the processor; takes well under a second. */
  static async create(options: HostOptions): Promise<Host> {
    return new Host(options);
  }

  private constructor(options: HostOptions) {
    this.cpu = modelByName(options.cpu);
    const memory = new EngineMemory(options.ramBytes);
    const processor = createProcessor(memory, this.cpu, options.jit);
    this.processor = processor;
    const { clock, attach } = makeClock(options, this.cpu);
    const log = options.log ?? (() => {});
    const machine = options.machine?.({ processor, memory, clock });
    this.hypervisor = new Hypervisor({ processor, clock, log, machine });
    const tracer = options.tracer ?? null;
    tracer?.start(() => clock.nowNs());
    this.hypervisor.tracer = tracer;
    this.scheduler = scheduleGuests(
      this.hypervisor,
      options.clock === 'real' ? new RealTimeRunLength(clock) : undefined,
    );
    attach(this.scheduler);
    this.store = new XenStore({
      domainExists: domid => domid === 0 || this.hypervisor.domains.has(domid),
      attach: (connection, _gfn, port) => this.attachStore(connection, port),
      log,
      trace: tracer?.store.bind(tracer),
    });
    initDom0Tree(this.store.host);
    this.hypervisor.onDomainStopped = domain => this.domainStopped(domain);
    this.hypervisor.onDomainDestroyed = domain => this.domainDestroyed(domain);
  }

  /** Instructions that all guests together have executed. */
  get instructions(): bigint {
    return this.scheduler.retiredNow();
  }

  /** System time in ns since the host's start. */
  get timeNs(): bigint {
    return this.hypervisor.clock.nowNs();
  }

  /**
   * Builds a PV guest, which runs with the next run(). Throws BuildError where it cannot be started, with one sentence for the user.
   */
  createPvDomain(options: GuestOptions): GuestDomain {
    return this.createDomain('pv', options, (domain, build) => {
      // As libxl gives it to a PV guest without e820_host: its memory from 0 on, and no room for more.
      domain.memoryMap = [{ address: 0n, size: BigInt(build.pages) * 4096n, type: E820.ram }];
      const { storeMfn, consoleMfn } = buildPv(domain, build);
      return { storeRef: storeMfn, consoleRef: consoleMfn };
    });
  }

  /** Builds a PVH guest. Throws as createPvDomain does. */
  createPvhDomain(options: GuestOptions): GuestDomain {
    return this.createDomain('pvh', options, (domain, build) => {
      buildPvh(domain, build);
      return { storeRef: STORE_GFN, consoleRef: CONSOLE_GFN };
    });
  }

  /** Builds a PVHVM guest: a PC with PV drivers. Throws as createPvDomain does. */
  createPvHvmDomain(options: GuestOptions): GuestDomain {
    return this.createDomain('hvm', options, (domain, build) => {
      const serial = new SerialPrelude(build.console);
      const board = buildPvHvm(domain, { ...build, serialOutput: byte => serial.byte(byte) });
      board.bus.onAccess = () => this.scheduler.deviceAccessed();
      return { storeRef: STORE_GFN, consoleRef: CONSOLE_GFN, onPvOutput: () => serial.end(), board };
    });
  }

  /** What domains of all types have in common; `build` fills the empty domain and tells where its rings are. */
  private createDomain(
    type: DomainTreeSpec['type'],
    options: GuestOptions,
    build: (domain: Domain, options: BuildOptions) => BuiltDomain,
  ): GuestDomain {
    const { image, memoryMiB, vcpus = 1, cmdline = '', initrd = null } = options;
    if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
      throw new BuildError(`a ${GUEST_NAMES[type]} guest has 1 to ${MAX_VCPUS} processors, not ${vcpus}`);
    }
    const pages = Math.floor(memoryMiB * PAGES_PER_MIB);
    const id = this.nextDomid;
    const uuid = `00000000-0000-4000-8000-${id.toString(16).padStart(12, '0')}`;
    const domain = this.hypervisor.createDomain({
      id,
      name: options.name ?? `domain-${id}`,
      abi: type === 'pv' ? 'pv64' : 'hvm',
      vcpus,
      maxPages: pages + SLACK_PAGES,
      handle: uuidBytes(uuid),
    });
    try {
      const storePort = domain.events.allocUnbound(0);
      const consolePort = domain.events.allocUnbound(0);
      const console = new GuestConsole(() => this.sleeper.wake());
      const built = build(domain, { image, initrd, cmdline, pages, storePort, consolePort, console });
      const { storeRef, consoleRef, onPvOutput, board = null } = built;
      const tree: DomainTreeSpec = {
        domid: id,
        uuid,
        name: domain.name,
        type,
        maxVcpus: vcpus,
        targetKb: memoryMiB * 1024,
        maxKb: memoryMiB * 1024,
        store: { ringRef: storeRef, port: storePort },
        console: { ringRef: consoleRef, port: consolePort },
        kernel: image.name,
        commandLine: cmdline,
        startTime: Number(this.hypervisor.clock.wallClockAtBoot / 1_000_000n) / 1000,
      };
      writeDomainTree(this.store.host, tree);
      this.attachConsole(domain, consolePort, console, onPvOutput);
      this.store.introduce(id, storeRef, storePort);
      const guest = new GuestDomain(domain, console, tree, this.store.host, board);
      this.domains.set(id, guest);
      this.nextDomid++;
      return guest;
    } catch (error) {
      this.consoles.delete(id);
      this.store.release(id);
      removeDomainTree(this.store.host, { domid: id, uuid });
      this.tearDown(domain);
      throw error;
    }
  }

  /** Keeps a back end as long as its domain. */
  addDevice(guest: GuestDomain, device: AttachedDevice): void {
    this.devices.set(guest.id, [...(this.devices.get(guest.id) ?? []), device]);
  }

  /** Something has come from outside, a network's packet say: a host that sleeps looks again. */
  wake(): void {
    this.sleeper.wake();
  }

  /**
   * Takes a domain down, whatever state it is in, as `xl destroy` does: its memory is free again and its XenStore nodes are gone. What
   * it printed is delivered before.
   */
  destroy(guest: GuestDomain): void {
    const { domain, id } = guest;
    if (!this.domains.delete(id)) return;
    this.consoles.get(id)?.onEvent();
    this.consoles.delete(id);
    guest.console.close();
    for (const device of this.devices.get(id) ?? []) device.stop();
    this.devices.delete(id);
    this.store.release(id);
    removeDomainTree(this.store.host, guest.tree);
    this.tearDown(domain);
    this.onGuestGone?.(guest);
  }

  /** The same for a domain that is no guest of this toolstack's: Dom0, whose guests go on. */
  destroyControlDomain(domain: Domain): void {
    this.store.release(domain.id);
    this.tearDown(domain);
  }

  private tearDown(domain: Domain): void {
    for (const mapping of this.mappings.get(domain.id) ?? []) mapping.release();
    this.mappings.delete(domain.id);
    this.hypervisor.destroyDomain(domain);
    // Where it was destroyed before, these mappings were all that kept it.
    this.hypervisor.reap();
  }

  private pageOf(domain: Domain, ref: number): SharedPage {
    const mapping = mapForHost(domain, ref, false);
    this.mappings.set(domain.id, [...(this.mappings.get(domain.id) ?? []), mapping]);
    const { offset } = mapping;
    return sharedPage(this.hypervisor.memory.u8.subarray(offset, offset + 4096));
  }

  /** A daemon's end of a channel. An event that waits while its domain is destroyed must not reach pages that are somebody else's now. */
  private bind(domain: Domain, port: number, onEvent: () => void): HostPort {
    return domain.events.bindHost(port, () => {
      if (!domain.isDying) onEvent();
    });
  }

  private attachConsole(domain: Domain, port: number, console: GuestConsole, onOutput?: () => void): void {
    const channel = this.bind(domain, port, () => backend.onEvent());
    const backend = new PvConsole({
      page: this.pageOf(domain, GNTTAB_RESERVED_CONSOLE),
      notify: () => channel.notify(),
      output: bytes => {
        onOutput?.();
        console.print(bytes);
      },
    });
    console.connect(backend);
    this.consoles.set(domain.id, backend);
  }

  private attachStore(connection: Connection, port: number): void {
    const domain = this.hypervisor.domains.get(connection.domain?.domid ?? -1);
    if (!domain) throw new XsError('ENOENT', 'no such domain');
    const channel = this.bind(domain, port, () => ring.onEvent());
    const ring = new DomainConnection({
      store: this.store,
      connection,
      page: this.pageOf(domain, GNTTAB_RESERVED_XENSTORE),
      notify: () => channel.notify(),
    });
  }

  private domainStopped(domain: Domain): void {
    // Within a hypercall: the daemons hear of it afterwards.
    this.hypervisor.hostEvents.raise(() => {
      this.consoles.get(domain.id)?.onEvent();
      this.store.domainShutdown(domain.id);
      const guest = this.domains.get(domain.id);
      if (guest?.domain === domain) this.onGuestStopped?.(guest);
    });
  }

  /** The control domain has destroyed it, within a hypercall: what this toolstack has of it goes afterwards. */
  private domainDestroyed(domain: Domain): void {
    this.hypervisor.hostEvents.raise(() => {
      const guest = this.domains.get(domain.id);
      if (guest?.domain === domain) this.destroy(guest);
    });
  }

  /** Runs the guests. Other work of this thread gets its turn every few milliseconds. */
  run(options: RunOptions = {}): Promise<RunEnd> {
    return runMachine({ scheduler: this.scheduler, clock: this.hypervisor.clock, sleeper: this.sleeper }, options);
  }
}

function uuidBytes(uuid: string): Uint8Array {
  const digits = uuid.replaceAll('-', '');
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(i * 2, i * 2 + 2), 16));
}
