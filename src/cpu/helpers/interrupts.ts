// Interrupts and exceptions: what INT n and relatives do (SDM Vol. 2A "INT n/INTO/INT3/INT1", Vol. 3A, chapter 6).
import { Exit, GuestFault, Vector } from '../exits.ts';
import { S } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';

function interrupt(core: SystemCore, vector: bigint): void {
  if (core.state.get32(S.pv)) core.exit(Exit.softwareInterrupt, vector);
  else throw new GuestFault(Vector.UD);
}

export const interruptHelpers: Record<string, SystemHelper> = {
  softwareInterrupt: interrupt,
  trap: interrupt,
  skip: core => {
    core.state.rip = core.nextInstructionRip();
  },
};
