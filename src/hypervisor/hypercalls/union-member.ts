// The shape of the control domain's hypercalls: a head, and behind it a union of all operations' arguments. An operation is declared with its own
// member of the union, which is copied in, and back where the handler says so.
import type { Of, Type } from '../../abi/struct.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Nothing } from './copy.ts';

/** What an operation does with its member of the union, which stands at a guest address. `head` is what the head names: a domain, say. */
export type Member<Head = undefined> = (vcpu: Vcpu, pointer: bigint, head: Head) => number | Nothing;

/** The handler gives the fields that are written back, or the hypercall's result. */
export function member<S extends Type<unknown>, Head = undefined>(
  type: S,
  act: (vcpu: Vcpu, argument: Of<S>, head: Head) => Partial<Of<S>> | number | Nothing,
): Member<Head> {
  return (vcpu, pointer, head) => {
    const argument = vcpu.guest.readStruct(pointer, type) as Of<S>;
    const result = act(vcpu, argument, head);
    if (typeof result === 'number' || !result) return result as number | Nothing;
    vcpu.guest.updateStruct(pointer, type as never, result as never);
  };
}
