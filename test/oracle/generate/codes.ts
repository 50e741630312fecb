// Which encodings get cases: every legacy encoding that iced-x86 knows and an x86-64-v2 processor (plus what kernels use beyond) executes.
import iced from 'iced-x86';
import type { Mode } from '../case.ts';

const { Code, CodeExt, CpuidFeature, EncodingKind, Instruction } = iced;

/** iced-x86's CPUID features that domzero's models have, or whose instructions raise an exception in user mode alike everywhere. */
const FEATURES = new Set([
  ...[
    'INTEL8086',
    'INTEL186',
    'INTEL286',
    'INTEL386',
    'INTEL486',
    'X64',
    'PAUSE',
    'MULTIBYTENOP',
    'CPUID',
    'TSC',
    'MSR',
  ],
  ...[
    'FPU',
    'FPU287',
    'FPU387',
    'CMOV',
    'CX8',
    'CMPXCHG16B',
    'MMX',
    'FXSR',
    'SSE',
    'SSE2',
    'SSE3',
    'SSSE3',
    'SSE4_1',
    'SSE4_2',
  ],
  ...[
    'POPCNT',
    'LZCNT',
    'BMI1',
    'MOVBE',
    'FSGSBASE',
    'XSAVE',
    'XSAVEOPT',
    'XSAVEC',
    'CLFSH',
    'CLFLUSHOPT',
    'CLWB',
    'PREFETCHW',
  ],
  ...[
    'SMAP',
    'CET_IBT',
    'SYSCALL',
    'INVPCID',
    'SEP',
    'RDTSCP',
    'RDPMC',
    'RDRAND',
    'RDSEED',
    'RDPID',
    'MONITOR',
    'AES',
    'PCLMULQDQ',
  ],
]);

/**
 * Not to be run here: they reach the kernel (SYSCALL; INT 80h is left out elsewhere), are emulated by it (UMIP's five), or differ between
 * AMD and Intel (SYSENTER and SYSEXIT in long mode; PREFETCH with a register, a NOP or #UD).
 */
const EXCLUDED = /^(Syscall|Sysenter|Sysexit|Sysret|Sgdt|Sidt|Sldt|Str_|Smsw|Reservednop.*0F0D)/;

/** How often an encoding is tried, by what it is. */
export type Family = 'integer' | 'control' | 'system' | 'string' | 'x87' | 'mmx' | 'sse' | 'sse-float' | 'undefined';

export interface Encoding {
  code: number;
  name: string;
  family: Family;
}

function familyOf(name: string, features: readonly string[], kinds: readonly number[], memorySize: number): Family {
  if (features.some(f => f.startsWith('FPU'))) return 'x87';
  const info = iced.MemorySize[memorySize] ?? '';
  if (/^(Fxsave|Fxrstor|Xsave|Xrstor|Ldmxcsr|Stmxcsr)/.test(name)) return 'sse-float';
  if (/Float(32|64)/.test(info) || /^(Cvt|Round|Comis|Ucomis)/.test(name)) return 'sse-float';
  const { mm_or_mem, mm_reg, mm_rm, xmm_or_mem, xmm_reg, xmm_rm } = iced.OpCodeOperandKind;
  if (kinds.some(k => k === mm_or_mem || k === mm_reg || k === mm_rm) || name === 'Emms') return 'mmx';
  if (kinds.some(k => k === xmm_or_mem || k === xmm_reg || k === xmm_rm)) return 'sse';
  if (/^(Movs|Cmps|Stos|Lods|Scas|Ins|Outs)[bwdq]_/.test(name)) return 'string';
  if (/^(J|Loop|Call|Ret|Iret|Int|Enter|Leave|Bound)/.test(name)) return 'control';
  if (/(Sreg|_[C-G]S$|^L[defgs]s_|^Ver|^Lar|^Lsl|base_|^Arpl)/.test(name)) return 'system';
  return 'integer';
}

/** Every encoding that the processor must know, whether or not it can be run here, in iced-x86's order. */
export function requiredEncodings(): Encoding[] {
  const list: Encoding[] = [];
  for (let code = 1; Code[code] !== undefined; code++) {
    const info = CodeExt.opCode(code);
    const instruction = new Instruction();
    instruction.code = code;
    const features = Array.from(instruction.cpuidFeatures(), f => CpuidFeature[f]);
    const kinds = [0, 1, 2, 3].slice(0, info.opCount).map(i => info.opKind(i));
    const name = Code[code];
    const wanted =
      info.isInstruction &&
      info.encoding === EncodingKind.Legacy &&
      !info.fwait &&
      features.every(f => FEATURES.has(f));
    if (wanted) list.push({ code, name, family: familyOf(name, features, kinds, info.memorySize) });
    instruction.free();
    info.free();
  }
  return list;
}

/** All encodings with cases. */
export function encodings(): Encoding[] {
  return requiredEncodings().filter(e => !EXCLUDED.test(e.name));
}

export const MODES: readonly Mode[] = [64, 32, 16];
