// The task-state segment as a source of stacks for inner rings (SDM Vol. 3A, 8.2.1, 8.7 and figure 8-11).
import { Vector } from '../exits.ts';
import { SEG } from '../layout.ts';
import type { SystemCore } from './core.ts';
import {
  Attr,
  type Descriptor,
  inLongMode,
  isNull,
  readSystem,
  rplOf,
  SystemType,
  selectorFault,
} from './descriptors.ts';
import { checkedStack } from './segments.ts';
import type { Stack } from './stack-frames.ts';

/** 64-bit TSS: RSP0 to RSP2, then IST1 to IST7. */
const RSP0_64 = 4;
const IST1_64 = 0x24;

const NULL_SEGMENT = { base: 0n, limit: 0, attributes: 0 };

/** A stack pointer of the 64-bit TSS. */
function longPointer(core: SystemCore, offset: number, ext: number): bigint {
  const tr = core.state.readSegment(SEG.tr);
  if (offset + 7 > tr.limit) throw selectorFault(Vector.TS, tr.selector, ext);
  return readSystem(core, tr.base + BigInt(offset), 8);
}

/**
 * The stack of ring `cpl` for a transfer inwards; SS is checked. In long mode SS becomes null and `descriptor` is null.
 * @param ist interrupt stack table index, 0 for none (long mode)
 */
export function innerStack(
  core: SystemCore,
  cpl: number,
  ist = 0,
  ext = 0,
): { stack: Stack; descriptor: Descriptor | null } {
  const { state } = core;
  const tr = state.readSegment(SEG.tr);
  if (inLongMode(state)) {
    const pointer = longPointer(core, ist ? IST1_64 + (ist - 1) * 8 : RSP0_64 + cpl * 8, ext);
    return { stack: { bits: 64, segment: NULL_SEGMENT, pointer, cpl, code: ext }, descriptor: null };
  }
  const wide = (tr.attributes & 15 & ~2) === SystemType.tss;
  const at = wide ? 4 + cpl * 8 : 2 + cpl * 4;
  const size = wide ? 4 : 2;
  if (at + size + 1 > tr.limit) throw selectorFault(Vector.TS, tr.selector, ext);
  const pointer = readSystem(core, tr.base + BigInt(at), size);
  const selector = Number(readSystem(core, tr.base + BigInt(at + size), 2));
  if (isNull(selector)) throw selectorFault(Vector.TS, selector, ext);
  if (rplOf(selector) !== cpl) throw selectorFault(Vector.TS, selector, ext);
  const descriptor = checkedStack(core, selector, cpl, Vector.TS, ext);
  const bits = descriptor.attributes & Attr.big ? 32 : 16;
  return { stack: { bits, segment: descriptor, pointer, cpl, code: (selector & 0xfffc) | ext }, descriptor };
}
