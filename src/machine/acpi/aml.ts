// An assembler for ACPI machine language: each function gives the bytes of one term, named as in the language (ASL).
// Source: ACPI specification 6.5, chapters 19 and 20.

/** Bytes of a term, or of several in a row. */
export type Aml = readonly number[];

const ROOT = 0x5c;
const DUAL_NAME = 0x2e;
const MULTI_NAME = 0x2f;
const EXTENDED = 0x5b;

function segment(name: string): Aml {
  if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(name)) throw new RangeError(`${name} is no name in AML`);
  return [...name.padEnd(4, '_')].map(c => c.charCodeAt(0));
}

/** A path such as `\_SB.PCI0`, `^FLAG` or `_HID`. */
export function path(text: string): Aml {
  const [, prefix, rest] = /^(\\|\^*)(.*)$/.exec(text)!;
  const names = rest === '' ? [] : rest.split('.').map(segment);
  const lead = [...prefix].map(c => (c === '\\' ? ROOT : 0x5e));
  if (names.length === 0) return [...lead, 0];
  if (names.length === 1) return [...lead, ...names[0]];
  if (names.length === 2) return [...lead, DUAL_NAME, ...names.flat()];
  return [...lead, MULTI_NAME, names.length, ...names.flat()];
}

/** Bytes with their length in front, which counts itself: one byte up to 63, else a nibble and one to three bytes. */
function sized(content: Aml): Aml {
  if (content.length + 1 <= 0x3f) return [content.length + 1, ...content];
  for (let extra = 1; extra <= 3; extra++) {
    const length = content.length + 1 + extra;
    if (length < 2 ** (4 + 8 * extra)) {
      const more = Array.from({ length: extra }, (_, i) => (length >> (4 + 8 * i)) & 0xff);
      return [(extra << 6) | (length & 0xf), ...more, ...content];
    }
  }
  throw new RangeError('an AML package of 256 MiB');
}

const little = (value: number | bigint, bytes: number): Aml =>
  Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));

/** A constant in its shortest form; not negative. */
export function integer(value: number | bigint): Aml {
  const n = BigInt(value);
  if (n <= 1n) return [Number(n)];
  if (n <= 0xffn) return [0x0a, ...little(n, 1)];
  if (n <= 0xffffn) return [0x0b, ...little(n, 2)];
  if (n <= 0xffff_ffffn) return [0x0c, ...little(n, 4)];
  return [0x0e, ...little(n, 8)];
}

export const string = (text: string): Aml => [0x0d, ...[...text].map(c => c.charCodeAt(0)), 0];

export const buffer = (content: Aml): Aml => [0x11, ...sized([...integer(content.length), ...content])];

/** Throws RangeError for more than 255 elements, which need another kind of package. */
export function packageOf(...elements: Aml[]): Aml {
  if (elements.length > 0xff) throw new RangeError(`an AML package of ${elements.length} elements`);
  return [0x12, ...sized([elements.length, ...elements.flat()])];
}

/** The compressed form of a PNP identifier such as `PNP0A08`. */
export function eisaId(id: string): Aml {
  const [a, b, c] = [...id.slice(0, 3)].map(letter => letter.charCodeAt(0) - 0x40);
  const vendor = (a << 10) | (b << 5) | c;
  const product = Number.parseInt(id.slice(3), 16);
  const bytes = [vendor >> 8, vendor & 0xff, product >> 8, product & 0xff];
  return integer(bytes.reduceRight((value, byte) => value * 0x100 + byte));
}

/** A UUID as a buffer: the first three groups are little-endian. */
export function uuid(text: string): Aml {
  const bytes = text
    .replaceAll('-', '')
    .match(/../g)!
    .map(hex => Number.parseInt(hex, 16));
  return buffer([3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(i => bytes[i]));
}

export const name = (at: string, value: Aml): Aml => [0x08, ...path(at), ...value];

export const scope = (at: string, ...terms: Aml[]): Aml => [0x10, ...sized([...path(at), ...terms.flat()])];

export const device = (at: string, ...terms: Aml[]): Aml => [EXTENDED, 0x82, ...sized([...path(at), ...terms.flat()])];

const SERIALIZED = 8;

/** @param args number of arguments, 0 to 7. */
export const method = (at: string, args: number, ...terms: Aml[]): Aml => [
  0x14,
  ...sized([...path(at), args, ...terms.flat()]),
];

/** One that makes names of its own, and so may run but once at a time. */
export const serializedMethod = (at: string, args: number, ...terms: Aml[]): Aml =>
  method(at, args | SERIALIZED, ...terms);

/** An argument of the method, 0 to 6. */
export const arg = (n: number): Aml => [0x68 + n];

export const store = (value: Aml, target: Aml): Aml => [0x70, ...value, ...target];
/** target = a & b, target = a | b. */
export const and = (a: Aml, b: Aml, target: Aml): Aml => [0x7b, ...a, ...b, ...target];
export const or = (a: Aml, b: Aml, target: Aml): Aml => [0x7d, ...a, ...b, ...target];
export const equal = (a: Aml, b: Aml): Aml => [0x93, ...a, ...b];
export const when = (condition: Aml, ...terms: Aml[]): Aml => [0xa0, ...sized([...condition, ...terms.flat()])];
export const otherwise = (...terms: Aml[]): Aml => [0xa1, ...sized(terms.flat())];
export const giveBack = (value: Aml): Aml => [0xa4, ...value];
/** A name for 32 bits of a buffer, from a byte on. */
export const dwordField = (source: Aml, byte: number, at: string): Aml => [
  0x8a,
  ...source,
  ...integer(byte),
  ...path(at),
];
