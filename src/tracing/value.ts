// A decoded value, apart from how it is written: a number, text, or structs and arrays of them.

import type { Type } from '../abi/struct.ts';
import { type ChooseMembers, FIELD_FORMS, type Form, nameIn, UNION_MEMBERS } from '../abi/xen/calls.ts';

/** A bigint is shown in hexadecimal, a number in decimal; text is what has a name, or is text. */
export type Value = string | number | bigint | readonly Value[] | Fields;

export interface Fields {
  readonly fields: ReadonlyArray<readonly [name: string, value: Value]>;
}

/** Elements of an array, and bytes of text, that are shown. */
const MOST_ELEMENTS = 16;
const MOST_BYTES = 256;
/** Numbers below are the same to everybody in decimal. */
const SMALL = 10n;
const PADDING = /^(?:pad\d*|rsvd|res0|reserved|mbz|unused)$/;
/** Fields that name a domain, whatever struct they are in. */
const DOMAIN_FIELDS = /^(?:dom|domid|domain|remoteDom|foreignDomid|domainId)$/;
const DOMAINS: Readonly<Record<number, string>> = {
  32752: 'DOMID_SELF',
  32753: 'DOMID_IO',
  32754: 'DOMID_XEN',
  32755: 'DOMID_COW',
  32756: 'DOMID_INVALID',
};

interface Declared extends Type<unknown> {
  readonly fields?: Readonly<Record<string, Type<unknown>>>;
  readonly members?: Readonly<Record<string, Type<unknown>>>;
  readonly element?: Type<unknown>;
}

/** A number as its form wants it. */
export function formed(value: number | bigint, form: Form | null | undefined): Value {
  if (form === 'u32') return Number(BigInt.asUintN(32, BigInt(value)));
  if (form === 'decimal') return String(value);
  if (form === 'hex') return BigInt(value);
  if (form === 'domain') return DOMAINS[Number(BigInt(value) & 0xffffn)] ?? Number(value);
  if (form && 'names' in form) {
    const name = nameIn(form.names, Number(value));
    return name === null ? plain(value) : snake(name);
  }
  if (form) return flags(BigInt(value), form.bits);
  return plain(value);
}

function plain(value: number | bigint): Value {
  return typeof value === 'bigint' && value < SMALL ? Number(value) : value;
}

function flags(value: bigint, bits: Readonly<Record<string, number>>): Value {
  let rest = value;
  const names: string[] = [];
  for (const [name, number] of Object.entries(bits)) {
    const bit = BigInt(number);
    if (bit === 0n || (rest & bit) !== bit) continue;
    names.push(snake(name));
    rest &= ~bit;
  }
  if (rest !== 0n) names.push(`0x${rest.toString(16)}`);
  return names.length === 0 ? 0 : names.join('|');
}

/** A struct, union or array that was read. */
export function structured(type: Type<unknown>, value: unknown, field = '', around: unknown = {}): Value {
  const { fields, members, element } = type as Declared;
  if (fields) return structFields(type, fields, value as Record<string, unknown>, field, around);
  if (members) {
    const [[name, first]] = Object.entries(members);
    return structured(first, (value as Record<string, unknown>)[name], name);
  }
  if (element) return list((value as unknown[]).map(item => structured(element, item)));
  if (value instanceof Uint8Array) return textOf(value);
  return plain(value as number | bigint);
}

/** At most so many, and how many more there are. */
export function list(values: readonly Value[], total = values.length): Value[] {
  const shown = values.slice(0, MOST_ELEMENTS);
  return total > shown.length ? [...shown, `… ${total - shown.length} more`] : shown;
}

export { MOST_BYTES, MOST_ELEMENTS };

function structFields(
  type: Type<unknown>,
  fields: Readonly<Record<string, Type<unknown>>>,
  value: Record<string, unknown>,
  field: string,
  around: unknown,
): Fields {
  const forms = FIELD_FORMS.get(type);
  const choose: ChooseMembers | undefined = UNION_MEMBERS.get(type);
  const chosen = choose?.(value, field, around as Record<string, unknown>) ?? {};
  const shown: Array<readonly [string, Value]> = [];
  for (const [name, inner] of Object.entries(fields)) {
    if (PADDING.test(name)) continue;
    const raw = value[name];
    const { members } = inner as Declared;
    if (members) {
      const member = name in chosen ? chosen[name] : Object.keys(members)[0];
      if (member === null) continue;
      shown.push([snake(member), structured(members[member], (raw as Record<string, unknown>)[member], member)]);
    } else if (typeof raw === 'number' || typeof raw === 'bigint') {
      const form = forms?.[name] ?? (DOMAIN_FIELDS.test(name) ? 'domain' : null);
      shown.push([snake(name), formed(raw, form)]);
    } else {
      shown.push([snake(name), structured(inner, raw, name, value)]);
    }
  }
  return { fields: shown };
}

/** Bytes as text in quotes up to a zero, or in hexadecimal where they are none. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  const text = end < 0 ? bytes : bytes.subarray(0, end);
  const isText = text.every(byte => (byte >= 0x20 && byte < 0x7f) || (byte >= 8 && byte <= 13) || byte === 0x1b);
  if (!isText || (text.length === 0 && bytes.some(byte => byte !== 0))) return hex(bytes);
  return quoted(text);
}

function hex(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, MOST_BYTES), byte => byte.toString(16).padStart(2, '0')).join('');
  return `x"${shown}"${bytes.length > MOST_BYTES ? '…' : ''}`;
}

const ESCAPES: Readonly<Record<number, string>> = { 9: '\\t', 10: '\\n', 13: '\\r', 34: '\\"', 92: '\\\\' };

/** Text in quotes, as C writes it. */
export function quoted(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes.subarray(0, MOST_BYTES)) {
    text +=
      ESCAPES[byte] ??
      (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`);
  }
  return `"${text}"${bytes.length > MOST_BYTES ? '…' : ''}`;
}

/** remoteDom is remote_dom in the headers. */
export function snake(name: string): string {
  return name.replace(/(?<=[a-z\d])[A-Z]/g, letter => `_${letter.toLowerCase()}`);
}

/** A value on one line: `{virq=timer, vcpu=0}`, `[…, …]`. */
export function valueText(value: Value): string {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (typeof value !== 'object') return String(value);
  if ('fields' in value) return `{${value.fields.map(([name, inner]) => `${name}=${valueText(inner)}`).join(', ')}}`;
  return `[${value.map(valueText).join(', ')}]`;
}
