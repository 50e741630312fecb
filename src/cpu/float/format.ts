// Floating-point formats and the bits that describe what happened to a result (SDM Vol. 1, 4.2 and 4.8-4.9).

/** Exception flags, in the order that the x87 status word and MXCSR share. */
export const IE = 1;
export const DE = 2;
export const ZE = 4;
export const OE = 8;
export const UE = 16;
export const PE = 32;
export const ALL_EXCEPTIONS = 63;
/** Found before the operation is carried out; unmasked, they leave operands and destination as they were. */
export const PRE_COMPUTATION = IE | DE | ZE;

/** Rounding modes, encoded as the RC fields of the x87 control word and of MXCSR. */
export const NEAREST = 0;
export const DOWN = 1;
export const UP = 2;
export const TOWARD_ZERO = 3;
/** Extends the four: to nearest, ties away from zero. No x86 control field encodes it. */
export type Rounding = number;

export interface Format {
  /** Bits of the significand, the leading one included. */
  readonly precision: number;
  /** Exponents of the smallest and of the largest normal number, the leading bit worth 1. */
  readonly emin: number;
  readonly emax: number;
  /** What an unmasked overflow takes from the exponent and an unmasked underflow adds (SDM Vol. 1, 8.5.4-8.5.5). */
  readonly biasAdjust: number;
}

export const BINARY32: Format = { precision: 24, emin: -126, emax: 127, biasAdjust: 192 };
export const BINARY64: Format = { precision: 53, emin: -1022, emax: 1023, biasAdjust: 1536 };
export const EXTENDED: Format = { precision: 64, emin: -16382, emax: 16383, biasAdjust: 24576 };
/** The x87 under precision control: a shorter significand, the exponent range of the register. */
export const EXTENDED_24: Format = { precision: 24, emin: -16382, emax: 16383, biasAdjust: 24576 };
export const EXTENDED_53: Format = { precision: 53, emin: -16382, emax: 16383, biasAdjust: 24576 };

/** An x87 register: sign in bit 15 and biased exponent below it, and a significand with its leading bit written out. */
export interface Ext80 {
  signExp: number;
  mantissa: bigint;
}
