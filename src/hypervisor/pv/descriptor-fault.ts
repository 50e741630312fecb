// Page faults at the linear addresses that GDT and LDT are read through. LDT pages get their type, and their mapping there, at first use;
// a page that cannot be a descriptor page faults at the guest's own LDT address. Source: Xen's handle_ldt_mapping_fault (xen/arch/x86/traps.c).
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { mapLdtPage } from '../memory/descriptor-tables.ts';
import type { Vcpu } from '../vcpu.ts';
import { gdtVirtStart, isCanonical, LDT_PAGE_OFFSET, ldtVirtStart } from './selectors.ts';

/** Error code bits of a page fault. */
export const PageFault = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

const SELECTOR_TI = 4;

/** What is to be done about a fault at `linear` in the vCPU's descriptor area: null = the page is mapped now, run on. */
export function fixDescriptorFault(vcpu: Vcpu, linear: bigint, errorCode: number): GuestFault | null {
  const ldt = ldtVirtStart(vcpu.id);
  const offset = Number(linear - ldt);
  if (offset < 0) return new GuestFault(Vector.GP, Number(linear - gdtVirtStart(vcpu.id)) & 0xfff8);
  if (mapLdtPage(vcpu, offset >>> 12)) return null;
  const address = BigInt.asUintN(64, vcpu.pv.ldtBase + BigInt(offset));
  // A non-canonical address cannot fault as a page: the selector is refused instead.
  if (!isCanonical(address)) return new GuestFault(Vector.GP, (offset & 0xfff8) | SELECTOR_TI);
  return new GuestFault(Vector.PF, errorCode, address);
}

/** True where `linear` is read by the processor for this vCPU's descriptors. */
export function isDescriptorArea(vcpu: Vcpu, linear: bigint): boolean {
  const start = gdtVirtStart(vcpu.id);
  return linear >= start && linear < start + BigInt(2 * LDT_PAGE_OFFSET * 4096);
}

/** Runs something that reads descriptors, mapping LDT pages that it meets. Throws the fault that the guest is to see. */
export function retryWithLdt(vcpu: Vcpu, action: () => void): void {
  // CS and SS may stand on two pages.
  for (let attempt = 0; ; attempt++) {
    try {
      action();
      return;
    } catch (error) {
      if (!(error instanceof GuestFault) || error.vector !== Vector.PF || attempt >= 2) throw error;
      if (!isDescriptorArea(vcpu, error.address)) throw error;
      const fault = fixDescriptorFault(vcpu, error.address, error.code ?? 0);
      if (fault) throw fault;
    }
  }
}
