// HYPERVISOR_iret: a PV guest's kernel returns from a handler. Source: Xen's do_iret (xen/arch/x86/pv/iret.c) and the return paths of
// x86_64/entry.S; frame: public arch-x86/xen-x86_64.h, struct iret_context.
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { FRAME_SIZE, R, S } from '../../cpu/layout.ts';
import { isCanonicalHalf } from '../../cpu/mmu/linear.ts';
import { VmAssist } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { toggleGuestMode } from './address-space.ts';
import { retryWithLdt } from './descriptor-fault.ts';
import { queueFault } from './exceptions.ts';
import { loadReturnSegments, setReturnSegments, setSelectors } from './segments.ts';
import { FLAT_KERNEL_CS, FLAT_USER_CS32, isGuestHalf } from './selectors.ts';

/** The guest came by SYSCALL: the return is a SYSRET, which writes rcx and r11. */
const VGCF_IN_SYSCALL = 0x100;
/** Words of the frame, by their place. */
const Frame = { rax: 0, r11: 1, rcx: 2, flags: 3, rip: 4, cs: 5, rflags: 6, rsp: 7, ss: 8 } as const;
const FRAME_WORDS = 9;
const STRIPPED = BigInt(Flag.IOPL | Flag.NT | Flag.VM);
const IF = BigInt(Flag.IF);
const RPL3 = 3;

// One frame is read at a time; its words, and their halves.
const words = new BigUint64Array(FRAME_WORDS);
const halves = new Uint32Array(words.buffer);
const bytes = new Uint8Array(words.buffer);
/** Low half of a word. */
const low = (word: number): number => halves[2 * word];

/** Acts on the loaded vCPU. Errors that Xen crashes the domain for do so; a bad target becomes an exception at the target. */
export function iret(vcpu: Vcpu): void {
  vcpu.contextReplaced = true;
  const failure = returnFromHandler(vcpu);
  if (failure !== null) vcpu.domain.crash(failure, 'pv/iret.c');
}

/** As iret, but gives why it cannot be done; then nothing has changed. */
export function returnFromHandler(vcpu: Vcpu): string | null {
  const { cpu, pv, domain, info } = vcpu;
  if (!readFrame(vcpu)) return `iret: the frame at 0x${cpu.gpr[R.rsp].toString(16)} cannot be read`;
  if ((low(Frame.cs) & RPL3) === RPL3) {
    if (pv.guestTableUser === 0) return 'iret: return to user mode without a user page table';
    toggleGuestMode(vcpu);
  }
  const flags = low(Frame.rflags);
  if (domain.hasVmAssist(VmAssist.architecturalIopl)) pv.iopl = (flags >> 12) & 3;
  info.upcallMask = (flags & Flag.IF) === 0;
  pv.nmiMasked = false;

  cpu.gpr[R.rax] = words[Frame.rax];
  cpu.gpr[R.rsp] = words[Frame.rsp];
  cpu.rip = words[Frame.rip];
  cpu.rflags = (words[Frame.rflags] & ~STRIPPED) | IF;
  const inSyscall = (low(Frame.flags) & VGCF_IN_SYSCALL) !== 0;
  if (inSyscall) {
    cpu.gpr[R.rcx] = words[Frame.rip];
    cpu.gpr[R.r11] = BigInt(cpu.flags);
  } else {
    cpu.gpr[R.rcx] = words[Frame.rcx];
    cpu.gpr[R.r11] = words[Frame.r11];
  }

  const cs = (low(Frame.cs) & 0xffff) | RPL3;
  const ss = (low(Frame.ss) & 0xffff) | RPL3;
  const canonical = isCanonicalHalf(halves[2 * Frame.rip + 1] | 0);
  if (inSyscall && canonical) {
    setReturnSegments(vcpu, cs === FLAT_USER_CS32 ? FLAT_USER_CS32 : FLAT_KERNEL_CS);
    return null;
  }
  try {
    retryWithLdt(vcpu, () => loadReturnSegments(vcpu, cs, ss));
    if (!canonical) throw new GuestFault(Vector.GP, 0);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    // The processor's IRET faults within Xen, which passes it on as if the target's first instruction had.
    setSelectors(cpu, cs, ss);
    queueFault(vcpu, error);
  }
  return null;
}

/** Reads the frame at RSP; false where the guest's kernel could not read it. */
function readFrame(vcpu: Vcpu): boolean {
  const { cpu, guest, domain } = vcpu;
  const { processor, memory } = domain.hypervisor;
  const at = S.gpr + R.rsp * 8;
  const offset = cpu.get32(at);
  const high = cpu.get32(at + 4) | 0;
  const inPage = (offset & (FRAME_SIZE - 1)) + bytes.length <= FRAME_SIZE && (offset & 3) === 0;
  const host = inPage && isGuestHalf(high) ? processor.cachedAddress(offset | 0, high, false) : 0;
  if (host !== 0) {
    for (let i = 0; i < halves.length; i++) halves[i] = memory.u32[(host >>> 2) + i];
    return true;
  }
  const address = cpu.gpr[R.rsp];
  try {
    guest.check(address, bytes.length);
    processor.readLinear(address, bytes, { write: false, user: true });
    return true;
  } catch {
    return false;
  }
}
