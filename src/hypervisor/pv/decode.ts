// A decoder for just those instructions that Xen emulates for a PV guest after #GP(0): port I/O, control and debug registers, MSRs, TSC,
// CPUID, XSETBV, cache write-back, CLI and STI. Everything else is "not emulated" and the fault goes to the guest.
// Encodings: SDM Vol. 2. Which ones: Xen's xen/arch/x86/pv/emul-priv-op.c (priv_op_validate).

export type PrivilegedOp =
  | 'in' | 'out' | 'ins' | 'outs' | 'cli' | 'sti' | 'clts' | 'wbinvd' | 'readCr' | 'writeCr' | 'readDr' | 'writeDr'
  | 'rdmsr' | 'wrmsr' | 'rdtsc' | 'rdtscp' | 'cpuid' | 'xsetbv'; // biome-ignore format: a list of words

export interface PrivilegedInstruction {
  op: PrivilegedOp;
  /** Length in bytes. */
  length: number;
  /** Operand size in bytes of port I/O. */
  size: 1 | 2 | 4;
  /** Address size in bytes, for INS and OUTS. */
  addressSize: 2 | 4 | 8;
  /** REP, REPE or REPNE stands before INS or OUTS. */
  repeat: boolean;
  /** Segment override (index as in SEG), or null. */
  segment: number | null;
  /** Immediate port, or null for DX. */
  port: number | null;
  /** ModRM.reg with REX.R: the control or debug register; and ModRM.rm with REX.B: the general register. */
  register: number;
  general: number;
  lock: boolean;
}

export interface CodeSize {
  long64: boolean;
  /** CS.D outside 64-bit mode. */
  default32: boolean;
}

/** What the bytes did not suffice for: the caller fetches more, or gives up at 15. */
export const NEED_MORE = 'need more';

const SEGMENT_PREFIX: Record<number, number> = { 38: 0, 46: 1, 54: 2, 62: 3, 100: 4, 101: 5 };
const PORT_OPS: Record<number, PrivilegedOp> = {
  108: 'ins', 109: 'ins', 110: 'outs', 111: 'outs', 228: 'in', 229: 'in', 230: 'out', 231: 'out',
  236: 'in', 237: 'in', 238: 'out', 239: 'out', 250: 'cli', 251: 'sti',
}; // biome-ignore format: a table
const TWO_BYTE_OPS: Record<number, PrivilegedOp> = {
  6: 'clts', 9: 'wbinvd', 32: 'readCr', 33: 'readDr', 34: 'writeCr', 35: 'writeDr',
  48: 'wrmsr', 49: 'rdtsc', 50: 'rdmsr', 162: 'cpuid',
}; // biome-ignore format: a table

/** The instruction at the start of `bytes`; null where Xen emulates no such instruction. */
export function decodePrivileged(bytes: Uint8Array, code: CodeSize): PrivilegedInstruction | null | typeof NEED_MORE {
  let at = 0;
  let rex = 0;
  let operandPrefix = false;
  let addressPrefix = false;
  let lock = false;
  let repeat = false;
  let segment: number | null = null;
  for (; at < bytes.length; at++) {
    const byte = bytes[at];
    const override = SEGMENT_PREFIX[byte];
    if (override !== undefined) segment = override;
    else if (byte === 0x66) operandPrefix = true;
    else if (byte === 0x67) addressPrefix = true;
    else if (byte === 0xf0) lock = true;
    else if (byte === 0xf2 || byte === 0xf3) repeat = true;
    else if (code.long64 && (byte & 0xf0) === 0x40) {
      // A REX counts only where it is the last prefix.
      rex = byte;
      continue;
    } else break;
    rex = 0;
  }
  if (at >= bytes.length) return NEED_MORE;

  const wide = code.long64 || code.default32;
  const addressSize = code.long64 ? (addressPrefix ? 4 : 8) : code.default32 !== addressPrefix ? 4 : 2;
  const base = {
    size: (operandPrefix === wide ? 2 : 4) as 2 | 4,
    addressSize: addressSize as 2 | 4 | 8,
    repeat,
    segment,
    port: null as number | null,
    register: 0,
    general: 0,
    lock,
  };
  const opcode = bytes[at++];
  if (opcode !== 0x0f) {
    const op = PORT_OPS[opcode];
    if (!op) return null;
    const size = opcode & 1 ? base.size : 1;
    if (opcode < 0xe4 || opcode > 0xe7) return { ...base, op, size, length: at };
    if (at >= bytes.length) return NEED_MORE;
    return { ...base, op, size, port: bytes[at], length: at + 1 };
  }
  if (at >= bytes.length) return NEED_MORE;
  const second = bytes[at++];
  if (second === 0x01) {
    if (at >= bytes.length) return NEED_MORE;
    const modrm = bytes[at++];
    if (modrm === 0xd1) return { ...base, op: 'xsetbv', length: at };
    if (modrm === 0xf9) return { ...base, op: 'rdtscp', length: at };
    return null;
  }
  const op = TWO_BYTE_OPS[second];
  if (!op) return null;
  if (second < 0x20 || second > 0x23) return { ...base, op, length: at };
  if (at >= bytes.length) return NEED_MORE;
  // MOV to and from control and debug registers: the mod bits are ignored, the operand is always a register.
  const modrm = bytes[at++];
  const register = ((modrm >> 3) & 7) | (rex & 4 ? 8 : 0);
  const general = (modrm & 7) | (rex & 1 ? 8 : 0);
  return { ...base, op, register, general, length: at };
}

/** "ud2; .ascii "xen"", the prefix that asks Xen to emulate the CPUID that follows. Returns its length, or 0. */
export function forcedEmulationPrefix(bytes: Uint8Array): number {
  return FORCED.every((byte, i) => bytes[i] === byte) ? FORCED.length : 0;
}
const FORCED = [0x0f, 0x0b, 0x78, 0x65, 0x6e];
