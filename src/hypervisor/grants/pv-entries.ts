// A grant's place in a PV guest's page tables: the L1 entry that maps it. The references of such an entry are taken by the grant
// operation, not by the entry's validation. Source: xen/arch/x86/pv/grant_table.c.
import { GNTMAP, GNTMAP_GUEST_AVAIL_SHIFT } from '../../abi/xen/grant-table.ts';
import type { Mfn } from '../../cpu/memory.ts';
import { putL1 } from '../memory/entries.ts';
import { PageType } from '../memory/frame-table.ts';
import { adjustL1High, adjustL1Low, entry, mfnOf, Pte, PteHigh } from '../memory/pte.ts';
import { findL1Entry, frameOfWord } from '../memory/walk.ts';
import type { Vcpu } from '../vcpu.ts';
import { GrantError } from './status.ts';

const TOP_64 = 1n << 64n;

interface Entry {
  low: number;
  high: number;
}

function entryFor(mfn: Mfn, flags: number): Entry {
  let bits: number = Pte.present | Pte.accessed | Pte.dirty;
  if (flags & GNTMAP.application_map) bits |= Pte.user;
  if (!(flags & GNTMAP.readonly)) bits |= Pte.rw;
  bits |= ((flags >>> GNTMAP_GUEST_AVAIL_SHIFT) << 9) & Pte.avail;
  const plain = entry(mfn, bits);
  const high = (plain.high | PteHigh.noExecute) >>> 0;
  return { low: adjustL1Low(plain.low, high) >>> 0, high: adjustL1High(plain.low, high) >>> 0 };
}

/** Maps a frame at a linear address or, with contains_pte, by the entry at a machine address. What the entry mapped before is let go. */
export function createMapping(vcpu: Vcpu, address: bigint, mfn: Mfn, flags: number): void {
  const at = locate(vcpu, address, flags);
  const { frames } = vcpu.domain.hypervisor;
  const old = read(vcpu, at);
  write(vcpu, at, entryFor(mfn, flags));
  putL1(frames, old.low, old.high, vcpu.domain);
}

/**
 * Takes the mapping away, or puts in its place the one that stands at `newAddress` (0 = none), which goes from there. The references of
 * the grant are the caller's to give back; nothing has changed where this throws.
 */
export function replaceMapping(vcpu: Vcpu, address: bigint, mfn: Mfn, newAddress: bigint, flags: number): void {
  if (flags & GNTMAP.contains_pte && newAddress !== 0n) throw new GrantError('general_error');
  const at = locate(vcpu, address, flags);
  const present = read(vcpu, at);
  const expected = entryFor(mfn, flags);
  const differs = (present.low ^ expected.low) & (Pte.present | Pte.rw);
  if (mfnOf(present.low, present.high) !== mfn || differs) throw new GrantError('general_error');
  let next: Entry = { low: 0, high: 0 };
  if (newAddress !== 0n) {
    const from = locate(vcpu, newAddress, 0);
    if (from === at) throw new GrantError('general_error');
    next = read(vcpu, from);
    write(vcpu, from, { low: 0, high: 0 });
    // Its references move with it; translations at the old place end.
    if (next.low & Pte.present) vcpu.domain.hypervisor.processor.invalidatePage(BigInt.asUintN(64, newAddress));
  }
  write(vcpu, at, next);
  // Nothing may reach the granted frame through this domain's translations from now on.
  vcpu.domain.hypervisor.processor.dropFrame(mfn);
}

/** Index in EngineMemory.u32 of the entry that an operation names, which must be in an L1 table of the domain's own. */
function locate(vcpu: Vcpu, address: bigint, flags: number): number {
  const { hypervisor } = vcpu.domain;
  const { frames } = hypervisor;
  let at: number;
  if (flags & GNTMAP.contains_pte) {
    // Beyond this alignment the neighbouring entries would be torn (XSA-227).
    const frame = address >> 12n;
    if (address % 8n !== 0n || frame >= BigInt(frames.count)) throw new GrantError('general_error');
    at = frames.words(Number(frame)) + Number(address & 0xfffn) / 4;
  } else {
    if (address >= TOP_64) throw new GrantError('general_error');
    at = findL1Entry(hypervisor, vcpu.pv.guestTable, address);
    if (at === -1) throw new GrantError('general_error');
  }
  const table = frameOfWord(hypervisor, at);
  const isOwnL1 =
    frames.owner[table] === vcpu.domain.id && frames.type[table] === PageType.l1 && frames.typeCount[table] > 0;
  if (!isOwnL1) throw new GrantError('general_error');
  return at;
}

function read(vcpu: Vcpu, at: number): Entry {
  const { u32 } = vcpu.domain.hypervisor.memory;
  return { low: u32[at], high: u32[at + 1] };
}

function write(vcpu: Vcpu, at: number, { low, high }: Entry): void {
  const { hypervisor } = vcpu.domain;
  hypervisor.memory.u32[at] = low;
  hypervisor.memory.u32[at + 1] = high;
  hypervisor.frames.wrote(frameOfWord(hypervisor, at), (at * 4) & 0xff8, 8);
}
