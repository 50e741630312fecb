// What Xen keeps of a PV vCPU beside its registers: trap table, callbacks, stacks, address spaces, virtual control registers.
// All of it is plain data, so that a vCPU can be saved. Source: xen/include/public/arch-x86/xen.h (struct vcpu_guest_context).
import type { Mfn } from '../../cpu/memory.ts';

/** One row of the trap table (struct trap_info). `address` 0: no handler. */
export interface TrapInfo {
  /** Least privilege that may raise it with INT n: bits 0-1 of the flags. */
  dpl: number;
  /** The event mask is set on entry: bit 2 of the flags. */
  maskEvents: boolean;
  cs: number;
  address: bigint;
}

/** A registered entry point. `address` 0: none. */
export interface Callback {
  address: bigint;
  maskEvents: boolean;
}

/** An exception or a software interrupt that waits to be bounced to the guest. */
export interface PendingTrap {
  vector: number;
  /** Error code, or null where the vector pushes none. */
  errorCode: number | null;
}

/** CR0 as a PV guest reads it: PE MP ET NE WP AM PG, and TS where the guest set it. */
export const PV_CR0 = 0x80050033n;
export const CR0_TS = 8n;

/** CR4 bits. */
export const Cr4 = {
  TSD: 1n << 2n,
  DE: 1n << 3n,
  PAE: 1n << 5n,
  MCE: 1n << 6n,
  OSFXSR: 1n << 9n,
  OSXMMEXCPT: 1n << 10n,
  FSGSBASE: 1n << 16n,
  OSXSAVE: 1n << 18n,
} as const;
/** What the guest always sees in CR4. */
export const PV_CR4_FIXED = Cr4.PAE | Cr4.MCE | Cr4.OSFXSR | Cr4.OSXMMEXCPT;

export const DR6_DEFAULT = 0xffff0ff0n;
export const DR7_DEFAULT = 0x400n;

/** A guest's events of the last resort, delivered in this order before event upcalls. */
const NMI_VECTOR = 2;

export class PvVcpu {
  /** 256 rows; row 2 is the NMI callback, however it was registered. */
  readonly traps: TrapInfo[] = Array.from({ length: 256 }, noTrap);
  event: Callback = noCallback();
  failsafe: Callback = noCallback();
  syscall: Callback = noCallback();
  syscall32: Callback = noCallback();
  sysenter: Callback = noCallback();

  /** Stack for entries from user mode: the selector always has RPL 3. */
  kernelSs = 0;
  kernelSp = 0n;

  /** The guest is in its kernel mode (VGCF_in_kernel). Both modes run at CPL 3. */
  inKernel = true;
  /** Page-table roots that are in use, with a type reference each; 0 = none. */
  guestTable: Mfn = 0;
  guestTableUser: Mfn = 0;

  /** Virtual CR0.TS. */
  ts = false;
  cr2 = 0n;
  /** The guest's choices of CR4 (TSD DE FSGSBASE OSXSAVE), fixed bits included. */
  cr4 = PV_CR4_FIXED;

  /** DR0-DR3. */
  readonly dr: [bigint, bigint, bigint, bigint] = [0n, 0n, 0n, 0n];
  dr6 = DR6_DEFAULT;
  /** DR7 without the I/O breakpoints, which are emulated and stand in dr7Io. */
  dr7 = DR7_DEFAULT;
  dr7Io = 0n;

  /** Virtual IOPL 0..3. */
  iopl = 0;
  /** PHYSDEVOP_set_iobitmap: a linear address in the kernel's space, and the number of ports that it covers. */
  ioBitmap = 0n;
  ioBitmapPorts = 0;

  /** Frames of the guest's GDT, each with a seg_desc reference, and the number of entries. */
  gdtFrames: Mfn[] = [];
  gdtEntries = 0;
  ldtBase = 0n;
  ldtEntries = 0;

  /** Exceptions found while handling another exit; delivered on the way back to the guest. */
  pendingTrap: PendingTrap | null = null;
  nmiPending = false;
  nmiMasked = false;

  get nmiHandler(): bigint {
    return this.traps[NMI_VECTOR].address;
  }
}

function noTrap(): TrapInfo {
  return { dpl: 0, maskEvents: false, cs: 0, address: 0n };
}

export function noCallback(): Callback {
  return { address: 0n, maskEvents: false };
}
