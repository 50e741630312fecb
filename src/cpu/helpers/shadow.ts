// The instruction behind STI or MOV SS, before which nothing is taken (SDM Vol. 2B "STI", "MOV"; Vol. 3A, 6.8.3).
import { S } from '../layout.ts';
import type { CpuState } from '../state.ts';
import type { SystemCore } from './core.ts';

/** S.shadow: interrupts are held off, or debug traps as well. */
export const Shadow = { interrupts: 1, traps: 2 } as const;

/**
 * Whether this is the last instruction that run()'s fuel pays for, as every one is under single-stepping. Elsewhere there is nothing to hold
 * off: the next instruction runs before anybody looks.
 */
const runEnds = (state: CpuState): boolean => state.get32(S.fuel) === 0;

/** STI has set IF. */
export function holdOffInterrupts(core: SystemCore): void {
  if (core.interruptPending || runEnds(core.state)) core.state.set32(S.shadow, Shadow.interrupts);
}

/** SS was loaded. Whatever waited already would have been taken before. */
export function holdOffTraps({ state }: SystemCore): void {
  if (runEnds(state)) state.set32(S.shadow, Shadow.traps);
}
