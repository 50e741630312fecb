// CPUID and model-specific registers as an HVM vCPU has them. Source: xen/arch/x86/msr.c, hvm/hvm.c (hvm_msr_read_intercept), traps.c
// (guest_wrmsr_xen).
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { FRAME_SIZE, ModeBit, S } from '../../cpu/layout.ts';
import { NOT_RAM } from '../../cpu/physical-map.ts';
import type { Registers } from '../../cpu/types.ts';
import type { LocalApic } from '../../machine/interrupts/local-apic.ts';
import { apicMsrs } from '../../machine/processor/apic-msrs.ts';
import { type MsrPart, MsrTable } from '../../machine/processor/msr-table.ts';
import { speculationRows } from '../../machine/processor/msrs-speculation.ts';
import { Mtrrs } from '../../machine/processor/mtrr.ts';
import type { CpuidResult } from '../cpuid/policy.ts';
import type { Vcpu } from '../vcpu.ts';
import { hvmCpuid } from './cpuid.ts';
import { writeHvmHypercallPage } from './hypercall-page.ts';
import { hvmRows, virtualMachineCheck } from './msrs.ts';

/** Where a hypercall page is asked for. */
const HYPERCALL_PAGE = 0x40000000;
const CR4_OSXSAVE = 1n << 18n;
const CR4_PKE = 1n << 22n;

export class HvmRegisters implements Registers {
  private readonly vcpu: Vcpu;
  private readonly apic: LocalApic;
  readonly mtrrs: Mtrrs;
  private readonly parts: readonly MsrPart[];

  constructor(vcpu: Vcpu, apic: LocalApic) {
    const { model } = vcpu.domain.hypervisor.processor;
    this.vcpu = vcpu;
    this.apic = apic;
    this.mtrrs = new Mtrrs(model.physicalAddressBits);
    const table = new MsrTable([...hvmRows(model), ...speculationRows(model)]);
    this.parts = [apicMsrs(apic), this.own(), table, this.mtrrs, virtualMachineCheck(model.vendor)];
  }

  rdmsr(index: number): bigint {
    for (const part of this.parts) {
      const value = part.read(index);
      if (value !== null) return value;
    }
    throw new GuestFault(Vector.GP, 0);
  }

  wrmsr(index: number, value: bigint): void {
    if (!this.parts.some(part => part.write(index, value))) throw new GuestFault(Vector.GP, 0);
  }

  /** What Xen adds. */
  private own(): MsrPart {
    return {
      read: index => (index === HYPERCALL_PAGE ? 0n : null),
      write: (index, value) => index === HYPERCALL_PAGE && this.fillHypercallPage(value),
    };
  }

  cpuid(leaf: number, subleaf: number): CpuidResult {
    const { vcpu, apic } = this;
    const { cpu, domain } = vcpu;
    const { model } = domain.hypervisor.processor;
    const cr4 = cpu.get(S.cr4);
    const context = {
      vcpu: vcpu.id,
      domid: domain.id,
      apicId: apic.initialId,
      apicEnabled: apic.base.enabled,
      osxsave: (cr4 & CR4_OSXSAVE) !== 0n,
      ospke: (cr4 & CR4_PKE) !== 0n,
      longMode: (cpu.get32(S.mode) & ModeBit.longActive) !== 0,
      xcr0: cpu.get(S.xcr0),
      tscKHz: model.frequencyKHz,
    };
    return hvmCpuid(model, context, leaf, subleaf);
  }

  /** The page's address, and the number of the page in the low bits: there is one. */
  private fillHypercallPage(value: bigint): boolean {
    const { vcpu } = this;
    const { hypervisor, hvm } = vcpu.domain;
    const mfn = value & 0xfffn ? NOT_RAM : hvm!.physmap.ramAt(Number(value >> 12n));
    if (mfn === NOT_RAM) return false;
    hvm!.latchSharedInfoWidth(vcpu.abiWidth);
    writeHvmHypercallPage(hypervisor.memory.frame(mfn), hypervisor.processor.model.vendor);
    hypervisor.frames.wrote(mfn, 0, FRAME_SIZE);
    return true;
  }
}
