// The border between a PV guest and the hypervisor: what a run() of the processor ended with, and what the guest is given before the
// next one. Source: xen/arch/x86/x86_64/entry.S (lstar_enter, switch_to_kernel, test_all_events), sysenter_entry.
import { Exit, Vector } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { R, S, SEG } from '../../cpu/layout.ts';
import { argumentsOf, dispatch } from '../hypercalls/dispatch.ts';
import type { Callback, Vcpu } from '../vcpu.ts';
import { toggleGuestMode } from './address-space.ts';
import { bounce, bounceTrap, enterHandler, selectorOf } from './bounce.ts';
import { reloadSegments } from './context.ts';
import { handleExceptionExit, handleSoftwareInterrupt, queueFault } from './exceptions.ts';
import { returnFromHandler } from './iret.ts';
import { isLong64, setReturnSegments, setSelectors } from './segments.ts';
import { FLAT_KERNEL_CS, FLAT_KERNEL_SS, FLAT_USER_CS32 } from './selectors.ts';

const HYPERVISOR_IRET = 23;
const RAX = S.gpr + R.rax * 8;
/** Bit of S.exitInfo: INT3, INTO or INT1, not INT n. */
const OWN_OPCODE = 0x100n;
/** CS that a SYSENTER frame shows: null, with the user's RPL. */
const SYSENTER_CS = 3;

/** Handles the Exit that ended the loaded vCPU's run(). What the guest has to be told is queued; see enterGuest. */
export function handleExit(vcpu: Vcpu, exit: number): void {
  const { cpu, pv } = vcpu;
  switch (exit) {
    case Exit.fuel:
    case Exit.stopped:
      return;
    case Exit.exception:
      handleExceptionExit(vcpu);
      return;
    case Exit.syscall:
      handleSyscall(vcpu);
      return;
    case Exit.softwareInterrupt: {
      const info = cpu.get(S.exitInfo);
      handleSoftwareInterrupt(vcpu, Number(info & 0xffn), cpu.get(S.nextRip), (info & OWN_OPCODE) !== 0n);
      return;
    }
    case Exit.sysenter:
      handleSysenter(vcpu);
      return;
    case Exit.vmcall:
      // Outside of a virtual machine there is no such instruction.
      pv.pendingTrap = { vector: Vector.UD, errorCode: null };
      return;
    default:
      // HLT, MWAIT and the like are privileged: the processor should have said so itself.
      pv.pendingTrap = { vector: Vector.GP, errorCode: 0 };
  }
}

/**
 * SYSCALL in the middle of the loaded vCPU's run(): see Processor.onSystemCall. A call of user mode and the return to it need nothing of
 * the run loop, so they are done on the spot.
 */
export function systemCallWithinRun(vcpu: Vcpu): boolean {
  const { cpu, pv, domain } = vcpu;
  if (!isLong64(cpu) || cpu.get32(S.rflags) & Flag.TF) return false;
  if (!(pv.inKernel ? returnsWithinRun(vcpu) : entersWithinRun(vcpu))) return false;
  if (pv.pendingTrap || pv.nmiPending || vcpu.eventsNeedDelivery) domain.hypervisor.processor.stop();
  return true;
}

/** The guest's user mode has made a system call. */
function entersWithinRun(vcpu: Vcpu): boolean {
  const { pv, cpu } = vcpu;
  const { address, maskEvents } = pv.callbacks.syscall;
  if (address === 0n) return false;
  const [rip, rcx, r11] = [cpu.rip, cpu.gpr[R.rcx], cpu.gpr[R.r11]];
  const [cs, ss] = [selectorOf(cpu, SEG.cs), selectorOf(cpu, SEG.ss)];
  takeSyscallRegisters(vcpu);
  setSelectors(cpu, FLAT_KERNEL_CS, FLAT_KERNEL_SS);
  if (enterHandler(vcpu, { address, maskEvents, errorCode: null }) === null) return true;
  // it stops the domain, which is not for the middle of a run()
  toggleGuestMode(vcpu);
  setSelectors(cpu, cs, ss);
  cpu.rip = rip;
  cpu.gpr[R.rcx] = rcx;
  cpu.gpr[R.r11] = r11;
  return false;
}

/** The guest's kernel has made a hypercall. */
function returnsWithinRun(vcpu: Vcpu): boolean {
  const { cpu, domain } = vcpu;
  if (cpu.get32(RAX) !== HYPERVISOR_IRET || cpu.get32(RAX + 4) !== 0) return false;
  const { tracer } = domain.hypervisor;
  const args = tracer ? argumentsOf(vcpu) : null;
  if (returnFromHandler(vcpu) !== null) return false;
  if (tracer && args) {
    tracer.hypercall(vcpu, {
      domain: domain.id,
      vcpu: vcpu.id,
      name: 'iret',
      number: HYPERVISOR_IRET,
      args,
      result: 0n,
    });
  }
  return true;
}

function handleSyscall(vcpu: Vcpu): void {
  const { cpu, pv } = vcpu;
  const long64 = isLong64(cpu);
  if (!long64 || !pv.inKernel) {
    const callback = long64 ? pv.callbacks.syscall : pv.callbacks.syscall32;
    enterBySyscall(vcpu, callback, long64 ? FLAT_KERNEL_CS : FLAT_USER_CS32);
    return;
  }
  takeSyscallRegisters(vcpu);
  if (selectorOf(cpu, SEG.cs) !== FLAT_KERNEL_CS || selectorOf(cpu, SEG.ss) !== FLAT_KERNEL_SS) {
    setReturnSegments(vcpu, FLAT_KERNEL_CS);
  }
  vcpu.contextReplaced = false;
  const number = cpu.gpr[R.rax];
  const result = dispatch(vcpu, Number(number), argumentsOf(vcpu));
  if (!vcpu.contextReplaced) cpu.gpr[R.rax] = result;
  vcpu.contextReplaced = false;
}

/** What the SYSCALL instruction does to registers: SDM Vol. 2B. */
function takeSyscallRegisters(vcpu: Vcpu): void {
  const { cpu } = vcpu;
  const next = cpu.get(S.nextRip);
  cpu.rip = next;
  cpu.gpr[R.rcx] = next;
  cpu.gpr[R.r11] = BigInt((cpu.flags & ~Flag.RF) >>> 0);
}

/** A system call of the guest's user mode goes to its kernel; one without a callback does not exist. */
function enterBySyscall(vcpu: Vcpu, callback: Callback, cs: number): void {
  if (callback.address === 0n) {
    vcpu.pv.pendingTrap = { vector: Vector.UD, errorCode: null };
    return;
  }
  takeSyscallRegisters(vcpu);
  setSelectors(vcpu.cpu, cs, FLAT_KERNEL_SS);
  bounce(vcpu, { address: callback.address, maskEvents: callback.maskEvents, errorCode: null });
}

function handleSysenter(vcpu: Vcpu): void {
  const { cpu, pv, domain } = vcpu;
  if (domain.hypervisor.processor.model.vendor === 'AuthenticAMD') {
    // AMD's long mode has no SYSENTER.
    pv.pendingTrap = { vector: Vector.UD, errorCode: null };
    return;
  }
  // The instruction saves neither RIP nor RSP: the frame has zeroes.
  cpu.rip = 0n;
  cpu.gpr[R.rsp] = 0n;
  setSelectors(cpu, SYSENTER_CS, FLAT_KERNEL_SS);
  const { address, maskEvents } = pv.callbacks.sysenter;
  if (address === 0n) pv.pendingTrap = { vector: Vector.GP, errorCode: 0 };
  else bounce(vcpu, { address, maskEvents, errorCode: null });
}

/**
 * Gives the loaded vCPU what waits for it, in Xen's order: a queued exception, an NMI, an event upcall. False: it cannot run on (its
 * domain has been stopped).
 */
export function enterGuest(vcpu: Vcpu): boolean {
  const { pv, domain, info } = vcpu;
  if (pv.segmentsStale) loadStaleSegments(vcpu);
  if (pv.pendingTrap) {
    const { vector, errorCode } = pv.pendingTrap;
    pv.pendingTrap = null;
    bounceTrap(vcpu, vector, errorCode);
    if (domain.shutdown) return false;
  }
  if (pv.nmiPending && !pv.nmiMasked && pv.traps[Vector.NMI].address !== 0n) {
    pv.nmiPending = false;
    pv.nmiMasked = true;
    bounce(vcpu, { address: pv.traps[Vector.NMI].address, maskEvents: true, errorCode: null });
    if (domain.shutdown) return false;
  }
  if (info.upcallPending && !info.upcallMask) {
    domain.hypervisor.tracer?.upcall(vcpu);
    bounce(vcpu, { address: pv.callbacks.event.address, maskEvents: true, errorCode: null });
    if (domain.shutdown) return false;
  }
  return true;
}

function loadStaleSegments(vcpu: Vcpu): void {
  const { pv } = vcpu;
  const { failsafe, fault } = reloadSegments(vcpu);
  if (failsafe) {
    const { address, maskEvents } = pv.callbacks.failsafe;
    bounce(vcpu, { address, maskEvents, errorCode: null, withSegments: true });
  } else if (fault) {
    queueFault(vcpu, fault);
  }
}
