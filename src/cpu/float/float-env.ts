// What an operation must know (rounding, masks, NaN rule) and what it leaves behind (exception flags, rounding direction).
import { ALL_EXCEPTIONS, PRE_COMPUTATION, type Rounding } from './format.ts';

export interface FloatEnv {
  rounding: Rounding;
  /** Bit set = exception masked, in the order of the flags. */
  masks: number;
  /** Raised so far; operations only add. */
  flags: number;
  /** The last rounding made the magnitude larger (C1 of the x87). */
  roundedUp: boolean;
  /** The last rounding lost something. */
  inexact: boolean;
  /** x87: larger significand among NaNs, bias-adjusted results. SSE: first NaN, no result. */
  readonly x87: boolean;
  /** MXCSR.DAZ and MXCSR.FTZ; always false for the x87. */
  daz: boolean;
  ftz: boolean;
}

export function newFloatEnv(x87: boolean): FloatEnv {
  return {
    rounding: 0,
    masks: ALL_EXCEPTIONS,
    flags: 0,
    roundedUp: false,
    inexact: false,
    x87,
    daz: false,
    ftz: false,
  };
}

/** An unmasked exception was found before computing: there is no result, and nothing more is to be flagged. */
export function aborted(env: FloatEnv): boolean {
  return (env.flags & ~env.masks & PRE_COMPUTATION) !== 0;
}
