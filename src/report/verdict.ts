// Verdicts, and the result of one boot: the shape that all outputs are made of. docs/json.md describes it.

import type { Mode } from '../toolstack/image/modes.ts';
import type { InitReport } from '../toolstack/init/report-parser.ts';

/**
 * `pass`: all that is asserted holds. `fail`: the kernel ended or reported otherwise. `crash`: it panicked or the hypervisor
 * stopped it. `timeout`: it was still running. `skip`: was not started, for a reason. `error`: the tool could not do it.
 */
export type Verdict = 'pass' | 'fail' | 'skip' | 'error' | 'crash' | 'timeout';

export const STAGES = ['loaded', 'started', 'kernel', 'userspace', 'report', 'powered off'] as const;
export type StageName = (typeof STAGES)[number];

/** A stage that was reached: how far the boot was by then, counted from its start. */
export interface Stage {
  readonly name: StageName;
  readonly instructions: number;
  readonly wallSeconds: number;
}

export interface StackWord {
  /** Hexadecimal. */
  readonly value: string;
  /** "name+0x12", where the word may be a code address. */
  readonly symbol: string | null;
}

export interface HypercallText {
  readonly vcpu: number;
  /** Such as "sched_op(shutdown, arg=0xffff...)". */
  readonly call: string;
  /** Such as "0" or "-EINVAL". */
  readonly result: string;
}

export interface CrashReport {
  /** Why, in one sentence: the panic's message, or the hypervisor's words. */
  readonly reason: string;
  readonly vcpu: number | null;
  /** Hexadecimal; null where nobody said. */
  readonly rip: string | null;
  readonly symbol: string | null;
  /** By name, hexadecimal; empty where the hypervisor saw no crash. */
  readonly registers: Readonly<Record<string, string>>;
  /** From the stack pointer on. */
  readonly stack: readonly StackWord[];
  /** The last ones, oldest first. */
  readonly hypercalls: readonly HypercallText[];
  /** The kernel's own text on the console, from a little before the first line of trouble on. */
  readonly panic: readonly string[];
  /** The hypervisor's log in Xen's form. */
  readonly xenLog: readonly string[];
}

export interface Result {
  /** As it was given. */
  readonly image: string;
  readonly sha256: string;
  /** uname -r; empty for what is not Linux. */
  readonly version: string;
  readonly mode: Mode;
  readonly verdict: Verdict;
  /** One sentence: why it did not pass; for a pass what was seen. */
  readonly reason: string;
  readonly cpuModel: string;
  readonly memoryMiB: number;
  readonly cpus: number;
  readonly instructions: number;
  readonly wallSeconds: number;
  readonly stages: readonly Stage[];
  /** What init reported; null where it did not. */
  readonly guest: InitReport | null;
  readonly consoleTail: readonly string[];
  readonly crash: CrashReport | null;
  /** The command that does the same again. */
  readonly reproduce: string;
}

/** Exit status of `check`: 0 all passed, 1 a kernel did not pass, 2 the tool failed, 4 nothing was run. */
export function exitStatus(results: readonly Result[]): 0 | 1 | 2 | 4 {
  const has = (...verdicts: Verdict[]) => results.some(result => verdicts.includes(result.verdict));
  if (has('fail', 'crash', 'timeout')) return 1;
  if (has('error')) return 2;
  return has('pass') ? 0 : 4;
}

/** Results of the same kernel together, in the order of their first ones. */
export function byKernel(results: readonly Result[]): Result[][] {
  const groups = new Map<string, Result[]>();
  for (const result of results) {
    const key = `${result.sha256} ${result.image}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [result]);
    else group.push(result);
  }
  return [...groups.values()];
}
