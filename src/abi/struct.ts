// Declared C structs: a declaration gives the layout for both ABIs and reads and writes values of it.
// Layout rules: System V ABI, i386 (u64 aligned to 4) and AMD64 supplements.

/** Size of a C `long` and of a pointer in the guest that owns the memory. */
export type Abi = 32 | 64;

/** A C type with values of type T. Offsets and sizes are in bytes; all is little-endian. */
export interface Type<T> {
  size(abi: Abi): number;
  align(abi: Abi): number;
  read(view: DataView, offset: number, abi: Abi): T;
  write(view: DataView, offset: number, value: T, abi: Abi): void;
  /** All bytes zero. */
  zero(): T;
}

/** The value type of a declared type: `type Segment = Of<typeof segment>`. */
export type Of<S> = S extends Type<infer T> ? T : never;

type Fields = Record<string, Type<unknown>>;
type ValueOf<F extends Fields> = { -readonly [K in keyof F]: Of<F[K]> };

function scalar<T>(
  bytes: number,
  align32: number,
  zero: T,
  read: (view: DataView, offset: number) => T,
  write: (view: DataView, offset: number, value: T) => void,
): Type<T> {
  return { size: () => bytes, align: abi => (abi === 32 ? align32 : bytes), read, write, zero: () => zero };
}

export const u8: Type<number> = scalar(
  1,
  1,
  0,
  (v, o) => v.getUint8(o),
  (v, o, x) => v.setUint8(o, x),
);
export const u16: Type<number> = scalar(
  2,
  2,
  0,
  (v, o) => v.getUint16(o, true),
  (v, o, x) => v.setUint16(o, x, true),
);
export const u32: Type<number> = scalar(
  4,
  4,
  0,
  (v, o) => v.getUint32(o, true),
  (v, o, x) => v.setUint32(o, x, true),
);
export const i8: Type<number> = scalar(
  1,
  1,
  0,
  (v, o) => v.getInt8(o),
  (v, o, x) => v.setInt8(o, x),
);
export const i16: Type<number> = scalar(
  2,
  2,
  0,
  (v, o) => v.getInt16(o, true),
  (v, o, x) => v.setInt16(o, x, true),
);
export const i32: Type<number> = scalar(
  4,
  4,
  0,
  (v, o) => v.getInt32(o, true),
  (v, o, x) => v.setInt32(o, x, true),
);
const readU64 = (v: DataView, o: number): bigint => v.getBigUint64(o, true);
const writeU64 = (v: DataView, o: number, x: bigint): void => v.setBigUint64(o, x, true);
export const u64: Type<bigint> = scalar(8, 4, 0n, readU64, writeU64);
/** Xen's uint64_aligned_t: aligned to 8 in both ABIs. */
export const u64Aligned: Type<bigint> = scalar(8, 8, 0n, readU64, writeU64);
export const i64: Type<bigint> = scalar(
  8,
  4,
  0n,
  (v, o) => v.getBigInt64(o, true),
  (v, o, x) => v.setBigInt64(o, x, true),
);

/** `unsigned long`: always a bigint, 4 or 8 bytes. */
export const ulong: Type<bigint> = {
  size: abi => abi / 8,
  align: abi => abi / 8,
  read: (v, o, abi) => (abi === 64 ? v.getBigUint64(o, true) : BigInt(v.getUint32(o, true))),
  write: (v, o, x, abi) => {
    if (abi === 64) v.setBigUint64(o, x, true);
    else v.setUint32(o, Number(x & 0xffffffffn), true);
  },
  zero: () => 0n,
};
/** XEN_GUEST_HANDLE(...): a guest pointer. */
export const handle: Type<bigint> = ulong;
/** XEN_GUEST_HANDLE_64(...): a guest pointer in 8 aligned bytes whatever the ABI. */
export const handle64: Type<bigint> = u64Aligned;

/** `type name[length]`; a length may differ between the ABIs. */
export function array<T>(
  element: Type<T>,
  length: number | { 32: number; 64: number },
): Type<T[]> & { readonly element: Type<T> } {
  const count = (abi: Abi): number => (typeof length === 'number' ? length : length[abi]);
  return {
    element,
    size: abi => element.size(abi) * count(abi),
    align: abi => element.align(abi),
    read: (view, offset, abi) => {
      const step = element.size(abi);
      return Array.from({ length: count(abi) }, (_, i) => element.read(view, offset + i * step, abi));
    },
    write: (view, offset, values, abi) => {
      const step = element.size(abi);
      const n = Math.min(count(abi), values.length);
      for (let i = 0; i < n; i++) element.write(view, offset + i * step, values[i], abi);
    },
    zero: () => Array.from({ length: count(64) }, () => element.zero()),
  };
}

/** `uint8_t name[length]` or `char name[length]` as bytes; shorter values are padded with zeros. */
export function bytes(length: number): Type<Uint8Array> {
  return {
    size: () => length,
    align: () => 1,
    read: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, length).slice(),
    write: (view, offset, value) => {
      const target = new Uint8Array(view.buffer, view.byteOffset + offset, length);
      target.set(value.subarray(0, length));
      target.fill(0, Math.min(value.length, length));
    },
    zero: () => new Uint8Array(length),
  };
}

/** A struct that has two declarations, one an ABI: the value has the fields of the ABI's own one. */
export function perAbi<A, B>(
  abi32: Type<A>,
  abi64: Type<B>,
): Type<A | B> & { readonly pick: (abi: Abi) => Type<A | B> } {
  const pick = (abi: Abi): Type<A | B> => (abi === 32 ? abi32 : abi64) as Type<A | B>;
  return {
    pick,
    size: abi => pick(abi).size(abi),
    align: abi => pick(abi).align(abi),
    read: (view, offset, abi) => pick(abi).read(view, offset, abi),
    write: (view, offset, value, abi) => pick(abi).write(view, offset, value, abi),
    zero: () => abi64.zero(),
  };
}

interface Layout {
  size: number;
  align: number;
  offsets: Record<string, number>;
}

/** A declared struct or union. */
export interface Struct<F extends Fields> extends Type<ValueOf<F>> {
  readonly name: string;
  readonly fields: F;
  /** Byte offset of a field. */
  offset(field: keyof F & string, abi: Abi): number;
  /** Writes only the given fields. */
  update(view: DataView, offset: number, values: Partial<ValueOf<F>>, abi: Abi): void;
}

const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;

function declare<F extends Fields>(name: string, fields: F, isUnion: boolean): Struct<F> {
  const entries = Object.entries(fields);
  const compute = (abi: Abi): Layout => {
    const offsets: Record<string, number> = {};
    let end = 0;
    let align = 1;
    let size = 0;
    for (const [field, type] of entries) {
      const at = isUnion ? 0 : roundUp(end, type.align(abi));
      offsets[field] = at;
      end = at + type.size(abi);
      size = Math.max(size, end);
      align = Math.max(align, type.align(abi));
    }
    return { size: roundUp(size, align), align, offsets };
  };
  const layouts = { 32: compute(32), 64: compute(64) };
  const update = (view: DataView, offset: number, values: Partial<ValueOf<F>>, abi: Abi): void => {
    const { offsets } = layouts[abi];
    for (const [field, type] of entries) {
      const value = values[field];
      if (value !== undefined) type.write(view, offset + offsets[field], value, abi);
    }
  };
  return {
    name,
    fields,
    size: abi => layouts[abi].size,
    align: abi => layouts[abi].align,
    offset: (field, abi) => layouts[abi].offsets[field],
    read: (view, offset, abi) => {
      const { offsets } = layouts[abi];
      const value: Record<string, unknown> = {};
      for (const [field, type] of entries) value[field] = type.read(view, offset + offsets[field], abi);
      return value as ValueOf<F>;
    },
    // Fields that a caller leaves out by a cast stay as they are; padding is never touched.
    write: update,
    update,
    zero: () => Object.fromEntries(entries.map(([field, type]) => [field, type.zero()])) as ValueOf<F>,
  };
}

/** `struct name { ... }`. Field names are the header's in camelCase. */
export function struct<F extends Fields>(name: string, fields: F): Struct<F> {
  return declare(name, fields, false);
}

/**
 * `union { ... }`: reading gives every member's view of the same bytes. Writing goes through the members in order, so a value that
 * was read must not be changed and written back whole: write `member({ name: value })`.
 */
export function union<F extends Fields>(name: string, members: F): Type<ValueOf<F>> & { readonly members: F } {
  const inner = declare(name, members, true);
  return {
    members,
    size: inner.size,
    align: inner.align,
    read: inner.read,
    write: inner.update,
    zero: inner.zero,
  };
}

/** The value of a union of which only the given members (as a rule one) are written. */
export function member<T>(value: Partial<NoInfer<T>>): T {
  return value as T;
}
