// Types for structs without padding, as firmware's tables are: every field stands where the one before it ends.
import { u16 as aligned16, u32 as aligned32, u64 as aligned64, bytes, type Type } from './struct.ts';

const packed = <T>(type: Type<T>): Type<T> => ({ ...type, align: () => 1 });

export const u16 = packed(aligned16);
export const u32 = packed(aligned32);
export const u64 = packed(aligned64);

/** `char name[length]`, filled up with blanks. */
export function text(length: number): Type<string> {
  const raw = bytes(length);
  return {
    size: () => length,
    align: () => 1,
    read: (view, offset, abi) => String.fromCharCode(...raw.read(view, offset, abi)),
    write: (view, offset, value, abi) =>
      raw.write(
        view,
        offset,
        Uint8Array.from(value.padEnd(length), c => c.charCodeAt(0)),
        abi,
      ),
    zero: () => '\0'.repeat(length),
  };
}

/** The bytes of a struct of which some fields are given and the others are 0. */
export function filled<T>(type: Type<T>, values: Partial<T>): Uint8Array {
  const content = new Uint8Array(type.size(64));
  type.write(new DataView(content.buffer), 0, { ...type.zero(), ...values }, 64);
  return content;
}

/** What makes the sum of all bytes a multiple of 256. */
export const checksum = (content: Uint8Array): number => -content.reduce((sum, byte) => sum + byte, 0) & 0xff;
