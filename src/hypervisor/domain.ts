// A domain: what it owns and what state it is in. Memory, events and grants have their own classes; this holds them together.
import type { Abi } from '../abi/struct.ts';
import type { Mfn } from '../cpu/memory.ts';
import { type CrashRecord, captureCrash, reportCrash } from './crash.ts';
import type { EventChannels } from './events/event-channels.ts';
import type { GrantTable } from './grants/grant-table.ts';
import { ControlPorts } from './hardware/control-ports.ts';
import { HvmDomain } from './hvm/hvm-domain.ts';
import type { Hypervisor } from './hypervisor.ts';
import { type GuestPorts, PvPorts } from './pv/io-ports.ts';
import type { Watchdogs } from './time/watchdog.ts';
import type { Vcpu } from './vcpu.ts';

export type DomId = number;
export type DomainAbi = 'pv64' | 'pv32' | 'hvm';

/** SHUTDOWN_* of public/sched.h. */
export const ShutdownReason = { poweroff: 0, reboot: 1, suspend: 2, crash: 3, watchdog: 4, softReset: 5 } as const;

/** VMASST_TYPE_* of public/xen.h, as bit numbers of Domain.vmAssist. */
export const VmAssist = {
  fourGbSegments: 0,
  fourGbSegmentsNotify: 1,
  writablePagetables: 2,
  paeExtendedCr3: 3,
  architecturalIopl: 4,
  runstateUpdateFlag: 5,
  m2pStrict: 32,
} as const;

/** What is fixed when a domain is created. */
export interface DomainConfig {
  id: DomId;
  name: string;
  abi: DomainAbi;
  vcpus: number;
  /** The most pages that it may own. */
  maxPages: number;
  /** Dom0's rights over other domains and the machine. */
  isPrivileged?: boolean;
  /** It drives the machine's devices (Xen's hardware domain): the hypervisor has hardware. */
  drivesHardware?: boolean;
  /** UUID; zeros where not given. */
  handle?: Uint8Array;
  /** Frames of the grant table; Xen's default is 64. */
  maxGrantFrames?: number;
  /** Event channels; default: what the ABI allows. */
  maxEventPorts?: number;
}

/** An entry of a domain's memory map, as XENMEM_memory_map gives it (E820 types). */
export interface MemoryMapEntry {
  address: bigint;
  size: bigint;
  type: number;
}

export class Domain {
  readonly id: DomId;
  readonly name: string;
  readonly hypervisor: Hypervisor;
  readonly abi: DomainAbi;
  readonly isPrivileged: boolean;
  readonly drivesHardware: boolean;
  readonly config: DomainConfig;
  readonly vcpus: Vcpu[] = [];

  /** Set by Hypervisor.createDomain. */
  events!: EventChannels;
  grants!: GrantTable;

  maxPages: number;
  /** Pages owned now; the frame table keeps it. */
  pages = 0;
  /** Bit set of VmAssist. */
  vmAssist = 0n;
  /** Xen's page that is shared with the domain (FrameTable.allocateXen): the domain may map it, it is not one of its pages. */
  sharedInfoMfn: Mfn = 0;
  /** XENMEM_set_memory_map's list; null until the toolstack gives one. */
  memoryMap: MemoryMapEntry[] | null = null;
  /** PV: L3 table of the per-domain slot (GDT and LDT area) of every L4; 0 where there is none. */
  perDomainL3: Mfn = 0;
  /** Machine frames outside of RAM that it may map: [first, last] pairs (dom0, pass-through). */
  ioMemory: [number, number][] = [];

  /** PV: its I/O ports. */
  readonly ports: GuestPorts;

  /** SCHEDOP_shutdown's reason once the domain has stopped. */
  shutdown: { code: number } | null = null;
  isDying = false;
  /** SCHEDOP_shutdown_code: the reason that a later shutdown gets, whatever it says. */
  shutdownCode: number | null = null;
  watchdogs!: Watchdogs;
  /** Count of pauses by the toolstack. */
  pauseCount = 0;

  /** HVM and PVH domains: physmap, parameters, upcalls. */
  readonly hvm: HvmDomain | null;

  constructor(hypervisor: Hypervisor, config: DomainConfig) {
    this.hypervisor = hypervisor;
    this.config = config;
    this.id = config.id;
    this.name = config.name;
    this.abi = config.abi;
    this.isPrivileged = config.isPrivileged ?? false;
    this.drivesHardware = (config.drivesHardware ?? false) && hypervisor.hardware !== null;
    this.maxPages = config.maxPages;
    const virtualPorts = new PvPorts(hypervisor.clock);
    const { hardware } = hypervisor;
    this.ports = this.drivesHardware && hardware ? new ControlPorts(hardware, virtualPorts) : virtualPorts;
    this.hvm = this.abi === 'hvm' ? new HvmDomain(this) : null;
  }

  /**
   * Size of a long in what this domain shares with Xen (shared_info, vcpu_info, run states), and in a PV domain's hypercalls. In those
   * of HVM domains the vCPU's mode decides: Vcpu.abiWidth.
   */
  get width(): Abi {
    if (this.hvm) return this.hvm.sharedInfoWidth;
    return this.abi === 'pv32' ? 32 : 64;
  }

  get isPv(): boolean {
    return this.abi !== 'hvm';
  }

  hasVmAssist(type: number): boolean {
    // all types are below 53: a number does, and is asked for at every entry of a guest's kernel
    return Math.floor(Number(this.vmAssist) / 2 ** type) % 2 === 1;
  }

  /** Stops all of the domain's vCPUs for the reason given; the first reason stays. */
  shutDown(code: number): void {
    if (this.shutdown) return;
    this.shutdown = { code: this.shutdownCode ?? code };
    this.hvm?.clock.stop();
    const { loaded } = this.hypervisor;
    if (this.shutdown.code === ShutdownReason.crash && !this.crashRecord && loaded?.domain === this) {
      this.crashRecord = captureCrash(loaded, null);
    }
    this.hypervisor.domainStopped(this);
  }

  /** A fault that the guest cannot be given: the domain stops with SHUTDOWN_crash. `where` is the part of the hypervisor that says so. */
  crash(reason: string, where = 'hypervisor'): void {
    if (this.shutdown) return;
    this.crashReason = reason;
    this.crashRecord = reportCrash(this, reason, where);
    this.shutDown(ShutdownReason.crash);
  }
  /** Why crash() was called. */
  crashReason: string | null = null;
  /** The vCPU's state when the domain crashed, or reported its own crash. */
  crashRecord: CrashRecord | null = null;
}
