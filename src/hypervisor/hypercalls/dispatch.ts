// One hypercall, from its number to its result: the table's row for the guest's kind, errors to -errno, the trace.
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Args } from './copy.ts';
import { hypercallRow } from './table.ts';
import { recordHypercall } from './trace.ts';

const ENOSYS_RESULT = BigInt.asUintN(64, -38n);

/**
 * Runs a hypercall of the loaded vCPU. Returns the unsigned 64-bit result (a 32-bit guest takes its low half). Writing it to rax, and
 * clobbering rcx and r11, is the caller's work, unless vcpu.contextReplaced is set.
 */
export function dispatch(vcpu: Vcpu, number: number, args: Args): bigint {
  const row = hypercallRow(vcpu.domain.abi === 'hvm' ? `hvm${vcpu.abiWidth}` : vcpu.domain.abi, number);
  let result: bigint;
  if (!row) {
    result = ENOSYS_RESULT;
  } else {
    try {
      result = BigInt.asUintN(64, BigInt(row.handler(vcpu, args) ?? 0));
    } catch (error) {
      if (!(error instanceof XenError)) vcpu.domain.hypervisor.bug(vcpu.domain, error);
      result = BigInt.asUintN(64, BigInt(-(error instanceof XenError ? error.number : 14)));
    }
  }
  const { hypervisor } = vcpu.domain;
  const record = {
    domain: vcpu.domain.id,
    vcpu: vcpu.id,
    name: row?.name ?? `hypercall_${number}`,
    number,
    operation: row?.handler.operationOf?.(args) ?? null,
    args,
    result,
  };
  recordHypercall(vcpu.domain, record);
  hypervisor.onHypercall?.(record);
  return result;
}
