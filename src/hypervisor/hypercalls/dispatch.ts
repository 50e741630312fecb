// One hypercall, from its number to its result: the table's row for the guest's kind, errors to -errno, the trace, preemption.
import { R, S } from '../../cpu/layout.ts';
import { ERRNO, XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import type { Args } from './copy.ts';
import { hypercallRow } from './table.ts';
import { recordHypercall } from './trace.ts';

const ENOSYS_RESULT = BigInt.asUintN(64, BigInt(-ERRNO.ENOSYS));
const REGISTERS_64 = [R.rdi, R.rsi, R.rdx, R.r10, R.r8, R.r9];
const REGISTERS_32 = [R.rbx, R.rcx, R.rdx, R.rsi, R.rdi, R.rbp];
/** SYSCALL and INT n have two bytes, VMCALL and VMMCALL three. */
const PV_INSTRUCTION_LENGTH = 2n;
const HVM_INSTRUCTION_LENGTH = 3n;

/** The six argument registers of the loaded vCPU, as unsigned values of its width. */
export function argumentsOf(vcpu: Vcpu): bigint[] {
  const { gpr } = vcpu.cpu;
  return vcpu.abiWidth === 64 ? REGISTERS_64.map(r => gpr[r]) : REGISTERS_32.map(r => gpr[r] & 0xffffffffn);
}

/**
 * Runs a hypercall of the loaded vCPU. Returns the unsigned 64-bit result (a 32-bit guest takes its low half). Writing it to rax, moving
 * on RIP, and clobbering rcx and r11 is the caller's work, unless vcpu.contextReplaced is set: then all of that is done already (iret),
 * or must not be done because the guest is to execute the hypercall instruction again (a batch that was cut).
 */
export function dispatch(vcpu: Vcpu, number: number, args: Args): bigint {
  const result = invoke(vcpu, number, args);
  const { continuation } = vcpu;
  if (continuation) {
    vcpu.continuation = null;
    const { cpu } = vcpu;
    const registers = vcpu.abiWidth === 64 ? REGISTERS_64 : REGISTERS_32;
    continuation.forEach((value, i) => {
      cpu.gpr[registers[i]] = value;
    });
    cpu.rip = cpu.get(S.nextRip) - (vcpu.domain.isPv ? PV_INSTRUCTION_LENGTH : HVM_INSTRUCTION_LENGTH);
    vcpu.contextReplaced = true;
  }
  return result;
}

/** What a hypercall counts as in Hypervisor.work, whatever it does. */
const HYPERCALL_WORK = 32;

/** One hypercall without what concerns registers; multicalls run their entries by it. */
export function invoke(vcpu: Vcpu, number: number, args: Args): bigint {
  const { domain } = vcpu;
  const { hypervisor } = domain;
  const kind = domain.abi === 'hvm' ? (vcpu.abiWidth === 64 ? 'hvm64' : 'hvm32') : domain.abi;
  const row = hypercallRow(kind, number);
  hypervisor.work += HYPERCALL_WORK;
  let result = ENOSYS_RESULT;
  if (row) {
    try {
      result = BigInt.asUintN(64, BigInt(row.handler(vcpu, args) ?? 0));
    } catch (error) {
      if (!(error instanceof XenError)) hypervisor.bug(domain, error);
      result = BigInt.asUintN(64, BigInt(-(error instanceof XenError ? error.number : ERRNO.EFAULT)));
    }
  }
  const record = {
    domain: domain.id,
    vcpu: vcpu.id,
    name: row?.name ?? `hypercall_${number}`,
    number,
    args,
    result,
  };
  recordHypercall(domain, record);
  hypervisor.tracer?.hypercall(vcpu, record);
  return result;
}
