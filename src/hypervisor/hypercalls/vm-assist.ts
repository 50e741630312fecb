// vm_assist: what of Xen's help a guest wants. Source: public/xen.h (VMASST_*), xen/common/kernel.c vm_assist().
import { VMASST_CMD } from '../../abi/xen/xen.ts';
import { type Domain, VmAssist } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { type Args, u32Arg } from './copy.ts';

const EINVAL = -22;
const ENOSYS = -38;

const PV32 = [
  VmAssist.fourGbSegments,
  VmAssist.fourGbSegmentsNotify,
  VmAssist.writablePagetables,
  VmAssist.paeExtendedCr3,
  VmAssist.architecturalIopl,
  VmAssist.runstateUpdateFlag,
];
const VALID = {
  pv32: new Set<number>(PV32),
  pv64: new Set<number>([...PV32, VmAssist.m2pStrict]),
  hvm: new Set<number>([VmAssist.runstateUpdateFlag]),
};

export function vmAssist(vcpu: Vcpu, args: Args): number {
  return setVmAssist(vcpu.domain, u32Arg(args[0]), u32Arg(args[1]));
}

function setVmAssist(domain: Domain, command: number, type: number): number {
  if (!VALID[domain.abi].has(type)) return EINVAL;
  const bit = 1n << BigInt(type);
  if (command === VMASST_CMD.enable) domain.vmAssist |= bit;
  else if (command === VMASST_CMD.disable) domain.vmAssist &= ~bit;
  else return ENOSYS;
  return 0;
}
