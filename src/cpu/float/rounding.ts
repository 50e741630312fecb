// From an exact value to one of a format: rounding, overflow, underflow (SDM Vol. 1, 4.8.4, 4.9.1.4-4.9.1.6, 8.5.4-8.5.6).
// Exact values carry lost bits "jammed": a significand at least two bits longer than the result, lowest bit set if inexact.
import type { FloatEnv } from './float-env.ts';
import { DOWN, type Format, NEAREST, OE, PE, TOWARD_ZERO, UE, UP } from './format.ts';
import { bitLength, FINITE, finite, INFINITIES, type Unpacked, ZEROS } from './unpacked.ts';

/** Rounds sig * 2^exp to a multiple of 2^quantum; returns the multiple, sets `inexact` and `roundedUp` of `env`. */
export function roundAt(env: FloatEnv, mode: number, sign: number, exp: number, sig: bigint, quantum: number): bigint {
  env.inexact = false;
  env.roundedUp = false;
  const shift = quantum - exp;
  if (shift <= 0) return sig << BigInt(-shift);
  // Far below the quantum only "more than nothing, less than half" is left to know.
  const wide = shift > bitLength(sig) + 1;
  const kept = wide ? 0n : sig >> BigInt(shift);
  const rest = wide ? sig : sig - (kept << BigInt(shift));
  if (rest === 0n) return kept;
  env.inexact = true;
  let up = false;
  if (mode === NEAREST) {
    const half = wide ? -1 : compareHalf(rest, shift);
    up = half > 0 || (half === 0 && (kept & 1n) === 1n);
  } else if (mode === UP) up = sign === 0;
  else if (mode === DOWN) up = sign === 1;
  env.roundedUp = up;
  return up ? kept + 1n : kept;
}

function compareHalf(rest: bigint, shift: number): number {
  const half = 1n << BigInt(shift - 1);
  return rest > half ? 1 : rest < half ? -1 : 0;
}

/** Is the value below the normal range even after rounding to the format's precision with an unbounded exponent? */
function isTiny(env: FloatEnv, fmt: Format, sign: number, exp: number, sig: bigint, top: number): boolean {
  if (top >= fmt.emin) return false;
  if (top < fmt.emin - 1) return true;
  const rounded = roundAt(env, env.rounding, sign, exp, sig, top - fmt.precision + 1);
  return bitLength(rounded) <= fmt.precision;
}

/**
 * Rounds a non-zero sig * 2^exp to `fmt` and raises OE, UE and PE as masks and unit demand.
 * The x87's unmasked overflow and underflow give the bias-adjusted result; SSE's give a result that nobody may use.
 */
export function roundTo(env: FloatEnv, fmt: Format, sign: number, exp: number, sig: bigint): Unpacked {
  const top = exp + bitLength(sig) - 1;
  const tiny = isTiny(env, fmt, sign, exp, sig, top);
  if (tiny && (env.masks & UE) === 0) return unmaskedUnderflow(env, fmt, sign, exp, sig, top);
  if (tiny && env.ftz) {
    env.flags |= UE | PE;
    env.roundedUp = false;
    return ZEROS[sign];
  }
  const quantum = Math.max(top, fmt.emin) - fmt.precision + 1;
  const rounded = roundAt(env, env.rounding, sign, exp, sig, quantum);
  if (quantum + bitLength(rounded) - 1 > fmt.emax) return overflow(env, fmt, sign, quantum, rounded);
  if (env.inexact) env.flags |= tiny ? PE | UE : PE;
  return rounded === 0n ? ZEROS[sign] : { kind: FINITE, sign, exp: quantum, sig: rounded, denormal: false };
}

function unmaskedUnderflow(env: FloatEnv, fmt: Format, sign: number, exp: number, sig: bigint, top: number): Unpacked {
  const quantum = top - fmt.precision + 1;
  const rounded = roundAt(env, env.rounding, sign, exp, sig, quantum);
  env.flags |= env.inexact ? UE | PE : UE;
  const adjusted = quantum + fmt.biasAdjust;
  // FSCALE alone reaches this: too small even for the adjusted exponent. Conversions of SSE pass by, without a result.
  if (env.x87 && adjusted + bitLength(rounded) - 1 < fmt.emin) {
    env.flags |= PE;
    env.roundedUp = false;
    return ZEROS[sign];
  }
  return finite(sign, adjusted, rounded);
}

function overflow(env: FloatEnv, fmt: Format, sign: number, quantum: number, rounded: bigint): Unpacked {
  if ((env.masks & OE) === 0) {
    env.flags |= env.inexact ? OE | PE : OE;
    const adjusted = quantum - fmt.biasAdjust;
    if (env.x87 && adjusted + bitLength(rounded) - 1 > fmt.emax) {
      env.flags |= PE;
      env.roundedUp = true;
      return INFINITIES[sign];
    }
    return finite(sign, adjusted, rounded);
  }
  env.flags |= OE | PE;
  env.inexact = true;
  const toLargest = env.rounding === TOWARD_ZERO || env.rounding === (sign ? UP : DOWN);
  env.roundedUp = !toLargest;
  if (!toLargest) return INFINITIES[sign];
  return finite(sign, fmt.emax - fmt.precision + 1, (1n << BigInt(fmt.precision)) - 1n);
}
