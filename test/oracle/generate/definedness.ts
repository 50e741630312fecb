// What of a result the manuals leave undefined, so that it is not compared. Flags come from iced-x86's tables, refined where they depend
// on a count (SDM Vol. 2, "Flags Affected" of each instruction); the rest is listed here.
import iced from 'iced-x86';
import { type Ignored, type Initial, Precision } from '../case.ts';
import { backingOffset } from '../places.ts';

const { OpKind, RegisterExt, RflagsBits } = iced;

const FLAG_BITS: readonly [number, number][] = [
  [RflagsBits.OF, 0x800],
  [RflagsBits.SF, 0x80],
  [RflagsBits.ZF, 0x40],
  [RflagsBits.AF, 0x10],
  [RflagsBits.CF, 1],
  [RflagsBits.PF, 4],
];

const OF = 0x800;
const CF = 1;

function shiftCount(name: string, i: iced.Instruction, initial: Initial): number {
  const bits = /64/.test(name) ? 63 : 31;
  if (/_CL$/.test(name)) return Number(initial.gpr[1] & BigInt(bits));
  if (/_1$/.test(name)) return 1;
  return i.immediate8 & bits;
}

function operandBits(i: iced.Instruction): number {
  return i.op0Kind === OpKind.Register
    ? RegisterExt.size(i.op0Register) * 8
    : iced.MemorySizeExt.size(i.memorySize) * 8;
}

/** RFLAGS bits that the result may hold either way. Null: the whole result is undefined, the case is of no use. */
export function undefinedFlags(name: string, i: iced.Instruction, initial: Initial): number | null {
  let mask = 0;
  for (const [bit, flag] of FLAG_BITS) if (i.rflagsUndefined & bit) mask |= flag;
  if (/^(Shl|Shr|Sal|Sar|Shld|Shrd|Rol|Ror|Rcl|Rcr)_/.test(name)) {
    const count = shiftCount(name, i, initial);
    const bits = operandBits(i);
    if (count === 0) return 0;
    if (/^Sh[lr]d/.test(name)) {
      if (count > bits) return null;
      return mask & ~CF & (count === 1 ? ~OF : ~0);
    }
    mask = count === 1 ? mask & ~OF : mask | OF;
    if (/^(Shl|Shr|Sal)/.test(name) && count >= bits) mask |= CF;
    else mask &= ~CF;
    if (/^R/.test(name)) mask &= ~CF;
  }
  return mask;
}

/** Condition codes of the x87 status word that stay undefined. */
export function undefinedFsw(i: iced.Instruction): number {
  const u = i.rflagsUndefined;
  return (
    (u & RflagsBits.C0 ? 0x100 : 0) |
    (u & RflagsBits.C1 ? 0x200 : 0) |
    (u & RflagsBits.C2 ? 0x400 : 0) |
    (u & RflagsBits.C3 ? 0x4000 : 0)
  );
}

export function precisionOf(name: string): number {
  if (/^(F2xm1|Fyl2x|Fyl2xp1|Fptan|Fpatan|Fsin|Fcos|Fsincos)$/.test(name)) return Precision.transcendental;
  return /^R(cp|sqrt)[sp]s/.test(name) ? Precision.reciprocal : Precision.exact;
}

/** Memory bytes whose value differs between processors: x87 instruction and data pointers, the MXCSR mask, reserved parts. */
export function ignoredMemory(name: string, address: bigint | null, stack: bigint): Ignored[] {
  const at = (linear: bigint, ranges: [number, number][]): Ignored[] => {
    const found: Ignored[] = [];
    for (const [from, length] of ranges) {
      // byte by byte where a range leaves the mapped data
      const offset = backingOffset(linear + BigInt(from));
      if (offset >= 0) found.push({ offset, length });
    }
    return found;
  };
  if (address !== null) {
    if (/^Fn(stenv|save)_m(28|108)/.test(name)) return at(address, [[12, 16]]);
    if (/^Fn(stenv|save)_m(14|94)/.test(name)) return at(address, [[6, 8]]);
    if (/^Fxsave/.test(name))
      return at(address, [
        [6, 18],
        [28, 4],
        [416, 96],
      ]);
    if (/^Xsave/.test(name))
      return at(address, [
        [6, 18],
        [28, 4],
        [416, 96],
      ]);
  }
  // The upper half of a pushed selector: AMD writes zeros, some Intel processors leave memory as it is.
  if (/^Pushd_[C-G]S/.test(name)) return at(stack - 2n, [[0, 2]]);
  return [];
}
