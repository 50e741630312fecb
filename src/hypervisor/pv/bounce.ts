// Bouncing: the guest's kernel is entered at one of its handlers with a frame on its stack, as an interrupt gate would.
// Frames and register changes as Xen's create_bounce_frame (xen/arch/x86/x86_64/entry.S) makes them; 64-bit guests.
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { Flag } from '../../cpu/flags.ts';
import { FRAME_SIZE, R, S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../../cpu/layout.ts';
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

/** A frame below this reaches into Xen's hole. */
const LOWEST_KERNEL_STACK = HYPERVISOR_VIRT_END + 12n * 8n;
const RPL_MASK = 3;
/** Flags that entering a handler clears: SDM Vol. 3A, 6.12.1.3, and AC, so that a user's choice does not reach the kernel. */
const CLEARED = Flag.AC | Flag.VM | Flag.RF | Flag.NT | Flag.TF;
/** The flag of the event mask in the frame's CS. */
const MASKED = 1;
const MOST_WORDS = 12;
const WORD_BYTES = 8;

// The frame, in 32-bit halves: BigInts would cost an allocation each, and this is done for every system call.
const frame = new Uint32Array(2 * MOST_WORDS);
const frameBytes = new Uint8Array(frame.buffer);
const pointer = new BigUint64Array(1);
const pointerHalves = new Int32Array(pointer.buffer);
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
  const failure = enterHandler(vcpu, target);
  if (failure !== null) vcpu.domain.crash(failure, WHERE);
}

/** As bounce, but gives why it cannot be done; then nothing has changed but the guest's mode, which is the kernel's. */
export function enterHandler(vcpu: Vcpu, target: Bounce): string | null {
  const { domain, pv, cpu, info } = vcpu;
  if (target.address === 0n) return 'no handler is registered for what the guest has to be told';
  let cs = selectorOf(cpu, SEG.cs);
  if (pv.inKernel) {
    pointer[0] = cpu.gpr[R.rsp];
    cs &= ~RPL_MASK; // how a guest tells its own kernel mode from its user mode
  } else {
    toggleGuestMode(vcpu);
    pointer[0] = pv.kernelSp;
  }
  pointer[0] &= ~0xfn;
  if (pointer[0] > HYPERVISOR_VIRT_START && pointer[0] < LOWEST_KERNEL_STACK) {
    return 'the guest kernel stack stands in the hypervisor area';
  }

  const masked = info.upcallMask;
  const { flags } = cpu;
  let frameFlags = (flags & ~(Flag.IF | Flag.IOPL)) | (masked ? 0 : Flag.IF);
  if (domain.hasVmAssist(VmAssist.architecturalIopl)) frameFlags |= pv.iopl << 12;

  let n = pushRegister(cpu, 0, S.gpr + R.rcx * WORD_BYTES);
  n = pushRegister(cpu, n, S.gpr + R.r11 * WORD_BYTES);
  if (target.withSegments) {
    for (const index of [SEG.ds, SEG.es, SEG.fs, SEG.gs]) n = push(n, selectorOf(cpu, index));
  }
  if (target.errorCode !== null) n = push(n, target.errorCode);
  n = pushRegister(cpu, n, S.rip);
  n = push(n, cs, masked ? MASKED : 0);
  n = push(n, frameFlags);
  n = pushRegister(cpu, n, S.gpr + R.rsp * WORD_BYTES);
  n = push(n, selectorOf(cpu, SEG.ss));
  pointer[0] -= BigInt(n * 4);
  if (!writeFrame(vcpu, n)) return `the guest kernel stack at 0x${pointer[0].toString(16)} cannot be written`;

  if (target.maskEvents) info.upcallMask = true;
  cpu.set32(S.rflags, cpu.get32(S.rflags) & ~CLEARED);
  cpu.gpr[R.rsp] = pointer[0];
  cpu.rip = target.address;
  setFlatSegments(vcpu);
  return null;
}

/** Puts a word at half `n` of the frame; gives the next one's place. */
function push(n: number, low: number, high = 0): number {
  frame[n] = low;
  frame[n + 1] = high;
  return n + 2;
}

/** @param offset of a 64-bit register in S */
function pushRegister(cpu: CpuState, n: number, offset: number): number {
  return push(n, cpu.get32(offset), cpu.get32(offset + 4));
}

/** Writes the first `halves` of the frame where `pointer` says; false where the guest's tables do not let it. */
function writeFrame(vcpu: Vcpu, halves: number): boolean {
  const { processor, memory } = vcpu.domain.hypervisor;
  const [low, high] = pointerHalves;
  const inPage = (low & (FRAME_SIZE - 1)) + halves * 4 <= FRAME_SIZE;
  const host = inPage ? processor.cachedAddress(low, high, true) : 0;
  if (host !== 0) {
    const at = host >>> 2;
    for (let i = 0; i < halves; i++) memory.u32[at + i] = frame[i];
    return true;
  }
  try {
    processor.writeLinear(pointer[0], frameBytes.subarray(0, halves * 4), WRITE);
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    return false;
  }
  return true;
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
