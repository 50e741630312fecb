// Exceptions and software interrupts of a PV guest: what Xen fixes or emulates, and what it passes on through the trap table.
// Source: xen/arch/x86/traps.c (do_trap and its companions), pv/traps.c, mm.c (do_page_fault).
import { type GuestFault, Vector } from '../../cpu/exits.ts';
import { S } from '../../cpu/layout.ts';
import type { Vcpu } from '../vcpu.ts';
import { clearTaskSwitched } from './control-registers.ts';
import { mergeDr6 } from './debug-registers.ts';
import { fixDescriptorFault, isDescriptorArea, PageFault } from './descriptor-fault.ts';
import { emulateForcedCpuid, emulatePrivileged } from './emulate.ts';

/** Bits of a selector error code: delivered to an event outside the program; the selector is an IDT index. */
const CODE_IDT = 2;
/** The kernel's INT n needs DPL 1 of its own table, a user's DPL 3. */
const KERNEL_DPL = 1;
const USER_DPL = 3;
/** The interrupt that has a direct path in Xen: its handler's DPL is not looked at. */
const LEGACY_SYSCALL_VECTOR = 0x80;

/** Queues a fault for the guest, with its address where it is a page fault. */
export function queueFault(vcpu: Vcpu, fault: GuestFault): void {
  if (fault.vector === Vector.PF) queuePageFault(vcpu, fault.address, fault.code ?? 0);
  else vcpu.pv.pendingTrap = { vector: fault.vector, errorCode: fault.code };
}

function queuePageFault(vcpu: Vcpu, address: bigint, errorCode: number): void {
  const { pv } = vcpu;
  vcpu.info.cr2 = address;
  // Both modes run at CPL 3: the guest is told which of its own modes it was.
  const code = pv.inKernel ? errorCode & ~PageFault.user : errorCode | PageFault.user;
  pv.pendingTrap = { vector: Vector.PF, errorCode: code };
}

/** An exception that the processor raised; RIP stands where it says. */
export function handleException(vcpu: Vcpu, vector: number, errorCode: number | null, address: bigint): void {
  const { pv } = vcpu;
  switch (vector) {
    case Vector.PF:
      handlePageFault(vcpu, address, errorCode ?? 0);
      return;
    case Vector.GP:
      if (errorCode === 0 && emulatePrivileged(vcpu)) return;
      break;
    case Vector.UD:
      if (emulateForcedCpuid(vcpu)) return;
      break;
    case Vector.NM:
      clearTaskSwitched(vcpu);
      break;
    case Vector.DB:
      mergeDr6(vcpu, address);
      break;
  }
  pv.pendingTrap = { vector, errorCode };
}

function handlePageFault(vcpu: Vcpu, address: bigint, errorCode: number): void {
  // Descriptors are read with supervisor rights, so a guest's own access to that area cannot be taken for it.
  if (!(errorCode & (PageFault.user | PageFault.reserved)) && isDescriptorArea(vcpu, address)) {
    const fault = fixDescriptorFault(vcpu, address, errorCode);
    if (fault) queueFault(vcpu, fault);
    return;
  }
  queuePageFault(vcpu, address, errorCode);
}

/**
 * INT n, INT3, INTO or INT1: RIP is at the instruction. `ownOpcode`: the last three, which no gate's DPL keeps from their vector. INT1 is a
 * debug exception with nothing in DR6.
 */
export function handleSoftwareInterrupt(vcpu: Vcpu, vector: number, nextRip: bigint, ownOpcode: boolean): void {
  const { pv, cpu } = vcpu;
  if (ownOpcode && vector === Vector.DB) {
    cpu.rip = nextRip;
    handleException(vcpu, Vector.DB, null, 0n);
    return;
  }
  const handler = pv.traps[vector];
  const isTrapInstruction = vector === Vector.BP || vector === Vector.OF;
  const hasDirectPath = vector === LEGACY_SYSCALL_VECTOR && handler.address !== 0n;
  const needed = pv.inKernel ? KERNEL_DPL : USER_DPL;
  if (isTrapInstruction || hasDirectPath || (handler.flags & 3) >= needed) {
    cpu.rip = nextRip;
    pv.pendingTrap = { vector, errorCode: null };
    return;
  }
  pv.pendingTrap = { vector: Vector.GP, errorCode: vector * 8 + CODE_IDT };
}

/** What the processor left in S.fault* after Exit.exception. */
export function handleExceptionExit(vcpu: Vcpu): void {
  const { cpu } = vcpu;
  const code = cpu.get32(S.faultHasCode) ? cpu.get32(S.faultCode) : null;
  handleException(vcpu, cpu.get32(S.faultVector), code, cpu.get(S.faultAddress));
}
