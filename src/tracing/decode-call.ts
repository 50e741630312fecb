// A hypercall that was recorded, as a person reads it: its operation, its parameters by name, and what they point at as far as there is memory to look at.
import type { Abi, Type } from '../abi/struct.ts';
import { type Call, callOf, nameIn, type Operations, operationOf, type Parameter } from '../abi/xen/calls.ts';
import { ERRNO, errnoName, XenError } from '../hypervisor/errors.ts';
import type { HypercallRecord } from '../hypervisor/hypercalls/trace.ts';
import type { Vcpu } from '../hypervisor/vcpu.ts';
import { formed, list, MOST_BYTES, MOST_ELEMENTS, quoted, structured, type Value, valueText } from './value.ts';

/** The memory of the vCPU that made the call, as it is afterwards. */
export interface CallMemory {
  readonly abi: Abi;
  /** Null where there is none. */
  read(address: bigint, length: number): Uint8Array | null;
}

/** Guest memory as the hypercall left it. */
export function memoryOf(vcpu: Vcpu): CallMemory {
  return {
    abi: vcpu.abiWidth,
    read: (address, length) => {
      try {
        return vcpu.guest.read(address, length);
      } catch (error) {
        // The guest's pointer leads nowhere.
        if (error instanceof XenError) return null;
        throw error;
      }
    },
  };
}

export interface DecodedCall {
  readonly name: string;
  readonly operation: string | null;
  readonly parameters: ReadonlyArray<readonly [name: string, value: Value]>;
  /** "-EINVAL", "0", "0x1000". */
  readonly result: string;
  /** The operations that stand in memory, by name, in order, each as often as it is there. */
  readonly batch: readonly string[];
}

/** Errors that come before anything was looked at: nor is it for a trace. */
const NOTHING_READ = new Set<number>([ERRNO.EFAULT, ERRNO.ENOSYS, ERRNO.EPERM, ERRNO.ENOENT]);
/** A batch's count has this bit where it is a rest. MMU_UPDATE_PREEMPTED. */
const PREEMPTED = 0x8000_0000;
/** Operations of one batch that are looked at for their names. */
const MOST_OPERATIONS = 4096;

export function decodeCall(record: HypercallRecord, memory: CallMemory | null = null): DecodedCall {
  const { number, args, result } = record;
  const known = callOf(number);
  const text = resultText(result);
  if (!known) {
    const parameters = args.map((value, i) => [`arg${i + 1}`, value] as const);
    return { name: record.name, operation: null, parameters, result: text, batch: [] };
  }
  const { call, name } = known;
  const failure = -BigInt.asIntN(64, result);
  const readable = NOTHING_READ.has(Number(failure)) ? null : memory;
  const target = readable && call.pointer >= 0 ? pointedAt(call, args, readable) : null;
  return {
    name,
    operation: operationOf(call, args) ?? target?.operation ?? null,
    parameters: call.parameters.map((parameter, i) => {
      const value =
        i === call.pointer && target?.value !== undefined ? target.value : argument(call, parameter, i, args);
      return [parameter.name, value] as const;
    }),
    result: text,
    batch: target?.batch ?? [],
  };
}

/** What stands in a register. */
function argument({ operations, pointer }: Call, { form }: Parameter, i: number, args: readonly bigint[]): Value {
  const value = args[i] ?? 0n;
  if (i === 0 && operations && operations.union === null) {
    const operation = Number(value & BigInt(operations.mask));
    return nameIn(operations.numbers, operation) ?? operation;
  }
  if (form !== null) return formed(value, form);
  return i === pointer && value === 0n ? 'NULL' : value;
}

interface Target {
  readonly value?: Value;
  readonly operation?: string | null;
  readonly batch?: readonly string[];
}

function pointedAt(call: Call, args: readonly bigint[], memory: CallMemory): Target | null {
  const { operations, pointer, struct, isText } = call;
  const address = args[pointer];
  if (address === 0n) return null;
  const counted = call.count < 0 ? 1 : Number(BigInt.asUintN(32, args[call.count])) & ~PREEMPTED;
  if (isText) {
    const bytes = memory.read(address, Math.min(counted, MOST_BYTES + 1));
    return bytes && { value: quoted(bytes) };
  }
  if (operations && operations.union !== null) return behindHead(operations, operations.union, address, memory);
  const type = struct ?? structOf(operations, operationOf(call, args));
  return type ? elements(type, address, counted, call.count >= 0, memory) : null;
}

function structOf(operations: Operations | null, operation: string | null): Type<unknown> | null {
  return (operation !== null && operations?.structs[operation]) || null;
}

/** The first words say which operation, the rest is its own. */
function behindHead(operations: Operations, union: number, address: bigint, memory: CallMemory): Target | null {
  const head = memory.read(address, 4);
  if (!head) return null;
  const number = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
  const operation = nameIn(operations.numbers, number) ?? String(number);
  const type = structOf(operations, operation);
  const value = type && readOne(type, address + BigInt(union), memory);
  return { operation, batch: [operation], ...(value === null ? {} : { value: { fields: [[operation, value]] } }) };
}

function elements(
  type: Type<unknown>,
  address: bigint,
  count: number,
  isArray: boolean,
  memory: CallMemory,
): Target | null {
  if (!isArray) {
    const value = readOne(type, address, memory);
    return value === null ? null : { value };
  }
  const size = type.size(memory.abi);
  const values: Value[] = [];
  for (let i = 0; i < Math.min(count, MOST_ELEMENTS); i++) {
    const value = readOne(type, address + BigInt(i * size), memory);
    if (value === null) break;
    values.push(value);
  }
  return { value: list(values, count), batch: names(type, address, count, size, memory) };
}

/** The operations of a batch whose structs begin with a command. */
function names(type: Type<unknown>, address: bigint, count: number, size: number, memory: CallMemory): string[] {
  const all: string[] = [];
  for (let i = 0; i < Math.min(count, MOST_OPERATIONS); i++) {
    const value = readOne(type, address + BigInt(i * size), memory);
    if (value === null || typeof value !== 'object' || !('fields' in value)) break;
    const [first] = value.fields;
    if (first?.[0] !== 'cmd') break;
    all.push(valueText(first[1]));
  }
  return all;
}

function readOne(type: Type<unknown>, address: bigint, memory: CallMemory): Value | null {
  const bytes = memory.read(address, type.size(memory.abi));
  if (!bytes) return null;
  return structured(type, type.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, memory.abi));
}

/** Error numbers by name, addresses and the like in hexadecimal. */
function resultText(result: bigint): string {
  const signed = BigInt.asIntN(64, result);
  if (signed < 0n && signed > -4096n) return errnoName(Number(signed));
  return signed >= 0n && signed < 4096n ? String(signed) : `0x${result.toString(16)}`;
}

/** `sched_op(block, NULL)`, `update_va_mapping(va=0x…, val=0x…, flags=UVMF_INVLPG)`. */
export function callText({ name, parameters, operation }: DecodedCall): string {
  const isNamed = parameters.some(([parameter]) => parameter === 'cmd' || parameter === 'op');
  const shown = parameters.map(([parameter, value]) => {
    const text = valueText(value);
    const isOperation = (parameter === 'cmd' || parameter === 'op') && text === operation;
    return isOperation ? text : `${parameter}=${text}`;
  });
  return `${name}${operation !== null && !isNamed ? `.${operation}` : ''}(${shown.join(', ')})`;
}
