// A grant's place in an HVM domain's physmap: map_grant_ref's host address is a guest-physical one. Source: xen/arch/x86/hvm/grant_table.c.
import { GNTMAP } from '../../abi/xen/grant-table.ts';
import type { Mfn } from '../../cpu/memory.ts';
import { XenError } from '../errors.ts';
import type { HvmDomain } from '../hvm/hvm-domain.ts';
import { GrantError } from './status.ts';

const PAGE_SHIFT = 12n;

const gfnOf = (address: bigint): number => Number(address >> PAGE_SHIFT);

/** Puts a granted frame into the physmap, in place of what was there. */
export function createPhysmapEntry({ physmap }: HvmDomain, address: bigint, mfn: Mfn, flags: number): void {
  // Bits for page-table entries mean nothing here.
  if ((flags & ~GNTMAP.readonly) !== GNTMAP.host_map) throw new GrantError('general_error');
  try {
    physmap.addGrant(gfnOf(address), mfn, (flags & GNTMAP.readonly) !== 0);
  } catch (error) {
    if (error instanceof XenError) throw new GrantError('general_error');
    throw error;
  }
}

/** Leaves a hole where a granted frame stood. Nothing has changed where this throws. */
export function removePhysmapEntry(hvm: HvmDomain, address: bigint, mfn: Mfn, newAddress: bigint, flags: number): void {
  if (newAddress !== 0n || flags & GNTMAP.contains_pte) throw new GrantError('general_error');
  if (!hvm.physmap.removeGrant(gfnOf(address), mfn)) throw new GrantError('general_error');
}
