// A machine that was started, whatever kind it is: what tools do with a domain of a host and with a bare PC alike.
import { type CrashRecord, captureCrash } from '../hypervisor/crash.ts';
import { runnerOf } from '../hypervisor/schedule.ts';
import { GuestDevices } from './devices/guest-devices.ts';
import { Networks } from './devices/networks.ts';
import type { GuestConsole } from './guest-console.ts';
import type { GuestDomain, ShutdownName } from './guest-domain.ts';
import type { Host } from './host.ts';
import type { RunEnd, RunOptions } from './run-machine.ts';

export interface Machine {
  readonly console: GuestConsole;
  /** How it has ended; null while it lives. */
  readonly shutdown: ShutdownName | null;
  /** What there was to see when it crashed. */
  readonly crash: CrashRecord | null;
  /** Instructions that all its processors together have executed. */
  readonly instructions: bigint;
  run(options?: RunOptions): Promise<RunEnd>;
  /** What there is to see of a machine that still runs: for a report on one that hangs. */
  inspect(): CrashRecord | null;
  /** Lets go of what it has of this machine's network. To be called once it has ended. */
  close(): void;
}

/** A domain with a host of its own. */
export class HostedDomain implements Machine {
  readonly host: Host;
  readonly guest: GuestDomain;

  readonly networks: Networks;
  readonly devices: GuestDevices;

  /** @param networks what its network devices are plugged into; without it bridges that lead nowhere */
  constructor(host: Host, guest: GuestDomain, networks: Networks | null = null) {
    this.host = host;
    this.guest = guest;
    this.networks = networks ?? new Networks({ clock: host.hypervisor.clock, scheduler: host.scheduler });
    this.devices = new GuestDevices(host, guest, this.networks);
  }

  close(): void {
    this.devices.close();
    this.networks.close();
  }

  get console(): GuestConsole {
    return this.guest.console;
  }

  get shutdown(): ShutdownName | null {
    return this.guest.shutdown;
  }

  get crash(): CrashRecord | null {
    return this.guest.crash;
  }

  get instructions(): bigint {
    return this.host.instructions;
  }

  run(options?: RunOptions): Promise<RunEnd> {
    return this.host.run(options);
  }

  inspect(): CrashRecord {
    const { host, guest } = this;
    const vcpu = host.hypervisor.loaded ?? guest.domain.vcpus[0];
    // Its stack can be read only while it is on the processor.
    if (guest.shutdown === null) host.scheduler.load(runnerOf(vcpu));
    return captureCrash(vcpu, null);
  }
}
