// The form in which genuine Xen's trace and ours are compared: each hypercall and suboperation the first time that a domain makes it.

import { SEGBASE } from '../../src/abi/xen/callback.ts';
import { CALLS, callOf, nameIn, operationOf } from '../../src/abi/xen/calls.ts';
import { MMUEXT, UVMF, VMASST_TYPE } from '../../src/abi/xen/xen.ts';
import { snake } from '../../src/tracing/value.ts';

/** One line of a trace. */
export interface Seen {
  /** What it is called, and what is compared: "vcpu_op.register_vcpu_info", "mmuext_op: pin_l4_table". */
  readonly call: string;
  /** A later call of the same that failed, the first time with this number. */
  readonly isLaterError: boolean;
  /** null for an operation within a batch, of which only the name is known. */
  readonly number: number | null;
  /** The first registers, as many as the trace has. */
  readonly args: readonly bigint[];
  /** Signed; null as above. */
  readonly result: bigint | null;
}

/** Hypercalls that are told apart by a parameter, though it is no operation's number. */
const BY_PARAMETER: Readonly<Record<string, (args: readonly number[]) => string>> = {
  update_va_mapping: ([, , flags]) => nameIn(UVMF_OPERATIONS, flags & 3) ?? `flags ${flags & 3}`,
  vm_assist: ([, type]) => nameIn(VMASST_TYPE, type) ?? `type ${type}`,
  set_debugreg: ([register]) => `dr${register}`,
  set_segment_base: ([which]) => snake(nameIn(SEGBASE, which) ?? `base ${which}`),
};
const UVMF_OPERATIONS = { none: UVMF.none, tlb_flush: UVMF.tlbFlush, invlpg: UVMF.invlpg };

/** Which operation of a hypercall it is, as a name; null where there is only one. */
function operation(number: number, args: readonly bigint[]): string | null {
  const known = callOf(number);
  if (!known) return null;
  const byParameter = BY_PARAMETER[known.name];
  if (byParameter) return byParameter(args.map(value => Number(BigInt.asUintN(32, value))));
  const { operations } = known.call;
  if (!operations || operations.union !== null) return null;
  return operationOf(known.call, args) ?? `operation ${args[0] & BigInt(operations.mask)}`;
}

/** "vcpu_op.initialise". */
export function callName(number: number, args: readonly bigint[]): string {
  const name = callOf(number)?.name ?? `hypercall ${number}`;
  const which = operation(number, args);
  return which === null ? name : `${name}.${which}`;
}

/** "mmuext_op: pin_l4_table", for an operation of a batch. */
export function batchName(hypercall: string, command: number): string {
  const numbers = hypercall === 'mmuext_op' ? MMUEXT : CALLS[hypercall as keyof typeof CALLS]?.operations?.numbers;
  return `${hypercall}: ${nameIn(numbers ?? {}, command) ?? `operation ${command}`}`;
}

/** Collects what is seen for the first time. */
export class FirstSeen {
  readonly list: Seen[] = [];
  /** The error numbers that each call has had after its first time, whatever came of that. */
  private readonly calls = new Map<string, Set<bigint>>();

  batch(hypercall: string, operation: string): void {
    const call = `${hypercall}: ${operation}`;
    if (this.calls.has(call)) return;
    this.calls.set(call, new Set());
    this.list.push({ call, isLaterError: false, number: null, args: [], result: null });
  }

  call(number: number, args: readonly bigint[], result: bigint): void {
    const call = callName(number, args);
    const known = this.calls.get(call);
    const isError = result < 0n && result > -4096n;
    if (known === undefined) this.calls.set(call, new Set());
    else if (!isError || known.has(result)) return;
    else known.add(result);
    this.list.push({ call, isLaterError: known !== undefined, number, args: args.slice(0, 4), result });
  }
}
