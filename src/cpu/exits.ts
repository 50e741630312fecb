// Why the processor's run() returned, and the faults that instructions raise.

/** S.exit after run(). In PV mode everything below is the hypervisor's business; otherwise the processor delivers exceptions itself. */
export const Exit = {
  /** The instructions given to run() are used up; RIP is at the next instruction. */
  fuel: 0,
  /** An exception: faultVector, faultCode/faultHasCode, faultAddress. RIP is at the faulting instruction (after it for traps). */
  exception: 1,
  /** INT n (exitInfo = vector), INT3, INTO (PV mode): RIP is at the instruction, nextRip after it. */
  softwareInterrupt: 2,
  /** SYSCALL (PV mode): RIP at the instruction, nextRip after it; RCX and R11 not yet written. */
  syscall: 3,
  /** SYSENTER (PV mode). */
  sysenter: 4,
  /** HLT (not PV): RIP after it. */
  halt: 5,
  /** VMCALL or VMMCALL: RIP at the instruction, nextRip after it. */
  vmcall: 6,
  /** An interrupt is pending and can be taken now: RFLAGS.IF is 1 and nothing holds it off (not PV). RIP is where it returns to. */
  interruptWindow: 7,
  /** A triple fault or shutdown (not PV). */
  shutdown: 8,
  /** stop() was called. RIP is at the next instruction. */
  stopped: 9,
  /** MWAIT (not PV): RIP after it; exitInfo bit 0: interrupts end the wait even where IF is 0. Stores do as monitorTriggered() says. */
  mwait: 10,
  /** Within the processor only, never returned: an instruction of a longer block reached the platform and has to run alone. */
  alone: 11,
} as const;

/** Vectors (SDM Vol. 3A, table 6-1). */
export const Vector = {
  DE: 0, DB: 1, NMI: 2, BP: 3, OF: 4, BR: 5, UD: 6, NM: 7, DF: 8, TS: 10, NP: 11, SS: 12, GP: 13, PF: 14, MF: 16, AC: 17, MC: 18, XM: 19,
} as const; // biome-ignore format: a table

/**
 * Thrown by an access to the platform (a device, a port, a register of its own) in the middle of a block: the instruction is left as by a
 * fault, nothing of it done, and run again by itself. So the platform is met at exact instructions, and what it asks for is looked at
 * before the next one.
 */
export class RunAlone {}

/** An architectural exception, thrown by the processor's TypeScript parts and caught where they are called. No Error: a guest's faults are many, and nobody reads their stacks. */
export class GuestFault {
  readonly vector: number;
  /** Error code; null where the vector pushes none. */
  readonly code: number | null;
  /** Linear address (CR2) of a page fault, DR6 bits of a #DB. */
  readonly address: bigint;
  constructor(vector: number, code: number | null = null, address = 0n) {
    this.vector = vector;
    this.code = code;
    this.address = address;
  }
}
