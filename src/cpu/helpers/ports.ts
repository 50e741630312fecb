// IN and OUT: who may reach a port (SDM Vol. 1, 18.5), and the way there.
import { GuestFault, Vector } from '../exits.ts';
import { S, SEG } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { inV86, readSystem, SystemType } from './descriptors.ts';
import { ioplOf } from './virtual-interrupts.ts';

const PROTECTED = 1n;
/** Offset of the bitmap's own offset in a TSS of 32 or 64 bits. */
const BITMAP_OFFSET = 102;

/** Two bytes of the bitmap are read, whatever the width. */
function bitmapAllows(core: SystemCore, port: number, bytes: number): boolean {
  const tr = core.state.readSegment(SEG.tr);
  if ((tr.attributes & 15 & ~2) !== SystemType.tss || tr.limit < BITMAP_OFFSET + 1) return false;
  const at = Number(readSystem(core, tr.base + BigInt(BITMAP_OFFSET), 2)) + (port >> 3);
  if (at + 1 > tr.limit) return false;
  const bits = Number(readSystem(core, tr.base + BigInt(at), 2)) >> (port & 7);
  return (bits & ((1 << bytes) - 1)) === 0;
}

/** #GP(0) where the running code may not reach the port. A PV guest never does itself: its hypervisor emulates. */
function check(core: SystemCore, width: bigint, port: bigint): void {
  const { state } = core;
  if (state.get32(S.pv)) throw new GuestFault(Vector.GP, 0);
  if (!(state.get(S.cr0) & PROTECTED)) return;
  if (!inV86(state) && state.cpl <= ioplOf(state.get(S.rflags))) return;
  if (!bitmapAllows(core, Number(port), Number(width) / 8)) throw new GuestFault(Vector.GP, 0);
}

export const portHelpers: Record<string, SystemHelper> = {
  portCheck: check,
  portIn: (core, width, port) => {
    check(core, width, port);
    core.requireAlone();
    return BigInt(core.bus.portRead(Number(port), Number(width) / 8) >>> 0);
  },
  portOut: (core, width, port, value) => {
    check(core, width, port);
    core.requireAlone();
    core.bus.portWrite(Number(port), Number(width) / 8, Number(BigInt.asUintN(Number(width), value)));
  },
};
