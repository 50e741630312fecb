// set_gdt, update_descriptor, stack_switch. Source: public/xen.h, xen/arch/x86/pv/descriptor-tables.c.
import { ulong } from '../../abi/struct.ts';
import { gdtFrameCount, MAX_GDT_ENTRIES, setGdt } from '../memory/descriptor-tables.ts';
import { checkDescriptor } from '../memory/descriptors.ts';
import { PageType } from '../memory/frame-table.ts';
import type { Vcpu } from '../vcpu.ts';
import { type Args, u32Arg } from './copy.ts';

const EINVAL = -22;
const EXACT_FRAME_NUMBERS = 1n << 40n;

/** set_gdt(frame_list, entries): the frames hold `entries` descriptors and may be mapped read-only at most. */
export function setGdtCall(vcpu: Vcpu, args: Args): number {
  const entries = u32Arg(args[1]);
  if (entries > MAX_GDT_ENTRIES) return EINVAL;
  const mfns = vcpu.guest.readArray(args[0], ulong, gdtFrameCount(entries));
  return setGdt(
    vcpu,
    mfns.map(mfn => (mfn < EXACT_FRAME_NUMBERS ? Number(mfn) : -1)),
    entries,
  );
}

/** update_descriptor(machine address, descriptor); 32-bit guests give each in two words. */
export function updateDescriptor(vcpu: Vcpu, args: Args): number {
  const wide = vcpu.abiWidth === 64;
  const address = wide ? args[0] : (args[1] << 32n) | args[0];
  const low = wide ? u32Arg(args[1]) : u32Arg(args[2]);
  const high = wide ? u32Arg(args[1] >> 32n) : u32Arg(args[3]);
  const { domain } = vcpu;
  const { frames, memory } = domain.hypervisor;
  if ((address & 7n) !== 0n) return EINVAL;
  const checked = checkDescriptor(domain, low, high);
  if (!checked) return EINVAL;
  const mfn = address >> 12n < EXACT_FRAME_NUMBERS ? Number(address >> 12n) : -1;
  if (!frames.getPage(mfn, domain.id)) return EINVAL;
  const type = frames.type[mfn] === PageType.segDesc ? PageType.segDesc : PageType.writable;
  let result = EINVAL;
  if (frames.getPageType(mfn, type) === 0) {
    const offset = Number(address & 0xfffn);
    const at = frames.words(mfn) + (offset >> 2);
    memory.u32[at] = checked.low;
    memory.u32[at + 1] = checked.high;
    frames.wrote(mfn, offset, 8);
    frames.putPageType(mfn);
    result = 0;
  }
  frames.putPage(mfn);
  return result;
}

/** stack_switch(ss, sp): the kernel's stack, on which exceptions and events from user mode are delivered. */
export function stackSwitch(vcpu: Vcpu, args: Args): number {
  const ss = u32Arg(args[0]) & 0xffff;
  const lowest = vcpu.domain.abi === 'pv32' ? 1 : 3;
  vcpu.pv.kernelSs = (ss & ~3) | Math.max(ss & 3, lowest);
  vcpu.pv.kernelSp = args[1];
  return 0;
}
