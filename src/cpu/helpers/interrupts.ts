// Delivery of interrupts and exceptions through the IDT, in every mode, and what INT n and relatives do
// (SDM Vol. 3A, chapter 6; Vol. 2A "INT n/INTO/INT3/INT1"; double faults: Vol. 3A, table 6-5).
import { Exit, GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { S } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { recordDebugException } from './debug-registers.ts';
import { inProtected, inV86 } from './descriptors.ts';
import { deliverProtected } from './gates.ts';
import { deliverReal, deliverToV86 } from './real-interrupts.ts';
import { ioplOf, redirectsInterrupt } from './virtual-interrupts.ts';

/**
 * Where an event comes from. fault: an exception, RIP is at the instruction (or behind it for traps). software: INT n. trap: INT3 and
 * INTO. icebp: INT1. interrupt: an external interrupt. nmi.
 */
export type EventSource = 'fault' | 'software' | 'trap' | 'icebp' | 'interrupt' | 'nmi';

export interface Event {
  vector: number;
  source: EventSource;
  /** Error code, or null where the vector has none. */
  code: number | null;
  /** Goes on the stack: where the handler returns to. */
  returnRip: bigint;
}

/** Program-requested events: the gate's DPL counts, error codes have EXT = 0. */
export const isSoftware = (source: EventSource): boolean => source === 'software' || source === 'trap';

const CONTRIBUTORY: readonly number[] = [Vector.DE, Vector.TS, Vector.NP, Vector.SS, Vector.GP];
/** Faults: RF is set in the image that they push, so that instruction breakpoints do not hit again. */
const NO_RF: readonly number[] = [Vector.DB, Vector.NMI, Vector.BP, Vector.OF, Vector.DF, Vector.MC];
const RF = BigInt(Flag.RF);

/** RFLAGS as the event pushes it. */
export function pushedFlags(core: SystemCore, event: Event): bigint {
  const { rflags } = core.state;
  return event.source === 'fault' && !NO_RF.includes(event.vector) ? rflags | RF : rflags;
}

function deliverOnce(core: SystemCore, event: Event): void {
  const { state } = core;
  if (inProtected(state) || inV86(state)) deliverProtected(core, event);
  else deliverReal(core, event);
  state.set32(S.shadow, 0);
  if (event.vector === Vector.NMI && event.source === 'nmi') state.set32(S.nmiBlocked, 1);
}

/** The event after a fault in the delivery of another one; null: the processor shuts down. */
function nextEvent(core: SystemCore, first: Event, fault: GuestFault): Event | null {
  if (fault.vector === Vector.PF) core.state.set(S.cr2, fault.address);
  if (fault.vector === Vector.DB) recordDebugException(core, fault.address);
  // a task's that was switched to, or where the first event found the processor
  const returnRip = core.state.rip;
  if (first.source === 'fault') {
    if (first.vector === Vector.DF) return null;
    const second = fault.vector;
    const contributory = CONTRIBUTORY.includes(second);
    const pageFault = first.vector === Vector.PF;
    const double = pageFault
      ? contributory || second === Vector.PF
      : CONTRIBUTORY.includes(first.vector) && contributory;
    if (double) return { vector: Vector.DF, source: 'fault', code: 0, returnRip };
  }
  return { vector: fault.vector, source: 'fault', code: fault.code, returnRip };
}

/**
 * Delivers an event of a vCPU that is not PV, with the double faults that come of it; S.rip is the first instruction of the handler
 * afterwards. A #DB's DR6 bits and a #PF's CR2 are `address`.
 * @param returnRip what the handler returns to; S.rip where it is left out
 * @returns false for a shutdown (triple fault): nothing of the state that software sees is defined then
 */
export function deliver(
  core: SystemCore,
  vector: number,
  {
    source = 'fault',
    code = null,
    address = 0n,
    returnRip = core.state.rip,
  }: Partial<Omit<Event, 'vector'>> & { address?: bigint } = {},
): boolean {
  let event: Event | null = { vector, source, code, returnRip };
  if (source === 'fault') {
    if (vector === Vector.PF) core.state.set(S.cr2, address);
    if (vector === Vector.DB) recordDebugException(core, address);
  }
  while (event) {
    try {
      deliverOnce(core, event);
      return true;
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      event = nextEvent(core, event, error);
    }
  }
  return false;
}

/** Delivers the exception that S.fault* describe, RIP being where run() left it. @returns false for a shutdown */
export function deliverRecorded(core: SystemCore): boolean {
  const { state } = core;
  const code = state.get32(S.faultHasCode) ? state.get32(S.faultCode) : null;
  return deliver(core, state.get32(S.faultVector), { code, address: state.get(S.faultAddress) });
}

/** S.exitInfo of Exit.softwareInterrupt: INT3, INTO and INT1 are told from INT n by this bit. */
export const TRAP_INSTRUCTION = 0x100n;

/** An instruction that asks for an interrupt. What faults is the instruction, not the delivery of an event. */
function request(core: SystemCore, vector: number, source: EventSource): void {
  if (core.state.get32(S.pv)) {
    core.exit(Exit.softwareInterrupt, BigInt(vector) | (source === 'software' ? 0n : TRAP_INSTRUCTION));
    return;
  }
  deliverOnce(core, { vector, source, code: null, returnRip: core.nextInstructionRip() });
  core.suppressStep();
}

export const interruptHelpers: Record<string, SystemHelper> = {
  softwareInterrupt: (core, vector) => {
    const number = Number(vector & 0xffn);
    if (!core.state.get32(S.pv) && redirectsInterrupt(core, number)) {
      deliverToV86(core, number, core.nextInstructionRip());
      core.suppressStep();
      return;
    }
    if (inV86(core.state) && ioplOf(core.state.get(S.rflags)) < 3) throw new GuestFault(Vector.GP, 0);
    request(core, number, 'software');
  },
  /** INT3, INTO, INT1. */
  trap: (core, vector) => request(core, Number(vector), vector === 1n ? 'icebp' : 'trap'),
  skip: core => {
    core.state.rip = core.nextInstructionRip();
  },
};
