// Which ports a PV guest's current mode may touch: its virtual IOPL, then its own permission bitmap.
// Source: Xen's iopl_ok and guest_io_okay (xen/arch/x86/pv/emul-priv-op.c).
import { GuestFault } from '../../cpu/exits.ts';
import { VmAssist } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { selectAddressSpace } from './address-space.ts';

/** Ring that the guest's kernel counts as for IOPL. */
const KERNEL_RING = 1;
const USER_RING = 3;

/** Whether IOPL lets the vCPU's current mode use CLI, STI and all ports. */
export function ioplAllows(vcpu: Vcpu): boolean {
  const kernelRing = vcpu.domain.hasVmAssist(VmAssist.architecturalIopl) ? 0 : KERNEL_RING;
  return vcpu.pv.iopl >= (vcpu.pv.inKernel ? kernelRing : USER_RING);
}

/** Whether IOPL or the guest's bitmap lets its current mode use `size` ports from `port` on. */
export function portsAllowed(vcpu: Vcpu, port: number, size: number): boolean {
  if (ioplAllows(vcpu)) return true;
  const { ioBitmap, ioBitmapPorts } = vcpu.pv;
  if (port + size > ioBitmapPorts) return false;
  const map = readInKernelSpace(vcpu, ioBitmap + BigInt(port >> 3), (port & 7) + size > 8 ? 2 : 1);
  return ((map >> (port & 7)) & ((1 << size) - 1)) === 0;
}

/** Bytes of the bitmap, all ones where it cannot be read. A user task's own page table need not map it. */
function readInKernelSpace(vcpu: Vcpu, address: bigint, length: 1 | 2): number {
  const { pv, domain } = vcpu;
  const raw = new Uint8Array(2).fill(0xff);
  const wasInKernel = pv.inKernel;
  pv.inKernel = true;
  if (!wasInKernel) selectAddressSpace(vcpu);
  try {
    domain.hypervisor.processor.readLinear(address, raw.subarray(0, length), { write: false, user: true });
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    raw.fill(0xff);
  } finally {
    pv.inKernel = wasInKernel;
    if (!wasInKernel) selectAddressSpace(vcpu);
  }
  return raw[0] | (raw[1] << 8);
}
