// HLT, MONITOR and MWAIT, VMCALL and VMMCALL: instructions whose business is outside of the processor (SDM Vol. 2; AMD APM Vol. 3).
import { Exit, GuestFault, Vector } from '../exits.ts';
import { R, SEG } from '../layout.ts';
import { armMonitor, monitorTriggered } from '../monitor.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { inLong64 } from './descriptors.ts';
import { segmentHelpers } from './segments.ts';

/** MWAIT's extension in ECX: interrupts end the wait even where IF is 0. */
const MWAIT_BREAK_ON_INTERRUPT = 1n;

function requireRing0({ state }: SystemCore): void {
  if (state.cpl !== 0) throw new GuestFault(Vector.UD);
}

function callHypervisor(core: SystemCore, vendor: SystemCore['model']['vendor']): void {
  if (core.model.vendor !== vendor) throw new GuestFault(Vector.UD);
  core.exit(Exit.vmcall);
}

/** The address in rAX, in DS. */
function monitored(core: SystemCore): bigint {
  const address = core.state.gpr[R.rax];
  if (inLong64(core.state)) return address;
  return segmentHelpers.segment(core, BigInt(SEG.ds), address & 0xffffffffn, 1n << 1n) as bigint;
}

export const haltHelpers: Record<string, SystemHelper> = {
  hlt: core => core.exit(Exit.halt),
  vmcall: core => callHypervisor(core, 'GenuineIntel'),
  vmmcall: core => callHypervisor(core, 'AuthenticAMD'),
  monitor: core => {
    requireRing0(core);
    if (core.state.gpr[R.rcx] & 0xffffffffn) throw new GuestFault(Vector.GP, 0);
    const linear = monitored(core);
    armMonitor(core.memory, core.state, core.translate(linear, { write: false, user: false }));
  },
  mwait: core => {
    requireRing0(core);
    const hints = core.state.gpr[R.rcx] & 0xffffffffn;
    if (hints & ~MWAIT_BREAK_ON_INTERRUPT) throw new GuestFault(Vector.GP, 0);
    if (monitorTriggered(core.memory, core.state)) core.state.rip = core.nextInstructionRip();
    else core.exit(Exit.mwait, hints);
  },
};
