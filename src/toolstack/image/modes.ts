// Which modes an image can boot in, and why not, as Xen and the kernel's own build decide it
// (xen/common/libelf/libelf-dominfo.c, xen/arch/x86/pv/dom0_build.c, Linux arch/x86/xen/xen-head.S).

import { EM_X86_64, PT_LOAD } from '../../abi/elf.ts';
import type { KernelImage } from './kernel.ts';
import type { KernelSymbols } from './symbols.ts';

export const MODES = ['native', 'dom0', 'dom0pvh', 'pv', 'pvh', 'pvhvm'] as const;
export type Mode = (typeof MODES)[number];

/** What a machine of each mode has its devices on: virtio where it is a PC to its kernel, Xen's own otherwise. */
export const deviceBus = (mode: Mode): 'virtio' | 'xen' => (mode === 'native' || isDom0(mode) ? 'virtio' : 'xen');

/** It is the control domain of its host. */
export const isDom0 = (mode: Mode): boolean => mode === 'dom0' || mode === 'dom0pvh';

export interface ModeAnswer {
  readonly can: boolean;
  /** What the answer rests on; for a "cannot" the cause. No capital letter, no full stop. */
  readonly reason: string;
}

const yes = (reason: string): ModeAnswer => ({ can: true, reason });
const no = (reason: string): ModeAnswer => ({ can: false, reason });

/** Answers for every mode from the image alone; `symbols` help where the package had no configuration. */
export function imageModes(image: KernelImage, symbols: KernelSymbols | null): Record<Mode, ModeAnswer> {
  const pv = pvMode(image);
  const pvh = pvhMode(image);
  const native = nativeMode(image);
  const dom0 = dom0Mode(image, pv, 'PV');
  const dom0pvh = dom0Mode(image, pvh, 'PVH');
  return { native, dom0, dom0pvh, pv, pvh, pvhvm: pvhvmMode(image, native, symbols) };
}

function nativeMode(image: KernelImage): ModeAnswer {
  if (image.boot !== null) return yes('a bzImage');
  if (image.release === '') return no('it is not a Linux kernel');
  if (image.elf.bits === 32) return no('it is a 32-bit vmlinux, which has no boot header (give the bzImage)');
  return yes('a Linux vmlinux, entered at its ELF entry point');
}

function pvMode(image: KernelImage): ModeAnswer {
  const { xen, config, elf } = image;
  if (xen.source === 'none') return no('it has no Xen ELF notes (built without CONFIG_XEN)');
  if (config !== null && config.get('XEN_PV') !== 'y') return no('it was built without CONFIG_XEN_PV');
  const generic = xen.loader?.startsWith('generic') || xen.guestOs?.startsWith('linux');
  if (xen.xenVersion === null) return no('its notes have no XEN_VERSION (a kernel for PVH only)');
  if (!xen.xenVersion.startsWith('xen-3.0')) return no(`it is for "${xen.xenVersion}", not for xen-3.0`);
  if (!generic) return no('its notes name neither the generic loader nor Linux as guest');
  if (xen.guestOs === 'linux' && xen.entry === null) return no('its notes have no ENTRY (built without CONFIG_XEN_PV)');
  if (xen.paddrOffset !== null && xen.virtBase === null) return no('its notes have PADDR_OFFSET but no VIRT_BASE');
  if (image.entry < image.virtStart || image.entry >= image.virtEnd) {
    return no(`its entry point ${hex(image.entry)} lies outside of the loaded kernel`);
  }
  if (xen.initP2m !== null && xen.initP2m >= image.virtStart && xen.initP2m < image.virtEnd) {
    return no('its INIT_P2M lies inside of the kernel');
  }
  if (xen.requiredFeatures.has('auto_translated_physmap')) {
    return no('it requires the feature auto_translated_physmap, which a PV guest has not');
  }
  if (elf.bits === 32) {
    const pae = xen.paeMode?.startsWith('yes') || xen.paeMode === 'bimodal';
    return pae ? yes('32-bit with PAE') : no('it is 32-bit without PAE');
  }
  if (elf.machine !== EM_X86_64) return no('it is not for x86-64');
  return yes('64-bit, with Xen ELF notes');
}

function pvhMode({ xen, elf, config }: KernelImage): ModeAnswer {
  const entry = xen.phys32Entry;
  if (entry === null) {
    const built = config === null || config.get('PVH') === 'y' ? '' : ' (built without CONFIG_PVH)';
    return no(`it has no PHYS32_ENTRY note${built}`);
  }
  const inside = elf.segments.some(
    segment => segment.type === PT_LOAD && entry >= segment.paddr && entry < segment.paddr + BigInt(segment.memorySize),
  );
  if (!inside) return no(`its PHYS32_ENTRY ${hex(BigInt(entry))} lies outside of the loaded kernel`);
  return yes(`PHYS32_ENTRY ${hex(BigInt(entry))}`);
}

/** @param kind what the control domain is to be: the image's answer for a guest of that kind, and its name */
function dom0Mode({ xen, config }: KernelImage, kind: ModeAnswer, name: string): ModeAnswer {
  if (!kind.can) return kind;
  // Xen asks only where there is such a note.
  if (xen.supportedFeatureBits !== null && !xen.supportedFeatures.has('dom0')) {
    return no('its SUPPORTED_FEATURES lack dom0 (built without CONFIG_XEN_DOM0)');
  }
  if (config !== null && config.get('XEN_DOM0') !== 'y') return no('it was built without CONFIG_XEN_DOM0');
  return yes(xen.supportedFeatureBits === null ? `as ${name}; no SUPPORTED_FEATURES note forbids it` : `as ${name}`);
}

function pvhvmMode({ config, release }: KernelImage, native: ModeAnswer, symbols: KernelSymbols | null): ModeAnswer {
  if (!native.can) return no(native.reason);
  if (config !== null) {
    return config.get('XEN_PVHVM') === 'y' ? yes('CONFIG_XEN_PVHVM') : no('it was built without CONFIG_XEN_PVHVM');
  }
  if (release === '') return no('it is not a Linux kernel');
  if (symbols === null) return no('neither its configuration nor its symbols are known');
  if (symbols.address('xen_hvm_guest_init') !== null) return yes('has xen_hvm_guest_init');
  return no('it has no xen_hvm_guest_init (built without CONFIG_XEN_PVHVM)');
}

const hex = (value: bigint) => `0x${value.toString(16)}`;
