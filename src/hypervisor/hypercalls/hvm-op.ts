// hvm_op (34): xen/include/public/hvm/hvm_op.h. A PV guest gets -EINVAL for almost everything, after its arguments were read.
import * as abi from '../../abi/xen/hvm.ts';
import { HVM_NR_PARAMS, HVM_PARAM, HVMMEM, HVMOP } from '../../abi/xen/hvm.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import type { HvmDomain } from '../hvm/hvm-domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { inout, input, op, output, subops } from './copy.ts';
import { requireTarget } from './permissions.ts';

/** Vectors below are the processor's exceptions and are never delivered by a local APIC. */
const FIRST_VECTOR = 0x10;

/** TRC_SUBCLS_SHIFT: guests' events are numbers below a class. */
const HIGHEST_EVENT = 0xfff;

/** Another domain that a parameter is about: it must exist (ESRCH), be an HVM one (EINVAL) and the caller's to control (EPERM). */
function hvmTarget({ domain }: Vcpu, id: number): { target: Domain; hvm: HvmDomain; own: boolean } {
  const target = domain.hypervisor.resolve(domain, id);
  if (!target.hvm) throw new XenError('EINVAL');
  requireTarget(domain, target);
  return { target, hvm: target.hvm, own: target === domain };
}

function requireIndex(index: number): void {
  if (index >= HVM_NR_PARAMS) throw new XenError('EINVAL');
}

function memoryType(hvm: HvmDomain, pfn: bigint): number {
  switch (hvm.physmap.typeOf(Number(pfn))) {
    case 'ram':
    case 'grant':
      return HVMMEM.ramRw;
    case 'grantReadOnly':
      return HVMMEM.ramRo;
    default:
      return HVMMEM.mmioDm;
  }
}

export const hvmOp = subops(HVMOP, {
  set_param: op(input(abi.xenHvmParam), (vcpu, a) => {
    requireIndex(a.index);
    const { target, hvm, own } = hvmTarget(vcpu, a.domid);
    hvm.params.set(a.index, a.value, own, reason => target.crash(reason, 'hvm.c'));
    if (a.index === HVM_PARAM.callback_irq && own) hvm.latchSharedInfoWidth(vcpu.abiWidth);
  }),
  get_param: op(inout(abi.xenHvmParam), (vcpu, a) => {
    requireIndex(a.index);
    const { hvm, own } = hvmTarget(vcpu, a.domid);
    return { value: hvm.params.get(a.index, own) };
  }),
  get_mem_type: op(inout(abi.xenHvmGetMemType), ({ domain }, a) => {
    const target = domain.hypervisor.resolve(domain, a.domid);
    requireTarget(domain, target);
    if (!target.hvm) throw new XenError('EINVAL');
    return { memType: memoryType(target.hvm, a.pfn) };
  }),
  pagetable_dying: op(input(abi.xenHvmPagetableDying), ({ domain }, a) => {
    // A hint for shadow page tables, which guests do not have here.
    throw new XenError(domain.hypervisor.resolve(domain, a.domid) === domain ? 'EINVAL' : 'EOPNOTSUPP');
  }),
  flush_tlbs: ({ domain }, pointer) => {
    if (pointer !== 0n || domain.isPv) throw new XenError('EINVAL');
    domain.hypervisor.processor.flushAll();
  },
  get_time: op(output(abi.xenHvmGetTime), ({ domain }) => ({ now: domain.hypervisor.clock.nowNs() })),
  // No trace buffers: recorded nowhere, as on a Xen that does not trace.
  xentrace: op(input(abi.xenHvmXentrace), (_vcpu, a) => {
    if (a.extraBytes > a.extra.length || a.event > HIGHEST_EVENT) throw new XenError('EINVAL');
  }),
  set_evtchn_upcall_vector: op(input(abi.xenHvmEvtchnUpcallVector), ({ domain }, a) => {
    if (!domain.hvm || a.vector < FIRST_VECTOR) throw new XenError('EINVAL');
    const target = domain.vcpus[a.vcpu];
    if (!target) throw new XenError('ENOENT');
    domain.hypervisor.log(`(XEN) ${target}: upcall vector ${a.vector.toString(16).padStart(2, '0')}`);
    domain.hvm.upcalls.setVector(target, a.vector);
  }),
  guest_request_vm_event: (_vcpu, pointer) => {
    if (pointer !== 0n) throw new XenError('EINVAL'); // nobody listens
  },
  altp2m: () => {
    throw new XenError('EOPNOTSUPP');
  },
});
