// A machine that was started, whatever kind it is: what tools do with a domain or a bare PC alike.
import type { CrashRecord } from '../hypervisor/crash.ts';
import type { GuestConsole } from './guest-console.ts';
import type { ShutdownName } from './guest-domain.ts';
import type { RunEnd, RunOptions } from './run-machine.ts';

export interface Machine {
  readonly console: GuestConsole;
  /** How it has ended; null while it lives. */
  readonly shutdown: ShutdownName | null;
  /** What there was to see when it crashed. */
  readonly crash: CrashRecord | null;
  /** Instructions that all its processors together have executed. */
  readonly instructions: bigint;
  run(options?: RunOptions): Promise<RunEnd>;
  /** What there is to see of a machine that still runs: for a report on one that hangs. */
  inspect(): CrashRecord | null;
}
