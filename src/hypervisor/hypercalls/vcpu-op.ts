// vcpu_op (24): xen/include/public/vcpu.h.
import * as abi from '../../abi/xen/vcpu.ts';
import { VCPUOP } from '../../abi/xen/vcpu.ts';
import { ShutdownReason } from '../domain.ts';
import { XenError } from '../errors.ts';
import { claimWritableFrame } from '../events/guest-frames.ts';
import { markEventsPending, unblock } from '../events/wake.ts';
import type { Vcpu } from '../vcpu.ts';
import { VCPU_INFO_SIZE } from '../vcpu-info.ts';
import { type Handler, i32Arg, type Nothing, u32Arg } from './copy.ts';

const MS = 1_000_000n;
/** STIME_DELTA_MAX: the longest period that Xen's timers take. */
const MAX_PERIOD = (1n << 62n) - 1n;
const PAGE_SIZE = 4096;

/** One operation on vCPU `target` of the caller's own domain. */
type Operation = (caller: Vcpu, target: Vcpu, pointer: bigint) => number | Nothing;

const operations: { [K in keyof typeof VCPUOP]: Operation } = {
  initialise(caller, target, pointer) {
    if (!target.info.exists) throw new XenError('EINVAL');
    const { initialiseVcpu } = target.domain.hypervisor;
    if (!initialiseVcpu) throw new XenError('ENOSYS', 'no loader of vCPU contexts');
    initialiseVcpu(caller, target, pointer);
  },
  up(_caller, target) {
    if (!target.isInitialised) throw new XenError('EINVAL');
    target.isUp = true;
    target.domain.hypervisor.tracer?.scheduling(target, 'up');
    target.time.wake();
  },
  down(_caller, target) {
    if (target.domain.vcpus.some(other => other !== target && other.isUp)) {
      target.isUp = false;
      target.domain.hypervisor.tracer?.scheduling(target, 'down');
      target.mustYield = true;
      target.time.wake();
    } else {
      // The last one: the domain has switched itself off.
      target.domain.shutDown(ShutdownReason.poweroff);
    }
  },
  is_up: (_caller, target) => (target.isUp ? 1 : 0),
  get_runstate_info(caller, target, pointer) {
    caller.guest.writeStruct(pointer, abi.vcpuRunstateInfo, target.time.runstateNow());
  },
  register_runstate_memory_area(caller, target, pointer) {
    target.time.registerRunstateArea(caller.guest.readStruct(pointer, abi.vcpuRegisterArea).addr.h, caller);
  },
  set_periodic_timer(caller, target, pointer) {
    const { periodNs } = caller.guest.readStruct(pointer, abi.vcpuSetPeriodicTimer);
    if (periodNs < MS || periodNs > MAX_PERIOD) throw new XenError('EINVAL');
    target.time.setPeriodic(periodNs);
  },
  stop_periodic_timer(_caller, target) {
    target.time.setPeriodic(0n);
  },
  set_singleshot_timer(caller, target, pointer) {
    if (target !== caller) throw new XenError('EINVAL');
    target.time.setSingleshot(caller.guest.readStruct(pointer, abi.vcpuSetSingleshotTimer).timeoutAbsNs);
  },
  stop_singleshot_timer(caller, target) {
    if (target !== caller) throw new XenError('EINVAL');
    target.time.stopSingleshot();
  },
  register_vcpu_info(caller, target, pointer) {
    const { mfn, offset } = caller.guest.readStruct(pointer, abi.vcpuRegisterVcpuInfo);
    try {
      registerVcpuInfo(caller, target, mfn, offset);
    } finally {
      target.time.updateTimeInfo(true, caller);
    }
  },
  send_nmi(_caller, target, pointer) {
    if (pointer !== 0n) throw new XenError('EINVAL');
    if (target.hvm) target.hvm.logical.nmi();
    else target.pv.nmiPending = true;
    unblock(target);
  },
  get_physid() {
    throw new XenError('EINVAL'); // only for dom0's vCPUs that are pinned to processors
  },
  register_vcpu_time_memory_area(caller, target, pointer) {
    target.time.registerTimeArea(caller.guest.readStruct(pointer, abi.vcpuRegisterArea).addr.h, caller);
  },
};

const byNumber = new Map<number, Operation>(
  Object.entries(VCPUOP).map(([name, number]) => [number, operations[name as keyof typeof VCPUOP]]),
);

export const vcpuOp: Handler = (vcpu, args) => {
  // Linux counts its possible processors by -ENOENT, whatever the operation.
  const target = vcpu.domain.vcpus[u32Arg(args[1])];
  if (!target) throw new XenError('ENOENT');
  const operation = byNumber.get(i32Arg(args[0]));
  if (!operation) throw new XenError('ENOSYS');
  return operation(vcpu, target, args[2]);
};

/** Moves the vcpu_info to a page of the guest's, once. Everything is marked pending, so that no event can be lost on the way. */
function registerVcpuInfo(caller: Vcpu, target: Vcpu, gfn: bigint, offset: number): void {
  const { domain, info } = target;
  const align = domain.width / 8;
  if (offset > PAGE_SIZE - VCPU_INFO_SIZE || offset % align !== 0) throw new XenError('ENXIO');
  if (info.registeredFrame !== -1) throw new XenError('EINVAL');
  if (target !== caller && target.isUp) throw new XenError('EINVAL');
  const mfn = claimWritableFrame(domain, gfn);
  const { memory } = domain.hypervisor;
  const at = memory.frameOffset(mfn) + offset;
  if (info.exists) {
    memory.u8.copyWithin(at, info.at, info.at + VCPU_INFO_SIZE);
    info.at = at;
  } else {
    memory.u8.fill(0, at, at + VCPU_INFO_SIZE);
    info.at = at;
    info.upcallMask = true;
  }
  info.registeredFrame = mfn;
  info.pendingSel = ~0n;
  markEventsPending(target);
}
