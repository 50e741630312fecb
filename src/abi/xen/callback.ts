// xen/include/public/callback.h and nmi.h, and the first argument of set_segment_base (arch-x86/xen-x86_64.h): what a PV guest
// registers for its virtual processor.
import { struct, u16, u64, ulong } from '../struct.ts';

export const CALLBACKTYPE = {
  event: 0, failsafe: 1, syscall: 2, sysenter_deprecated: 3, nmi: 4, sysenter: 5, syscall32: 7,
} as const; // biome-ignore format: a table
export const CALLBACKOP = { register: 0, unregister: 1 } as const;
export const CALLBACKF_MASK_EVENTS = 1;
/** address: of a 64-bit guest the entry point; of a 32-bit one CS in the low half and EIP in the high half. */
export const callbackRegister = struct('callback_register', { type: u16, flags: u16, address: u64 });
export const callbackUnregister = struct('callback_unregister', { type: u16, unused: u16 });

export const XENNMI = { register_callback: 0, unregister_callback: 1 } as const;
export const xennmiCallback = struct('xennmi_callback', { handlerAddress: ulong, pad: ulong });

export const SEGBASE = { fs: 0, gsUser: 1, gsKernel: 2, gsUserSel: 3 } as const;
