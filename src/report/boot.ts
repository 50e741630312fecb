// What a report needs of a machine: how it is asked for and what it answers. A small part of the library's face, so that reports
// can be made of anything that boots (and tested without booting).

import type { CrashRecord } from '../hypervisor/crash.ts';
import type { ControlResult } from '../toolstack/control.ts';
import type { DiskSpec } from '../toolstack/devices/disk-spec.ts';
import type { KernelImage } from '../toolstack/image/index.ts';
import type { Mode } from '../toolstack/image/modes.ts';

export type { CrashRecord } from '../hypervisor/crash.ts';
export type { HypercallRecord } from '../hypervisor/hypercalls/trace.ts';

/** The kernel as a boot needs it. Plain data: it can be sent to a worker. */
export type BootImage = Omit<KernelImage, 'modules'>;

export interface BootRequest {
  readonly image: BootImage;
  readonly mode: Mode;
  /** A name of src/cpu/models. */
  readonly cpuModel: string;
  readonly cpus: number;
  readonly memoryMiB: number;
  /** The initramfs that the kernel is given. */
  readonly initrd: Uint8Array;
  readonly commandLine: string;
  readonly clock: 'virtual' | 'real';
  /** Opened by whoever starts the machine. */
  readonly disks?: readonly DiskSpec[];
  /** user: a network device with a way out, which its surroundings have. */
  readonly net?: 'user' | 'none';
  /** False: everything is interpreted. */
  readonly jit?: boolean;
  /** What init is told to check: its report has to tell of it. */
  readonly checked?: readonly CheckedDevice[];
  /** Compiled code goes to the log. */
  readonly dumpJit?: boolean | undefined;
  /** Guests that are started beside it, where it is Dom0. */
  readonly guests?: readonly GuestRequest[];
}

/** A guest without devices but its console and XenStore. */
export interface GuestRequest {
  readonly image: BootImage;
  readonly mode: 'pv' | 'pvh' | 'pvhvm';
  readonly name: string;
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly initrd: Uint8Array;
  readonly commandLine: string;
}

/** Its first disk; its first network device, which leads to a router and no further. */
export type CheckedDevice = 'disk' | 'network';

export type EndReason =
  | 'poweroff'
  | 'reboot'
  | 'suspend'
  | 'crash'
  | 'watchdog'
  | 'softReset'
  | 'unknown'
  /** No vCPU can ever run again, and nothing outside is there to wake one. */
  | 'idle'
  /** destroy() was called. */
  | 'destroyed';

export interface DomainEnd {
  readonly reason: EndReason;
  /** What there was to see, where the domain crashed. */
  readonly crash: CrashRecord | null;
}

export interface BootedConsole {
  /** The console's bytes as they come, split anywhere. */
  onData(listener: (bytes: Uint8Array) => void): void;
  /** Types into it. Resolves when the guest has room for all of it, or has ended. */
  write(bytes: Uint8Array): Promise<void>;
}

/** A guest beside Dom0. Once it has stopped it is destroyed, and Dom0 goes on. */
export interface BootedGuest {
  readonly id: number;
  readonly name: string;
  readonly console: BootedConsole;
  /** Resolves when it has stopped. */
  readonly end: Promise<DomainEnd>;
  /** Takes it down as `xl destroy` does. */
  destroy(): void;
}

/** A machine that runs. It runs between turns of the event loop. */
export interface BootedDomain {
  readonly console: BootedConsole;
  /** In the order in which they were asked for. */
  readonly guests?: readonly BootedGuest[];
  /** The hypervisor's log, a line in Xen's form at a time, without line breaks. */
  onLog(listener: (line: string) => void): void;
  /** Retired so far, by all its processors. */
  readonly instructions: number;
  /** Resolves when the domain has ended. Rejects for a mistake of the host, never for anything that the guest did. */
  wait(): Promise<DomainEnd>;
  /** What there is to see of a domain that still runs: for a report on one that hangs. */
  inspect(): CrashRecord | null;
  destroy(): void;
  /** A domain's devices and end, by command; null for a machine whose devices are fixed. */
  readonly control: ((line: string) => Promise<ControlResult>) | null;
}

/** Makes the domain and lets it run. Rejects with a sentence for a person where it cannot be made. */
export type StartDomain = (request: BootRequest) => Promise<BootedDomain>;
