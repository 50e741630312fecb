// How SSE instructions meet MXCSR: controls in, flags out, #XM or not (SDM Vol. 1, 10.2.3 and 11.5).
import { type FloatEnv, newFloatEnv } from './float-env.ts';
import { ALL_EXCEPTIONS, PRE_COMPUTATION } from './format.ts';

export const MXCSR_DAZ = 0x40;
export const MXCSR_FTZ = 0x8000;
export const MXCSR_DEFAULT = 0x1f80;
/** Bits that LDMXCSR accepts; MXCSR_MASK of the FXSAVE image. */
export const MXCSR_MASK = 0xffff;

/** Flags of all lanes of the instruction under way, apart because an early unmasked exception hides the later kind. */
export interface SseEnv extends FloatEnv {
  before: number;
  after: number;
  /** Flags of finished steps of an instruction that works in several (DPPS); nothing hides them any more. */
  settled: number;
}

export function newSseEnv(): SseEnv {
  return { ...newFloatEnv(false), before: 0, after: 0, settled: 0 };
}

/** Starts an instruction: controls from MXCSR, no flags yet. FTZ counts only while underflow is masked. */
export function beginSse(env: SseEnv, mxcsr: number): void {
  env.rounding = (mxcsr >> 13) & 3;
  env.masks = (mxcsr >> 7) & ALL_EXCEPTIONS;
  env.daz = (mxcsr & MXCSR_DAZ) !== 0;
  env.ftz = (mxcsr & MXCSR_FTZ) !== 0;
  env.flags = 0;
  env.before = 0;
  env.after = 0;
  env.settled = 0;
}

/** Ends a lane: its flags join those of the instruction. */
export function endLane(env: SseEnv): void {
  env.before |= env.flags & PRE_COMPUTATION;
  env.after |= env.flags & ~PRE_COMPUTATION;
  env.flags = 0;
}

/** Must the instruction raise #XM (or #UD without CR4.OSXMMEXCPT) and leave its destination alone? */
export function mustFault(env: SseEnv): boolean {
  return (raised(env) & ~env.masks) !== 0;
}

/** The flags to OR into MXCSR: those found before computing alone, if one of them is unmasked. */
export function raised(env: SseEnv): number {
  return env.settled | (env.before & ~env.masks ? env.before : env.before | env.after);
}

/** Ends a step of an instruction that computes in several. @returns false if the next must not begin */
export function endStep(env: SseEnv): boolean {
  env.settled = raised(env);
  env.before = 0;
  env.after = 0;
  return !mustFault(env);
}
