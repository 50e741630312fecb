// The decoder: instruction bytes to an Instruction, for every mode (SDM Vol. 2, chapter 2).
import { Vector } from '../exits.ts';
import { ModeBit } from '../layout.ts';
import type { CpuModel } from '../models/model.ts';
import type { Width } from '../semantics/ops.ts';
import type { OperandSpec, Row } from './row.ts';
import type { EncodingTable } from './table.ts';

export const MAX_INSTRUCTION_LENGTH = 15;
const NONE = -1;
/** Legacy prefixes (SDM Vol. 2A, 2.1.1). */
const PREFIX = new Uint8Array(256);
for (const prefix of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]) PREFIX[prefix] = 1;

/** A memory operand: base + (index << scale) + displacement, in a segment. Register numbers, or -1. */
export interface MemoryOperand {
  base: number;
  index: number;
  scale: number;
  /** Displacement, sign-extended; for RIP-relative operands relative to the next instruction. */
  displacement: number;
  ripRelative: boolean;
  /** SEG index. */
  segment: number;
}

/** A decoded operand; which fields count follows from its spec. */
export interface DecodedOperand {
  spec: OperandSpec;
  kind: 'reg' | 'mem' | 'imm';
  /** Register number in its file. For 8-bit general registers 16-19 stand for AH CH DH BH. */
  register: number;
  immediate: bigint;
}

export interface Instruction {
  row: Row;
  length: number;
  /** The width that the semantic function is given. */
  width: Width;
  addressWidth: 16 | 32 | 64;
  repeat: 'none' | 'rep' | 'repne';
  lock: boolean;
  operands: DecodedOperand[];
  memory: MemoryOperand | null;
}

/** What decoding ended in: an instruction, an exception to raise, or more bytes wanted. */
export type Decoded = Instruction | { fault: number } | 'more';

/** Bytes to decode from: bytes[at..end). */
export class Decoder {
  private readonly table: EncodingTable;
  private bytes: Uint8Array = new Uint8Array(0);
  private at = 0;
  private end = 0;

  private readonly vendor: CpuModel['vendor'];

  /** @param vendor the few encodings that the vendors read differently */
  constructor(table: EncodingTable, vendor: CpuModel['vendor'] = 'GenuineIntel') {
    this.table = table;
    this.vendor = vendor;
  }

  /**
   * Decodes one instruction. `end` bounds the bytes at hand; where the instruction goes on behind it, 'more' is returned.
   * @param mode ModeBit set
   */
  decode(bytes: Uint8Array, start: number, end: number, mode: number): Decoded {
    this.bytes = bytes;
    this.at = start;
    this.end = Math.min(end, start + MAX_INSTRUCTION_LENGTH);
    const result = this.decodeOne(start, mode);
    if (this.at <= this.end) return result;
    return end - start >= MAX_INSTRUCTION_LENGTH ? { fault: Vector.GP } : 'more';
  }

  /** Reads past the end give 0 and are noticed in decode(). */
  private byte(): number {
    const at = this.at++;
    return at < this.end ? this.bytes[at] : 0;
  }

  private u16(): number {
    return this.byte() | (this.byte() << 8);
  }

  private i32(): number {
    return this.u16() | (this.u16() << 16);
  }

  private decodeOne(start: number, mode: number): Decoded {
    const long64 = (mode & ModeBit.long64) !== 0;
    const default32 = long64 || (mode & ModeBit.default32) !== 0;
    let operand66 = false;
    let address67 = false;
    let lock = false;
    let repeatPrefix = 0;
    let segment = NONE;
    let rex = 0;
    let opcode: number;
    for (;;) {
      if (this.at >= this.end) {
        this.at++;
        return 'more';
      }
      opcode = this.byte();
      if (long64 && (opcode & 0xf0) === 0x40) {
        rex = opcode;
        continue;
      }
      if (!PREFIX[opcode]) break;
      if (opcode === 0x66) operand66 = true;
      else if (opcode === 0x67) address67 = true;
      else if (opcode === 0xf0) lock = true;
      else if (opcode >= 0xf2) repeatPrefix = opcode;
      else if (opcode >= 0x64) segment = opcode - 0x60;
      else if (!long64) segment = (opcode >> 3) & 3;
      rex = 0; // a REX prefix counts only directly before the opcode
    }
    let map = 0;
    if (opcode === 0x0f) {
      map = 1;
      opcode = this.byte();
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = this.byte();
      }
    }
    if (this.at > this.end) return 'more';
    const rexW = (rex & 8) !== 0;
    let modrm = 0;
    const hasModrm = this.table.hasModrm(map, opcode);
    if (hasModrm) modrm = this.byte();
    const prefixClass = repeatPrefix === 0xf3 ? 2 : repeatPrefix === 0xf2 ? 3 : operand66 ? 1 : 0;
    const row = this.table.find(map, opcode, prefixClass, rexW, modrm, long64, (rex & 1) !== 0);
    if (!row) return { fault: Vector.UD };
    if (row.protectedOnly && (!(mode & ModeBit.protected) || mode & ModeBit.v86)) return { fault: Vector.UD };

    const addressWidth = long64 ? (address67 ? 32 : 64) : default32 !== address67 ? 32 : 16;
    const operandWidth = operandSize(
      row,
      long64,
      default32,
      operand66 && row.mandatory !== '66',
      rexW && !(row.farPointer && this.vendor === 'AuthenticAMD'),
    );
    let memory: MemoryOperand | null = null;
    let rmRegister = NONE;
    if (hasModrm) {
      // control and debug register moves ignore ModRM.mod
      if (modrm >= 0xc0 || row.ignoresMod) rmRegister = (modrm & 7) | ((rex & 1) << 3);
      else memory = addressWidth === 16 ? this.memory16(modrm) : this.memory32(modrm, rex, long64);
    }
    const operands: DecodedOperand[] = [];
    let hasMemory = memory !== null;
    for (const spec of row.operands) {
      const operand: DecodedOperand = { spec, kind: 'reg', register: 0, immediate: 0n };
      switch (spec.source) {
        case 'rm':
          if (memory) operand.kind = 'mem';
          else operand.register = registerNumber(spec, rmRegister, rex !== 0);
          break;
        case 'reg':
          operand.register = registerNumber(spec, ((modrm >> 3) & 7) | ((rex & 4) << 1), rex !== 0);
          break;
        case 'opcode':
          operand.register = registerNumber(spec, (opcode & 7) | ((rex & 1) << 3), rex !== 0);
          break;
        case 'fixed':
          operand.register = spec.fixed;
          break;
        case 'one':
          operand.kind = 'imm';
          operand.immediate = 1n;
          break;
        case 'imm':
        case 'relative':
          operand.kind = 'imm';
          operand.immediate = this.immediate(spec, operandWidth);
          break;
        case 'moffs':
          operand.kind = 'mem';
          hasMemory = true;
          memory = { base: NONE, index: NONE, scale: 0, displacement: 0, ripRelative: false, segment: NONE };
          operand.immediate =
            addressWidth === 64 ? this.u64() : BigInt((addressWidth === 32 ? this.i32() : this.u16()) >>> 0);
          break;
        case 'string':
          operand.kind = 'mem';
          memory = { base: NONE, index: NONE, scale: 0, displacement: 0, ripRelative: false, segment: NONE };
          break;
        case 'far': {
          operand.kind = 'imm';
          const offset = operandWidth === 16 ? this.u16() : this.i32() >>> 0;
          operand.immediate = (BigInt(this.u16()) << 32n) | BigInt(offset);
          break;
        }
      }
      operands.push(operand);
    }
    if (this.at > this.end) return 'more';
    if (row.ignoresMod && operands.some(o => !registerExists(o))) return { fault: Vector.UD };
    if (memory) {
      const stack = memory.base === 4 || memory.base === 5;
      memory.segment = segment !== NONE ? segment : stack ? 2 : 3;
    }
    if (lock && !(row.lock && hasMemory && operands[0].kind === 'mem')) return { fault: Vector.UD };
    const length = this.at - start;
    const repeat = row.rep && repeatPrefix ? (repeatPrefix === 0xf3 ? 'rep' : 'repne') : 'none';
    return { row, length, width: operandWidth, addressWidth, repeat, lock, operands, memory };
  }

  private u64(): bigint {
    const low = BigInt(this.i32() >>> 0);
    return low | (BigInt(this.i32() >>> 0) << 32n);
  }

  /** An immediate, sign-extended or not, as an unsigned 64-bit value. */
  private immediate(spec: OperandSpec, width: Width): bigint {
    const size = spec.size;
    if (size === 'v' && width === 64) return this.u64();
    let value: number;
    if (size === 8) value = (this.byte() << 24) >> 24;
    else if (size === 16 || width === 16) value = (this.u16() << 16) >> 16;
    else value = this.i32();
    if (spec.signed) return BigInt.asUintN(64, BigInt(value));
    const bits = size === 8 ? 8 : size === 16 || width === 16 ? 16 : 32;
    return BigInt.asUintN(bits, BigInt(value));
  }

  private memory32(modrm: number, rex: number, long64: boolean): MemoryOperand {
    const mod = modrm >> 6;
    const rm = modrm & 7;
    const m: MemoryOperand = {
      base: rm | ((rex & 1) << 3),
      index: NONE,
      scale: 0,
      displacement: 0,
      ripRelative: false,
      segment: NONE,
    };
    if (rm === 4) {
      const sib = this.byte();
      const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
      if (index !== 4) {
        m.index = index;
        m.scale = sib >> 6;
      }
      m.base = (sib & 7) | ((rex & 1) << 3);
      if ((sib & 7) === 5 && mod === 0) {
        m.base = NONE;
        m.displacement = this.i32();
      }
    } else if (rm === 5 && mod === 0) {
      m.base = NONE;
      m.ripRelative = long64;
      m.displacement = this.i32();
    }
    if (mod === 1) m.displacement = (this.byte() << 24) >> 24;
    else if (mod === 2) m.displacement = this.i32();
    return m;
  }

  private memory16(modrm: number): MemoryOperand {
    const mod = modrm >> 6;
    const rm = modrm & 7;
    // rm: bx+si bx+di bp+si bp+di si di bp bx
    const m: MemoryOperand = {
      base: [3, 3, 5, 5, 6, 7, 5, 3][rm],
      index: rm < 4 ? 6 + (rm & 1) : NONE,
      scale: 0,
      displacement: 0,
      ripRelative: false,
      segment: NONE,
    };
    if (mod === 0 && rm === 6) {
      m.base = NONE;
      m.displacement = (this.u16() << 16) >> 16;
    } else if (mod === 1) m.displacement = (this.byte() << 24) >> 24;
    else if (mod === 2) m.displacement = (this.u16() << 16) >> 16;
    return m;
  }
}

/** CR0 CR2 CR3 CR4 CR8, DR0-DR7. */
function registerExists({ spec, register }: DecodedOperand): boolean {
  if (spec.file === 'cr') return register <= 4 ? register !== 1 : register === 8;
  return spec.file !== 'dr' || register < 8;
}

/** AH CH DH BH are 16-19 where no REX prefix makes them SPL BPL SIL DIL. x87 and MMX registers ignore REX. */
function registerNumber(spec: OperandSpec, n: number, rex: boolean): number {
  if (spec.file === 'gpr' && spec.size === 8 && !rex && n >= 4 && n < 8) return n + 12;
  if (spec.file === 'mmx' || spec.file === 'x87' || spec.file === 'seg') return n & 7;
  return n;
}

/** The width for the semantic function: by prefixes where an operand is v, y or z, else fixed by the row. */
function operandSize(row: Row, long64: boolean, default32: boolean, operand66: boolean, rexW: boolean): Width {
  const kind = row.widthKind;
  if (kind === 'y') return long64 && (rexW || row.f64) ? 64 : 32;
  if (kind === 'z' && !row.d64 && !row.f64) return default32 !== (operand66 && !rexW) ? 32 : 16;
  if (kind === 'v' || kind === 'z') {
    if (long64) {
      if (row.f64 || rexW) return 64;
      if (row.d64) return operand66 ? 16 : 64;
      return operand66 ? 16 : 32;
    }
    return default32 !== operand66 ? 32 : 16;
  }
  return kind;
}
