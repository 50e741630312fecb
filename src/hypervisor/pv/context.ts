// Giving a PV vCPU its registers and all that it would otherwise register by hypercalls: by the domain builder, or by VCPUOP_initialise.
// Source: Xen's arch_set_info_guest (xen/arch/x86/domain.c) for 64-bit guests; struct vcpu_guest_context.
import type { Of } from '../../abi/struct.ts';
import { VGCF, vcpuGuestContext64 } from '../../abi/xen/arch-x86.ts';
import { GuestFault } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { R, S, SEG } from '../../cpu/layout.ts';
import { XenError } from '../errors.ts';
import { setGdt, setLdt } from '../memory/descriptor-tables.ts';
import { PageType } from '../memory/frame-table.ts';
import type { Vcpu } from '../vcpu.ts';
import { fsBase, gsBase, setFsBase, setGsBase, setInactiveGsBase } from './address-space.ts';
import { hardwareCr0, hardwareCr4, setGuestCr4 } from './control-registers.ts';
import { loadDebugRegisters, setDebugRegister } from './debug-registers.ts';
import { retryWithLdt } from './descriptor-fault.ts';
import { loadFxsave, resetFpu } from './fpu-image.ts';
import { loadReturnSegments, setSelectors } from './segments.ts';
import {
  FLAT_CODE64_ATTRIBUTES,
  FLAT_DATA_ATTRIBUTES,
  FLAT_KERNEL_CS,
  FLAT_KERNEL_SS,
  GDT_LIMIT,
  gdtVirtStart,
  HYPERVISOR_VIRT_END,
  isCanonical,
  ldtVirtStart,
} from './selectors.ts';

export type GuestContext = Of<typeof vcpuGuestContext64>;

const RPL3 = 3;
const PAGE_MASK = 0xfffn;
const CR0_TS = 8n;
const IOPL = BigInt(Flag.IOPL);
const IF = BigInt(Flag.IF);
const EFER_PV = 0xd01n; // SCE LME LMA NX
const XEN_PAT = 0x0000050100070406n;
const XCR0_X87 = 1n;
/** Type LDT, present. */
const LDT_ATTRIBUTES = 0x82;
const TSS_ATTRIBUTES = 0x8b;
const FLAT_LIMIT = 0xffffffff;

/** Registers as every PV vCPU starts with: 64-bit mode at CPL 3, everything privileged left to the hypervisor. */
export function resetPvRegisters(vcpu: Vcpu): void {
  const { stored: cpu } = vcpu;
  cpu.bytes.fill(0);
  cpu.set32(S.pv, 1);
  cpu.set32(S.cpl, 3);
  cpu.set(S.cr0, hardwareCr0(vcpu));
  cpu.set(S.cr4, hardwareCr4(vcpu));
  cpu.set(S.efer, EFER_PV);
  cpu.set(S.pat, XEN_PAT);
  cpu.set(S.xcr0, XCR0_X87);
  cpu.rflags = IF;
  resetFpu(cpu);
  loadDebugRegisters(vcpu);
  cpu.writeSegment(SEG.cs, {
    selector: FLAT_KERNEL_CS,
    base: 0n,
    limit: FLAT_LIMIT,
    attributes: FLAT_CODE64_ATTRIBUTES,
  });
  cpu.writeSegment(SEG.ss, { selector: FLAT_KERNEL_SS, base: 0n, limit: FLAT_LIMIT, attributes: FLAT_DATA_ATTRIBUTES });
  for (const index of [SEG.ds, SEG.es, SEG.fs, SEG.gs]) {
    cpu.writeSegment(index, { selector: 0, base: 0n, limit: 0, attributes: 0 });
  }
  cpu.writeSegment(SEG.gdtr, { selector: 0, base: gdtVirtStart(vcpu.id), limit: GDT_LIMIT, attributes: 0 });
  cpu.writeSegment(SEG.idtr, { selector: 0, base: 0n, limit: 0, attributes: 0 });
  cpu.writeSegment(SEG.tr, { selector: 0xe040, base: 0n, limit: 0x67, attributes: TSS_ATTRIBUTES });
  loadLdtr(vcpu);
}

/** LDTR as the vCPU's LDT wants it; to be called when that has changed. */
export function loadLdtr(vcpu: Vcpu): void {
  const { ldtEntries } = vcpu.pv;
  vcpu.cpu.writeSegment(SEG.ldtr, {
    selector: ldtEntries ? 0xe050 : 0,
    base: ldtVirtStart(vcpu.id),
    limit: ldtEntries ? ldtEntries * 8 - 1 : 0,
    attributes: ldtEntries ? LDT_ATTRIBUTES : 0,
  });
}

/**
 * Takes over a context, for a vCPU that is not loaded. Throws XenError with the vCPU without a context; page tables and GDT frames take
 * their references.
 */
export function loadContext(vcpu: Vcpu, context: GuestContext): void {
  if (vcpu.isInitialised) throw new XenError('EEXIST');
  const { userRegs } = context;
  const addresses = [
    userRegs.rip,
    userRegs.rsp,
    context.kernelSp,
    context.eventCallbackEip,
    context.failsafeCallbackEip,
    context.syscallCallbackEip,
    context.fsBase,
    context.gsBaseKernel,
    context.gsBaseUser,
    ...context.trapCtxt.map(trap => trap.address),
  ];
  if (!addresses.every(isCanonical)) throw new XenError('EINVAL');
  if (!isBelowXen(context.ldtBase) || context.ldtBase & PAGE_MASK || context.ldtEnts > 8192n)
    throw new XenError('EINVAL');

  registerHandlers(vcpu, context);
  resetPvRegisters(vcpu);
  setDebugRegisters(vcpu, context);
  setGuestCr4(vcpu, context.ctrlreg[4]);
  vcpu.pv.taskSwitched = (context.ctrlreg[0] & CR0_TS) !== 0n;
  vcpu.stored.set(S.cr0, hardwareCr0(vcpu));
  loadRegisters(vcpu, context);
  loadTables(vcpu, context);
  vcpu.isInitialised = true;
  if (context.flags & BigInt(VGCF.online)) vcpu.isUp = true;
}

function registerHandlers(vcpu: Vcpu, context: GuestContext): void {
  const { pv } = vcpu;
  context.trapCtxt.forEach((trap, vector) => {
    Object.assign(pv.traps[vector], { cs: trap.cs | RPL3, flags: trap.flags, address: trap.address });
  });
  const flags = Number(context.flags & 0xffn);
  const callback = (address: bigint, maskEvents: boolean) => ({ cs: FLAT_KERNEL_CS, address, maskEvents });
  pv.callbacks.event = callback(context.eventCallbackEip, true);
  pv.callbacks.failsafe = callback(context.failsafeCallbackEip, (flags & VGCF.failsafeDisablesEvents) !== 0);
  pv.callbacks.syscall = callback(context.syscallCallbackEip, (flags & VGCF.syscallDisablesEvents) !== 0);
  pv.kernelSs = Number(context.kernelSs & 0xffffn) | RPL3;
  pv.kernelSp = context.kernelSp;
  pv.inKernel = (flags & VGCF.inKernel) !== 0;
}

/** Where a guest's own addresses are: __addr_ok(). */
function isBelowXen(address: bigint): boolean {
  return address < 1n << 47n || address >= HYPERVISOR_VIRT_END;
}

/** A breakpoint that a guest must not set is left out, without an error. */
function setDebugRegisters(vcpu: Vcpu, context: GuestContext): void {
  for (const register of [0, 1, 2, 3, 6, 7]) {
    const value = context.debugreg[register];
    if (value === 0n) continue;
    try {
      setDebugRegister(vcpu, register, value);
    } catch (error) {
      if (!(error instanceof XenError)) throw error;
    }
  }
}

const GPR_FIELDS = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const; // biome-ignore format: the register file's order

function loadRegisters(vcpu: Vcpu, context: GuestContext): void {
  const { stored: cpu, pv } = vcpu;
  const { userRegs } = context;
  for (const name of GPR_FIELDS) cpu.gpr[R[name]] = userRegs[name];
  cpu.rip = userRegs.rip;
  pv.iopl = Number((userRegs.rflags >> 12n) & 3n);
  cpu.rflags = (userRegs.rflags & ~IOPL) | IF;
  if (context.flags & BigInt(VGCF.i387Valid)) loadFxsave(cpu, context.fpuCtxt);

  setSelectors(cpu, userRegs.cs | RPL3, userRegs.ss | RPL3);
  for (const [index, selector] of [
    [SEG.ds, userRegs.ds],
    [SEG.es, userRegs.es],
    [SEG.fs, userRegs.fs],
    [SEG.gs, userRegs.gs],
  ] as const) {
    cpu.writeSegment(index, { selector, base: 0n, limit: 0, attributes: 0 });
  }
  pv.segmentsStale = true;
  setFsBase(cpu, context.fsBase);
  setGsBase(cpu, pv.inKernel ? context.gsBaseKernel : context.gsBaseUser);
  setInactiveGsBase(cpu, pv.inKernel ? context.gsBaseUser : context.gsBaseKernel);
}

/** xen_cr3_to_pfn(): the frame number stands in bits 12 and up, its topmost bits folded into the low twelve. */
function cr3ToMfn(cr3: bigint): number {
  return Number((cr3 >> 12n) | ((cr3 & 0xfffn) << 52n));
}

function loadTables(vcpu: Vcpu, context: GuestContext): void {
  const { domain, pv } = vcpu;
  const { frames } = domain.hypervisor;
  const taken: number[] = [];
  const take = (mfn: number): number => {
    if (frames.getPageAndType(mfn, domain.id, PageType.l4) !== 0) {
      for (const other of taken) frames.putPageAndType(other);
      throw new XenError('EINVAL', 'no page table at cr3');
    }
    taken.push(mfn);
    return mfn;
  };
  const kernel = take(cr3ToMfn(context.ctrlreg[3]));
  const user = context.ctrlreg[1] === 0n ? 0 : take(cr3ToMfn(context.ctrlreg[1]));
  if (!pv.inKernel && user === 0) {
    for (const mfn of taken) frames.putPageAndType(mfn);
    throw new XenError('EINVAL', 'user mode without a page table');
  }
  if (setGdt(vcpu, context.gdtFrames.map(Number), Number(context.gdtEnts)) !== 0) {
    for (const mfn of taken) frames.putPageAndType(mfn);
    throw new XenError('EINVAL', 'bad GDT');
  }
  pv.guestTable = kernel;
  pv.guestTableUser = user;
  setLdt(vcpu, context.ldtBase, Number(context.ldtEnts));
  loadLdtr(vcpu);
  vcpu.stored.set(S.cr3, BigInt(pv.inKernel ? kernel : user) << 12n);
  domain.hypervisor.addressSpace.prepare(vcpu);
}

/**
 * Loads the descriptors of segment registers whose selectors came from outside; the vCPU is the loaded one. A data segment that cannot
 * be loaded becomes null and is reported: the caller enters the failsafe callback. CS and SS fault like the return that loads them.
 */
export function reloadSegments(vcpu: Vcpu): { failsafe: boolean; fault: GuestFault | null } {
  const { cpu, pv, domain } = vcpu;
  const { processor } = domain.hypervisor;
  pv.segmentsStale = false;
  const [fs, gs] = [fsBase(cpu), gsBase(cpu)];
  let failsafe = false;
  for (const index of [SEG.ds, SEG.es, SEG.fs, SEG.gs]) {
    const { selector } = cpu.readSegment(index);
    if (selector <= RPL3) continue; // null as it stands
    try {
      retryWithLdt(vcpu, () => processor.loadSegment(index, selector));
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      failsafe = true;
      processor.loadSegment(index, 0);
    }
  }
  setFsBase(cpu, fs);
  setGsBase(cpu, gs);
  const [cs, ss] = [cpu.readSegment(SEG.cs).selector, cpu.readSegment(SEG.ss).selector];
  let fault: GuestFault | null = null;
  try {
    retryWithLdt(vcpu, () => loadReturnSegments(vcpu, cs, ss));
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    fault = error;
  }
  return { failsafe, fault };
}

/** VCPUOP_initialise for 64-bit PV guests. */
export function initialisePvVcpu(caller: Vcpu, target: Vcpu, pointer: bigint): void {
  const context = caller.guest.readStruct(pointer, vcpuGuestContext64);
  loadContext(target, context);
}
