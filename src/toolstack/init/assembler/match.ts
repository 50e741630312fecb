// Which form of an instruction takes the given operands. Parses the table in forms.ts, once each form.
import { FORMS, type Mnemonic } from './forms.ts';
import type { Memory, Operand, Size } from './operands.ts';

export type Bits = 16 | 32 | 64;

/** One line of the table, taken apart. */
export interface Form {
  readonly text: string;
  readonly operands: readonly string[];
  readonly encoding: readonly string[];
}

/** A form that fits, with what `v` stands for in it (0: the form has none). */
export interface Match {
  readonly form: Form;
  readonly width: 0 | 2 | 4 | 8;
}

const parsed = new Map<string, readonly Form[]>();

/** All forms of an instruction, in order of preference. */
export function formsOf(mnemonic: Mnemonic): readonly Form[] {
  let forms = parsed.get(mnemonic);
  if (!forms) {
    forms = FORMS[mnemonic].map(text => {
      const [operands, encoding] = text.split('=').map(part => part.trim());
      return { text, operands: operands ? operands.split(',') : [], encoding: encoding.split(' ') };
    });
    parsed.set(mnemonic, forms);
  }
  return forms;
}

/** The forms that take these operands in code of this width, the preferred one first. */
export function match(mnemonic: Mnemonic, operands: readonly Operand[], bits: Bits): Match[] {
  const matches: Match[] = [];
  for (const form of formsOf(mnemonic)) {
    if (form.operands.length !== operands.length || !existsIn(form, bits)) continue;
    const hasWidth = form.operands.some(pattern => pattern === 'acc' || /^(r|rm|m|R|imm)v$/.test(pattern));
    const widths = hasWidth ? ([2, 4, 8] as const) : ([0] as const);
    for (const width of widths) {
      if (width === 8 && bits !== 64) continue;
      if (operands.every((operand, i) => fits(form, form.operands[i], operand, width, bits)))
        matches.push({ form, width });
    }
  }
  return matches;
}

function existsIn(form: Form, bits: Bits): boolean {
  const e = form.encoding;
  if (e.includes('x64')) return bits === 64;
  if (e.includes('x32')) return bits !== 64;
  if (e.includes('x16')) return bits === 16;
  return true;
}

function fits(form: Form, pattern: string, operand: Operand, v: Match['width'], bits: Bits): boolean {
  if (typeof operand === 'string') return pattern === 'rel';
  if (typeof operand === 'number' || typeof operand === 'bigint')
    return fitsImmediate(pattern, BigInt(operand), v, bits);
  if (operand.kind === 'address') return fitsAddress(pattern);
  if (operand.kind === 'memory') return fitsMemory(form, pattern, operand, v);
  const general = /^(?:rm?|R)(8|16|32|64|v)$/.exec(pattern);
  // `general` first: `r8` in the table is a width, not the register of that name.
  if (general === null && pattern === operand.name) return true;
  if (operand.class !== 'gpr') return pattern === operand.class;
  if (operand.size === 8 && bits !== 64) return false;
  if (pattern === 'acc') return operand.code === 0 && operand.size === v;
  return general !== null && operand.size === (general[1] === 'v' ? v : Number(general[1]) / 8);
}

function fitsMemory(form: Form, pattern: string, operand: Memory, v: number): boolean {
  const far = operand.base === undefined && operand.label === undefined && !isInt(operand.displacement, 32);
  if (pattern === 'moffs') {
    const named = form.operands.includes('al') ? 1 : v;
    return (
      far &&
      operand.index === undefined &&
      (operand.size === undefined ? form.operands.some(o => o === 'al' || o === 'acc') : operand.size === named)
    );
  }
  if (far && operand.index === undefined && !isUint(operand.displacement, 32)) return false;
  if (pattern === 'm') return true;
  const sized = /^(r?)m(8|16|32|48|64|80|128|v)$/.exec(pattern);
  if (!sized) return false;
  const size = sized[2] === 'v' ? v : Number(sized[2]) / 8;
  if (operand.size !== undefined) return operand.size === size;
  // Without a width of its own: a register beside it must give one, or the instruction must have only one.
  if (form.operands.length === 1) return sized[1] === '' && formsHaveOneMemory(form);
  return form.operands.some(other => widthOfRegister(other) === sized[2]);
}

/** CMPXCHG8B and the like take memory of one width; PUSH and far jumps, which differ by it, need it said. */
function formsHaveOneMemory(form: Form): boolean {
  return !form.encoding.some(token => token === 'ff' || token === '8f');
}

function widthOfRegister(pattern: string): Size | string | undefined {
  if (pattern === 'acc') return 'v';
  if (pattern === 'al') return '8';
  if (pattern === 'sreg') return '16';
  return /^[rR](8|16|32|64|v)$/.exec(pattern)?.[1];
}

function fitsAddress(pattern: string): boolean {
  return ['rel', 'imm16', 'imm32', 'imm64', 'immv', 'immz'].includes(pattern);
}

function fitsImmediate(pattern: string, value: bigint, v: number, bits: Bits): boolean {
  switch (pattern) {
    case '1':
      return value === 1n;
    case 'imm8':
    case 'imm16':
    case 'imm32': {
      const width = Number(pattern.slice(3));
      return isInt(value, width) || isUint(value, width);
    }
    case 'uimm32':
      return isUint(value, 32);
    case 'imm64':
      return (isInt(value, 64) || isUint(value, 64)) && !isInt(BigInt.asIntN(64, value), 32);
    case 'immv':
      if (v === 8) return (isInt(value, 64) || isUint(value, 64)) && isInt(BigInt.asIntN(64, value), 32);
      return isInt(value, v * 8) || isUint(value, v * 8);
    case 'simm8':
      return fitsSigned(value, 8, v === 0 ? bits : v * 8);
    case 'immz':
      return fitsSigned(value, bits === 16 ? 16 : 32, bits);
    default:
      return false;
  }
}

/** Is `value`, taken as a number of `width` bits with or without sign, what sign extension from `from` bits gives? */
function fitsSigned(value: bigint, from: number, width: number): boolean {
  return (isInt(value, width) || isUint(value, width)) && isInt(BigInt.asIntN(width, value), from);
}

export const isInt = (value: bigint, bits: number): boolean => BigInt.asIntN(bits, value) === value;
export const isUint = (value: bigint, bits: number): boolean => BigInt.asUintN(bits, value) === value;
