// A triple fault of an HVM guest: what the processor would answer with a reset, Xen answers as the toolstack chose, by default likewise.
// Source: xen/arch/x86/hvm/hvm.c, hvm_triple_fault().
import { HVM_PARAM } from '../../abi/xen/hvm.ts';
import { captureCrash, crashDump } from '../crash.ts';
import type { Vcpu } from '../vcpu.ts';

export function tripleFault(vcpu: Vcpu): void {
  const { domain } = vcpu;
  const { log } = domain.hypervisor;
  const reason = Number(domain.hvm!.params.peek(HVM_PARAM.triple_fault_reason));
  log(`(XEN) ${vcpu} Triple fault - invoking HVM shutdown action ${reason}`);
  domain.crashRecord = captureCrash(vcpu, 'triple fault');
  domain.crashReason = 'triple fault';
  for (const line of crashDump(domain.crashRecord, 'hvm')) log(line);
  domain.shutDown(reason);
}
