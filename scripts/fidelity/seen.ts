// The form in which genuine Xen's trace and ours are compared: each hypercall and suboperation the first time that a domain makes it.

import { MMUEXT } from '../../src/abi/xen/xen.ts';
import { hypercallRow } from '../../src/hypervisor/hypercalls/table.ts';

/** One line of a trace. */
export interface Seen {
  /** What it is called, and what is compared: "vcpu_op.register_vcpu_info", "mmuext_op: pin_l4_table". */
  readonly call: string;
  /** A later call of the same that failed, where the first had not or had with another number. */
  readonly isLaterError: boolean;
  /** null for an operation within a batch, of which only the name is known. */
  readonly number: number | null;
  /** The first registers, as many as the trace has. */
  readonly args: readonly bigint[];
  /** Signed; null as above. */
  readonly result: bigint | null;
}

const VM_ASSISTS: Readonly<Record<number, string>> = {
  0: '4gb_segments', 1: '4gb_segments_notify', 2: 'writable_pagetables', 3: 'pae_extended_cr3', 4: 'architectural_iopl',
  5: 'runstate_update_flag', 32: 'm2p_strict',
}; // biome-ignore format: a table
const SEGMENT_BASES = ['fs', 'gs_user', 'gs_kernel', 'gs_user_selector'];
const FLUSHES = ['none', 'tlb_flush', 'invlpg'];
const MMUEXT_NAMES = new Map<number, string>(Object.entries(MMUEXT).map(([name, command]) => [command, name]));
/** Of platform_op (public/platform.h), those that a kernel makes while it boots. */
const PLATFORM: Readonly<Record<number, string>> = {
  50: 'firmware_info', 51: 'enter_acpi_sleep', 55: 'get_cpuinfo', 62: 'resource_op', 63: 'get_symbol',
}; // biome-ignore format: a table

/** public/xenpmu.h. */
const XENPMU = ['mode_get', 'mode_set', 'feature_get', 'feature_set', 'init', 'finish', 'lvtpc_set', 'flush'];

/** Hypercalls whose first argument is a command; the others are one thing, but for those below. */
const BY_COMMAND = new Set([12, 17, 18, 20, 24, 29, 30, 32, 33, 34]);
const UPDATE_VA_MAPPING = 14;
const VM_ASSIST = 21;
const SET_DEBUGREG = 8;
const SET_SEGMENT_BASE = 25;
const MEMORY_OP = 12;
const XENPMU_OP = 40;
const MMUEXT_OP = 26;
const PLATFORM_OP = 7;

/** Which operation of a hypercall it is, as a name; null where there is only one. */
function operation(number: number, args: readonly bigint[]): string | null {
  const [first, second, third] = args.map(value => Number(BigInt.asUintN(32, value)));
  if (number === UPDATE_VA_MAPPING) return FLUSHES[third & 3] ?? `flags ${third & 3}`;
  if (number === VM_ASSIST) return `${VM_ASSISTS[second] ?? `type ${second}`}`;
  if (number === SET_DEBUGREG) return `dr${first}`;
  if (number === SET_SEGMENT_BASE) return SEGMENT_BASES[first] ?? `base ${first}`;
  if (number === XENPMU_OP) return XENPMU[first] ?? `operation ${first}`;
  if (!BY_COMMAND.has(number)) return null;
  const command = number === MEMORY_OP ? first & 0x3f : first;
  const name = hypercallRow('pv64', number)?.handler.operationOf?.([BigInt(command), ...args.slice(1)]);
  return name ?? `operation ${command}`;
}

/** "vcpu_op.initialise". */
export function callName(number: number, args: readonly bigint[]): string {
  const name = hypercallRow('pv64', number)?.name ?? `hypercall ${number}`;
  const which = operation(number, args);
  return which === null ? name : `${name}.${which}`;
}

/** "mmuext_op: pin_l4_table", for an operation of a batch. */
export function batchName(hypercall: string, command: number): string {
  const names = hypercall === 'mmuext_op' ? MMUEXT_NAMES.get(command) : PLATFORM[command];
  return `${hypercall}: ${names ?? `operation ${command}`}`;
}

/** Whether a hypercall's operations stand in memory. */
export function isBatch(number: number): 'mmuext_op' | 'platform_op' | null {
  return number === MMUEXT_OP ? 'mmuext_op' : number === PLATFORM_OP ? 'platform_op' : null;
}

/** Collects what is seen for the first time. */
export class FirstSeen {
  readonly list: Seen[] = [];
  private readonly calls = new Map<string, { errorSeen: boolean }>();

  batch(hypercall: string, command: number): void {
    const call = batchName(hypercall, command);
    if (this.calls.has(call)) return;
    this.calls.set(call, { errorSeen: false });
    this.list.push({ call, isLaterError: false, number: null, args: [], result: null });
  }

  call(number: number, args: readonly bigint[], result: bigint): void {
    const call = callName(number, args);
    const known = this.calls.get(call);
    const isError = result < 0n && result > -4096n;
    if (known === undefined) this.calls.set(call, { errorSeen: false });
    else if (!isError || known.errorSeen) return;
    else known.errorSeen = true;
    this.list.push({ call, isLaterError: known !== undefined, number, args: args.slice(0, 4), result });
  }
}
