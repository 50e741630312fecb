// hvm_op (34): xen/include/public/hvm/hvm_op.h, as a PV guest has it: almost everything is -EINVAL, after the arguments were read.
import { handle, struct, u8, u16, u32, u64 } from '../../abi/struct.ts';
import { XenError } from '../errors.ts';
import { type SubOperation, subops } from './copy.ts';
import { notBuilt } from './not-built.ts';

const HVMOP = {
  set_param: 0, get_param: 1, flush_tlbs: 5, pagetable_dying: 9, get_time: 10, xentrace: 11, get_mem_type: 15,
  set_evtchn_upcall_vector: 23, guest_request_vm_event: 24, altp2m: 25,
} as const; // biome-ignore format: a table

const xenHvmParam = struct('xen_hvm_param', { domid: u16, pad: u16, index: u32, value: u64 });
const xenHvmPagetableDying = struct('xen_hvm_pagetable_dying', { domid: u16, gpa: u64 });
const xenHvmGetTime = struct('xen_hvm_get_time', { now: u64 });
const xenHvmGetMemType = struct('xen_hvm_get_mem_type', { domid: u16, memType: u16, pad: u16, pfn: u64 });
const xenHvmXentrace = struct('xen_hvm_xentrace', { event: u16, extraBytes: u16, extra: handle });
const xenHvmEvtchnUpcallVector = struct('xen_hvm_evtchn_upcall_vector', { vcpu: u32, vector: u8 });

/** A domain must be named first (-ESRCH), then it turns out to be PV (-EINVAL). */
function onDomain(name: string, struct: typeof xenHvmParam | typeof xenHvmPagetableDying | typeof xenHvmGetMemType) {
  const operation: SubOperation = ({ domain, guest }, pointer) => {
    const { domid } = guest.readStruct<{ domid: number }>(pointer, struct);
    const target = domain.hypervisor.resolve(domain, domid);
    if (target.isPv) throw new XenError('EINVAL');
    notBuilt(domain, `HVMOP_${name}`);
  };
  return operation;
}

export const hvmOp = subops(HVMOP, {
  set_param: onDomain('set_param', xenHvmParam),
  get_param: onDomain('get_param', xenHvmParam),
  get_mem_type: onDomain('get_mem_type', xenHvmGetMemType),
  pagetable_dying: onDomain('pagetable_dying', xenHvmPagetableDying),
  flush_tlbs: ({ domain }, pointer) => {
    if (pointer !== 0n || domain.isPv) throw new XenError('EINVAL');
    notBuilt(domain, 'HVMOP_flush_tlbs');
  },
  get_time: ({ domain, guest }, pointer) => {
    guest.writeStruct(pointer, xenHvmGetTime, { now: domain.hypervisor.clock.nowNs() });
  },
  xentrace: ({ guest }, pointer) => {
    guest.readStruct(pointer, xenHvmXentrace); // no trace buffers: recorded nowhere, as on a Xen that does not trace
  },
  set_evtchn_upcall_vector: ({ domain, guest }, pointer) => {
    guest.readStruct(pointer, xenHvmEvtchnUpcallVector);
    if (domain.isPv) throw new XenError('EINVAL');
    notBuilt(domain, 'HVMOP_set_evtchn_upcall_vector');
  },
  guest_request_vm_event: (_vcpu, pointer) => {
    if (pointer !== 0n) throw new XenError('EINVAL'); // nobody listens
  },
  altp2m: () => {
    throw new XenError('EOPNOTSUPP');
  },
});
