// A hypercall of an HVM guest: VMCALL or VMMCALL, in whatever mode the processor is. Source: xen/arch/x86/hvm/hypercall.c, hvm_hypercall().
import { ModeBit, R, S } from '../../cpu/layout.ts';
import { ERRNO } from '../errors.ts';
import { argumentsOf, dispatch } from '../hypercalls/dispatch.ts';
import type { Vcpu } from '../vcpu.ts';

const EPERM = BigInt.asUintN(64, BigInt(-ERRNO.EPERM));

/** The loaded vCPU has executed the instruction; RIP still stands at it. */
export function handleHypercall(vcpu: Vcpu): void {
  const { cpu } = vcpu;
  const mode = cpu.get32(S.mode);
  cpu.rip = cpu.get(S.nextRip);
  // Real mode has no privilege levels; user mode, and every program of virtual-8086 mode, has none of this.
  if (mode & ModeBit.v86 || cpu.cpl !== 0) {
    cpu.gpr[R.rax] = EPERM;
    return;
  }
  const long = (mode & ModeBit.long64) !== 0;
  const number = Number(cpu.gpr[R.rax] & (long ? 0xffffffffffffffffn : 0xffffffffn));
  vcpu.contextReplaced = false;
  const result = dispatch(vcpu, number, argumentsOf(vcpu));
  if (!vcpu.contextReplaced) cpu.gpr[R.rax] = long ? result : result & 0xffffffffn;
  vcpu.contextReplaced = false;
}
