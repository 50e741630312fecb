// Lays out sections, chooses between short and near branches, and fills in addresses.
import { type Encoded, type Fixup, putNumber } from './encode.ts';
import { isInt, isUint } from './match.ts';
import type { Address } from './operands.ts';

export const SECTIONS = ['text', 'data', 'bss'] as const;
export type Section = (typeof SECTIONS)[number];

/** What a program is made of before its addresses are known. */
export type Item =
  | { kind: 'bytes'; bytes: number[] | Uint8Array; fixups: readonly Fixup[] }
  /** Encodings from short to long; `choice` grows until the target is within reach. */
  | { kind: 'branch'; encodings: readonly Encoded[]; choice: number }
  | { kind: 'align'; to: number; fill: number }
  | { kind: 'reserve'; size: number }
  | { kind: 'label'; name: string };

/** A program at its place in memory. */
export interface Image {
  readonly base: bigint;
  /** Text and data; zeros that follow (bss) are counted in `memorySize` only. */
  readonly bytes: Uint8Array;
  readonly memorySize: number;
  readonly symbols: ReadonlyMap<string, bigint>;
  /** Where each section starts and ends, as offsets from `base`. */
  readonly sections: Readonly<Record<Section, { start: number; end: number }>>;
}

/**
 * @param alignment of sections that differ in what may be done with them, in bytes
 * @throws Error for a label that does not exist or an address that does not fit its place.
 */
export function link(items: Readonly<Record<Section, readonly Item[]>>, base: bigint, alignment: number): Image {
  const work: Record<Section, Item[]> = {
    text: items.text.map(copy),
    data: items.data.map(copy),
    bss: items.bss.map(copy),
  };
  let placed = place(work, alignment);
  // Branches only ever grow, so this ends.
  while (growBranches(work, placed)) placed = place(work, alignment);

  const bytes = new Uint8Array(placed.sections.data.end);
  const symbols = new Map([...placed.labels].map(([name, offset]) => [name, base + BigInt(offset)]));
  for (const section of ['text', 'data'] as const) {
    work[section].forEach((item, i) => {
      const at = placed.offsets[section][i];
      if (item.kind === 'align') bytes.fill(item.fill, at, alignUp(at, item.to));
      const { bytes: content, fixups } = contentOf(item);
      bytes.set(content, at);
      for (const fixup of fixups) applyFixup(bytes, at, content.length, fixup, symbols, base);
    });
  }
  for (const item of work.bss)
    if (item.kind === 'bytes' || item.kind === 'branch') throw new Error('bss holds no bytes, only reserved space');
  return { base, bytes, memorySize: placed.sections.bss.end, symbols, sections: placed.sections };
}

const copy = (item: Item): Item => ({ ...item });
const alignUp = (n: number, to: number) => Math.ceil(n / to) * to;

function contentOf(item: Item): { bytes: ArrayLike<number>; fixups: readonly Fixup[] } {
  if (item.kind === 'bytes') return item;
  if (item.kind === 'branch') return item.encodings[item.choice];
  return { bytes: [], fixups: [] };
}

interface Placed {
  offsets: Record<Section, number[]>;
  labels: Map<string, number>;
  sections: Record<Section, { start: number; end: number }>;
}

function place(work: Record<Section, Item[]>, alignment: number): Placed {
  const placed: Placed = {
    offsets: { text: [], data: [], bss: [] },
    labels: new Map(),
    sections: { text: { start: 0, end: 0 }, data: { start: 0, end: 0 }, bss: { start: 0, end: 0 } },
  };
  let at = 0;
  for (const section of SECTIONS) {
    // An empty section takes no room, so that flat code without data ends with its last instruction.
    const follows = section === 'bss' && work.data.length > 0; // writable like data, so no page of its own
    if (work[section].length > 0) at = alignUp(at, follows ? 16 : alignment);
    const start = at;
    for (const item of work[section]) {
      placed.offsets[section].push(at);
      if (item.kind === 'label') placed.labels.set(item.name, at);
      else if (item.kind === 'align') at = alignUp(at, item.to);
      else if (item.kind === 'reserve') at += item.size;
      else at += contentOf(item).bytes.length;
    }
    placed.sections[section] = { start, end: at };
  }
  return placed;
}

function growBranches(work: Record<Section, Item[]>, placed: Placed): boolean {
  let grown = false;
  for (const section of SECTIONS) {
    work[section].forEach((item, i) => {
      if (item.kind !== 'branch' || item.choice + 1 >= item.encodings.length) return;
      const { bytes, fixups } = item.encodings[item.choice];
      const target = placed.labels.get(fixups[0].target.label);
      if (target === undefined) return; // reported when the fixup is applied
      const end = placed.offsets[section][i] + bytes.length;
      if (isInt(BigInt(target - end) + fixups[0].target.addend, fixups[0].size * 8)) return;
      item.choice++;
      grown = true;
    });
  }
  return grown;
}

function applyFixup(
  bytes: Uint8Array,
  itemAt: number,
  itemLength: number,
  fixup: Fixup,
  symbols: ReadonlyMap<string, bigint>,
  base: bigint,
) {
  let value = addressOf(fixup.target, symbols);
  if (fixup.relative) value -= base + BigInt(itemAt + itemLength);
  const bits = fixup.size * 8;
  // The top 2 GiB are negative to a sign-extended field.
  const signed = BigInt.asIntN(64, value);
  const fine = isInt(signed, bits) || (fixup.range === 'any' && isUint(BigInt.asUintN(64, value), bits));
  if (!fine) throw new Error(`${fixup.target.label}: 0x${value.toString(16)} does not fit in ${bits} bits`);
  const field: number[] = [];
  putNumber(field, value, fixup.size);
  bytes.set(field, itemAt + fixup.at);
}

function addressOf(target: Address, symbols: ReadonlyMap<string, bigint>): bigint {
  const at = (label: string) => {
    const value = symbols.get(label);
    if (value === undefined) throw new Error(`no label ${label}`);
    return value;
  };
  return at(target.label) - (target.from === undefined ? 0n : at(target.from)) + target.addend;
}
