// The four top entries of PAE paging, which the processor keeps from when CR3 or the paging mode is written (SDM Vol. 3A, 4.4.1).
import { GuestFault, Vector } from '../exits.ts';
import { S } from '../layout.ts';
import type { CpuModel } from '../models/model.ts';
import type { CpuState } from '../state.ts';
import type { SystemCore } from './core.ts';

const COUNT = 4;
const PRESENT = 1n;
/** R/W, U/S, A, D, PS and G are none here. */
const RESERVED_LOW = 0x1e6n;
const TABLE = 0xffffffe0n;

/** Physical address bits that a table may not have. */
export const beyondPhysical = (model: CpuModel): bigint =>
  ~((1n << BigInt(model.physicalAddressBits)) - 1n) & 0xffffffffffffffffn;

/** The entries at the table that CR3 names; where there is no RAM, none is present. Throws #GP(0) for a present one with reserved bits. */
export function readPdptes(core: SystemCore, cr3: bigint): bigint[] {
  const { memory, model } = core;
  const reserved = beyondPhysical(model) | RESERVED_LOW;
  const entries: bigint[] = [];
  for (let i = 0; i < COUNT; i++) {
    const host = core.physical(Number(cr3 & TABLE) + i * 8);
    const entry = host < 0 ? 0n : memory.view.getBigUint64(host, true);
    if (entry & PRESENT && entry & reserved) throw new GuestFault(Vector.GP, 0);
    entries.push(entry);
  }
  return entries;
}

export function setPdptes(state: CpuState, entries: readonly bigint[]): void {
  entries.forEach((entry, i) => {
    state.set(S.pdptes + i * 8, entry);
  });
}
