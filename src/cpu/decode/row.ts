// A row of the encoding table: bytes on the left, a semantic function and its operands on the right.
//
// Pattern: `[NP|NF|66|F3|F2] [W0|W1] OPCODE… [/r|/0../7] [:m|:r]`, e.g. '01 /r', 'F3 0F B8 /r', '0F BA /4', '0F 01 F8' (a whole ModRM byte),
// '50+r' (register in the opcode). Opcodes and their tables: SDM Vol. 2, chapters 3-6 and appendix A.
import type { Operand, Ops, Width } from '../semantics/ops.ts';

export type Semantic = (o: Ops, w: Width, ...operands: Operand[]) => void;

/** Where an operand comes from. */
export type OperandSource =
  | 'rm' // ModRM.rm: register or memory
  | 'reg' // ModRM.reg
  | 'opcode' // low bits of the opcode
  | 'fixed' // a register named by the row
  | 'imm' // immediate bytes
  | 'one' // the constant 1
  | 'relative' // J: displacement of a branch
  | 'moffs' // O: absolute offset in the instruction
  | 'far' // ptr16:16 / ptr16:32
  | 'string'; // X: implied memory operand at [segment:rSI] (or rBX for XLAT), whose segment may be overridden

export type RegisterFile = 'gpr' | 'xmm' | 'mmx' | 'seg' | 'cr' | 'dr' | 'x87';

/** Size of an operand in bits; v: 16, 32 or 64 by operand size; y: 32 or 64; z: 16 or 32; s: any (address only). */
export type OperandSize = 8 | 16 | 32 | 64 | 80 | 128 | 'v' | 'y' | 'z' | 's';

export interface OperandSpec {
  source: OperandSource;
  file: RegisterFile;
  size: OperandSize;
  /** Register number of a fixed operand. */
  fixed: number;
  /** Immediate bytes are sign-extended. */
  signed: boolean;
  /** ModRM.rm must be a register ('reg'), memory ('mem') or either. */
  form: 'any' | 'reg' | 'mem';
}

export interface RowOptions {
  /** LOCK is allowed with a memory destination. */
  lock?: boolean;
  /** Only in 64-bit mode / never in 64-bit mode. */
  only64?: boolean;
  no64?: boolean;
  /** Operand size is 64 in 64-bit mode unless a 66 prefix makes it 16 / is 64 there whatever prefixes say. */
  d64?: boolean;
  f64?: boolean;
  /** #GP(0) unless CPL is 0 (checked before anything else but #UD). */
  cpl0?: boolean;
  /** The block ends after it. */
  ends?: boolean;
  /** F2 and F3 repeat it. */
  rep?: boolean;
  /** Width of an instruction whose operands do not tell. */
  width?: Width | 'v' | 'y' | 'z';
  /** CPUID feature that must be there, else #UD: a name of features.ts. */
  feature?: string;
  /** May fault after a write: it can be restarted (REP) or its first write is not architectural. */
  restartable?: boolean;
  /** Protected mode only: #UD in real and virtual-8086 mode. */
  protectedOnly?: boolean;
  /** A pointer in memory, 16:64 by REX.W on Intel's processors only (AMD APM Vol. 3, "CALL (Far)"). */
  farPointer?: boolean;
  /** Only without REX.B: 90 is NOP, with REX.B it exchanges R8. */
  noRexB?: boolean;
  /** x87, MMX or SSE: CR0.EM/TS, CR4.OSFXSR checks come first. */
  unit?: 'x87' | 'wait' | 'mmx' | 'sse';
}

export interface Row extends RowOptions {
  id: number;
  pattern: string;
  semantic: Semantic;
  operands: OperandSpec[];
  /** 0 one-byte, 1 0F, 2 0F 38, 3 0F 3A. */
  map: number;
  opcode: number;
  /** NP: none of 66 F3 F2; NF: 66 or none. */
  mandatory: 'any' | 'NP' | 'NF' | '66' | 'F3' | 'F2';
  rexW: 0 | 1 | null;
  modrm: boolean;
  /** ModRM.reg, or null. */
  reg: number | null;
  /** The whole ModRM byte, or null. */
  exact: number | null;
  /** What the width follows from: prefixes (v, y, z) or nothing. */
  widthKind: Width | 'v' | 'y' | 'z';
  /** ModRM.rm is a register whatever ModRM.mod says (MOV to and from CRn, DRn). */
  ignoresMod: boolean;
  form: 'any' | 'reg' | 'mem';
}

const FIXED: Record<string, [RegisterFile, OperandSize, number]> = {
  AL: ['gpr', 8, 0],
  CL: ['gpr', 8, 1],
  AX: ['gpr', 16, 0],
  DX: ['gpr', 16, 2],
  EAX: ['gpr', 32, 0],
  rAX: ['gpr', 'v', 0],
  ES: ['seg', 16, 0],
  CS: ['seg', 16, 1],
  SS: ['seg', 16, 2],
  DS: ['seg', 16, 3],
  FS: ['seg', 16, 4],
  GS: ['seg', 16, 5],
  XMM0: ['xmm', 128, 0],
  ST0: ['x87', 80, 0],
};

const SIZES: Record<string, OperandSize> = {
  b: 8,
  w: 16,
  d: 32,
  q: 64,
  t: 80,
  o: 128,
  v: 'v',
  y: 'y',
  z: 'z',
  x: 128,
  s: 's',
};

/** Source, file and form of an operand's letter (SDM Vol. 2D, A.2.1, as far as used here). */
const LETTERS: Record<string, [OperandSource, RegisterFile, 'any' | 'reg' | 'mem']> = {
  E: ['rm', 'gpr', 'any'],
  R: ['rm', 'gpr', 'reg'],
  M: ['rm', 'gpr', 'mem'],
  G: ['reg', 'gpr', 'any'],
  Z: ['opcode', 'gpr', 'any'],
  V: ['reg', 'xmm', 'any'],
  W: ['rm', 'xmm', 'any'],
  U: ['rm', 'xmm', 'reg'],
  P: ['reg', 'mmx', 'any'],
  Q: ['rm', 'mmx', 'any'],
  N: ['rm', 'mmx', 'reg'],
  S: ['reg', 'seg', 'any'],
  C: ['reg', 'cr', 'any'],
  D: ['reg', 'dr', 'any'],
  T: ['rm', 'x87', 'reg'],
  I: ['imm', 'gpr', 'any'],
  J: ['relative', 'gpr', 'any'],
  O: ['moffs', 'gpr', 'any'],
  A: ['far', 'gpr', 'any'],
  X: ['string', 'gpr', 'any'],
};

/**
 * An operand by its short name: a letter of LETTERS and a size (`Ev`, `Gb`, `Wx`, `Mq`), `Ib`/`Iw`/`Iz`/`Iv` (an added `s`: sign-extended to
 * the operand size, as Iz always is), `1`, or a register (`AL`, `CL`, `DX`, `rAX`).
 */
export function parseOperand(name: string): OperandSpec {
  if (name === '1') return { source: 'one', file: 'gpr', size: 8, fixed: 1, signed: false, form: 'any' };
  const fixed = FIXED[name];
  if (fixed) return { source: 'fixed', file: fixed[0], size: fixed[1], fixed: fixed[2], signed: false, form: 'any' };
  const letter = LETTERS[name[0]];
  const size = SIZES[name[1]];
  if (!letter || size === undefined) throw new Error(`no such operand: ${name}`);
  const [source, file, form] = letter;
  const signed = source === 'relative' || (source === 'imm' && (name[2] === 's' || size === 'z'));
  return { source, file, size, fixed: 0, signed, form };
}

/** Parses a row. See the head of this file. */
export function parseRow(
  id: number,
  pattern: string,
  semantic: Semantic,
  operands: string[],
  options: RowOptions,
): Row {
  const tokens: string[] = pattern.split(' ');
  const accept = (...wanted: string[]) => (wanted.includes(tokens[0]) ? tokens.shift() : undefined);
  const mandatory = (accept('NP', 'NF', '66', 'F3', 'F2') ?? 'any') as Row['mandatory'];
  const w = accept('W0', 'W1');
  const rexW = w === undefined ? null : w === 'W1' ? 1 : 0;
  let map = 0;
  if (accept('0F')) {
    const second = accept('38', '3A');
    map = second === '38' ? 2 : second === '3A' ? 3 : 1;
  }
  const [opcodeText, plus] = tokens.shift()!.split('+');
  let form: Row['form'] = 'any';
  let reg: number | null = null;
  let exact: number | null = null;
  let modrm = false;
  for (const t of tokens) {
    if (t === ':m' || t === ':r') form = t === ':m' ? 'mem' : 'reg';
    else if (t === '/r') modrm = true;
    else if (t[0] === '/') reg = Number(t[1]);
    else exact = Number.parseInt(t, 16);
  }
  const specs = operands.map(parseOperand);
  const ignoresMod = specs.some(o => o.file === 'cr' || o.file === 'dr');
  for (const s of specs) {
    if (s.source === 'rm' || s.source === 'reg') modrm = true;
    if (s.source === 'rm' && s.form !== 'any' && !ignoresMod) form = s.form;
  }
  if (plus !== undefined && plus !== 'r') throw new Error(`bad pattern: ${pattern}`);
  return {
    ...options,
    id,
    pattern,
    semantic,
    operands: specs,
    map,
    opcode: Number.parseInt(opcodeText, 16),
    mandatory,
    rexW,
    modrm: modrm || reg !== null || exact !== null,
    reg,
    exact,
    widthKind: widthKind(specs, options),
    ignoresMod,
    form,
  };
}

function widthKind(specs: readonly OperandSpec[], options: RowOptions): Row['widthKind'] {
  if (options.width !== undefined) return options.width;
  const variable = specs.find(o => o.size === 'v' || o.size === 'y') ?? specs.find(o => o.size === 'z');
  const size = variable ? variable.size : specs[0]?.size;
  if (size === 's' || size === 80 || size === 128 || size === undefined) return 32;
  return size;
}
