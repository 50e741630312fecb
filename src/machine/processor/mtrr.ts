// Memory type range registers (SDM Vol. 3A, 12.11). All memory of this machine is coherent, so that they change nothing; kernels check and
// edit them.
import type { Saveable } from '../chip.ts';
import type { MsrPart } from './msr-table.ts';

const Msr = {
  capabilities: 0xfe,
  firstVariable: 0x200,
  firstReserved: 0x210,
  defaultType: 0x2ff,
} as const;
/** MTRRfix64K_00000, 16K_80000, 16K_A0000, 4K_C0000 to 4K_F8000: eight ranges each. */
const FIXED: readonly number[] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

export const MemoryType = { uncacheable: 0n, writeCombining: 1n, writeThrough: 4n, writeProtected: 5n, writeBack: 6n };
const TYPES: readonly bigint[] = Object.values(MemoryType);

const VARIABLE_RANGES = 8n;
const CAP_FIXED = 1n << 8n;
const CAP_WRITE_COMBINING = 1n << 10n;
const DEFAULT_DEFINED = 0xcffn;
const FIXED_ENABLED = 1n << 10n;
const ENABLED = 1n << 11n;
const MASK_VALID = 1n << 11n;
const GIB4 = 0x1_0000_0000;

export interface MtrrState {
  defaultType: bigint;
  fixed: bigint[];
  variable: bigint[];
}

/** A variable range: bytes, and a number of MemoryType. */
export interface TypedRange {
  readonly base: number;
  readonly size: number;
  readonly type: number;
}

/** Variable ranges as firmware uses them: devices from `holeStart` to 4 GiB in powers of two, from the top down. */
export function firmwareRanges(holeStart: number): TypedRange[] {
  const ranges: TypedRange[] = [];
  let end = GIB4;
  while (ranges.length < Number(VARIABLE_RANGES) && end > holeStart) {
    const size = 2 ** Math.floor(Math.log2(Math.min(end - holeStart, lowestBit(end))));
    end -= size;
    ranges.push({ base: end, size, type: Number(MemoryType.uncacheable) });
  }
  return ranges;
}

export class Mtrrs implements MsrPart, Saveable<MtrrState> {
  private readonly addressMask: bigint;
  private state: MtrrState;

  constructor(physicalAddressBits: number) {
    this.addressMask = ((1n << BigInt(physicalAddressBits)) - 1n) & ~0xfffn;
    this.state = initial();
  }

  reset(): void {
    this.state = initial();
  }

  /** As firmware leaves them: everything is cached but the window of old video cards, and devices from `holeStart` to 4 GiB. */
  setUpAsFirmware(holeStart: number): void {
    const { state } = this;
    state.defaultType = ENABLED | FIXED_ENABLED | MemoryType.writeBack;
    FIXED.forEach((index, i) => {
      state.fixed[i] = index === 0x259 ? 0n : eight(index < 0x259 ? MemoryType.writeBack : MemoryType.writeProtected);
    });
    firmwareRanges(holeStart).forEach(({ base, size, type }, i) => {
      state.variable[2 * i] = BigInt(base) | BigInt(type);
      state.variable[2 * i + 1] = (this.addressMask & ~BigInt(size - 1)) | MASK_VALID;
    });
  }

  read(index: number): bigint | null {
    if (index === Msr.capabilities) return VARIABLE_RANGES | CAP_FIXED | CAP_WRITE_COMBINING;
    if (index === Msr.defaultType) return this.state.defaultType;
    if (isVariable(index)) return this.state.variable[index - Msr.firstVariable];
    const fixed = FIXED.indexOf(index);
    return fixed < 0 ? null : this.state.fixed[fixed];
  }

  write(index: number, value: bigint): boolean {
    const { state } = this;
    if (index === Msr.defaultType) {
      if (value & ~DEFAULT_DEFINED || !TYPES.includes(value & 0xffn)) return false;
      state.defaultType = value;
      return true;
    }
    if (isVariable(index)) return this.writeVariable(index - Msr.firstVariable, value);
    const fixed = FIXED.indexOf(index);
    if (fixed < 0) return false;
    for (let shift = 0n; shift < 64n; shift += 8n) if (!TYPES.includes((value >> shift) & 0xffn)) return false;
    state.fixed[fixed] = value;
    return true;
  }

  save(): MtrrState {
    return structuredClone(this.state);
  }

  load(state: MtrrState): void {
    this.state = structuredClone(state);
  }

  private writeVariable(i: number, value: bigint): boolean {
    const isMask = (i & 1) === 1;
    if (value & ~(this.addressMask | (isMask ? MASK_VALID : 0xffn))) return false;
    if (!isMask && !TYPES.includes(value & 0xffn)) return false;
    this.state.variable[i] = value;
    return true;
  }
}

const isVariable = (index: number): boolean => index >= Msr.firstVariable && index < Msr.firstReserved;
const eight = (type: bigint): bigint => type * 0x0101010101010101n;
const lowestBit = (value: number): number => {
  let bit = 1;
  while (value % (bit * 2) === 0) bit *= 2;
  return bit;
};

function initial(): MtrrState {
  return {
    defaultType: 0n,
    fixed: FIXED.map(() => 0n),
    variable: Array.from({ length: 2 * Number(VARIABLE_RANGES) }, () => 0n),
  };
}
