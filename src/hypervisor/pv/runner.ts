// A PV vCPU's turns on the processor.
import type { Registers } from '../../cpu/types.ts';
import { VcpuRunner } from '../runner.ts';
import type { Vcpu } from '../vcpu.ts';
import { selectAddressSpace } from './address-space.ts';
import { guestCpuid } from './emulate.ts';
import { enterGuest, handleExit } from './entry.ts';

export class PvRunner extends VcpuRunner {
  private readonly registers: Registers;

  constructor(vcpu: Vcpu) {
    super(vcpu);
    this.registers = {
      // A PV guest's RDMSR and WRMSR never get this far: they are privileged.
      rdmsr: () => 0n,
      wrmsr: () => {},
      cpuid: (leaf, subleaf) => guestCpuid(vcpu, leaf, subleaf),
    };
  }

  protected takeProcessor(): void {
    const { vcpu } = this;
    const { processor } = vcpu.domain.hypervisor;
    processor.registers = this.registers;
    processor.selectPhysicalMap(null);
    processor.load(vcpu.stored);
    selectAddressSpace(vcpu);
  }

  protected leaveProcessor(): void {
    this.vcpu.domain.hypervisor.processor.store(this.vcpu.stored);
  }

  enter(): boolean {
    return enterGuest(this.vcpu);
  }

  handleExit(exit: number): void {
    handleExit(this.vcpu, exit);
  }
}
