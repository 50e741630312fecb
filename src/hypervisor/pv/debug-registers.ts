// A PV guest's debug registers: checks, aliases and the I/O breakpoints that Xen emulates. Source: Xen's set_debugreg (traps.c),
// pv/misc-hypercalls.c, asm-x86/debugreg.h.
import { S } from '../../cpu/layout.ts';
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import { HYPERVISOR_VIRT_END, HYPERVISOR_VIRT_START, isCanonical } from './selectors.ts';

const DR6 = 6;
const DR7 = 7;
const CR4_DE = 8n;
const DR6_DEFAULT = 0xffff0ff0n;
/** Bits of DR6 that exceptions set: B0-B3 BD BS BT. */
const DR6_STATUS = 0xe00fn;
const DR7_FIXED = 0x400n;
const DR7_MUST_BE_ZERO = 0xffff_ffff_0000_d800n;
const DR7_GD = 1n << 13n;
/** Local and global enables of the four breakpoints. */
const DR7_ACTIVE = 0xffn;
const IO_BREAKPOINT = 2n;

const field = (dr7: bigint, i: number): bigint => (dr7 >> BigInt(16 + i * 4)) & 0xfn;
const enables = (i: number): bigint => 3n << BigInt(i * 2);

/** DR6 as #DB reports it: status bits stick until the guest clears them. `raised` are the bits of this exception. */
export function mergeDr6(vcpu: Vcpu, raised: bigint): void {
  vcpu.pv.debug[DR6] |= raised & DR6_STATUS;
}

/** Throws EINVAL or ENODEV for a register that does not exist. */
export function getDebugRegister(vcpu: Vcpu, index: number): bigint {
  return vcpu.pv.debug[resolve(vcpu, index)] | (resolve(vcpu, index) === DR7 ? vcpu.pv.dr7Emulated : 0n);
}

function resolve(vcpu: Vcpu, index: number): number {
  if (index < 0 || index > DR7) throw new XenError('EINVAL');
  if (index !== 4 && index !== 5) return index;
  // DR4 and DR5 are DR6 and DR7 unless debugging extensions are on.
  if (vcpu.pv.cr4 & CR4_DE) throw new XenError('ENODEV');
  return index + 2;
}

/** Throws XenError; the registers are then as before. */
export function setDebugRegister(vcpu: Vcpu, index: number, value: bigint): void {
  const { pv } = vcpu;
  const register = resolve(vcpu, index);
  if (register < 4) {
    if (!isCanonical(value) || (value >= HYPERVISOR_VIRT_START && value < HYPERVISOR_VIRT_END))
      throw new XenError('EPERM');
    pv.debug[register] = value;
  } else if (register === DR6) {
    if (value >> 32n) throw new XenError('EINVAL');
    pv.debug[DR6] = (value & DR6_STATUS) | DR6_DEFAULT;
  } else {
    setDr7(vcpu, value);
  }
  loadDebugRegisters(vcpu);
}

function setDr7(vcpu: Vcpu, value: bigint): void {
  const { pv } = vcpu;
  if (value >> 32n) throw new XenError('EINVAL');
  if (value & DR7_GD) throw new XenError('EPERM');
  let wanted = (value & ~DR7_MUST_BE_ZERO) | DR7_FIXED;
  let emulated = 0n;
  if (wanted & DR7_ACTIVE) {
    for (let i = 0; i < 4; i++) {
      const kind = field(wanted, i);
      if ((kind & 3n) !== IO_BREAKPOINT) continue;
      if (!(pv.cr4 & CR4_DE)) throw new XenError('EPERM');
      // Only the port instructions that Xen emulates can hit it, so the processor never sees it enabled.
      emulated |= wanted & enables(i);
    }
  }
  wanted &= ~emulated;
  pv.dr7Emulated = emulated;
  pv.debug[DR7] = wanted;
}

/** Puts the guest's breakpoints into the processor's registers. */
export function loadDebugRegisters(vcpu: Vcpu): void {
  const { cpu, pv } = vcpu;
  for (let i = 0; i < 4; i++) cpu.set(S.dr + i * 8, pv.debug[i]);
  cpu.set(S.dr + DR6 * 8, DR6_DEFAULT);
  cpu.set(S.dr + DR7 * 8, pv.debug[DR7]);
  if (vcpu.isLoaded) vcpu.domain.hypervisor.processor.modeChanged();
}

/** DR6 bits of the I/O breakpoints that an access of `size` bytes at `port` hits. */
export function matchIoBreakpoints(vcpu: Vcpu, port: number, size: number): bigint {
  const { pv } = vcpu;
  if (!(pv.dr7Emulated & DR7_ACTIVE) || !(pv.cr4 & CR4_DE)) return 0n;
  let hits = 0n;
  for (let i = 0; i < 4; i++) {
    if (!(pv.dr7Emulated & enables(i))) continue;
    const length = [1n, 2n, 8n, 4n][Number(field(pv.debug[DR7], i) >> 2n)];
    const start = pv.debug[i] & ~(length - 1n);
    if (BigInt(port) < start + length && BigInt(port + size) > start) hits |= 1n << BigInt(i);
  }
  return hits;
}
