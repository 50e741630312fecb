// A guest's vCPU as the scheduler sees it: what PV and HVM vCPUs have in common. Each kind enters and leaves the guest in its own way.
import type { Schedulable } from '../machine/schedule.ts';
import type { Vcpu } from './vcpu.ts';

export abstract class VcpuRunner implements Schedulable {
  readonly vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }

  abstract enter(): boolean;
  abstract handleExit(exit: number): void;
  /** Puts the registers and all that belongs to this vCPU on the processor. */
  protected abstract takeProcessor(): void;
  /** Puts the registers away. */
  protected abstract leaveProcessor(): void;

  get isRunnable(): boolean {
    const { vcpu } = this;
    const { domain } = vcpu;
    return (
      vcpu.isInitialised &&
      vcpu.isUp &&
      !vcpu.isBlocked &&
      !domain.shutdown &&
      !domain.isDying &&
      domain.pauseCount === 0
    );
  }

  get mustYield(): boolean {
    return this.vcpu.mustYield;
  }
  set mustYield(yields: boolean) {
    this.vcpu.mustYield = yields;
  }

  load(): void {
    const { hypervisor } = this.vcpu.domain;
    hypervisor.loaded = this.vcpu;
    hypervisor.tracer?.scheduling(this.vcpu, 'run');
    this.takeProcessor();
    this.vcpu.time.scheduledIn();
  }

  resume(): void {
    // Its domain may have been destroyed meanwhile, which takes it off.
    if (this.vcpu.isLoaded) this.vcpu.time.scheduledIn();
    else this.load();
  }

  unload(): void {
    if (!this.vcpu.isLoaded) return;
    const { hypervisor } = this.vcpu.domain;
    this.vcpu.time.scheduledOut();
    hypervisor.tracer?.scheduling(this.vcpu, 'stop');
    this.leaveProcessor();
    hypervisor.loaded = null;
  }

  failed(error: unknown): void {
    const { domain } = this.vcpu;
    domain.hypervisor.bug(domain, error);
  }
}
