// INVLPG and INVPCID (SDM Vol. 2A). Translations are kept by page-table root, not by PCID: what names a PCID drops them all.
import { GuestFault, Vector } from '../exits.ts';
import { S } from '../layout.ts';
import { Cr4 } from './control-registers.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { isCanonical } from './descriptors.ts';

const PCID = 0xfffn;
const INDIVIDUAL = 0n;
const SINGLE_CONTEXT = 1n;
const LAST_TYPE = 3n;

/** @param linear of the descriptor: PCID, then the linear address */
const invpcid: SystemHelper = (core: SystemCore, type, linear) => {
  const { state } = core;
  if (state.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  const descriptor = new Uint8Array(16);
  core.readLinear(linear, descriptor);
  const view = new DataView(descriptor.buffer);
  const pcid = view.getBigUint64(0, true);
  const address = view.getBigUint64(8, true);
  if (type > LAST_TYPE || pcid & ~PCID) throw new GuestFault(Vector.GP, 0);
  if (type <= SINGLE_CONTEXT && pcid !== 0n && !(state.get(S.cr4) & Cr4.PCIDE)) throw new GuestFault(Vector.GP, 0);
  if (type === INDIVIDUAL) {
    if (!isCanonical(address)) throw new GuestFault(Vector.GP, 0);
    core.invalidatePage(address);
  } else core.flushAll();
};

export const translationHelpers: Record<string, SystemHelper> = {
  invpcid,
  invlpg: (core, _width, linear) => {
    if (isCanonical(linear)) core.invalidatePage(linear);
  },
};
