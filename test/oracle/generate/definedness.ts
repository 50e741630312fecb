// What of a result the manuals leave undefined, so that it is not compared. Flags come from iced-x86's tables, refined where they depend
// on a count (SDM Vol. 2, "Flags Affected" of each instruction); the rest is listed here.
import iced from 'iced-x86';
import { type Ignored, type Initial, Precision } from '../case.ts';
import { FX } from '../initial-state.ts';
import { backingOffset, USER_CS64 } from '../places.ts';

const { OpKind, Register, RegisterExt, RflagsBits } = iced;

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

/** ST(0) as a number, or null where it is no finite number or empty. */
function top(initial: Initial): number | null {
  const fx = initial.fxsave;
  const register = (fx[FX.fsw + 1] >> 3) & 7;
  if (!(fx[FX.ftw] & (1 << register))) return null;
  const view = new DataView(fx.buffer, fx.byteOffset + FX.st, 10);
  const exponent = view.getUint16(8, true) & 0x7fff;
  if (exponent === 0x7fff) return null;
  return (Number(view.getBigUint64(0, true)) / 2 ** 63) * 2 ** (exponent - 16383);
}

/** Where a near branch lands within its own bytes it runs on as something else before it stops. */
function landsInside(i: iced.Instruction): boolean {
  const near = [OpKind.NearBranch16, OpKind.NearBranch32, OpKind.NearBranch64].includes(i.op0Kind);
  return near && i.nearBranchTarget >= i.ip && i.nearBranchTarget < i.nextIP;
}

/** True where the result is not defined, or means something else on another model. */
export function isOutOfDomain(name: string, i: iced.Instruction, initial: Initial): boolean {
  const st0 = top(initial);
  if (name === 'F2xm1' && st0 !== null && st0 > 1) return true;
  if (name === 'Fyl2xp1' && st0 !== null && st0 >= 0.2928) return true;
  if (name.startsWith('Fstpnce') && !(initial.fxsave[FX.ftw] & (1 << ((initial.fxsave[FX.fsw + 1] >> 3) & 7))))
    return true;
  // components beyond x87 and SSE
  if (/^X(save|rstor)/.test(name) && ((initial.gpr[0] & 0xfffffffcn) !== 0n || (initial.gpr[2] & 0xffffffffn) !== 0n))
    return true;
  // whether the permission is looked at before a count of 0 is
  if (/^(Ins|Outs)[bwd]_/.test(name) && i.hasRepPrefix && initial.gpr[1] === 0n) return true;
  // how many of its bytes #UD waits for
  if (name.startsWith('Ud1') && initial.patches[0].bytes.length < i.length) return true;
  // pushes of a far call to compatibility mode: by which mode's stack pointer
  if (/^Call_m16/.test(name) && initial.selectors.cs === USER_CS64 && initial.gpr[4] >> 32n !== 0n) return true;
  // intermediate sums of a bit string's address that are not canonical
  if (/^Bt[src]?_rm64_r64/.test(name) && i.op0Kind === OpKind.Memory && /^(FS|GS)$/.test(Register[i.memorySegment]))
    return true;
  // a write check where nothing is written
  if (name.startsWith('Arpl') && i.memorySegment === Register.CS) return true;
  return landsInside(i);
}

const PAIR = 0b0101; // RAX, RDX

/** General registers that hold what is this machine's own affair. */
export function ignoredRegisters(name: string, i: iced.Instruction): number {
  if (name === 'Cpuid') return 0b1111;
  if (name === 'Rdtsc' || name === 'Xgetbv') return PAIR;
  if (name === 'Rdtscp') return PAIR | 2;
  if (/^(Rdrand|Rdseed|Rdpid)/.test(name)) return 1 << RegisterExt.number(i.op0Register);
  return 0;
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
        ...(/^Xsavec/.test(name) ? [] : ([[520, 56]] as [number, number][])),
      ]);
  }
  // The upper half of a pushed selector: AMD writes zeros, some Intel processors leave memory as it is.
  if (/^Pushd_[C-G]S/.test(name)) return at(stack - 2n, [[0, 2]]);
  return [];
}
