// Frames by the number that a domain knows them by: PV domains count machine frames, HVM domains the frames of their physmap.
import type { Mfn } from '../../cpu/memory.ts';
import { NOT_RAM } from '../../cpu/physical-map.ts';
import type { Domain } from '../domain.ts';

/** The machine frame of a page of the domain's own, or that Xen shares with it; null where the number means none. */
export function ownFrame(domain: Domain, number: bigint): Mfn | null {
  const { frames } = domain.hypervisor;
  const mfn = domain.hvm
    ? domain.hvm.physmap.ramAt(Number(number))
    : number < BigInt(frames.count)
      ? Number(number)
      : NOT_RAM;
  if (mfn === NOT_RAM) return null;
  return frames.owner[mfn] === domain.id && frames.refCount[mfn] > 0 ? mfn : null;
}
