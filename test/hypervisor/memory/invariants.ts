// What must hold of the frame table at any time: every count is the number of things that hold it. Throws what does not.

import { NOT_RAM } from '../../../src/cpu/physical-map.ts';
import { NO_OWNER, PageFlag, PageType } from '../../../src/hypervisor/memory/frame-table.ts';
import { mfnOf, Pte } from '../../../src/hypervisor/memory/pte.ts';
import type { TestHost } from '../harness.ts';

export function checkInvariants(host: TestHost): void {
  const { hypervisor, memory, processor } = host;
  const { frames } = hypervisor;
  const refs = new Uint32Array(frames.count);
  const types = new Uint32Array(frames.count);
  const linear = new Int32Array(frames.count);
  const holdTyped = (mfn: number) => {
    refs[mfn]++;
    types[mfn]++;
  };
  const wrong: string[] = [];

  for (const domain of hypervisor.domains.values()) {
    for (const vcpu of domain.vcpus) {
      const ldt = hypervisor.addressSpace.ldtFrames(vcpu);
      if (ldt.length > 0 && vcpu.pv.ldtEntries === 0) wrong.push('LDT pages without an LDT');
      const { guestTable, guestTableUser, gdtFrames } = vcpu.pv;
      for (const mfn of [guestTable, guestTableUser]) if (mfn) holdTyped(mfn);
      for (const mfn of gdtFrames) holdTyped(mfn);
      for (const mfn of ldt) holdTyped(mfn);
    }
  }
  for (const { hvm } of hypervisor.domains.values()) {
    for (let gfn = 0; hvm && gfn <= hvm.physmap.highest; gfn++) {
      const mfn = hvm.physmap.mfnOf(gfn);
      if (mfn === NOT_RAM) continue;
      if (hvm.physmap.typeOf(gfn) === 'grantReadOnly') refs[mfn]++;
      else holdTyped(mfn);
    }
  }
  let owned = 0;
  for (let mfn = 0; mfn < frames.count; mfn++) {
    const flags = frames.flags[mfn];
    if (flags & PageFlag.allocated) refs[mfn]++;
    if (flags & PageFlag.xenHeap) types[mfn]++;
    else if (frames.owner[mfn] !== NO_OWNER) owned++;
    if (flags & PageFlag.pinned) holdTyped(mfn);
    const level = frames.type[mfn];
    const isTable =
      level >= PageType.l1 && level <= PageType.l4 && frames.typeCount[mfn] > 0 && flags & PageFlag.validated;
    if (!isTable) continue;
    for (let slot = 0; slot < 512; slot++) {
      const at = frames.words(mfn) + slot * 2;
      const low = memory.u32[at];
      if (!(low & Pte.present) || (level === PageType.l4 && slot >= 256 && slot < 272)) continue;
      const target = mfnOf(low, memory.u32[at + 1]);
      if (level !== PageType.l1 && target === mfn) {
        if (low & Pte.rw) wrong.push(`table ${mfn} maps itself writable`);
        continue;
      }
      if (frames.owner[target] !== frames.owner[mfn]) wrong.push(`table ${mfn} maps ${target} of another owner`);
      refs[target]++;
      if (level === PageType.l1) {
        if (low & Pte.rw) types[target]++;
        if (low & Pte.rw && frames.type[target] !== PageType.writable) wrong.push(`${target} is writable and no data`);
        continue;
      }
      types[target]++;
      if (frames.type[target] === level) {
        linear[mfn]++;
        linear[target]--;
        if (low & Pte.rw) wrong.push(`table ${mfn} maps table ${target} of its level writable`);
      } else if (frames.type[target] !== level - 1)
        wrong.push(`table ${mfn} has ${target} of type ${frames.type[target]}`);
    }
  }
  for (let mfn = 0; mfn < frames.count; mfn++) {
    if (frames.refCount[mfn] !== refs[mfn])
      wrong.push(`frame ${mfn}: ${frames.refCount[mfn]} references, ${refs[mfn]} holders`);
    if (frames.typeCount[mfn] !== types[mfn])
      wrong.push(`frame ${mfn}: type count ${frames.typeCount[mfn]}, ${types[mfn]}`);
    if (frames.typeCount[mfn] && frames.linear[mfn] !== linear[mfn])
      wrong.push(`frame ${mfn}: linear ${frames.linear[mfn]}`);
    if (frames.owner[mfn] === NO_OWNER && frames.refCount[mfn]) wrong.push(`frame ${mfn} is free and has references`);
  }
  const counted = [...hypervisor.domains.values()].reduce((sum, d) => sum + d.pages, 0);
  if (counted !== owned) wrong.push(`domains count ${counted} pages and own ${owned}`);

  // What the processor still knows must not allow more than the tables ever may.
  for (const t of processor.tlb.values()) {
    if (!t.write) continue;
    const type = frames.type[t.mfn];
    if (frames.typeCount[t.mfn] && type !== PageType.writable)
      wrong.push(`a stale translation writes to ${t.mfn}, type ${type}`);
    if (frames.owner[t.mfn] === NO_OWNER) wrong.push(`a stale translation writes to free frame ${t.mfn}`);
  }
  if (wrong.length > 0) throw new Error(wrong.slice(0, 5).join('; '));
}
