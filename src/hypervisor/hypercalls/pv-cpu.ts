// Hypercalls by which a PV guest sets up its virtual processor. Source: xen/arch/x86/pv/callback.c, misc-hypercalls.c, iret.c,
// x86_64/mm.c (set_segment_base); structs: public/arch-x86/xen.h, callback.h, nmi.h.
import { TI, trapInfo } from '../../abi/xen/arch-x86.ts';
import * as abi from '../../abi/xen/callback.ts';
import { CALLBACKOP, CALLBACKTYPE, SEGBASE, XENNMI } from '../../abi/xen/callback.ts';
import { GuestFault, Vector } from '../../cpu/exits.ts';
import { SEG } from '../../cpu/layout.ts';
import { XenError } from '../errors.ts';
import { gsBase, setFsBase, setGsBase, setInactiveGsBase } from '../pv/address-space.ts';
import { setTaskSwitched } from '../pv/control-registers.ts';
import { getDebugRegister, setDebugRegister } from '../pv/debug-registers.ts';
import { retryWithLdt } from '../pv/descriptor-fault.ts';
import { iret as doIret } from '../pv/iret.ts';
import { FLAT_KERNEL_CS, isCanonical } from '../pv/selectors.ts';
import type { Vcpu } from '../vcpu.ts';
import { type Handler, i32Arg, input, op, subops, u32Arg } from './copy.ts';

const RPL3 = 3;
/** No sane table is longer than the number of vectors; a longer one would only keep the host busy. */
const MAX_TRAP_ENTRIES = 4096;

/** Merges rows up to one whose address is 0; a null pointer clears the table. */
export const setTrapTable: Handler = (vcpu, [pointer]) => {
  const { traps } = vcpu.pv;
  if (pointer === 0n) {
    for (const trap of traps) Object.assign(trap, { cs: 0, flags: 0, address: 0n });
    return;
  }
  for (let i = 0; i < MAX_TRAP_ENTRIES; i++) {
    const row = vcpu.guest.readElement(pointer, trapInfo, i);
    if (row.address === 0n) return;
    if (!isCanonical(row.address)) throw new XenError('EINVAL');
    Object.assign(traps[row.vector], { cs: row.cs | RPL3, flags: row.flags, address: row.address });
  }
  throw new XenError('EINVAL', 'trap table without an end');
};

type CallbackName = 'event' | 'failsafe' | 'syscall' | 'syscall32' | 'sysenter';
const CALLBACK_NAMES = new Map<number, CallbackName>([
  [CALLBACKTYPE.event, 'event'],
  [CALLBACKTYPE.failsafe, 'failsafe'],
  [CALLBACKTYPE.syscall, 'syscall'],
  [CALLBACKTYPE.syscall32, 'syscall32'],
  [CALLBACKTYPE.sysenter, 'sysenter'],
]);

/** `-EINVAL` for an address that no code can have, `-ENOSYS` for an unknown type. */
function registerCallback(vcpu: Vcpu, type: number, flags: number, address: bigint): void {
  if (!isCanonical(address)) throw new XenError('EINVAL');
  if (type === CALLBACKTYPE.nmi) {
    registerNmi(vcpu, address);
    return;
  }
  const name = CALLBACK_NAMES.get(type);
  if (!name) throw new XenError('ENOSYS');
  // The event callback always masks events; the others do if they ask for it.
  const maskEvents = name === 'event' || (flags & abi.CALLBACKF_MASK_EVENTS) !== 0;
  vcpu.pv.callbacks[name] = { cs: FLAT_KERNEL_CS, address, maskEvents };
}

function registerNmi(vcpu: Vcpu, address: bigint): void {
  if (!isCanonical(address)) throw new XenError('EINVAL');
  Object.assign(vcpu.pv.traps[Vector.NMI], { cs: FLAT_KERNEL_CS, flags: TI.maskEvents, address });
}

function unregisterNmi(vcpu: Vcpu): void {
  Object.assign(vcpu.pv.traps[Vector.NMI], { cs: 0, flags: 0, address: 0n });
}

export const callbackOp = subops(CALLBACKOP, {
  register: op(input(abi.callbackRegister), (vcpu, a) => registerCallback(vcpu, a.type, a.flags, a.address)),
  unregister: op(input(abi.callbackUnregister), (vcpu, a) => {
    if (a.type === CALLBACKTYPE.nmi) unregisterNmi(vcpu);
    else throw new XenError(CALLBACK_NAMES.has(a.type) ? 'EINVAL' : 'ENOSYS');
  }),
});

/** The old form of callback_op for three callbacks at once; those after one that is refused are not looked at. */
export const setCallbacks: Handler = (vcpu, [event, failsafe, syscall]) => {
  // Failures were never reported.
  for (const [type, address] of [
    [CALLBACKTYPE.event, event],
    [CALLBACKTYPE.failsafe, failsafe],
    [CALLBACKTYPE.syscall, syscall],
  ] as const) {
    if (isCanonical(address)) registerCallback(vcpu, type, 0, address);
  }
};

export const nmiOp = subops(XENNMI, {
  register_callback: op(input(abi.xennmiCallback), (vcpu, a) => registerNmi(vcpu, a.handlerAddress)),
  unregister_callback: vcpu => unregisterNmi(vcpu),
});

export const fpuTaskswitch: Handler = (vcpu, [set]) => {
  setTaskSwitched(vcpu, i32Arg(set) !== 0);
};

export const setDebugreg: Handler = (vcpu, [register, value]) => {
  setDebugRegister(vcpu, i32Arg(register), value);
};

export const getDebugreg: Handler = (vcpu, [register]) => getDebugRegister(vcpu, i32Arg(register));

export const iret: Handler = vcpu => doIret(vcpu);

export const setSegmentBase: Handler = (vcpu, [which, base]) => {
  const { cpu } = vcpu;
  const number = u32Arg(which);
  if (number === SEGBASE.gsUserSel) return loadUserGs(vcpu, Number(base & 0xffffn));
  if (number > SEGBASE.gsUserSel || !isCanonical(base)) throw new XenError('EINVAL');
  if (number === SEGBASE.fs) setFsBase(cpu, base);
  else if (number === SEGBASE.gsUser) setInactiveGsBase(cpu, base);
  else setGsBase(cpu, base);
};

/** Loads GS for user mode from the descriptor tables: what cannot be loaded becomes null. The kernel's base stays. */
function loadUserGs(vcpu: Vcpu, selector: number): void {
  const { cpu } = vcpu;
  const { processor } = vcpu.domain.hypervisor;
  const kernelBase = gsBase(cpu);
  let base = 0n;
  try {
    if (selector > RPL3) {
      retryWithLdt(vcpu, () => processor.loadSegment(SEG.gs, selector | RPL3));
      base = gsBase(cpu);
    } else {
      processor.loadSegment(SEG.gs, selector);
    }
  } catch (error) {
    if (!(error instanceof GuestFault)) throw error;
    processor.loadSegment(SEG.gs, 0);
  }
  setInactiveGsBase(cpu, base);
  setGsBase(cpu, kernelBase);
}
