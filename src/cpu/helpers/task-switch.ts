// Hardware task switches (SDM Vol. 3A, chapter 8).
import { GuestFault, Vector } from '../exits.ts';
import type { SystemCore } from './core.ts';
import type { Descriptor } from './descriptors.ts';

export function returnFromTask(core: SystemCore): void {
  void core;
  throw new GuestFault(Vector.GP, 0);
}

export function switchTask(core: SystemCore, task: Descriptor, how: 'call' | 'jump', nextRip: bigint): void {
  void core;
  void nextRip;
  throw new GuestFault(Vector.GP, how === 'call' ? task.selector : 0);
}
export function taskOfGate(core: SystemCore, gate: Descriptor): Descriptor {
  void core;
  return gate;
}
