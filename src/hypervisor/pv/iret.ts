// HYPERVISOR_iret: a PV guest's kernel returns from a handler. Source: Xen's do_iret (xen/arch/x86/pv/iret.c) and the return paths of
// x86_64/entry.S; frame: public arch-x86/xen-x86_64.h, struct iret_context.
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { R } from '../../cpu/layout.ts';
import { VmAssist } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { toggleGuestMode } from './address-space.ts';
import { retryWithLdt } from './descriptor-fault.ts';
import { queueFault } from './exceptions.ts';
import { loadReturnSegments, setReturnSegments, setSelectors } from './segments.ts';
import { FLAT_KERNEL_CS, FLAT_USER_CS32, isCanonical } from './selectors.ts';

/** The guest came by SYSCALL: the return is a SYSRET, which writes rcx and r11. */
const VGCF_IN_SYSCALL = 0x100n;
const FRAME_WORDS = 9;
const STRIPPED = BigInt(Flag.IOPL | Flag.NT | Flag.VM);
const IF = BigInt(Flag.IF);

/** Acts on the loaded vCPU. Errors that Xen crashes the domain for do so; a bad target becomes an exception at the target. */
export function iret(vcpu: Vcpu): void {
  const { cpu, pv, domain } = vcpu;
  const raw = new Uint8Array(FRAME_WORDS * 8);
  const address = cpu.gpr[R.rsp];
  vcpu.contextReplaced = true;
  try {
    vcpu.guest.check(address, raw.length);
    domain.hypervisor.processor.readLinear(address, raw, { write: false, user: true });
  } catch {
    domain.crash(`iret: the frame at 0x${address.toString(16)} cannot be read`, 'pv/iret.c');
    return;
  }
  const [rax, r11, rcx, flags, rip, rawCs, rflags, rsp, rawSs] = new BigUint64Array(raw.buffer);
  if ((rawCs & 3n) === 3n) {
    if (pv.guestTableUser === 0) {
      domain.crash('iret: return to user mode without a user page table', 'pv/iret.c');
      return;
    }
    toggleGuestMode(vcpu);
  }
  if (domain.hasVmAssist(VmAssist.architecturalIopl)) pv.iopl = Number((rflags >> 12n) & 3n);
  vcpu.info.upcallMask = (rflags & IF) === 0n;
  pv.nmiMasked = false;

  cpu.gpr[R.rax] = rax;
  cpu.gpr[R.rsp] = rsp;
  cpu.rip = rip;
  cpu.rflags = (rflags & ~STRIPPED) | IF;
  const inSyscall = (flags & VGCF_IN_SYSCALL) !== 0n;
  if (inSyscall) {
    cpu.gpr[R.rcx] = rip;
    cpu.gpr[R.r11] = cpu.rflags;
  } else {
    cpu.gpr[R.rcx] = rcx;
    cpu.gpr[R.r11] = r11;
  }

  const cs = Number(rawCs & 0xffffn) | 3;
  const ss = Number(rawSs & 0xffffn) | 3;
  if (inSyscall && isCanonical(rip)) {
    setReturnSegments(vcpu, cs === FLAT_USER_CS32 ? FLAT_USER_CS32 : FLAT_KERNEL_CS);
    return;
  }
  try {
    retryWithLdt(vcpu, () => loadReturnSegments(vcpu, cs, ss));
    if (!isCanonical(rip)) throw new GuestFault(Vector.GP, 0);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    // The processor's IRET faults within Xen, which passes it on as if the target's first instruction had.
    setSelectors(cpu, cs, ss);
    queueFault(vcpu, error);
  }
}
