// From an address in a kernel to a name and back: kallsyms where the kernel has it, else the ELF file's symbol table.

import { type ElfFile, elfSymbols } from '../../abi/elf.ts';
import { findKallsyms, type Kallsyms } from './kallsyms.ts';

export interface SymbolAt {
  readonly name: string;
  /** Bytes from the symbol's start. */
  readonly offset: number;
}

/** nm(1)'s letters for text and for weak symbols; '?' where there is none. */
const CODE_TYPES = 'tTwW?';
/** Further from a symbol than this, an address is not taken to belong to it. */
const MAX_OFFSET = 4n << 20n;
/** Per-CPU symbols count from 0 in some kernels: what lies below here is an offset, and no address is looked up there. */
const LOWEST_KERNEL_ADDRESS = 0xc0000000n;

export class KernelSymbols {
  readonly source: 'kallsyms' | 'symtab';
  private readonly table: Kallsyms;
  private byName: Map<string, bigint> | null = null;

  constructor(source: 'kallsyms' | 'symtab', table: Kallsyms) {
    this.source = source;
    this.table = table;
  }

  get count(): number {
    return this.table.addresses.length;
  }

  /** The symbol that an address lies in, as the kernel's own %pS finds it; null outside of the table. */
  lookup(address: bigint): SymbolAt | null {
    const index = this.indexOf(address);
    return index < 0 ? null : { name: this.table.name(index), offset: Number(address - this.table.addresses[index]) };
  }

  /** Whether an address lies in a function, as far as symbols tell. */
  isCode(address: bigint): boolean {
    const index = this.indexOf(address);
    return index >= 0 && CODE_TYPES.includes(this.table.type(index));
  }

  /** -1 where there is none. */
  private indexOf(address: bigint): number {
    const { addresses } = this.table;
    let [low, high] = [0, addresses.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (addresses[middle] <= address) low = middle + 1;
      else high = middle;
    }
    let index = low - 1;
    if (index < 0 || address - addresses[index] > MAX_OFFSET) return -1;
    if (this.source === 'kallsyms' && addresses[index] < LOWEST_KERNEL_ADDRESS) return -1;
    // Of several names for one address, the first.
    while (index > 0 && addresses[index - 1] === addresses[index]) index--;
    return index;
  }

  /** "name+0x12", or the address in hexadecimal where no symbol is known. */
  format(address: bigint): string {
    const found = this.lookup(address);
    return found === null ? `0x${address.toString(16)}` : `${found.name}+0x${found.offset.toString(16)}`;
  }

  /** A symbol's address; the lowest where several have the name, null where none has. */
  address(name: string): bigint | null {
    if (this.byName === null) {
      this.byName = new Map();
      for (let i = this.table.addresses.length - 1; i >= 0; i--) {
        this.byName.set(this.table.name(i), this.table.addresses[i]);
      }
    }
    return this.byName.get(name) ?? null;
  }
}

/** The symbols of an uncompressed kernel, or null where it has none that can be read. Takes a tenth of a second. */
export function kernelSymbols(elf: ElfFile): KernelSymbols | null {
  const kallsyms = findKallsyms(elf);
  if (kallsyms !== null) return new KernelSymbols('kallsyms', kallsyms);
  const symbols = elfSymbols(elf)
    .filter(symbol => symbol.section !== 0 && symbol.name !== '' && symbol.type <= 2)
    .sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0));
  if (symbols.length === 0) return null;
  return new KernelSymbols('symtab', {
    addresses: BigUint64Array.from(symbols, symbol => symbol.value),
    name: index => symbols[index].name,
    type: () => '?',
  });
}
