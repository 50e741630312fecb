// Which x87 instructions have a quick way, and what it does to the stack: see x87-quick.ts. Each function gives null where an opcode has none.
import { S } from '../layout.ts';
import type { Bool, Ops, Value } from './ops.ts';
import {
  fromInteger,
  fromReal,
  QuickStack,
  quickArithmetic,
  quickCompare,
  type Real,
  roundsOrdinarily,
  toReal,
} from './x87-quick.ts';

/** An instruction's quick way: what it does, where it `holds`. */
export interface QuickForm {
  holds: Bool;
  run: () => void;
  /** What FCOMI and its family set, as in RFLAGS. */
  flags?: Value;
}

const COMPARES: readonly number[] = [2, 3];
const ESC_TO_ST0 = 0xd8;
const ESC_TO_STI = 0xdc;
const ESC_TO_STI_POP = 0xde;

/** D8-DF with ST(i). @param reg bits 5-3 of ModRM */
export function quickOnStack(o: Ops, esc: number, reg: number, i: Value): QuickForm | null {
  const arithmetic = (esc === ESC_TO_ST0 || esc === ESC_TO_STI || esc === ESC_TO_STI_POP) && !COMPARES.includes(reg);
  const comparesToFlags = (esc === 0xdb || esc === 0xdf) && (reg === 5 || reg === 6);
  const moves = (esc === 0xd9 && reg < 2) || (esc === 0xdd && COMPARES.includes(reg));
  if (!arithmetic && !comparesToFlags && !moves) return null;
  const stack = new QuickStack(o);
  const st0 = stack.register(o.const(0));
  const sti = stack.register(i);
  const bothFull = o.and(stack.isFull(st0), stack.isFull(sti));
  if (arithmetic) {
    const result = quickArithmetic(o, reg, stack.read(st0), stack.read(sti));
    return {
      holds: o.and(o.and(bothFull, roundsOrdinarily(o, true)), result.holds),
      run: () => {
        stack.write(esc === ESC_TO_ST0 ? st0 : sti, result);
        if (esc === ESC_TO_STI_POP) stack.pop(null, result);
        else stack.stay(result);
      },
    };
  }
  if (comparesToFlags) {
    const { holds, bits } = quickCompare(o, stack.read(st0), stack.read(sti));
    return {
      holds: o.and(bothFull, holds),
      flags: bits,
      run: () => {
        if (esc === 0xdf) stack.pop(null, null, true);
      },
    };
  }
  if (esc === 0xd9 && reg === 0) {
    return { holds: o.and(stack.isFull(sti), stack.hasRoom), run: () => stack.push(stack.read(sti)) };
  }
  if (esc === 0xd9) return { holds: bothFull, run: () => exchange(stack, st0, sti) };
  return {
    holds: stack.isFull(st0),
    run: () => {
      stack.write(sti, stack.read(st0));
      if (reg === 3) stack.pop(sti);
      else stack.fill(sti);
    },
  };
}

function exchange(stack: QuickStack, a: Value, b: Value): void {
  const [x, y] = [stack.read(a), stack.read(b)];
  stack.write(a, y);
  stack.write(b, x);
  stack.stay();
}

const ONE: readonly [number, bigint] = [0x3fff, 1n << 63n];
const ZERO: readonly [number, bigint] = [0, 0n];

/** FCHS, FABS, FLD1, FLDZ by the second opcode byte. */
export function quickPlain(o: Ops, esc: number, modrm: number): QuickForm | null {
  if (esc !== 0xd9 || ![0xe0, 0xe1, 0xe8, 0xee].includes(modrm)) return null;
  const stack = new QuickStack(o);
  if (modrm === 0xe0 || modrm === 0xe1) {
    const st0 = stack.register(o.const(0));
    return {
      holds: stack.isFull(st0),
      run: () => {
        const { signExp, significand } = stack.read(st0);
        const changed =
          modrm === 0xe0 ? o.bin('xor', signExp, o.const(0x8000)) : o.bin('and', signExp, o.const(0x7fff));
        stack.write(st0, { signExp: changed, significand });
        stack.stay();
      },
    };
  }
  const [signExp, significand] = modrm === 0xe8 ? ONE : ZERO;
  return {
    holds: stack.hasRoom,
    run: () => stack.push({ signExp: o.const(signExp), significand: o.const(significand) }),
  };
}

/** Sizes of reals and integers in memory by escape opcode. */
const REALS: Readonly<Record<number, 4 | 8 | undefined>> = { 216: 4, 220: 8, 217: 4, 221: 8 };

/**
 * D8-DF with an operand from memory.
 * @param low its bits, zero-extended; @param high of ten bytes the upper two
 */
export function quickFromMemory(o: Ops, esc: number, reg: number, low: Value, high: Value): QuickForm | null {
  const bytes = REALS[esc];
  if ((esc === ESC_TO_ST0 || esc === ESC_TO_STI) && bytes && !COMPARES.includes(reg)) {
    const stack = new QuickStack(o);
    const st0 = stack.register(o.const(0));
    const operand = fromReal(o, bytes, low);
    const result = quickArithmetic(o, reg, stack.read(st0), operand.real);
    const holds = o.and(o.and(stack.isFull(st0), roundsOrdinarily(o, true)), o.and(operand.holds, result.holds));
    return {
      holds,
      run: () => {
        stack.write(st0, result);
        stack.stay(result);
      },
    };
  }
  const loaded = loadedReal(o, esc, reg, low, high);
  if (!loaded) return null;
  const stack = new QuickStack(o);
  const { holds, real } = loaded;
  return { holds: holds !== null ? o.and(holds, stack.hasRoom) : stack.hasRoom, run: () => stack.push(real) };
}

/** FLD m32, m64 and m80, FILD: what goes onto the stack. `holds` null: always. */
function loadedReal(
  o: Ops,
  esc: number,
  reg: number,
  low: Value,
  high: Value,
): { holds: Bool | null; real: Real } | null {
  if (reg === 0) {
    const bytes = REALS[esc];
    if (bytes) return fromReal(o, bytes, low);
    if (esc === 0xdb) return { holds: null, real: fromInteger(o, o.let(o.sext(32, low))) };
    if (esc === 0xdf) return { holds: null, real: fromInteger(o, o.let(o.sext(16, low))) };
  }
  if (reg === 5 && esc === 0xdb) return { holds: null, real: { signExp: high, significand: low } };
  if (reg === 5 && esc === 0xdf) return { holds: null, real: fromInteger(o, low) };
  return null;
}

/** D8-DF with an operand in memory that is written: its bits stand in the scratch area after `run`. */
export function quickToMemory(o: Ops, esc: number, reg: number): QuickForm | null {
  const bytes = REALS[esc];
  const real = bytes && (esc === 0xd9 || esc === 0xdd) && COMPARES.includes(reg);
  const whole = esc === 0xdb && reg === 7;
  if (!real && !whole) return null;
  const stack = new QuickStack(o);
  const st0 = stack.register(o.const(0));
  const value = stack.read(st0);
  if (whole) {
    return {
      holds: stack.isFull(st0),
      run: () => {
        o.setState(S.scratch, 64, value.significand);
        o.setState(S.scratch + 8, 16, value.signExp);
        stack.pop(null);
      },
    };
  }
  const narrow = toReal(o, bytes!, value);
  return {
    holds: o.and(o.and(stack.isFull(st0), roundsOrdinarily(o, false)), narrow.holds),
    run: () => {
      o.setState(S.scratch, 64, narrow.bits);
      if (reg === 3) stack.pop(null, narrow);
      else stack.stay(narrow);
    },
  };
}
