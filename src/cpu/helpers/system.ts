// System instructions' helpers, gathered.
import { Exit, GuestFault, Vector } from '../exits.ts';
import { S } from '../layout.ts';
import type { SystemHelper } from './core.ts';

export const systemHelpers: Record<string, SystemHelper> = {
  syscall: core => {
    if (core.state.get32(S.pv)) core.exit(Exit.syscall);
    else throw new GuestFault(Vector.UD);
  },
};
