// Builds instruction bytes for one of iced-x86's encodings: prefixes, opcode, ModRM, SIB, displacement and immediates, all varied, and
// kept only if iced-x86 decodes them back to that encoding, as AMD's and as Intel's decoders see them.
import iced from 'iced-x86';
import type { Mode } from '../case.ts';
import type { Prng } from '../prng.ts';

const { CodeExt, DecoderOptions, MandatoryPrefix, OpCodeOperandKind, OpCodeTableKind } = iced;

const MAX_LENGTH = 15;
const PREFIX_66 = 1;
const PREFIX_67 = 2;
const REX_W = 4;

const REGISTER_IN_OPCODE = new Set<number>([
  OpCodeOperandKind.r8_opcode,
  OpCodeOperandKind.r16_opcode,
  OpCodeOperandKind.r32_opcode,
  OpCodeOperandKind.r64_opcode,
  OpCodeOperandKind.sti_opcode,
]);

function isModrmKind(kind: number): boolean {
  const name = OpCodeOperandKind[kind];
  return /_(or_mem|reg|rm|reg_mem)$|^mem$|^mem_mpx$|^mem_mib$/.test(name);
}

/** What is fixed about an encoding in one mode. */
export interface Form {
  code: number;
  mode: Mode;
  /** Combinations of PREFIX_66, PREFIX_67, REX_W that give this encoding; the plainest first. */
  sizes: number[];
  mandatory: number[];
  opcode: number[];
  registerInOpcode: boolean;
  modrm: boolean;
  /** ModRM.reg and rm where they are part of the opcode, else -1. */
  reg: number;
  rm: number;
  register: boolean;
  memory: boolean;
  lock: boolean;
  rep: boolean;
  repne: boolean;
  /** No F2, F3 or 66 may be added: they choose another instruction. */
  plainOnly: boolean;
}

export interface Built {
  bytes: Uint8Array;
  instruction: iced.Instruction;
  constants: iced.ConstantOffsets;
}

function decodeWith(
  bytes: Uint8Array,
  mode: Mode,
  rip: bigint,
  options: number,
): { instruction: iced.Instruction; constants: iced.ConstantOffsets } {
  const decoder = new iced.Decoder(mode, bytes, options);
  decoder.ip = rip;
  const instruction = decoder.decode();
  const constants = decoder.getConstantOffsets(instruction);
  decoder.free();
  return { instruction, constants };
}

/** Decodes as both vendors do; null where they differ or the bytes are not `code`. */
export function decodeAs(code: number, bytes: Uint8Array, mode: Mode, rip: bigint): Built | null {
  const { instruction, constants } = decodeWith(bytes, mode, rip, DecoderOptions.None);
  if (instruction.code === code && instruction.length <= MAX_LENGTH) {
    const amd = decodeWith(bytes, mode, rip, DecoderOptions.AMD).instruction;
    const alike = amd.equalsAllBits(instruction);
    amd.free();
    if (alike) return { bytes: bytes.slice(0, instruction.length), instruction, constants };
  }
  instruction.free();
  constants.free();
  return null;
}

function opcodeBytes(table: number, opCode: number, length: number): number[] {
  const last = length === 2 ? [opCode >> 8, opCode & 0xff] : [opCode];
  if (table === OpCodeTableKind.T0F) return [0x0f, ...last];
  if (table === OpCodeTableKind.T0F38) return [0x0f, 0x38, ...last];
  if (table === OpCodeTableKind.T0F3A) return [0x0f, 0x3a, ...last];
  return last;
}

function mandatoryBytes(prefix: number): number[] {
  if (prefix === MandatoryPrefix.P66) return [0x66];
  if (prefix === MandatoryPrefix.PF3) return [0xf3];
  return prefix === MandatoryPrefix.PF2 ? [0xf2] : [];
}

/** The encoding's shape in a mode, or null where it does not exist there. */
export function formOf(code: number, mode: Mode, prng: Prng): Form | null {
  const info = CodeExt.opCode(code);
  try {
    if (!info.isAvailableInMode(mode)) return null;
    const kinds = [0, 1, 2, 3].slice(0, info.opCount).map(i => info.opKind(i));
    const form: Form = {
      code,
      mode,
      sizes: [],
      mandatory: mandatoryBytes(info.mandatoryPrefix),
      opcode: opcodeBytes(info.table, info.opCode, info.opCodeLength),
      registerInOpcode: kinds.some(k => REGISTER_IN_OPCODE.has(k)),
      modrm: info.isGroup || info.isRmGroup || kinds.some(isModrmKind),
      reg: info.groupIndex,
      rm: info.rmGroupIndex,
      register: false,
      memory: false,
      lock: info.canUseLockPrefix,
      rep: info.canUseRepPrefix,
      repne: info.canUseRepnePrefix,
      plainOnly: info.mandatoryPrefix !== MandatoryPrefix.None,
    };
    const sizes = mode === 64 ? [0, 1, 4, 2, 3, 5, 6, 7] : [0, 1, 2, 3];
    const tries = form.modrm ? ['reg', 'mem'] : ['none'];
    for (const size of sizes) {
      let works = false;
      for (const want of tries) {
        for (let n = 0; n < (want === 'none' ? 1 : 8); n++) {
          const built = build(form, prng, { size, memory: want === 'mem', lean: true, rip: 0x20000800n });
          if (!built) continue;
          works = true;
          if (want === 'mem') form.memory = true;
          else form.register = true;
          release(built);
          break;
        }
      }
      if (works) form.sizes.push(size);
    }
    return form.sizes.length ? form : null;
  } finally {
    info.free();
  }
}

export function release(built: Built): void {
  built.instruction.free();
  built.constants.free();
}

export interface BuildOptions {
  size: number;
  memory: boolean;
  /** No optional prefixes. */
  lean: boolean;
  rip: bigint;
}

const SEGMENT_PREFIXES = [0x64, 0x65, 0x64, 0x65, 0x2e, 0x36, 0x3e, 0x26];

/** Bytes of the encoding with everything else random, or null where they turned out to be something else. */
export function build(form: Form, prng: Prng, options: BuildOptions): Built | null {
  const { mode } = form;
  const { size, memory, lean } = options;
  const bytes: number[] = [];
  const addressSize = size & PREFIX_67 ? (mode === 64 ? 32 : mode === 32 ? 16 : 32) : mode;
  if (!lean) {
    if (form.lock && memory && prng.oneIn(3)) bytes.push(0xf0);
    else if (form.rep && prng.below(5) < 3) bytes.push(0xf3);
    else if (form.repne && prng.oneIn(3)) bytes.push(0xf2);
    // A 16-bit address reaches the data only through a segment's base.
    const segmentOften = memory || form.rep;
    if (segmentOften && (addressSize === 16 ? prng.below(5) < 4 : prng.oneIn(6))) {
      bytes.push(addressSize === 16 && prng.below(8) < 7 ? prng.pick([0x64, 0x65]) : prng.pick(SEGMENT_PREFIXES));
    } else if (prng.oneIn(40)) bytes.push(prng.pick(SEGMENT_PREFIXES));
  }
  if (size & PREFIX_66 && form.mandatory[0] !== 0x66) bytes.push(0x66);
  if (size & PREFIX_67) bytes.push(0x67);
  bytes.push(...form.mandatory);
  const rex = (size & REX_W ? 8 : 0) | (mode === 64 ? prng.u32() & 7 : 0);
  const useRex = mode === 64 && (size & REX_W || prng.below(3) === 0);
  const rexBits = useRex ? (lean ? rex & 8 : rex) : 0;
  if (useRex) bytes.push(0x40 | rexBits);
  const opcode = form.opcode.slice();
  if (form.registerInOpcode) opcode[opcode.length - 1] |= prng.below(8);
  bytes.push(...opcode);
  if (form.modrm) {
    const mod = memory ? prng.below(3) : 3;
    const rm = form.rm >= 0 ? form.rm : prng.below(8);
    bytes.push((mod << 6) | ((form.reg >= 0 ? form.reg : prng.below(8)) << 3) | rm);
    if (memory) {
      if (addressSize !== 16 && rm === 4) {
        const index = prng.below(8);
        bytes.push((prng.below(4) << 6) | (index << 3) | prng.below(8));
      }
      // The decoder takes as many displacement bytes as it needs; what is left becomes the immediate.
    }
  }
  // Immediates of any size, biased to edges: each byte random, or all the same.
  const edge = prng.pick([0x00, 0xff, 0x01, 0x7f, 0x80, -1, -1, -1, -1]);
  const immediate = Array.from({ length: 16 }, () => (edge < 0 ? prng.u32() & 0xff : edge));
  if (edge === 1) immediate.fill(0, 1);
  if (edge === 0x7f) immediate.fill(0xff, 0, 3);
  if (edge === 0x80) immediate.fill(0, 0, 3);
  bytes.push(...immediate);
  return decodeAs(form.code, Uint8Array.from(bytes.slice(0, 24)), mode, options.rip);
}
