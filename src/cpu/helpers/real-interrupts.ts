// Interrupts by the vector table of far pointers: of real mode, and those that virtual-8086 code handles itself (SDM Vol. 3A, 21.1.4 and
// 21.3.3; Vol. 2A "INT n", REAL-ADDRESS-MODE).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { R, SEG } from '../layout.ts';
import { checkedOffset } from './code-targets.ts';
import type { SystemCore } from './core.ts';
import { readSystem } from './descriptors.ts';
import type { Event } from './interrupts.ts';
import { realSegment, setRealCode } from './segment-registers.ts';
import { currentStack, prepareFrame } from './stack-frames.ts';
import { hasVirtualFlag, imageWithVif } from './virtual-interrupts.ts';

const IF = BigInt(Flag.IF);
const VIF = BigInt(Flag.VIF);
const CLEARED = BigInt(Flag.TF | Flag.AC | Flag.RF);
const V86_CLEARED = BigInt(Flag.TF | Flag.RF);

export function deliverReal(core: SystemCore, { vector, returnRip }: Event): void {
  const { state } = core;
  const idtr = state.readSegment(SEG.idtr);
  if (vector * 4 + 3 > idtr.limit) throw new GuestFault(Vector.GP, 0);
  const flags = state.rflags;
  enterVector(core, idtr.base + BigInt(vector * 4), returnRip, flags, flags & ~CLEARED & ~IF);
}

/** INT n that virtual-8086 code handles itself, by the table at linear address 0. */
export function deliverToV86(core: SystemCore, vector: number, returnRip: bigint): void {
  const flags = core.state.rflags;
  const virtual = hasVirtualFlag(core);
  const image = virtual ? imageWithVif(flags) : flags;
  enterVector(core, BigInt(vector * 4), returnRip, image, flags & ~V86_CLEARED & ~(virtual ? VIF : IF));
}

/** @param at of the far pointer in the vector table  @param image what is pushed  @param rflags what the handler begins with */
function enterVector(core: SystemCore, at: bigint, returnRip: bigint, image: bigint, rflags: bigint): void {
  const { state } = core;
  const pointer = Number(readSystem(core, at, 4));
  const segment = realSegment(state, SEG.cs, pointer >>> 16);
  const values = [image, BigInt(state.readSegment(SEG.cs).selector), returnRip];
  const frame = prepareFrame(core, currentStack(state), 2, values);
  const rip = checkedOffset(core, segment, BigInt(pointer & 0xffff));
  frame.write();
  state.gpr[R.rsp] = frame.pointer;
  state.rip = rip;
  state.rflags = rflags;
  setRealCode(core, segment);
}
