// CR0, CR2, CR3 and CR4 as a PV guest sees and may change them. Source: Xen's pv/emul-priv-op.c (read_cr, write_cr), pv/domain.c
// (pv_fixup_guest_cr4, pv_make_cr4).
import { S } from '../../cpu/layout.ts';
import { newKernelBase } from '../memory/address-space.ts';
import type { Vcpu } from '../vcpu.ts';
import { pvHasFeature } from './cpuid.ts';

/** PE MP ET NE WP AM PG. */
const CR0_SEEN = 0x80050033n;
const CR0_TS = 8n;

const CR4_TSD = 1n << 2n;
const CR4_DE = 1n << 3n;
const CR4_FSGSBASE = 1n << 16n;
const CR4_OSXSAVE = 1n << 18n;
/** PAE MCE OSFXSR OSXMMEXCPT: what every PV guest sees set. */
const CR4_SEEN = 0x660n;

/** Virtual TS: the guest's next use of the FPU raises #NM. The vCPU is the loaded one. */
export function setTaskSwitched(vcpu: Vcpu, on: boolean): void {
  const { pv, cpu } = vcpu;
  if (pv.taskSwitched === on) return;
  pv.taskSwitched = on;
  const cr0 = cpu.get(S.cr0);
  cpu.set(S.cr0, on ? cr0 | CR0_TS : cr0 & ~CR0_TS);
  vcpu.domain.hypervisor.processor.modeChanged();
}

/** Delivering #NM clears TS, as if the guest had executed CLTS: it would never get past the instruction otherwise. */
export function clearTaskSwitched(vcpu: Vcpu): void {
  setTaskSwitched(vcpu, false);
}

/** The value of CR0-CR4, or null for a register that does not exist for the guest. */
export function readControlRegister(vcpu: Vcpu, index: number): bigint | null {
  const { pv } = vcpu;
  switch (index) {
    case 0:
      return CR0_SEEN | (pv.taskSwitched ? CR0_TS : 0n);
    case 2:
      return vcpu.info.cr2;
    case 3:
      return BigInt(pv.guestTable) << 12n;
    case 4:
      return CR4_SEEN | pv.cr4;
    default:
      return null;
  }
}

/** False where the guest is to get #GP(0). */
export function writeControlRegister(vcpu: Vcpu, index: number, value: bigint): boolean {
  switch (index) {
    case 0:
      // Only TS may differ.
      if ((value ^ (CR0_SEEN | (vcpu.pv.taskSwitched ? CR0_TS : 0n))) & ~CR0_TS) return false;
      setTaskSwitched(vcpu, (value & CR0_TS) !== 0n);
      return true;
    case 2:
      vcpu.info.cr2 = value;
      return true;
    case 3:
      return newKernelBase(vcpu, value >> 12n);
    case 4:
      setGuestCr4(vcpu, value);
      return true;
    default:
      return false;
  }
}

/** CR4 as the guest wants it: its own bits are taken, all others are dropped silently. */
export function setGuestCr4(vcpu: Vcpu, value: bigint): void {
  const { pv, cpu, domain } = vcpu;
  let allowed = CR4_TSD | CR4_DE;
  if (pvHasFeature(domain.hypervisor.processor.model, 'fsgsbase')) allowed |= CR4_FSGSBASE;
  if (pvHasFeature(domain.hypervisor.processor.model, 'xsave')) allowed |= CR4_OSXSAVE;
  pv.cr4 = value & allowed;
  cpu.set(S.cr4, hardwareCr4(vcpu));
  if (vcpu.isLoaded) domain.hypervisor.processor.modeChanged();
}

/** CR4 that the processor runs the guest with: OSXSAVE is Xen's own choice, the guest's copy only shows in CPUID. */
export function hardwareCr4(vcpu: Vcpu): bigint {
  const { pv, domain } = vcpu;
  return (
    CR4_SEEN | (pv.cr4 & ~CR4_OSXSAVE) | (pvHasFeature(domain.hypervisor.processor.model, 'xsave') ? CR4_OSXSAVE : 0n)
  );
}

/** CR0 that the processor runs the guest with. */
export function hardwareCr0(vcpu: Vcpu): bigint {
  return CR0_SEEN | (vcpu.pv.taskSwitched ? CR0_TS : 0n);
}
