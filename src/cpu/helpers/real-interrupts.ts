// Interrupts of real mode: the vector table of far pointers (SDM Vol. 3A, 20.1.4; Vol. 2A "INT n", REAL-ADDRESS-MODE).
import { GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { R, SEG } from '../layout.ts';
import { checkedOffset } from './code-targets.ts';
import type { SystemCore } from './core.ts';
import { readSystem } from './descriptors.ts';
import type { Event } from './interrupts.ts';
import { realSegment, setRealCode } from './segment-registers.ts';
import { currentStack, prepareFrame } from './stack-frames.ts';

const CLEARED = BigInt(Flag.IF | Flag.TF | Flag.AC | Flag.RF);

export function deliverReal(core: SystemCore, { vector, returnRip }: Event): void {
  const { state } = core;
  const idtr = state.readSegment(SEG.idtr);
  if (vector * 4 + 3 > idtr.limit) throw new GuestFault(Vector.GP, 0);
  const pointer = Number(readSystem(core, idtr.base + BigInt(vector * 4), 4));
  const segment = realSegment(state, SEG.cs, pointer >>> 16);
  const flags = state.rflags;
  const values = [flags, BigInt(state.readSegment(SEG.cs).selector), returnRip];
  const frame = prepareFrame(core, currentStack(state), 2, values);
  const rip = checkedOffset(core, segment, BigInt(pointer & 0xffff));
  frame.write();
  state.gpr[R.rsp] = frame.pointer;
  state.rip = rip;
  state.rflags = flags & ~CLEARED;
  setRealCode(core, segment);
}
