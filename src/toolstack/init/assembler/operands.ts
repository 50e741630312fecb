// What an instruction's operands may be: registers, memory, labels and numbers, spelled as in Intel's syntax.
// Sizes are bytes throughout. Register numbers are the processor's own (SDM Vol. 2A, tables 2-2 and 3-1).

/** Widths of a memory operand: 6 and 10 are far pointers (offset, then selector), 16 is CMPXCHG16B's. */
export type Size = 1 | 2 | 4 | 6 | 8 | 10 | 16;

export type RegisterClass = 'gpr' | 'sreg' | 'cr' | 'dr';

export interface Register {
  readonly kind: 'register';
  readonly class: RegisterClass;
  readonly name: string;
  readonly size: Size;
  readonly code: number;
  /** SPL, BPL, SIL, DIL and R8-R15 exist only with a REX prefix; AH, CH, DH, BH only without one. */
  readonly rex: 'needed' | 'forbidden' | 'either';
}

/** The absolute address of a label, or with `from` the distance between two labels, plus `addend`. */
export interface Address {
  readonly kind: 'address';
  readonly label: string;
  readonly addend: bigint;
  readonly from?: string;
}

export interface Memory {
  readonly kind: 'memory';
  /** Undefined: whatever the other operands say. */
  readonly size: Size | undefined;
  readonly base: Register | undefined;
  readonly index: Register | undefined;
  readonly scale: 1 | 2 | 4 | 8;
  readonly displacement: bigint;
  /** With neither base nor index, in 64-bit code: addressed relative to RIP. */
  readonly label: string | undefined;
  readonly segment: Register | undefined;
}

/** A string is a label: the target of a jump or call. */
export type Operand = Register | Memory | Address | string | number | bigint;

function registers(names: string, size: Size, cls: RegisterClass = 'gpr'): Register[] {
  return names.split(' ').map((name, code) => ({
    kind: 'register',
    class: cls,
    name,
    size,
    code,
    rex: code > 7 || (cls === 'gpr' && size === 1 && code > 3) ? 'needed' : 'either',
  }));
}

export const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = registers(
  'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15',
  8,
) as SixteenRegisters;
export const [eax, ecx, edx, ebx, esp, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d] = registers(
  'eax ecx edx ebx esp ebp esi edi r8d r9d r10d r11d r12d r13d r14d r15d',
  4,
) as SixteenRegisters;
export const [ax, cx, dx, bx, sp, bp, si, di, r8w, r9w, r10w, r11w, r12w, r13w, r14w, r15w] = registers(
  'ax cx dx bx sp bp si di r8w r9w r10w r11w r12w r13w r14w r15w',
  2,
) as SixteenRegisters;
export const [al, cl, dl, bl, spl, bpl, sil, dil, r8b, r9b, r10b, r11b, r12b, r13b, r14b, r15b] = registers(
  'al cl dl bl spl bpl sil dil r8b r9b r10b r11b r12b r13b r14b r15b',
  1,
) as SixteenRegisters;
export const [ah, ch, dh, bh] = ['ah', 'ch', 'dh', 'bh'].map((name, i) => ({
  kind: 'register',
  class: 'gpr',
  name,
  size: 1,
  code: 4 + i,
  rex: 'forbidden',
})) as unknown as [Register, Register, Register, Register];
export const [es, cs, ss, ds, fs, gs] = registers('es cs ss ds fs gs', 2, 'sreg') as SixteenRegisters;
const control = registers('cr0 cr1 cr2 cr3 cr4 cr5 cr6 cr7 cr8', 8, 'cr');
export const [cr0, , cr2, cr3, cr4, , , , cr8] = control as SixteenRegisters;
export const [dr0, dr1, dr2, dr3, dr4, dr5, dr6, dr7] = registers(
  'dr0 dr1 dr2 dr3 dr4 dr5 dr6 dr7',
  8,
  'dr',
) as SixteenRegisters;

type R = Register;
type SixteenRegisters = [R, R, R, R, R, R, R, R, R, R, R, R, R, R, R, R];

/** The parts of a memory operand: registers (base first), a number as displacement, a label, or the parts by name. */
export interface MemoryParts {
  base?: Register;
  index?: Register;
  scale?: 1 | 2 | 4 | 8;
  displacement?: number | bigint;
  label?: string;
}

type MemoryArguments =
  | [parts: MemoryParts]
  | [base: Register, displacement?: number | bigint]
  | [base: Register, index: Register, scale?: 1 | 2 | 4 | 8, displacement?: number | bigint]
  | [label: string, displacement?: number | bigint]
  | [absolute: number | bigint];

function memory(size: Size | undefined, args: MemoryArguments): Memory {
  const [first, second, scale, displacement] = args;
  let parts: MemoryParts;
  if (typeof first === 'string') parts = { label: first, displacement: (second as number | bigint) ?? 0 };
  else if (typeof first !== 'object') parts = { displacement: first };
  else if (!('kind' in first)) parts = first;
  else if (typeof second === 'object')
    parts = { base: first, index: second, scale: scale ?? 1, displacement: displacement ?? 0 };
  else parts = { base: first, displacement: second ?? 0 };
  return {
    kind: 'memory',
    size,
    base: parts.base,
    index: parts.index,
    scale: parts.scale ?? 1,
    displacement: BigInt(parts.displacement ?? 0),
    label: parts.label,
    segment: undefined,
  };
}

/**
 * A memory operand whose width the other operands give:
 * `mem(rax)`, `mem(rbp, -8)`, `mem(rbx, rcx, 8, 16)`, `mem('label')`, `mem('label', 4)`, `mem(0x1000)`,
 * `mem({ label: 'table', index: rcx, scale: 8 })` (an absolute 32-bit address, not relative to RIP).
 */
export const mem = (...args: MemoryArguments): Memory => memory(undefined, args);
/** `mem` with a width: 1 byte. */
export const byte = (...args: MemoryArguments): Memory => memory(1, args);
/** `mem` with a width: 2 bytes. */
export const word = (...args: MemoryArguments): Memory => memory(2, args);
/** `mem` with a width: 4 bytes. */
export const dword = (...args: MemoryArguments): Memory => memory(4, args);
/** `mem` with a width: 8 bytes. */
export const qword = (...args: MemoryArguments): Memory => memory(8, args);
/** A far pointer with a 32-bit offset. One with a 16-bit offset is a `dword`. */
export const fword = (...args: MemoryArguments): Memory => memory(6, args);
/** A far pointer with a 64-bit offset. */
export const tword = (...args: MemoryArguments): Memory => memory(10, args);

/** The same memory operand through another segment: `within(gs, qword(0x28))`. */
export const within = (segment: Register, operand: Memory): Memory => ({ ...operand, segment });

/** A label's absolute address, as an immediate or as data: `a.mov(rax, addr('stack'))`, `a.dq(addr('table', 8))`. */
export const addr = (label: string, addend: number | bigint = 0): Address => ({
  kind: 'address',
  label,
  addend: BigInt(addend),
});

/** How many bytes `to` stands after `from`. */
export const distance = (from: string, to: string): Address => ({ kind: 'address', label: to, from, addend: 0n });
