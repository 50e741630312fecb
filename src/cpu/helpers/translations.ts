// INVLPG and INVPCID (SDM Vol. 2A). A page goes from all contexts, whichever is named.
import { GuestFault, Vector } from '../exits.ts';
import { S } from '../layout.ts';
import { Cr4 } from './control-registers.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { isCanonical } from './descriptors.ts';

const PCID = 0xfffn;
const INDIVIDUAL = 0n;
const SINGLE_CONTEXT = 1n;
const ALL = 2n;
const ALL_BUT_GLOBAL = 3n;

/** @param linear of the descriptor: PCID, then the linear address */
const invpcid: SystemHelper = (core: SystemCore, type, linear) => {
  const { state } = core;
  if (state.cpl !== 0) throw new GuestFault(Vector.GP, 0);
  const descriptor = new Uint8Array(16);
  core.readLinear(linear, descriptor);
  const view = new DataView(descriptor.buffer);
  const pcid = view.getBigUint64(0, true);
  const address = view.getBigUint64(8, true);
  if (type > ALL_BUT_GLOBAL || pcid & ~PCID) throw new GuestFault(Vector.GP, 0);
  if (type <= SINGLE_CONTEXT && pcid !== 0n && !(state.get(S.cr4) & Cr4.PCIDE)) throw new GuestFault(Vector.GP, 0);
  if (type === INDIVIDUAL) {
    if (!isCanonical(address)) throw new GuestFault(Vector.GP, 0);
    core.invalidatePage(address);
  } else if (type === ALL) core.flushAll();
  else core.flushPcid(type === SINGLE_CONTEXT ? Number(pcid) : null);
};

export const translationHelpers: Record<string, SystemHelper> = {
  invpcid,
  invlpg: (core, linear) => {
    if (isCanonical(linear)) core.invalidatePage(linear);
  },
};
