// A virtual processor: its registers, what PV guests have registered for it, and where its vcpu_info stands.
import type { Abi } from '../abi/struct.ts';
import { ModeBit, S } from '../cpu/layout.ts';
import type { Mfn } from '../cpu/memory.ts';
import { CpuState } from '../cpu/state.ts';
import type { Domain } from './domain.ts';
import type { HvmVcpu } from './hvm/hvm-vcpu.ts';
import { GuestMemory } from './memory/guest-access.ts';
import type { VcpuTime } from './time/vcpu-time.ts';
import { VcpuInfo } from './vcpu-info.ts';

export const VECTORS = 256;
/** Frames that a guest's GDT may have; Xen's own entries stand in the one after them (FIRST_RESERVED_GDT_PAGE). */
export const GUEST_GDT_FRAMES = 14;

/** One entry of the trap table; address 0 = no handler. flags: bits 0-1 DPL, bit 2 mask events. */
export interface TrapHandler {
  cs: number;
  flags: number;
  address: bigint;
}

/** A registered callback; address 0 = none. cs is used by 32-bit guests only. */
export interface Callback {
  cs: number;
  address: bigint;
  maskEvents: boolean;
}

/** CALLBACKTYPE_* of public/callback.h by name. */
export type CallbackName = 'event' | 'failsafe' | 'syscall' | 'syscall32' | 'sysenter' | 'nmi';

const noCallback = (): Callback => ({ cs: 0, address: 0n, maskEvents: false });

/** State that only PV vCPUs have: everything that Xen keeps in struct pv_vcpu. Plain data. */
export class PvVcpu {
  traps: TrapHandler[] = Array.from({ length: VECTORS }, () => ({ cs: 0, flags: 0, address: 0n }));
  callbacks: Record<CallbackName, Callback> = {
    event: noCallback(),
    failsafe: noCallback(),
    syscall: noCallback(),
    syscall32: noCallback(),
    sysenter: noCallback(),
    nmi: noCallback(),
  };
  kernelSs = 0;
  kernelSp = 0n;

  /** VGCF_in_kernel: a 64-bit guest runs its kernel and its user mode at CPL 3. */
  inKernel = true;
  /** Top-level table of the kernel (32-bit guests: the L3) and of user mode; 0 = none. Each holds a type reference. */
  guestTable: Mfn = 0;
  guestTableUser: Mfn = 0;
  /** Byte offset of a PAE L3 within its frame (32-bit guests: CR3 need only be aligned to 32 bytes). */
  guestTableOffset = 0;

  /** Guest's CR0.TS: FPU use raises #NM. */
  taskSwitched = false;
  /** CR4 bits that the guest chose: TSD, DE, FSGSBASE, OSXSAVE. */
  cr4 = 0n;
  /** DR0-3, unused, unused, DR6, DR7 as the guest sees them. */
  debug: BigUint64Array = new BigUint64Array([0n, 0n, 0n, 0n, 0n, 0n, 0xffff0ff0n, 0x400n]);
  /** I/O breakpoint enables of DR7, kept apart while CR4.DE is emulated. */
  dr7Emulated = 0n;
  iopl = 0;
  /** PHYSDEVOP_set_iobitmap: guest address, ports. */
  ioBitmap = 0n;
  ioBitmapPorts = 0;

  gdtFrames: Mfn[] = [];
  gdtEntries = 0;
  ldtBase = 0n;
  ldtEntries = 0;

  // FS and GS bases are registers: see pv/address-space.ts.

  /** An exception or software interrupt to be bounced before the guest goes on. */
  pendingTrap: { vector: number; errorCode: number | null } | null = null;
  nmiPending = false;
  nmiMasked = false;
  /** Segment registers hold selectors that were given from outside: descriptors are loaded before the vCPU runs. */
  segmentsStale = false;
}

export class Vcpu {
  readonly id: number;
  readonly domain: Domain;
  readonly pv = new PvVcpu();
  /** HVM: its processor and local APIC, once the domain has a platform. */
  hvm: HvmVcpu | null = null;
  /** Where the registers are while this vCPU is not the processor's. */
  stored: CpuState;
  /** View of the vcpu_info: in the shared_info page, or where VCPUOP_register_vcpu_info put it. */
  readonly info: VcpuInfo;
  /** Its memory as hypercalls see it. */
  readonly guest: GuestMemory;

  /** VCPUOP_initialise (or the domain builder) has given it a context. */
  isInitialised = false;
  /** VCPUOP_up. */
  isUp = false;
  isBlocked = false;
  /** SCHEDOP_poll: the one port that it waits for, -1 for several, 0 while it does not poll. */
  pollPort = 0;
  /** Timers and run states. Set by Hypervisor.createDomain. */
  time!: VcpuTime;
  /** SCHEDOP_yield or another reason to let the run loop choose again. */
  mustYield = false;
  /** A hypercall has replaced the registers (iret, initialise): no result is written to rax, a multicall ends. */
  contextReplaced = false;
  /** Arguments with which the guest is to make the current hypercall again: see dispatch.ts. */
  continuation: bigint[] | null = null;
  /** The current hypercall is an entry of a multicall. */
  inMulticall = false;

  constructor(domain: Domain, id: number) {
    this.domain = domain;
    this.id = id;
    this.stored = new CpuState();
    this.info = new VcpuInfo(domain.hypervisor.memory.view, domain);
    this.guest = new GuestMemory(this);
  }

  /** True while the processor's live block holds this vCPU. */
  get isLoaded(): boolean {
    return this.domain.hypervisor.loaded === this;
  }

  /** The registers, wherever they are. */
  get cpu(): CpuState {
    return this.isLoaded ? this.domain.hypervisor.processor.live : this.stored;
  }

  /** Size of a long in this vCPU's hypercalls: an HVM guest's kernel may be in any mode. */
  get abiWidth(): Abi {
    if (this.domain.isPv) return this.domain.width;
    return this.cpu.get32(S.mode) & ModeBit.long64 ? 64 : 32;
  }

  /** Something waits that the guest would be interrupted by now. */
  get eventsNeedDelivery(): boolean {
    if (this.hvm) return this.hvm.eventsNeedDelivery;
    return this.info.upcallPending && !this.info.upcallMask;
  }

  /** `d1v0`: how log lines name it. */
  toString(): string {
    return `d${this.domain.id}v${this.id}`;
  }
}
