// Hypercalls as lines for a person: "mmuext_op(uops=0xffffc9…, count=1, pdone=0x0, foreigndom=DOMID_SELF) = -EINVAL".
// Parameters are named as in xen/include/public/xen.h and the headers of each family.

import { errnoName } from '../hypervisor/errors.ts';
import type { HypercallRecord } from './boot.ts';
import type { HypercallText } from './verdict.ts';

export const PARAMETERS: Readonly<Record<string, readonly string[]>> = {
  set_trap_table: ['traps'],
  mmu_update: ['reqs', 'count', 'pdone', 'foreigndom'],
  set_gdt: ['frames', 'entries'],
  stack_switch: ['ss', 'esp'],
  set_callbacks: ['event', 'failsafe', 'syscall'],
  fpu_taskswitch: ['set'],
  sched_op_compat: ['cmd', 'arg'],
  platform_op: ['op'],
  set_debugreg: ['reg', 'value'],
  get_debugreg: ['reg'],
  update_descriptor: ['maddr', 'desc'],
  memory_op: ['cmd', 'arg'],
  multicall: ['calls', 'count'],
  update_va_mapping: ['va', 'val', 'flags'],
  set_timer_op: ['timeout'],
  event_channel_op_compat: ['op'],
  xen_version: ['cmd', 'arg'],
  console_io: ['cmd', 'count', 'buffer'],
  physdev_op_compat: ['op'],
  grant_table_op: ['cmd', 'uop', 'count'],
  vm_assist: ['cmd', 'type'],
  update_va_mapping_otherdomain: ['va', 'val', 'flags', 'domid'],
  iret: [],
  vcpu_op: ['cmd', 'vcpuid', 'arg'],
  set_segment_base: ['which', 'base'],
  mmuext_op: ['uops', 'count', 'pdone', 'foreigndom'],
  xsm_op: ['op'],
  nmi_op: ['cmd', 'arg'],
  sched_op: ['cmd', 'arg'],
  callback_op: ['cmd', 'arg'],
  xenoprof_op: ['op', 'arg'],
  event_channel_op: ['cmd', 'arg'],
  physdev_op: ['cmd', 'arg'],
  hvm_op: ['op', 'arg'],
  sysctl: ['op'],
  domctl: ['op'],
  kexec_op: ['op', 'arg'],
  xenpmu_op: ['op', 'arg'],
};
/** Parameters that say which operation it is: shown by its name where that is known. */
const OPERATION = new Set(['cmd', 'op']);
/** Small decimal numbers. */
const DECIMAL = new Set(['count', 'entries', 'vcpuid', 'reg', 'type', 'which', 'set']);
const DOMAINS: Readonly<Record<string, string>> = { 32752: 'DOMID_SELF', 32753: 'DOMID_IO', 32754: 'DOMID_XEN' };
/** update_va_mapping's flags (UVMF_*): an operation and, for some, a pointer to a set of vCPUs. */
const MAPPING_FLUSHES = ['UVMF_NONE', 'UVMF_TLB_FLUSH', 'UVMF_INVLPG'];

export function hypercallText(record: HypercallRecord): HypercallText {
  const names = PARAMETERS[record.name];
  // Five registers carry arguments; of a hypercall that is not known here all are shown.
  const count = names?.length ?? record.args.length;
  const parts = record.args.slice(0, count).map((value, i) => argument(names?.[i] ?? `arg${i + 1}`, value, record));
  const inArguments = names?.some(name => OPERATION.has(name)) ?? false;
  const operation = record.operation !== null && !inArguments ? `.${record.operation}` : '';
  return {
    vcpu: record.vcpu,
    call: `${record.name}${operation}(${parts.join(', ')})`,
    result: resultText(record.result),
  };
}

function argument(name: string, value: bigint, { operation }: HypercallRecord): string {
  if (OPERATION.has(name)) return operation ?? `${name}=${value}`;
  if (name === 'foreigndom' || name === 'domid') {
    return `${name}=${DOMAINS[String(value & 0xffffn)] ?? String(value & 0xffffffffn)}`;
  }
  if (name === 'flags') {
    const flush = MAPPING_FLUSHES[Number(value & 3n)] ?? `0x${value.toString(16)}`;
    const local = (value & ~3n) === 0n ? '' : (value & ~3n) === 4n ? '|UVMF_ALL' : `|0x${(value & ~3n).toString(16)}`;
    return `${name}=${flush}${local}`;
  }
  return DECIMAL.has(name) ? `${name}=${value & 0xffffffffn}` : `${name}=0x${value.toString(16)}`;
}

/** Error numbers by name, addresses and the like in hexadecimal. */
function resultText(result: bigint): string {
  const signed = BigInt.asIntN(64, result);
  if (signed < 0n && signed > -4096n) return errnoName(Number(signed));
  return signed >= 0n && signed < 4096n ? String(signed) : `0x${result.toString(16)}`;
}
