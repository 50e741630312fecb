// A 64-bit PV guest's two modes: kernel and user both run at CPL 3, each with its own top-level page table and GS base.
// Source: Xen's toggle_guest_mode (xen/arch/x86/pv/domain.c).
import { S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../cpu/layout.ts';
import type { CpuState } from '../../cpu/state.ts';
import type { Vcpu } from '../vcpu.ts';

const GS_BASE = S.segments + SEG.gs * SEGMENT_SIZE + SEG_FIELD.base;
const GS_EFFECTIVE = S.segments + SEG.gs * SEGMENT_SIZE + SEG_FIELD.effectiveBase;
const FS_BASE = S.segments + SEG.fs * SEGMENT_SIZE + SEG_FIELD.base;
const FS_EFFECTIVE = S.segments + SEG.fs * SEGMENT_SIZE + SEG_FIELD.effectiveBase;

/** Gives the processor the page table of the loaded vCPU's mode. */
export function selectAddressSpace(vcpu: Vcpu): void {
  const { pv, cpu, domain } = vcpu;
  const root = BigInt(pv.inKernel ? pv.guestTable : pv.guestTableUser) << 12n;
  cpu.set(S.cr3, root);
  domain.hypervisor.processor.selectAddressSpace(root, !pv.inKernel);
}

/** Changes between the guest's kernel and user mode: page table and GS base. The vCPU is the loaded one. */
export function toggleGuestMode(vcpu: Vcpu): void {
  const { pv, cpu } = vcpu;
  pv.inKernel = !pv.inKernel;
  const gs = cpu.get(GS_BASE);
  setGsBase(cpu, cpu.get(S.kernelGsBase));
  cpu.set(S.kernelGsBase, gs);
  selectAddressSpace(vcpu);
  // Areas in the kernel's address space that could not be written while user mode ran.
  if (pv.inKernel) vcpu.time.enteredKernel();
}

/** FS base, as WRMSR and set_segment_base write it. */
export function setFsBase(cpu: CpuState, base: bigint): void {
  cpu.set(FS_BASE, base);
  cpu.set(FS_EFFECTIVE, base);
}
export function fsBase(cpu: CpuState): bigint {
  return cpu.get(FS_BASE);
}

/** The GS base of the mode that the vCPU is in; the other mode's stands in S.kernelGsBase. */
export function setGsBase(cpu: CpuState, base: bigint): void {
  cpu.set(GS_BASE, base);
  cpu.set(GS_EFFECTIVE, base);
}
export function gsBase(cpu: CpuState): bigint {
  return cpu.get(GS_BASE);
}

/** The GS base of the mode that the vCPU is not in. */
export function inactiveGsBase(cpu: CpuState): bigint {
  return cpu.get(S.kernelGsBase);
}
export function setInactiveGsBase(cpu: CpuState, base: bigint): void {
  cpu.set(S.kernelGsBase, base);
}
