// A small x86 assembler inside TypeScript: for programs that domzero carries in source form (the built-in init)
// and for guests written in tests. Instructions are methods with Intel's names and operand order; macros are
// functions that take the assembler.
//
//   const program = asm(a => {
//     a.label('start').mov(eax, 1).lea(rsi, mem('message')).mov(edx, 3).syscall();
//     a.label('.again').pause().jmp('.again');
//     a.section('data').label('message').db('hi\n');
//   });
//   program.flat(0x1000).bytes;  program.elf({ entry: 'start' });
import { type ElfNote, elfExecutable } from './elf.ts';
import { encode, putNumber } from './encode.ts';
import { FORMS, type Mnemonic } from './forms.ts';
import { type Image, type Item, link, SECTIONS, type Section } from './link.ts';
import { type Bits, isInt, isUint } from './match.ts';
import type { Address, Operand } from './operands.ts';

export type { ElfNote } from './elf.ts';
export type { Image, Section } from './link.ts';
export * from './operands.ts';

type Instructions = { [M in Mnemonic]: (...operands: Operand[]) => Assembler };
/** What `asm` hands out: directives (below) and every instruction of forms.ts. Each returns the assembler again. */
export type Assembler = Directives & Instructions;

/** Numbers, text (as UTF-8, without a final zero) or bytes. */
export type Data = number | bigint | string | ArrayLike<number>;

class Directives {
  readonly items: Record<Section, Item[]> = { text: [], data: [], bss: [] };
  private current: Section = 'text';
  private mode: Bits = 64;
  private parent = '';
  private serial = 0;
  private readonly labels = new Set<string>();
  private readonly literals = new Map<string, string>();

  private get self(): Assembler {
    return this as unknown as Assembler;
  }

  private put(item: Item): Assembler {
    this.items[this.current].push(item);
    return this.self;
  }

  /** A label that starts with a dot belongs to the last one before it that does not. */
  label(name: string): Assembler {
    const full = this.fullName(name);
    if (!name.startsWith('.')) this.parent = name;
    if (this.labels.has(full)) throw new Error(`label ${full} stands twice`);
    this.labels.add(full);
    return this.put({ kind: 'label', name: full });
  }

  /** A name that no label has yet, for macros. */
  unique(hint: string): string {
    return `${hint}#${++this.serial}`;
  }

  /** Puts what follows into code ('text'), initialized data ('data') or zeros that take no room in a file ('bss'). */
  section(section: Section): Assembler {
    this.current = section;
    return this.self;
  }

  /** The code width of what follows. */
  bits(bits: Bits): Assembler {
    this.mode = bits;
    return this.self;
  }

  db(...data: Data[]): Assembler {
    for (const d of data) {
      if (typeof d === 'string') this.put({ kind: 'bytes', bytes: new TextEncoder().encode(d), fixups: [] });
      else if (typeof d === 'object') this.put({ kind: 'bytes', bytes: Uint8Array.from(d), fixups: [] });
      else this.number(d, 1);
    }
    return this.self;
  }

  dw(...data: Array<number | bigint | Address>): Assembler {
    for (const d of data) this.number(d, 2);
    return this.self;
  }

  dd(...data: Array<number | bigint | Address>): Assembler {
    for (const d of data) this.number(d, 4);
    return this.self;
  }

  dq(...data: Array<number | bigint | Address>): Assembler {
    for (const d of data) this.number(d, 8);
    return this.self;
  }

  private number(value: number | bigint | Address, size: 1 | 2 | 4 | 8) {
    const bytes: number[] = [];
    if (typeof value === 'object') {
      putNumber(bytes, 0n, size);
      const target = this.resolve(value) as Address;
      this.put({ kind: 'bytes', bytes, fixups: [{ at: 0, size, target, relative: false, range: 'any' }] });
      return;
    }
    const n = BigInt(value);
    if (!isInt(n, size * 8) && !isUint(n, size * 8)) throw new Error(`${n} does not fit in ${size} bytes`);
    putNumber(bytes, n, size);
    this.put({ kind: 'bytes', bytes, fixups: [] });
  }

  /** The label of a zero-terminated string in the program's read-only part; equal strings share one. */
  literal(text: string): string {
    const known = this.literals.get(text);
    if (known !== undefined) return known;
    const name = this.unique('literal');
    this.literals.set(text, name);
    return name;
  }

  /** Fills up to a multiple of `to` bytes, counted from the start of the program. */
  align(to: number, fill = this.current === 'text' ? 0x90 : 0): Assembler {
    return this.put({ kind: 'align', to, fill });
  }

  /** Zeros. */
  reserve(size: number): Assembler {
    return this.put({ kind: 'reserve', size });
  }

  /** Prefixes: for the instruction that follows. */
  lock(): Assembler {
    return this.db(0xf0);
  }
  rep(): Assembler {
    return this.db(0xf3);
  }
  repe(): Assembler {
    return this.db(0xf3);
  }
  repne(): Assembler {
    return this.db(0xf2);
  }

  /** One instruction by name: what the methods named after instructions call. */
  instruction(mnemonic: Mnemonic, operands: readonly Operand[]): Assembler {
    const encodings = encode(
      mnemonic,
      operands.map(o => this.resolve(o)),
      this.mode,
    );
    const [{ bytes, fixups }] = encodings;
    if (encodings.length > 1) return this.put({ kind: 'branch', encodings, choice: 0 });
    return this.put({ kind: 'bytes', bytes, fixups });
  }

  private fullName(name: string): string {
    return name.startsWith('.') ? this.parent + name : name;
  }

  private resolve(operand: Operand): Operand {
    if (typeof operand === 'string') return this.fullName(operand);
    if (typeof operand !== 'object' || operand.kind === 'register') return operand;
    if (operand.kind === 'memory')
      return operand.label === undefined ? operand : { ...operand, label: this.fullName(operand.label) };
    const full: Address = { ...operand, label: this.fullName(operand.label) };
    return operand.from === undefined ? full : { ...full, from: this.fullName(operand.from) };
  }

  /** Places the literals; nothing may follow. */
  finish(): Record<Section, Item[]> {
    this.section('text');
    for (const [text, name] of this.literals) this.label(name).db(text, 0);
    this.literals.clear();
    return this.items;
  }
}

for (const mnemonic of Object.keys(FORMS) as Mnemonic[]) {
  Object.defineProperty(Directives.prototype, mnemonic, {
    value(this: Directives, ...operands: Operand[]) {
      return this.instruction(mnemonic, operands);
    },
  });
}

export interface ElfPlace {
  /** The label where it starts. */
  entry: string;
  /** Address of the first byte, a multiple of a page. Default 0x400000. */
  base?: number | bigint;
  /** Load (physical) address of the first byte, where it is another. */
  physicalBase?: number | bigint;
  notes?: readonly ElfNote[];
}

/** A program that is written but stands nowhere yet. */
export class Program {
  readonly items: Readonly<Record<Section, readonly Item[]>>;
  private readonly bits: Bits;

  constructor(items: Readonly<Record<Section, readonly Item[]>>, bits: Bits) {
    this.items = items;
    this.bits = bits;
  }

  /** Code, then data, then room for bss, from `base` on; sections aligned to 16 bytes. */
  flat(base: number | bigint = 0): Image {
    return link(this.items, BigInt(base), 16);
  }

  /** With page-aligned sections, as in the executable. */
  image(base: number | bigint = 0x400000): Image {
    return link(this.items, BigInt(base), 4096);
  }

  /** A static executable, ELF32 for a program that was begun as 32-bit code, else ELF64: code readable and executable, data and bss readable and writable. */
  elf(place: ElfPlace): Uint8Array {
    const image = this.image(place.base);
    const entry = image.symbols.get(place.entry);
    if (entry === undefined) throw new Error(`no label ${place.entry}`);
    const physicalOffset = place.physicalBase === undefined ? 0n : image.base - BigInt(place.physicalBase);
    return elfExecutable(image, { bits: this.bits === 32 ? 32 : 64, entry, physicalOffset, notes: place.notes ?? [] });
  }
}

/** Writes a program; `bits` is the width of its code until it says otherwise. Errors in an instruction are thrown from the call that wrote it. */
export function asm(write: (a: Assembler) => void, bits: Bits = 64): Program {
  const directives = new Directives();
  directives.bits(bits);
  write(directives as unknown as Assembler);
  return new Program(directives.finish(), bits);
}

export { SECTIONS };
