// The fixed-point factor between TSC ticks and nanoseconds that vcpu_time_info carries (xen/include/public/xen.h):
// ns = ((ticks << shift) * multiplier) >> 32, where a negative shift goes right.

export interface TimeScale {
  /** tsc_to_system_mul: a 32-bit fraction. */
  readonly multiplier: bigint;
  /** tsc_shift: -31..31. */
  readonly shift: number;
}

const NS_PER_SECOND = 1_000_000_000n;

/** The scale of a counter with `hz` ticks a second (1 kHz to 2^63 Hz); the multiplier keeps its top bit for precision. */
export function scaleOf(hz: bigint): TimeScale {
  let rate = hz;
  let shift = 0;
  while (rate > NS_PER_SECOND * 2n) {
    rate >>= 1n;
    shift--;
  }
  // The multiplier must stay below 2^32, so the (shifted) counter must run faster than nanoseconds.
  while (rate <= NS_PER_SECOND) {
    rate <<= 1n;
    shift++;
  }
  return { multiplier: (NS_PER_SECOND << 32n) / rate, shift };
}

/** Ticks to nanoseconds exactly as a guest computes it, so that host and guest agree to the nanosecond. */
export function toNs(ticks: bigint, scale: TimeScale): bigint {
  const shifted = scale.shift >= 0 ? ticks << BigInt(scale.shift) : ticks >> BigInt(-scale.shift);
  return (shifted * scale.multiplier) >> 32n;
}

/** The smallest number of ticks whose `toNs` is at least `ns`. */
export function ticksFor(ns: bigint, scale: TimeScale): bigint {
  if (ns <= 0n) return 0n;
  const shifted = ((ns << 32n) + scale.multiplier - 1n) / scale.multiplier;
  if (scale.shift < 0) return shifted << BigInt(-scale.shift);
  const step = 1n << BigInt(scale.shift);
  return (shifted + step - 1n) / step;
}
