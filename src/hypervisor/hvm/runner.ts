// An HVM vCPU's turns on the processor.
import { VcpuRunner } from '../runner.ts';
import type { Vcpu } from '../vcpu.ts';
import type { HvmVcpu } from './hvm-vcpu.ts';

export class HvmRunner extends VcpuRunner {
  private readonly hvm: HvmVcpu;

  constructor(vcpu: Vcpu, hvm: HvmVcpu) {
    super(vcpu);
    this.hvm = hvm;
  }

  override get isRunnable(): boolean {
    return super.isRunnable && this.hvm.logical.isRunnable;
  }

  protected takeProcessor(): void {
    this.hvm.logical.load();
  }

  protected leaveProcessor(): void {
    this.hvm.logical.unload();
  }

  enter(): boolean {
    const { domain } = this.vcpu;
    domain.hvm!.upcalls.guestRuns();
    return this.hvm.logical.enter() && !domain.shutdown;
  }

  handleExit(exit: number): void {
    this.hvm.handleExit(exit);
  }
}
