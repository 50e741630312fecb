// Compares a decoded instruction with what iced-x86 makes of the same bytes: length, validity, LOCK, repeat, registers, memory operand,
// immediates. Operands that an encoding implies (AL, CL, string pointers, the constant 1) are left out on both sides: how a table
// names them is its own affair.
import iced from 'iced-x86';
import type { Decoded, DecodedOperand, Decoder, Instruction } from '../../../src/cpu/decode/decoder.ts';
import { ModeBit } from '../../../src/cpu/layout.ts';

const { Code, CodeExt, DecoderOptions, EncodingKind, OpCodeOperandKind, OpKind, Register, RegisterExt } = iced;

export type Bitness = 16 | 32 | 64;

/** Mode bits of protected and long mode code segments. */
export function modeOf(bitness: Bitness): number {
  const common = ModeBit.protected | ModeBit.longActive | ModeBit.paging | ModeBit.user;
  if (bitness === 64) return common | ModeBit.long64;
  return bitness === 32 ? common | ModeBit.default32 : common;
}

const IMPLIED = new Set<number>(
  [
    'es',
    'cs',
    'ss',
    'ds',
    'fs',
    'gs',
    'al',
    'cl',
    'ax',
    'dx',
    'eax',
    'rax',
    'st0',
    'imm8_const_1',
    'seg_rSI',
    'es_rDI',
    'seg_rDI',
    'seg_rBX_al',
  ].map(name => OpCodeOperandKind[name as keyof typeof OpCodeOperandKind]),
);

interface CodeFacts {
  name: string;
  /** Positions of the operands that the bytes hold. */
  explicit: number[];
  kinds: number[];
  legacy: boolean;
}

const facts: (CodeFacts | undefined)[] = [];

function factsOf(code: number): CodeFacts {
  const known = facts[code];
  if (known) return known;
  const info = CodeExt.opCode(code);
  const kinds = Array.from({ length: info.opCount }, (_, n) => info.opKind(n));
  const explicit = kinds.flatMap((k, n) => (IMPLIED.has(k) ? [] : [n]));
  const made = { name: Code[code], explicit, kinds, legacy: info.encoding === EncodingKind.Legacy };
  info.free();
  facts[code] = made;
  return made;
}

const EXPLICIT_SOURCES = new Set(['rm', 'reg', 'opcode', 'imm', 'relative', 'moffs', 'far']);

function registerText(register: number): string {
  const n = RegisterExt.number(register);
  if (RegisterExt.isGPR8(register)) {
    const high = register >= Register.AH && register <= Register.BH;
    return high ? `gpr${16 + register - Register.AH}` : `gpr${RegisterExt.number(RegisterExt.fullRegister(register))}`;
  }
  if (RegisterExt.isGPR(register)) return `gpr${n}`;
  if (RegisterExt.isXMM(register)) return `xmm${n}`;
  if (RegisterExt.isMM(register)) return `mmx${n}`;
  if (RegisterExt.isSegmentRegister(register)) return `seg${n}`;
  if (RegisterExt.isCR(register)) return `cr${n}`;
  if (RegisterExt.isDR(register)) return `dr${n}`;
  if (RegisterExt.isST(register)) return `x87${n}`;
  return `?${register}`;
}

const ADDRESS_BASES = [Register.AX, Register.EAX, Register.RAX];

function addressRegister(register: number): string {
  if (register === Register.None) return '-';
  if (!ADDRESS_BASES.includes(RegisterExt.base(register)) && !RegisterExt.isGPR(register)) return `?${register}`;
  return String(RegisterExt.number(register));
}

function icedMemory(i: iced.Instruction, bitness: Bitness, addressWidth: number): string {
  const relative = i.isIpRelMemoryOperand;
  const base = relative ? '-' : addressRegister(i.memoryBase);
  let displacement = i.memoryDisplacementU64;
  if (relative) displacement -= i.nextIP;
  let segment: string = String(RegisterExt.number(i.memorySegment));
  if (bitness === 64 && i.memorySegment !== Register.FS && i.memorySegment !== Register.GS) segment = '*';
  const scale = i.memoryIndex === Register.None ? 0 : Math.log2(i.memoryIndexScale);
  return `[${segment}:${base}+${addressRegister(i.memoryIndex)}<<${scale}+${BigInt.asUintN(addressWidth, displacement)}${relative ? ' rel' : ''}]`;
}

function ownMemory(i: Instruction, bitness: Bitness): string {
  const m = i.memory!;
  const name = (r: number): string => (r < 0 ? '-' : String(r));
  const segment = bitness === 64 && m.segment !== 4 && m.segment !== 5 ? '*' : String(m.segment);
  const displacement = BigInt.asUintN(i.addressWidth, BigInt(m.displacement));
  return `[${segment}:${name(m.base)}+${name(m.index)}<<${m.index < 0 ? 0 : m.scale}+${displacement}${m.ripRelative ? ' rel' : ''}]`;
}

/** Immediates as both give them, at the width that iced-x86's operand kind has. */
function icedImmediate(i: iced.Instruction, n: number, kind: number): [text: string, bits: number] {
  switch (kind) {
    case OpKind.NearBranch16:
      return [`${BigInt.asUintN(16, BigInt(i.nearBranch16) - i.nextIP)}`, 16];
    case OpKind.NearBranch32:
      return [`${BigInt.asUintN(32, BigInt(i.nearBranch32) - i.nextIP)}`, 32];
    case OpKind.NearBranch64:
      return [`${BigInt.asUintN(64, i.nearBranch64 - i.nextIP)}`, 64];
    case OpKind.FarBranch16:
      return [`${(BigInt(i.farBranchSelector) << 32n) | BigInt(i.farBranch16)}`, 64];
    case OpKind.FarBranch32:
      return [`${(BigInt(i.farBranchSelector) << 32n) | BigInt(i.farBranch32)}`, 64];
    default: {
      const bits = [8, 8, 16, 32, 64, 16, 32, 64, 64][kind - OpKind.Immediate8];
      return [`${BigInt.asUintN(bits, i.immediate(n))}`, bits];
    }
  }
}

function ownOperand(i: Instruction, o: DecodedOperand, bitness: Bitness, bits: number): string {
  if (o.kind === 'reg') return `${o.spec.file}${o.register}`;
  if (o.kind === 'imm') return `${BigInt.asUintN(bits, o.immediate)}`;
  if (o.spec.source === 'moffs') {
    const segment =
      bitness === 64 && i.memory!.segment !== 4 && i.memory!.segment !== 5 ? '*' : String(i.memory!.segment);
    return `[${segment}:-+-<<0+${BigInt.asUintN(i.addressWidth, o.immediate)}]`;
  }
  return ownMemory(i, bitness);
}

export interface Comparison {
  /** What differs, or null. */
  difference: string | null;
  /** Bytes to step over to the next instruction. */
  length: number;
  /** iced-x86's name, for statistics. */
  name: string;
  valid: boolean;
}

export interface CompareOptions {
  /** Encodings that iced-x86 knows and the processor need not: the table answers #UD and that is right. */
  mayLack: (name: string, legacy: boolean) => boolean;
  /** Rows whose operands are not looked at (NOPs). */
  skipOperands: (i: Instruction) => boolean;
}

/** Decodes the same bytes again and again without making new objects. */
export class Comparer {
  private readonly decoder: Decoder;
  private readonly options: CompareOptions;
  private readonly scratch = new iced.Instruction();

  constructor(decoder: Decoder, options: CompareOptions) {
    this.decoder = decoder;
    this.options = options;
  }

  /** An iced-x86 decoder over `bytes`, for compareNext. The caller frees it. */
  open(bytes: Uint8Array, bitness: Bitness, ip: bigint): iced.Decoder {
    const d = new iced.Decoder(bitness, bytes, DecoderOptions.None);
    d.ip = ip;
    return d;
  }

  /** Compares one instruction at the start of `bytes`. */
  compare(bytes: Uint8Array, bitness: Bitness): Comparison {
    const reference = this.open(bytes, bitness, 0x10000n);
    const result = this.compareAt(reference, bytes, 0, bitness);
    reference.free();
    return result;
  }

  /** Compares the instruction at bytes[at], where `reference` stands. */
  compareAt(reference: iced.Decoder, bytes: Uint8Array, at: number, bitness: Bitness): Comparison {
    const i = this.scratch;
    reference.decodeOut(i);
    const own = this.decoder.decode(bytes, at, bytes.length, modeOf(bitness));
    const known = factsOf(i.code);
    const valid = !i.isInvalid;
    const result: Comparison = { difference: null, length: i.length || 1, name: known.name, valid };
    result.difference = this.difference(i, own, known, bitness, valid);
    return result;
  }

  private difference(
    i: iced.Instruction,
    own: Decoded,
    known: CodeFacts,
    bitness: Bitness,
    valid: boolean,
  ): string | null {
    if (own === 'more') return valid ? `wants more bytes for ${known.name}` : null;
    if ('fault' in own) {
      if (!valid || this.options.mayLack(known.name, known.legacy)) return null;
      return `refused (vector ${own.fault}), iced-x86 has ${known.name}`;
    }
    if (!valid) return `decoded as ${own.row.pattern}, iced-x86 has none`;
    if (!known.legacy) return `decoded as ${own.row.pattern}, iced-x86 has ${known.name}`;
    if (own.length !== i.length)
      return `length ${own.length} (${own.row.pattern}), iced-x86 has ${i.length} (${known.name})`;
    if (own.lock !== i.hasLockPrefix) return `LOCK differs for ${known.name}`;
    if (this.options.skipOperands(own)) return null;
    const mine = own.operands.filter(o => EXPLICIT_SOURCES.has(o.spec.source));
    if (mine.length !== known.explicit.length) {
      return `${mine.length} operands (${own.row.pattern}), iced-x86 has ${known.explicit.length} (${known.name})`;
    }
    for (let k = 0; k < mine.length; k++) {
      const n = known.explicit[k];
      const kind = i.opKind(n);
      let theirs: string;
      let bits = 64;
      if (kind === OpKind.Register) theirs = registerText(i.opRegister(n));
      else if (kind === OpKind.Memory) theirs = icedMemory(i, bitness, own.addressWidth);
      else [theirs, bits] = icedImmediate(i, n, kind);
      const ours = ownOperand(own, mine[k], bitness, bits);
      if (ours !== theirs)
        return `operand ${k} is ${ours} (${own.row.pattern}), iced-x86 has ${theirs} (${known.name})`;
    }
    return null;
  }
}
