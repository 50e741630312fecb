// A vCPU's GDT and LDT: frames that take the descriptor type and are mapped where the processor reads descriptors.
// Source: xen/arch/x86/pv/descriptor-tables.c (pv_set_gdt, pv_destroy_ldt), pv/mm.c (pv_map_ldt_shadow_page).
import { FRAME_SIZE, SEG } from '../../cpu/layout.ts';
import type { Vcpu } from '../vcpu.ts';
import { ldtAddress } from './address-space.ts';
import { PageType } from './frame-table.ts';
import { mfnOf, Pte } from './pte.ts';
import { findL1Entry } from './walk.ts';

const DESCRIPTORS_PER_FRAME = 512;
/** Descriptors of a guest's GDT: 14 frames; Xen's own follow. */
export const MAX_GDT_ENTRIES = 14 * DESCRIPTORS_PER_FRAME;
export const MAX_LDT_ENTRIES = 8192;
const LDT_PAGES = 16;
/** Xen's selector of the running vCPU's LDT, and the descriptor's attributes: present, DPL 0, LDT. */
const LDT_SELECTOR = 0xe050;
const LDT_ATTRIBUTES = 0x82;
const EINVAL = -22;

export const gdtFrameCount = (entries: number): number => Math.ceil(entries / DESCRIPTORS_PER_FRAME);

/** Gives a vCPU a new GDT, releasing the old one; 0 or -EINVAL with the old one kept. */
export function setGdt(vcpu: Vcpu, mfns: readonly number[], entries: number): number {
  if (entries > MAX_GDT_ENTRIES) return EINVAL;
  const { domain, pv } = vcpu;
  const { frames, addressSpace } = domain.hypervisor;
  const n = gdtFrameCount(entries);
  for (let i = 0; i < n; i++) {
    if (frames.getPageAndType(mfns[i], domain.id, PageType.segDesc) !== 0) {
      while (i-- > 0) frames.putPageAndType(mfns[i]);
      return EINVAL;
    }
  }
  dropGdt(vcpu);
  for (let i = 0; i < n; i++) addressSpace.setGdtPage(vcpu, i, mfns[i]);
  pv.gdtFrames = mfns.slice(0, n);
  pv.gdtEntries = entries;
  return 0;
}

export function dropGdt(vcpu: Vcpu): void {
  const { pv } = vcpu;
  const { frames, addressSpace } = vcpu.domain.hypervisor;
  const old = pv.gdtFrames;
  pv.gdtFrames = [];
  pv.gdtEntries = 0;
  old.forEach((mfn, i) => {
    addressSpace.setGdtPage(vcpu, i, null);
    frames.putPageAndType(mfn);
  });
}

/** Takes the LDT's pages out of the descriptor area; they come back, checked anew, when they are used. */
export function unmapLdt(vcpu: Vcpu): void {
  if (vcpu.pv.ldtEntries === 0) return;
  const { frames, addressSpace } = vcpu.domain.hypervisor;
  for (let page = 0; page < LDT_PAGES; page++) {
    const mfn = addressSpace.setLdtPage(vcpu, page, null);
    if (mfn !== null) frames.putPageAndType(mfn);
  }
}

/** The guest's LDT from now on; the caller has checked both values. LDTR is loaded with it. */
export function setLdt(vcpu: Vcpu, base: bigint, entries: number): void {
  unmapLdt(vcpu);
  vcpu.pv.ldtBase = base;
  vcpu.pv.ldtEntries = entries;
  loadLdtr(vcpu);
}

/** LDTR as the vCPU's LDT wants it; without one it is null, and every use of it faults. */
export function loadLdtr(vcpu: Vcpu): void {
  const entries = vcpu.pv.ldtEntries;
  vcpu.cpu.writeSegment(
    SEG.ldtr,
    entries === 0
      ? { selector: 0, base: 0n, limit: 0, attributes: 0 }
      : { selector: LDT_SELECTOR, base: ldtAddress(vcpu), limit: entries * 8 - 1, attributes: LDT_ATTRIBUTES },
  );
}

/** Maps page `page` of the guest's LDT for the processor; false where the guest has no good descriptor page there. */
export function mapLdtPage(vcpu: Vcpu, page: number): boolean {
  const { domain, pv } = vcpu;
  const { hypervisor } = domain;
  const { frames, memory, addressSpace } = hypervisor;
  if (page >= LDT_PAGES || page * DESCRIPTORS_PER_FRAME >= pv.ldtEntries) return false;
  let linear = pv.ldtBase + BigInt(page * FRAME_SIZE);
  if (domain.abi === 'pv32') linear = BigInt.asUintN(32, linear);
  const at = findL1Entry(hypervisor, pv.guestTable, linear);
  if (at < 0 || !(memory.u32[at] & Pte.present)) return false;
  const mfn = mfnOf(memory.u32[at], memory.u32[at + 1]);
  if (frames.getPageAndType(mfn, domain.id, PageType.segDesc) !== 0) return false;
  const old = addressSpace.setLdtPage(vcpu, page, mfn);
  if (old !== null) frames.putPageAndType(old);
  return true;
}
