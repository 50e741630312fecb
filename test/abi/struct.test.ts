// Declared structs: reading, writing, parts, unions, and what differs between the ABIs.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Abi, array, bytes, handle, i8, i16, i32, i64, member, perAbi, struct, type Type, u8, u16, u32, u64, u64Aligned, ulong, union,
} from '../../src/abi/struct.ts'; // biome-ignore format: a list

const view = (size: number) => new DataView(new ArrayBuffer(size));
const hex = (v: DataView) => Buffer.from(v.buffer).toString('hex');

describe('struct', () => {
  const s = struct('s', { a: u8, b: ulong, c: u16, d: u64, e: handle, f: array(u16, 3) });

  it('lays fields out as C does', () => {
    const offsets = (abi: Abi) => Object.keys(s.fields).map(f => s.offset(f as keyof typeof s.fields, abi));
    expect([s.size(64), s.align(64), offsets(64)]).toEqual([48, 8, [0, 8, 16, 24, 32, 40]]);
    expect([s.size(32), s.align(32), offsets(32)]).toEqual([32, 4, [0, 4, 8, 12, 20, 24]]);
    expect(struct('t', { a: u32, b: u64Aligned }).size(32)).toBe(16);
  });

  it('reads what it wrote, and cuts longs to the ABI', () => {
    const value = { a: 1, b: (1n << 40n) + 2n, c: 3, d: 1n << 63n, e: 5n, f: [6, 7, 8] };
    const v64 = view(48);
    s.write(v64, 0, value, 64);
    expect(s.read(v64, 0, 64)).toEqual(value);
    const v32 = view(32);
    s.write(v32, 0, value, 32);
    expect(s.read(v32, 0, 32)).toEqual({ ...value, b: 2n });
  });

  it('updates parts and leaves the rest, padding too', () => {
    const v = view(48);
    new Uint8Array(v.buffer).fill(0xee);
    s.update(v, 0, { c: 0x1234 }, 64);
    expect(hex(v)).toBe(`${'ee'.repeat(16)}3412${'ee'.repeat(30)}`);
  });

  it('gives zeros for everything', () => {
    expect(s.zero()).toEqual({ a: 0, b: 0n, c: 0, d: 0n, e: 0n, f: [0, 0, 0] });
  });
});

describe('other types', () => {
  it('keeps signs', () => {
    const s = struct('s', { a: i8, b: i16, c: i32, d: i64 });
    const v = view(16);
    s.write(v, 0, { a: -1, b: -2, c: -3, d: -4n }, 64);
    expect(s.read(v, 0, 64)).toEqual({ a: -1, b: -2, c: -3, d: -4n });
  });

  it('pads and cuts bytes', () => {
    const v = view(4);
    new Uint8Array(v.buffer).fill(0xff);
    bytes(3).write(v, 0, new Uint8Array([1]), 64);
    expect(hex(v)).toBe('010000ff');
    bytes(3).write(v, 0, new Uint8Array([1, 2, 3, 4]), 64);
    expect(hex(v)).toBe('010203ff');
  });

  it('shows all members of a union and writes the one that is given', () => {
    const u = union('u', { word: u32, half: u16, pair: struct('pair', { low: u8, high: u8 }) });
    const v = view(4);
    u.write(v, 0, member({ word: 0x11223344 }), 64);
    u.write(v, 0, member({ pair: { low: 0xaa, high: 0xbb } }), 64);
    expect(u.read(v, 0, 64)).toEqual({ word: 0x1122bbaa, half: 0xbbaa, pair: { low: 0xaa, high: 0xbb } });
    expect(u.size(32)).toBe(4);
  });

  it('has one declaration for each ABI where they differ', () => {
    const p = perAbi(struct('p', { x: u32 }), struct('p', { x: u64, y: u8 }));
    expect([p.size(32), p.size(64)]).toEqual([4, 16]);
    expect(array(u32, { 32: 0, 64: 1 }).size(32)).toBe(0);
  });

  it('never writes outside of its size', () => {
    const leaf = fc.constantFrom<Type<unknown>>(u8, u16, u32, u64, ulong, i32, bytes(5), array(u16, 3));
    const any = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), leaf).map(f => struct('s', f));
    fc.assert(
      fc.property(any, fc.constantFrom<Abi>(32, 64), (s, abi) => {
        const size = s.size(abi);
        const v = view(size + 16);
        new Uint8Array(v.buffer).fill(0xee);
        s.write(v, 8, s.zero(), abi);
        const raw = Array.from(new Uint8Array(v.buffer));
        expect([...raw.slice(0, 8), ...raw.slice(size + 8)]).toEqual(new Array(16).fill(0xee));
        expect(size % s.align(abi)).toBe(0);
      }),
    );
  });
});
