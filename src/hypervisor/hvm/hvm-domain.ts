// What Xen keeps of an HVM domain beside what every domain has. Source: struct hvm_domain (xen/arch/x86/include/asm/hvm/domain.h).
import type { Abi } from '../../abi/struct.ts';
import { HVM_PARAM } from '../../abi/xen/hvm.ts';
import { type Domain, ShutdownReason } from '../domain.ts';
import { XenError } from '../errors.ts';
import { writeWallclock } from '../time/time-info.ts';
import { GuestClock } from './guest-clock.ts';
import { HvmParams } from './params.ts';
import { Physmap } from './physmap.ts';
import { HvmPirqs } from './pirqs.ts';
import { Upcalls } from './upcalls.ts';

export class HvmDomain {
  readonly physmap: Physmap;
  readonly params = new HvmParams();
  /** What the domain's chips and local APICs count time by. */
  readonly clock: GuestClock;
  readonly upcalls: Upcalls;
  readonly pirqs = new HvmPirqs();
  /** Size of a long in shared_info and vcpu_info: that of the code which set up event channels. */
  sharedInfoWidth: Abi = 64;
  /** Moves the power management registers to their other place: HVM_PARAM_ACPI_IOPORTS_LOCATION. Null where the platform has none. */
  onAcpiPorts: ((version: 0 | 1) => void) | null = null;
  private readonly domain: Domain;

  constructor(domain: Domain) {
    this.domain = domain;
    this.clock = new GuestClock(domain.hypervisor.clock);
    this.physmap = new Physmap(domain);
    this.upcalls = new Upcalls(domain);
    this.params.poke(HVM_PARAM.triple_fault_reason, BigInt(ShutdownReason.reboot));
    this.params.onSet = (index, value) => this.paramSet(index, value);
  }

  /** The guest sets up its event channels or its hypercalls: what it is compiled for shows now. */
  latchSharedInfoWidth(width: Abi): void {
    this.sharedInfoWidth = width;
    writeWallclock(this.domain);
  }

  private paramSet(index: number, value: bigint): void {
    if (index === HVM_PARAM.callback_irq) this.upcalls.setVia(value);
    if (index === HVM_PARAM.acpi_ioports_location) this.moveAcpiPorts(value);
  }

  private moveAcpiPorts(version: bigint): void {
    if (!this.onAcpiPorts) throw new XenError('ENODEV');
    const old = this.params.peek(HVM_PARAM.acpi_ioports_location);
    if (version === old) return;
    if (version > 1n) throw new XenError('EINVAL');
    this.onAcpiPorts(Number(version) as 0 | 1);
  }
}
