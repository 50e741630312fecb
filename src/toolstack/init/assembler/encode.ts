// One instruction to bytes: prefixes, REX, opcode, ModRM, SIB, displacement, immediates (SDM Vol. 2A, chapter 2).
// Addresses of labels are not known yet; they are left as fixups.
import type { Mnemonic } from './forms.ts';
import { type Bits, isInt, isUint, type Match, match } from './match.ts';
import type { Address, Memory, Operand, Register } from './operands.ts';

/** A place that waits for an address. */
export interface Fixup {
  readonly at: number;
  readonly size: 1 | 2 | 4 | 8;
  readonly target: Address;
  /** Relative to the end of the instruction. */
  relative: boolean;
  /** 'int': must be what sign extension gives; 'any': signed or unsigned. */
  readonly range: 'int' | 'any';
}

export interface Encoded {
  /** The line of the table that was used. */
  readonly form: string;
  readonly bytes: number[];
  readonly fixups: Fixup[];
}

/**
 * The encodings that take these operands: one, or for a branch to a label the short one and then the near one.
 * @throws Error when the instruction has no such form, or the operands cannot stand together.
 */
export function encode(mnemonic: Mnemonic, operands: readonly Operand[], bits: Bits): Encoded[] {
  const matches = match(mnemonic, operands, bits);
  if (matches.length === 0)
    throw new Error(`no form of ${mnemonic} in ${bits}-bit code takes (${operands.map(describe).join(', ')})`);
  const wanted = matches[0].form.operands.includes('rel') ? matches : matches.slice(0, 1);
  try {
    return wanted.map(m => encodeForm(m, operands, bits));
  } catch (error) {
    throw new Error(`${mnemonic} (${operands.map(describe).join(', ')}): ${(error as Error).message}`);
  }
}

/** An operand as one would write it, for messages. */
export function describe(operand: Operand): string {
  if (typeof operand !== 'object') return String(operand);
  if (operand.kind === 'register') return operand.name;
  if (operand.kind === 'address') return `addr ${operand.label}`;
  const parts = [operand.label, operand.base?.name, operand.index && `${operand.index.name}*${operand.scale}`];
  if (operand.displacement !== 0n) parts.push(operand.displacement.toString());
  return `${operand.size ? `${operand.size} bytes at ` : ''}[${parts.filter(Boolean).join(' + ')}]`;
}

interface Draft {
  opcode: number[];
  reg: Register | number | undefined;
  rm: Register | Memory | undefined;
  plus: Register | undefined;
  tail: number[];
  fixups: Fixup[];
}

const HEX = /^[0-9a-f]{2}$/;

function encodeForm({ form, width }: Match, operands: readonly Operand[], bits: Bits): Encoded {
  const draft: Draft = { opcode: [], reg: undefined, rm: undefined, plus: undefined, tail: [], fixups: [] };
  const tokens = form.encoding;
  assignOperands(draft, form.operands, operands, tokens);

  const prefixes: number[] = [];
  let operandSize: number = width;
  let addressSize = 0;
  let mandatory: number | undefined;
  const immediates = operands.filter((_, i) => /^(s|u)?imm/.test(form.operands[i]));
  const patches: Array<() => void> = [];
  tokens.forEach((token, i) => {
    if (/^o(16|32|64)$/.test(token)) operandSize = Number(token.slice(1)) / 8;
    else if (/^a(16|32)$/.test(token)) addressSize = Number(token.slice(1));
    else if (/^(66|f2|f3)$/.test(token) && HEX.test(tokens[i + 1] ?? '') && draft.opcode.length === 0)
      mandatory = Number.parseInt(token, 16);
    else if (HEX.test(token)) draft.opcode.push(Number.parseInt(token, 16));
    else if (/^\/[0-7]$/.test(token)) draft.reg = Number(token[1]);
    else if (/^i[bwdqvz]$/.test(token)) {
      const size = immediateSize(token[1], width, bits);
      const extended = (width === 8 && size === 4) || (token === 'iz' && bits === 64);
      patches.push(() => putImmediate(draft, immediates.shift() as Operand, size, extended));
    } else if (token === 'moffs') {
      const address = operands.find(o => typeof o === 'object' && o.kind === 'memory') as Memory;
      patches.push(() => putNumber(draft.tail, address.displacement, 8));
      if (address.segment) prefixes.push(segmentPrefix(address.segment));
    } else if (token === 'rel8' || token === 'relv') {
      const size = token === 'rel8' ? 1 : bits === 16 ? 2 : 4;
      patches.push(() => putAddress(draft, toAddress(operands[0]), size, true, 'int'));
    } else if (token === 'far') {
      const [selector, offset] = operands;
      patches.push(() => {
        putImmediate(draft, offset, operandSize, false);
        putImmediate(draft, selector, 2, false);
      });
    }
  });

  // Everything after the opcode, so that displacements stand before immediates.
  const body: number[] = [];
  let rexBits = operandSize === 8 && bits === 64 ? 8 : 0;
  if (draft.plus) {
    draft.opcode[draft.opcode.length - 1] += draft.plus.code & 7;
    rexBits |= draft.plus.code >> 3;
  }
  const reg = typeof draft.reg === 'object' ? draft.reg.code : (draft.reg ?? 0);
  rexBits |= (reg >> 3) << 2;
  if (draft.rm?.kind === 'register') {
    body.push(0xc0 | ((reg & 7) << 3) | (draft.rm.code & 7));
    rexBits |= draft.rm.code >> 3;
  } else if (draft.rm) {
    const memory = encodeMemory(draft.rm, reg & 7, bits);
    body.push(...memory.bytes);
    rexBits |= memory.rex;
    addressSize = memory.addressSize;
    draft.fixups.push(...memory.fixups);
    if (draft.rm.segment) prefixes.push(segmentPrefix(draft.rm.segment));
  }
  if (addressSize !== 0 && addressSize !== bits) prefixes.push(0x67);
  if ((operandSize === 2 && bits !== 16) || (operandSize === 4 && bits === 16)) prefixes.push(0x66);
  if (mandatory !== undefined) prefixes.push(mandatory);

  const used = operands.filter(o => typeof o === 'object' && o.kind === 'register') as Register[];
  const rexNeeded = rexBits !== 0 || used.some(r => r.rex === 'needed');
  if (rexNeeded && bits !== 64) throw new Error('R8-R15, SPL, BPL, SIL and DIL exist in 64-bit code only');
  if (rexNeeded && used.some(r => r.rex === 'forbidden'))
    throw new Error('AH, CH, DH and BH cannot stand in an instruction that needs a REX prefix');

  const head = [...prefixes, ...(rexNeeded ? [0x40 | rexBits] : []), ...draft.opcode];
  const fixups = draft.fixups.map(f => ({ ...f, at: f.at + head.length }));
  const middle = head.length + body.length;
  draft.fixups.length = 0;
  for (const patch of patches) patch();
  fixups.push(...draft.fixups.map(f => ({ ...f, at: f.at + middle })));
  return { form: form.text, bytes: [...head, ...body, ...draft.tail], fixups };
}

function assignOperands(
  draft: Draft,
  patterns: readonly string[],
  operands: readonly Operand[],
  tokens: readonly string[],
) {
  const slashR = tokens.includes('/r');
  const slashDigit = tokens.some(t => /^\/[0-7]$/.test(t));
  operands.forEach((operand, i) => {
    const pattern = patterns[i];
    if (typeof operand !== 'object' || operand.kind === 'address') return;
    if (/^(rm|m|R)(\d+|v)?$/.test(pattern) && (slashR || slashDigit)) draft.rm = operand;
    else if (operand.kind !== 'register') return;
    else if (/^r(\d+|v)$/.test(pattern) && tokens.includes('+r')) draft.plus = operand;
    else if (slashR && (/^r(\d+|v)$/.test(pattern) || ['sreg', 'cr', 'dr'].includes(pattern))) draft.reg = operand;
  });
}

function immediateSize(letter: string, width: number, bits: Bits): number {
  if (letter === 'v') return Math.min(width, 4);
  if (letter === 'z') return bits === 16 ? 2 : 4;
  return { b: 1, w: 2, d: 4, q: 8 }[letter] as number;
}

function putImmediate(draft: Draft, operand: Operand, size: number, signed: boolean) {
  if (typeof operand === 'number' || typeof operand === 'bigint') putNumber(draft.tail, BigInt(operand), size);
  else putAddress(draft, toAddress(operand), size as Fixup['size'], false, signed ? 'int' : 'any');
}

function toAddress(operand: Operand): Address {
  if (typeof operand === 'string') return { kind: 'address', label: operand, addend: 0n };
  return operand as Address;
}

function putAddress(draft: Draft, target: Address, size: Fixup['size'], relative: boolean, range: Fixup['range']) {
  draft.fixups.push({ at: draft.tail.length, size, target, relative, range });
  putNumber(draft.tail, 0n, size);
}

/** Appends `size` bytes, little-endian. */
export function putNumber(bytes: number[], value: bigint, size: number) {
  const unsigned = BigInt.asUintN(size * 8, value);
  for (let i = 0; i < size; i++) bytes.push(Number((unsigned >> BigInt(8 * i)) & 0xffn));
}

const segmentPrefix = (segment: Register) => [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65][segment.code];

interface EncodedMemory {
  bytes: number[];
  rex: number;
  addressSize: number;
  fixups: Fixup[];
}

function encodeMemory(memory: Memory, reg: number, bits: Bits): EncodedMemory {
  const { base, index, label, displacement } = memory;
  if (index && base && index.size !== base.size) throw new Error('base and index must be of one width');
  if (index && (index.code === 4 || index.class !== 'gpr')) throw new Error(`${index.name} cannot be an index`);
  const addressSize = (base ?? index) ? (base ?? (index as Register)).size * 8 : bits;
  if (addressSize === 8 || (addressSize === 64) !== (bits === 64 && addressSize !== 32))
    throw new Error(`a ${addressSize}-bit address cannot stand in ${bits}-bit code`);
  if (addressSize === 16) return encodeMemory16(memory, reg);
  if (!isInt(displacement, 32) && !(isUint(displacement, 32) && addressSize === 32))
    throw new Error(`displacement ${displacement} does not fit in 32 bits`);

  const bytes: number[] = [];
  const fixups: Fixup[] = [];
  const rex = (base ? base.code >> 3 : 0) | (index ? (index.code >> 3) << 1 : 0);
  const low = reg << 3;
  const wide = () => {
    if (label !== undefined) {
      const relative = bits === 64 && !base && !index;
      const target: Address = { kind: 'address', label, addend: displacement };
      fixups.push({ at: bytes.length, size: 4, target, relative, range: addressSize === 64 ? 'int' : 'any' });
    }
    putNumber(bytes, label === undefined ? displacement : 0n, 4);
  };
  if (!base && !index) {
    // ModRM 00 101 is [RIP + disp32] in 64-bit code; a plain address needs a SIB byte there.
    if (bits === 64 && label === undefined) bytes.push(low | 4, 0x25);
    else bytes.push(low | 5);
    wide();
    return { bytes, rex, addressSize, fixups };
  }
  const sib = index ? (Math.log2(memory.scale) << 6) | ((index.code & 7) << 3) : 0x20;
  if (!base) {
    bytes.push(low | 4, sib | 5);
    wide();
    return { bytes, rex, addressSize, fixups };
  }
  const needsSib = index !== undefined || (base.code & 7) === 4;
  const short = label === undefined && isInt(displacement, 8);
  // RBP and R13 with mod 00 mean something else, so they always carry a displacement.
  const mod = label !== undefined || !short ? 2 : displacement !== 0n || (base.code & 7) === 5 ? 1 : 0;
  bytes.push((mod << 6) | low | (needsSib ? 4 : base.code & 7));
  if (needsSib) bytes.push(sib | (base.code & 7));
  if (mod === 1) putNumber(bytes, displacement, 1);
  else if (mod === 2) wide();
  return { bytes, rex, addressSize, fixups };
}

/** SDM Vol. 2A, table 2-1: BX or BP, SI or DI, or one of each. */
function encodeMemory16(memory: Memory, reg: number): EncodedMemory {
  const { base, index, label, displacement } = memory;
  if (memory.scale !== 1) throw new Error('16-bit addresses have no scale');
  const names = [base?.name, index?.name].filter(name => name !== undefined).sort();
  const plain = names.length === 0;
  const rm = plain ? 6 : ['bx si', 'bx di', 'bp si', 'bp di', 'si', 'di', 'bp', 'bx'].indexOf(names.join(' '));
  if (rm < 0) throw new Error(`no 16-bit address is made of ${names.join(' and ')}`);
  if (!isInt(displacement, 16) && !isUint(displacement, 16)) throw new Error('displacement does not fit in 16 bits');
  const short = label === undefined && isInt(displacement, 8);
  const mod = plain ? 0 : !short ? 2 : displacement !== 0n || rm === 6 ? 1 : 0;
  const bytes = [(mod << 6) | (reg << 3) | rm];
  const fixups: Fixup[] = [];
  if (mod === 1) putNumber(bytes, displacement, 1);
  else if (mod === 2 || plain) {
    if (label !== undefined) {
      const target: Address = { kind: 'address', label, addend: displacement };
      fixups.push({ at: 1, size: 2, target, relative: false, range: 'any' });
    }
    putNumber(bytes, label === undefined ? displacement : 0n, 2);
  }
  return { bytes, rex: 0, addressSize: 16, fixups };
}
