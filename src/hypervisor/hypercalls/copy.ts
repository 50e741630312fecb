// How a hypercall's arguments are copied in and out: families declare shapes, handlers take and return plain objects.
import type { Of, Struct, Type } from '../../abi/struct.ts';
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';

// A handler that only acts returns nothing.
// biome-ignore lint/suspicious/noConfusingVoidType: void lets `(v, a) => act(a)` be a handler whatever act returns
export type Nothing = void | undefined;

/** Registers as the guest gave them: six unsigned values (of 32 bits for a 32-bit guest). */
export type Args = readonly bigint[];

/** A hypercall: returns its result; nothing means 0; throws XenError for -errno. */
export type Handler = (vcpu: Vcpu, args: Args) => number | bigint | Nothing;

/** One sub-operation, given the guest pointer to its argument. */
export type SubOperation = (vcpu: Vcpu, pointer: bigint) => number | bigint | Nothing;

// Field names and value types vary by struct; a shape keeps them.
type AnyStruct = Struct<Record<string, Type<unknown>>>;

/** How a sub-operation's argument moves. */
export interface Shape<S> {
  struct: S;
  reads: boolean;
  writes: boolean;
}

/** The argument is only read. */
export const input = <S>(struct: S): Shape<S> => ({ struct, reads: true, writes: false });
/** The argument is read, and the fields that the handler returns are written back. */
export const inout = <S>(struct: S): Shape<S> => ({ struct, reads: true, writes: true });
/** The argument is not read; what the handler returns is written. */
export const output = <S>(struct: S): Shape<S> => ({ struct, reads: false, writes: true });

/**
 * A sub-operation on one struct. The handler returns the hypercall's result as a number, or an object with the fields to write back
 * (those that differ from what was read are written; the result is then 0), or nothing.
 */
export function op<S extends Type<unknown>>(
  shape: Shape<S>,
  handler: (vcpu: Vcpu, argument: Of<S>) => number | bigint | Partial<Of<S>> | Nothing,
): SubOperation {
  const type = shape.struct as unknown as AnyStruct;
  return (vcpu, pointer) => {
    const argument = shape.reads ? vcpu.guest.readStruct(pointer, type) : type.zero();
    const result = handler(vcpu, argument as Of<S>);
    if (typeof result !== 'object' || result === null) return result as number | bigint | Nothing;
    if (!shape.writes) return 0;
    const changed: Record<string, unknown> = {};
    for (const [field, value] of Object.entries(result)) {
      if (!shape.reads || argument[field] !== value) changed[field] = value;
    }
    vcpu.guest.updateStruct(pointer, type, changed);
    return 0;
  };
}

/** A hypercall (cmd, pointer) whose operations are numbered by `numbers`; what `operations` lacks is -ENOSYS. */
export function subops<N extends Record<string, number>>(
  numbers: N,
  operations: { [K in keyof N]?: SubOperation },
): Handler {
  const byNumber = new Map<number, SubOperation>();
  for (const [name, number] of Object.entries(numbers)) {
    const operation = operations[name];
    if (operation) byNumber.set(number, operation);
  }
  return (vcpu, args) => {
    const operation = byNumber.get(u32Arg(args[0]));
    if (!operation) throw new XenError('ENOSYS');
    return operation(vcpu, args[1]);
  };
}

/** An `unsigned int` argument: its low 32 bits. */
export function u32Arg(value: bigint): number {
  return Number(value & 0xffffffffn);
}

/** An `int` argument. */
export function i32Arg(value: bigint): number {
  return u32Arg(value) | 0;
}
