// Where a far transfer may go: checks of code segments and of offsets within them (SDM Vol. 2A "JMP", "CALL", "RET", "IRET").
import { GuestFault, Vector } from '../exits.ts';
import type { SystemCore } from './core.ts';
import {
  Attr,
  type Descriptor,
  dpl,
  inLongMode,
  isCanonical,
  isCode,
  isConforming,
  isNull,
  isPresent,
  readDescriptor,
  rplOf,
  selectorFault,
} from './descriptors.ts';

/** The segment's instructions are 64-bit ones. */
export const isLong = (core: SystemCore, d: { attributes: number }): boolean =>
  inLongMode(core.state) && (d.attributes & Attr.long) !== 0;

/** L and D must not both be set in long mode. */
export function requireCodeSize(core: SystemCore, d: Descriptor, ext = 0): void {
  if (isLong(core, d) && d.attributes & Attr.big) throw selectorFault(Vector.GP, d.selector, ext);
}

/** The target must be canonical, or within the segment. Gives RIP. */
export function checkedOffset(
  core: SystemCore,
  d: { limit: number; attributes: number },
  offset: bigint,
  ext = 0,
): bigint {
  if (isLong(core, d)) {
    if (!isCanonical(offset)) throw new GuestFault(Vector.GP, ext);
    return offset;
  }
  // of 64 bits that a far transfer of long mode pops for other code, AMD's processors compare all, Intel's the low 32
  const target = core.model.vendor === 'GenuineIntel' ? BigInt.asUintN(32, offset) : offset;
  if (target > BigInt(d.limit)) throw new GuestFault(Vector.GP, ext);
  return target;
}

/** The code segment of a direct JMP or CALL, whose descriptor has been read. */
export function checkDirectCode(core: SystemCore, d: Descriptor): void {
  const { cpl } = core.state;
  const allowed = isConforming(d) ? dpl(d) <= cpl : rplOf(d.selector) <= cpl && dpl(d) === cpl;
  if (!allowed) throw selectorFault(Vector.GP, d.selector);
  if (!isPresent(d)) throw selectorFault(Vector.NP, d.selector);
  requireCodeSize(core, d);
}

/** The code segment that RET or IRET goes back to. */
export function checkedReturnCode(core: SystemCore, selector: number): Descriptor {
  if (isNull(selector)) throw new GuestFault(Vector.GP, 0);
  const d = readDescriptor(core, selector);
  const rpl = rplOf(selector);
  const allowed = isCode(d) && rpl >= core.state.cpl && (isConforming(d) ? dpl(d) <= rpl : dpl(d) === rpl);
  if (!allowed) throw selectorFault(Vector.GP, selector);
  if (!isPresent(d)) throw selectorFault(Vector.NP, selector);
  requireCodeSize(core, d);
  return d;
}
