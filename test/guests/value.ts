// What a test guest computes while it runs, written as expressions: frame numbers, page-table entries, structs for hypercalls.
// Each leaves its value in RAX; it may use RCX, RDX, RSI, RDI and R8 to R11, and keeps all other registers.
import type { Type } from '../../src/abi/struct.ts';
import { HYPERCALL } from '../../src/abi/xen/xen.ts';
import {
  type Address,
  type Assembler,
  al,
  ax,
  eax,
  ecx,
  type Memory,
  mem,
  qword,
  type Register,
  r8,
  r9,
  r10,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
  word,
} from '../../src/toolstack/init/assembler/assembler.ts';

/** Something that a guest works out at run time. */
export interface Computed {
  readonly kind: 'computed';
  emit(a: Assembler): void;
}

/** A number, a word in memory, the address of a label, a register (not one of those named above), or something computed. */
export type Value = number | bigint | Memory | Address | Register | Computed;

export const computed = (emit: (a: Assembler) => void): Computed => ({ kind: 'computed', emit });

/** Puts the value into RAX. */
export function evaluate(a: Assembler, value: Value): void {
  if (typeof value !== 'object') a.mov(rax, typeof value === 'bigint' ? BigInt.asUintN(64, value) : value);
  else if (value.kind === 'computed') value.emit(a);
  else if (value.kind === 'address') a.lea(rax, mem(value.label, value.addend));
  else if (value.kind === 'register') a.mov(rax, value);
  else if (value.size === 4) a.mov(eax, value);
  else if (value.size === 2 || value.size === 1) a.movzx(rax, value);
  else a.mov(rax, value);
}

/** Programs that are HVM guests: they call the hypervisor as AMD's processors do it. */
export const hvmPrograms = new WeakSet<Assembler>();

const ARGUMENTS = [rdi, rsi, rdx, r10, r8, r9];

/** A hypercall; its value is what it returns. */
export function hypercall(name: keyof typeof HYPERCALL | number, ...args: Value[]): Computed {
  return computed(a => {
    for (const arg of args) {
      evaluate(a, arg);
      a.push(rax);
    }
    for (const register of ARGUMENTS.slice(0, args.length).reverse()) a.pop(register);
    a.mov(eax, typeof name === 'number' ? name : HYPERCALL[name]);
    if (hvmPrograms.has(a)) a.vmmcall();
    else a.syscall();
  });
}

/** Instructions; what they leave in RAX counts as their value. RAX is 0 before them. */
export const code = (emit: (a: Assembler) => void): Computed =>
  computed(a => {
    a.xor(eax, eax);
    emit(a);
  });

/** Does one thing after the other; the value is the last one's. */
export const all = (...values: Value[]): Computed => computed(a => values.forEach(value => void evaluate(a, value)));

function combine(x: Value, y: Value, emit: (a: Assembler) => void): Computed {
  return computed(a => {
    evaluate(a, x);
    a.push(rax);
    evaluate(a, y);
    a.mov(rcx, rax).pop(rax);
    emit(a);
  });
}
export const sum = (x: Value, y: Value): Computed => combine(x, y, a => a.add(rax, rcx));
export const or = (x: Value, y: Value): Computed => combine(x, y, a => a.or(rax, rcx));

/** Writes a word to an address and gives 0; `size` in bytes. */
export function store(address: Value, value: Value, size: 1 | 2 | 4 | 8 = 8): Computed {
  return combine(value, address, a => {
    a.mov(mem(rcx), { 1: al, 2: ax, 4: eax, 8: rax }[size]);
    a.xor(eax, eax);
  });
}

/** The 64-bit word at an address. */
export const read = (address: Value): Computed =>
  computed(a => {
    evaluate(a, address);
    a.mov(rax, qword(rax));
  });

/** Machine frame that holds an address of the guest's own memory. */
export const mfnOf = (address: Value): Computed =>
  computed(a => {
    evaluate(a, address);
    a.shr(rax, 12)
      .mov(rcx, qword('p2m'))
      .mov(rax, qword(rcx, rax, 8));
  });

/** Machine address of a word of the guest's own memory. */
export const machineAddress = (address: Value): Computed =>
  computed(a => {
    evaluate(a, address);
    a.push(rax);
    a.shr(rax, 12)
      .mov(rcx, qword('p2m'))
      .mov(rax, qword(rcx, rax, 8));
    a.shl(rax, 12).pop(rcx).and(ecx, 0xfff).or(rax, rcx);
  });

/** Bits of page-table entries: SDM Vol. 3A, 4.5. */
export const PTE = { p: 1, rw: 2, u: 4, a: 0x20, d: 0x40, ps: 0x80 } as const;
export const READ_ONLY: number = PTE.p | PTE.u | PTE.a;
export const READ_WRITE: number = READ_ONLY | PTE.rw | PTE.d;

/** A page-table entry. */
export const entry = (frame: Value, flags: number): Computed =>
  computed(a => {
    evaluate(a, frame);
    a.shl(rax, 12).or(rax, flags);
  });

/** Machine address of the entry of a level (1 to 4) that translates an address. */
export const entryFor = (address: Value, level = 1): Computed =>
  computed(a => {
    evaluate(a, address);
    a.mov(rdi, rax).mov(rsi, level).call('find_entry');
  });

/** Where the guest itself sees that entry. */
export const entryVa = (address: Value, level = 1): Computed =>
  computed(a => {
    entryFor(address, level).emit(a);
    a.mov(rax, rdx);
  });

/** Machine frame of the table of a level (1 to 4) that an address is translated by. */
export const tableFor = (address: Value, level = 1): Computed =>
  computed(a => {
    entryFor(address, level).emit(a);
    a.shr(rax, 12);
  });

/** Where the guest sees that table. */
export const tableVa = (address: Value, level = 1): Computed =>
  computed(a => {
    entryVa(address, level).emit(a);
    a.and(rax, -4096);
  });

/** Fields of a struct, nested as it is; what is left out is zero. */
export type Fields = { readonly [field: string]: Value | Fields | readonly (Value | Fields)[] };
type Layout = Type<unknown> & {
  readonly fields?: Record<string, Type<unknown>>;
  readonly members?: Record<string, Type<unknown>>;
  readonly element?: Type<unknown>;
  readonly pick?: (abi: 32 | 64) => Type<unknown>;
  readonly offset?: (field: string, abi: 64) => number;
};

interface Leaf {
  offset: number;
  size: number;
  value: Value;
}

const isValue = (value: unknown): value is Value =>
  typeof value !== 'object' || (value !== null && 'kind' in value && typeof value.kind === 'string');

function leaves(type: Type<unknown>, value: Value | Fields | readonly (Value | Fields)[], offset: number): Leaf[] {
  const layout = (type as Layout).pick ? ((type as Layout).pick!(64) as Layout) : (type as Layout);
  if (isValue(value)) return [{ offset, size: layout.size(64), value }];
  if (Array.isArray(value)) {
    const element = layout.element!;
    return value.flatMap((item, i) => leaves(element, item, offset + i * element.size(64)));
  }
  const types = layout.fields ?? layout.members!;
  return Object.entries(value as Fields).flatMap(([field, item]) => {
    if (!types[field]) throw new Error(`no field ${field}`);
    return leaves(types[field], item, offset + (layout.offset?.(field, 64) ?? 0));
  });
}

const placed = new WeakMap<Assembler, Set<string>>();

/** True for the first use of a label in a program. */
function isNew(a: Assembler, label: string): boolean {
  const labels = placed.get(a) ?? new Set();
  placed.set(a, labels);
  return !labels.has(label) && labels.add(label) !== null;
}

/**
 * A struct in memory, filled in each time; the value is its address. `label` lets its fields be read afterwards; records with the same
 * label are at the same place.
 */
export function record(type: Type<unknown>, fields: Fields, label?: string): Computed {
  return records(type, [fields], label);
}

/** Several of them in a row. */
export function records(type: Type<unknown>, items: readonly Fields[], label?: string): Computed {
  return computed(a => {
    const name = label ?? a.unique('record');
    const size = type.size(64);
    if (isNew(a, name)) {
      const bytes = Math.max(1, size * items.length);
      a.section('bss').align(16).label(name).reserve(bytes).section('text');
    }
    if (label !== undefined)
      a.lea(rdi, mem(name))
        .mov(ecx, size * items.length)
        .xor(eax, eax)
        .rep()
        .stosb();
    items.forEach((item, i) => {
      for (const leaf of leaves(type, item, i * size)) {
        evaluate(a, leaf.value);
        const register = { 1: al, 2: ax, 4: eax, 8: rax }[leaf.size];
        if (!register) throw new Error(`a field of ${leaf.size} bytes`);
        a.mov(mem(name, leaf.offset), register);
      }
    });
    a.lea(rax, mem(name));
  });
}

/** 64-bit words in a row; the value is their address. */
export const words = (...values: Value[]): Computed =>
  computed(a => {
    const name = a.unique('words');
    a.section('bss')
      .align(8)
      .label(name)
      .reserve(values.length * 8)
      .section('text');
    values.forEach((value, i) => {
      evaluate(a, value);
      a.mov(qword(name, i * 8), rax);
    });
    a.lea(rax, mem(name));
  });

/** A signed 16-bit status field, with its sign turned: GNTST_general_error, -1, is 1. */
export const statusIn = (type: { offset(field: never, abi: 64): number }, label: string, field = 'status'): Computed =>
  computed(a => void a.movsx(rax, word(label, type.offset(field as never, 64))).neg(rax));
