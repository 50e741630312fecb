// The kernel's symbol table in every layout that kernels of 4.x to 7.x have, written here as scripts/kallsyms.c does, and
// tables that are not whole.

import { describe, expect, it } from 'vitest';
import { PT_LOAD, readElf } from '../../../src/abi/elf.ts';
import { kernelSymbols } from '../../../src/toolstack/image/index.ts';
import { concatBytes } from '../../../src/util/bytes.ts';
import { noise } from '../../util/decompress-sample.ts';
import { little, makeElf, text } from './builders.ts';

interface Layout {
  readonly bits: 32 | 64;
  readonly addresses: 'whole' | 'base' | 'base-percpu' | 'self';
  /** Where the addresses stand: before the names, or after the token index. */
  readonly place: 'before' | 'after';
  readonly markers: 4 | 8;
  /** The sequence numbers sorted by name, and their size, between markers and tokens (since 6.2). */
  readonly sequence?: number;
  /** Parts aligned to a pointer, or to what each needs. */
  readonly packed?: boolean;
}

const LAYOUTS: readonly [string, Layout][] = [
  ['4.4: whole addresses', { bits: 64, addresses: 'whole', place: 'before', markers: 8 }],
  ['4.6: relative to a base', { bits: 64, addresses: 'base', place: 'before', markers: 8 }],
  ['4.9: absolute per-CPU symbols', { bits: 64, addresses: 'base-percpu', place: 'before', markers: 8 }],
  ['6.1: 32-bit markers', { bits: 64, addresses: 'base-percpu', place: 'before', markers: 4 }],
  ['6.2: sequence numbers', { bits: 64, addresses: 'base-percpu', place: 'before', markers: 4, sequence: 4 }],
  ['6.3: of three bytes', { bits: 64, addresses: 'base-percpu', place: 'before', markers: 4, sequence: 3 }],
  ['6.12: addresses last', { bits: 64, addresses: 'base-percpu', place: 'after', markers: 4 }],
  ['6.15: no absolute symbols', { bits: 64, addresses: 'base', place: 'after', markers: 4 }],
  ['7.2: relative to themselves', { bits: 64, addresses: 'self', place: 'after', markers: 4, packed: true }],
  ['32 bit, whole', { bits: 32, addresses: 'whole', place: 'before', markers: 4 }],
  ['32 bit, base', { bits: 32, addresses: 'base', place: 'before', markers: 4 }],
  ['32 bit, base last', { bits: 32, addresses: 'base', place: 'after', markers: 4 }],
];

interface TestSymbol {
  readonly name: string;
  readonly address: bigint;
}

/** Some hundred symbols with long and short names, aliases, and per-CPU ones where the layout has them. */
function makeSymbols(base: bigint, percpu: boolean): TestSymbol[] {
  const next = noise(5);
  const symbols: TestSymbol[] = percpu ? [{ name: 'Dfixed_percpu_data', address: 0n }] : [];
  if (percpu) symbols.push({ name: 'dcpu_info', address: 0x1234n });
  symbols.push({ name: 'T_text', address: base }, { name: 'T_stext', address: base });
  let address = base;
  for (let i = 0; i < 700; i++) {
    address += BigInt(next() % 5000);
    const name = `${'Ttd'[i % 3]}sym_${i}_${'function'.slice(0, next() % 8)}${i % 97 === 0 ? '_very_long'.repeat(14) : ''}`;
    symbols.push({ name, address });
  }
  symbols.push({ name: 'B_end', address: address + 16n });
  return symbols;
}

/** Tokens for printable characters, and a few longer ones in codes that names do not use. */
const TOKENS = Array.from({ length: 256 }, (_, code) =>
  code >= 0x21 && code < 0x7f ? String.fromCharCode(code) : `${code < 0x21 ? 'sym_' : '_v'}${code > 0x80 ? code : ''}`,
);

function compress(name: string): Uint8Array {
  const codes: number[] = [];
  for (let at = 0; at < name.length; ) {
    const symbol = at > 0 && name.startsWith('sym_', at);
    codes.push(symbol ? 0x01 : name.charCodeAt(at));
    at += symbol ? 4 : 1;
  }
  const length = codes.length < 128 ? [codes.length] : [(codes.length & 127) | 128, codes.length >> 7];
  return Uint8Array.from([...length, ...codes]);
}

function makeKernel(layout: Layout, symbols: readonly TestSymbol[], base: bigint): Uint8Array {
  const word = layout.bits / 8;
  const parts: Uint8Array[] = [];
  let at = 0;
  const put = (bytes: Uint8Array, align: number) => {
    const to = layout.packed ? align : word;
    const gap = (to - (at % to)) % to;
    parts.push(new Uint8Array(gap), bytes);
    at += gap + bytes.length;
  };
  const addresses = () => {
    const start = at + ((4 - (at % 4)) % 4);
    const low = symbols.find(symbol => symbol.address >= base)!.address;
    const values = symbols.map(({ address }, i) => {
      if (layout.addresses === 'whole') return little(address, word);
      if (layout.addresses === 'base') return little(address - low, 4);
      if (layout.addresses === 'self') return little(BigInt.asUintN(32, address - (base + BigInt(start + 4 * i))), 4);
      return little(BigInt.asUintN(32, address < low ? address : low - address - 1n), 4);
    });
    put(concatBytes(values), 4);
    if (layout.addresses.startsWith('base')) put(little(low, word), word);
  };
  put(text('some code 0\x001\x002 and data that is no table'), 1);
  put(Uint8Array.from({ length: 5000 }, noise(9)), 1);
  if (layout.place === 'before') addresses();
  put(little(symbols.length, 4), 4);
  const names = symbols.map(symbol => compress(symbol.name));
  put(concatBytes(names), 1);
  const marks: Uint8Array[] = [];
  names.reduce((offset, name, i) => {
    if (i % 256 === 0) marks.push(little(offset, layout.markers));
    return offset + name.length;
  }, 0);
  put(concatBytes(marks), layout.markers);
  if (layout.sequence) put(concatBytes(symbols.map((_, i) => little(symbols.length - i, layout.sequence!))), 1);
  put(text(`${TOKENS.join('\0')}\0`), 1);
  const index: Uint8Array[] = [];
  TOKENS.reduce((offset, token) => {
    index.push(little(offset, 2));
    return offset + token.length + 1;
  }, 0);
  put(concatBytes(index), 2);
  if (layout.place === 'after') addresses();
  put(Uint8Array.from({ length: 3000 }, noise(11)), 1);
  const segments = [{ type: PT_LOAD, vaddr: base, paddr: 0x1000000n, data: concatBytes(parts) }];
  return makeElf({ bits: layout.bits, segments });
}

describe.each(LAYOUTS)('kallsyms as of %s', (_, layout) => {
  const base = layout.bits === 64 ? 0xffffffff81000000n : 0xc1000000n;
  const symbols = makeSymbols(base, layout.addresses === 'base-percpu');
  const file = makeKernel(layout, symbols, base);

  it('is found and gives every name and address', () => {
    const table = kernelSymbols(readElf(file))!;
    expect(table.source).toBe('kallsyms');
    expect(table.count).toBe(symbols.length);
    for (const { name, address } of symbols) expect(table.address(name.slice(1)), name).toBe(address);
  });

  it('names the function that an address lies in', () => {
    const table = kernelSymbols(readElf(file))!;
    expect(table.lookup(base + 3n)?.name).toBe('_text');
    const kernel = symbols.filter(symbol => symbol.address >= base);
    for (let i = 0; i + 1 < kernel.length; i++) {
      const first = kernel.findIndex(symbol => symbol.address === kernel[i].address);
      const last = kernel[i + 1].address - 1n;
      if (last < kernel[i].address) continue;
      expect(table.lookup(last)).toEqual({
        name: kernel[first].name.slice(1),
        offset: Number(last - kernel[i].address),
      });
    }
    expect(table.lookup(0x1238n)).toBeNull();
    expect(table.lookup(base - 1n)).toBeNull();
    expect(table.format(base + 0x1_0000_0000n)).toBe(`0x${(base + 0x1_0000_0000n).toString(16)}`);
    expect(table.format(base)).toBe('_text+0x0');
  });

  it('is not found where a part of it is broken', () => {
    const elf = readElf(file);
    const { data } = elf.segments[0];
    const firstToken = new TextDecoder('latin1')
      .decode(data)
      .indexOf('0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00');
    expect(firstToken).toBeGreaterThan(0);
    data[firstToken + 2] = 0x40;
    expect(kernelSymbols(elf)).toBeNull();
    data[firstToken + 2] = 0x31;
    expect(kernelSymbols(elf)).not.toBeNull();
  });
});

it('a kernel without kallsyms has the symbols of its symbol table, or none', () => {
  const segments = [{ type: PT_LOAD, vaddr: 0x100000n, data: text('x') }];
  expect(kernelSymbols(readElf(makeElf({ segments })))).toBeNull();
  const symbol = (name: number, value: number) => [
    little(name, 4),
    Uint8Array.of(2, 0, 1, 0),
    little(value, 8),
    little(8, 8),
  ];
  const sections = [
    { name: '.symtab', type: 2, data: concatBytes([...symbol(7, 0x100010), ...symbol(1, 0x100000)]), link: 2 },
    { name: '.strtab', type: 3, data: text('\0first\0second\0') },
  ];
  const table = kernelSymbols(readElf(makeElf({ segments, sections })))!;
  expect(table.source).toBe('symtab');
  expect(table.format(0x100004n)).toBe('first+0x4');
  expect(table.address('second')).toBe(0x100010n);
});
