// Writable page tables: a store of the guest kernel to a page-table page that it sees read-only becomes a checked entry update.
// Source: xen/arch/x86/pv/ro-page-fault.c (ptwr_emulated_update). Installed as Processor.onProtectedStore.
import { VmAssist } from '../domain.ts';
import type { Hypervisor } from '../hypervisor.ts';
import { updateL1 } from './entries.ts';
import { PageType } from './frame-table.ts';
import { mfnOf, Pte } from './pte.ts';
import { findL1Entry } from './walk.ts';

/** True: the store has been done. False: the guest gets its page fault. */
export function protectedStore(hypervisor: Hypervisor, linear: bigint, size: number, value: bigint): boolean {
  const vcpu = hypervisor.loaded;
  if (!vcpu) return false;
  const { domain, pv } = vcpu;
  if (!domain.isPv || !pv.inKernel || !domain.hasVmAssist(VmAssist.writablePagetables)) return false;
  const { frames, memory } = hypervisor;
  const mapping = findL1Entry(hypervisor, pv.guestTable, linear);
  if (mapping < 0) return false;
  const low = memory.u32[mapping];
  if ((low & (Pte.present | Pte.rw)) !== Pte.present) return false;
  const table = mfnOf(low, memory.u32[mapping + 1]);
  if (!frames.isRam(table) || frames.owner[table] !== domain.id || frames.type[table] !== PageType.l1) return false;
  if (frames.typeCount[table] === 0) return false;

  const offset = Number(linear & 0xfffn);
  if ((offset & 7) + size > 8) return false; // an entry is changed as a whole
  const at = frames.words(table) + ((offset >> 3) << 1);
  let newLow: number;
  let newHigh: number;
  if (size === 8) {
    newLow = Number(value & 0xffffffffn);
    newHigh = Number((value >> 32n) & 0xffffffffn);
  } else {
    const shift = BigInt((offset & 7) * 8);
    const mask = ((1n << BigInt(size * 8)) - 1n) << shift;
    const old = BigInt(memory.u32[at]) | (BigInt(memory.u32[at + 1]) << 32n);
    const merged = (old & ~mask) | ((value << shift) & mask);
    newLow = Number(merged & 0xffffffffn);
    newHigh = Number(merged >> 32n);
  }
  const update = { at, table, low: newLow, high: newHigh, preserveAd: false, domain, pageOwner: domain.id };
  return updateL1(frames, update) === 0;
}
