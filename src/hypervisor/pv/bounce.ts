// Bouncing: the guest's kernel is entered at one of its handlers with a frame on its stack, as an interrupt gate would.
// Frames and register changes as Xen's create_bounce_frame (xen/arch/x86/x86_64/entry.S) makes them; 64-bit guests.
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { R, S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../cpu/layout.ts';
import type { CpuState } from '../../cpu/state.ts';
import { pageWalk } from '../crash.ts';
import { VmAssist } from '../domain.ts';
import type { Vcpu } from '../vcpu.ts';
import { toggleGuestMode } from './address-space.ts';
import { setFlatSegments } from './segments.ts';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START } from './selectors.ts';

/** Where to enter the guest's kernel, and with what. */
export interface Bounce {
  address: bigint;
  /** The event mask is set on entry. */
  maskEvents: boolean;
  /** Pushed below RIP; null = none. */
  errorCode: number | null;
  /** Push DS ES FS GS, as the failsafe callback expects. */
  withSegments?: boolean;
}

/** Part of Xen that gives up in such cases. */
const WHERE = 'entry.S: create_bounce_frame';

const RPL_MASK = 3;
/** Flags that entering a handler clears: SDM Vol. 3A, 6.12.1.3, and AC, so that a user's choice does not reach the kernel. */
const CLEARED = BigInt(~(Flag.AC | Flag.VM | Flag.RF | Flag.NT | Flag.TF)) & 0xffffffffn;
const IF_AND_IOPL = BigInt(Flag.IF | Flag.IOPL);
const IF = BigInt(Flag.IF);

const words = new BigUint64Array(12);
const bytes = new Uint8Array(words.buffer);
const WRITE = { write: true, user: true } as const;

/** Reads a segment register's selector. */
export function selectorOf(cpu: CpuState, index: number): number {
  return cpu.view.getUint16(S.segments + index * SEGMENT_SIZE + SEG_FIELD.selector, true);
}

/**
 * Enters the guest's kernel at a handler. What the guest cannot be told in a frame (no handler, no stack, a stack in Xen's hole) stops
 * the domain.
 */
export function bounce(vcpu: Vcpu, target: Bounce): void {
  const { domain, pv, cpu } = vcpu;
  if (target.address === 0n) {
    domain.crash('no handler is registered for what the guest has to be told', WHERE);
    return;
  }
  let cs = selectorOf(cpu, SEG.cs);
  let stack: bigint;
  if (pv.inKernel) {
    stack = cpu.gpr[R.rsp];
    cs &= ~RPL_MASK; // how a guest tells its own kernel mode from its user mode
  } else {
    toggleGuestMode(vcpu);
    stack = pv.kernelSp;
  }
  stack &= ~0xfn;
  if (stack > HYPERVISOR_VIRT_START && stack < HYPERVISOR_VIRT_END + 12n * 8n) {
    domain.crash('the guest kernel stack stands in the hypervisor area', WHERE);
    return;
  }

  const mask = vcpu.info.upcallMask;
  if (target.maskEvents) vcpu.info.upcallMask = true;
  const flags = cpu.rflags;
  let frameFlags = (flags & ~IF_AND_IOPL) | (mask ? 0n : IF);
  if (domain.hasVmAssist(VmAssist.architecturalIopl)) frameFlags |= BigInt(pv.iopl) << 12n;

  let n = 0;
  words[n++] = cpu.gpr[R.rcx];
  words[n++] = cpu.gpr[R.r11];
  if (target.withSegments) {
    for (const index of [SEG.ds, SEG.es, SEG.fs, SEG.gs]) words[n++] = BigInt(selectorOf(cpu, index));
  }
  if (target.errorCode !== null) words[n++] = BigInt(target.errorCode >>> 0);
  words[n++] = cpu.rip;
  words[n++] = BigInt(cs) | (mask ? 1n << 32n : 0n);
  words[n++] = frameFlags;
  words[n++] = cpu.gpr[R.rsp];
  words[n++] = BigInt(selectorOf(cpu, SEG.ss));
  const sp = BigInt.asUintN(64, stack - BigInt(n * 8));
  try {
    domain.hypervisor.processor.writeLinear(sp, bytes.subarray(0, n * 8), WRITE);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    domain.crash(`the guest kernel stack at 0x${sp.toString(16)} cannot be written`, WHERE);
    return;
  }

  cpu.rflags = flags & CLEARED;
  cpu.gpr[R.rsp] = sp;
  cpu.rip = target.address;
  setFlatSegments(vcpu);
}

/** Gives the guest an exception through its trap table. */
export function bounceTrap(vcpu: Vcpu, vector: number, errorCode: number | null): void {
  const handler = vcpu.pv.traps[vector];
  if (handler.address === 0n) {
    const { hypervisor } = vcpu.domain;
    const code = (errorCode ?? 0).toString(16).padStart(4, '0');
    hypervisor.log(`(XEN) ${vcpu} Unhandled: vec ${vector}, ${vectorName(vector)}[${code}]`);
    if (vector === Vector.PF) for (const line of pageWalk(vcpu, vcpu.info.cr2)) hypervisor.log(line);
    vcpu.domain.crash(`no handler for exception ${vector} (${vectorName(vector)}), error code ${code}`, WHERE);
    return;
  }
  bounce(vcpu, { address: handler.address, maskEvents: (handler.flags & 4) !== 0, errorCode });
}

const NAMES = [
  'DE', 'DB', 'NMI', 'BP', 'OF', 'BR', 'UD', 'NM', 'DF', 'CSO', 'TS', 'NP', 'SS', 'GP', 'PF', 'SPV', 'MF', 'AC', 'MC', 'XM', 'VE', 'CP',
]; // biome-ignore format: a table

/** `#PF`, as Xen's log names vectors. */
export function vectorName(vector: number): string {
  return NAMES[vector] ? `#${NAMES[vector]}` : '???';
}
