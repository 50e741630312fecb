// A PV vCPU's turns on the processor.
import type { Registers } from '../../cpu/types.ts';
import { PlatformBus } from '../../machine/bus.ts';
import { VcpuRunner } from '../runner.ts';
import type { Vcpu } from '../vcpu.ts';
import { selectAddressSpace } from './address-space.ts';
import { guestCpuid } from './emulate.ts';
import { enterGuest, handleExit, systemCallWithinRun } from './entry.ts';

/** What device addresses reach where a domain has no devices. */
const NO_DEVICES = new PlatformBus();

export class PvRunner extends VcpuRunner {
  private readonly registers: Registers;
  private readonly onSystemCall: () => boolean;

  constructor(vcpu: Vcpu) {
    super(vcpu);
    this.onSystemCall = () => systemCallWithinRun(vcpu);
    this.registers = {
      // A PV guest's RDMSR and WRMSR never get this far: they are privileged.
      rdmsr: () => 0n,
      wrmsr: () => {},
      cpuid: (leaf, subleaf) => guestCpuid(vcpu, leaf, subleaf),
    };
  }

  protected takeProcessor(): void {
    const { vcpu } = this;
    const { domain } = vcpu;
    const { processor, hardware } = domain.hypervisor;
    processor.registers = this.registers;
    processor.onSystemCall = this.onSystemCall;
    processor.bus = domain.drivesHardware && hardware ? hardware.bus : NO_DEVICES;
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
