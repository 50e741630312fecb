// Floating-point arithmetic of SSE to SSE4.1 on the state block: sources stand in the scratch area, destinations are named by number.
// Exceptions go into MXCSR; unmasked ones are #XM and leave the destination alone (SDM Vol. 1, 11.5).
import { GuestFault, Vector } from '../exits.ts';
import * as float from '../float/sse.ts';
import { S } from '../layout.ts';
import type { CpuState } from '../state.ts';
import type { Helper, HelperCore } from './core.ts';
import { vectorsOf } from './vector-registers.ts';

const CR4_OSXMMEXCPT = 1n << 10n;

/** The form of an instruction: bit 0 double precision, bit 1 scalar. */
export const FloatForm = { ps: 0, pd: 1, ss: 2, sd: 3 } as const;

/** What floatConvert does. Results fill the destination from below; `pd` to narrower lanes clears its upper half. */
export const Conversion = {
  psToPd: 0,
  pdToPs: 1,
  ssToSd: 2,
  sdToSs: 3,
  dqToPs: 4,
  dqToPd: 5,
  psToDq: 6,
  psToDqTruncated: 7,
  pdToDq: 8,
  pdToDqTruncated: 9,
  /** From an MMX operand: two lanes, the rest of the destination stays. */
  piToPs: 10,
} as const;

const env = float.newSseEnv();

function begin(state: CpuState): void {
  float.beginSse(env, state.get32(S.mxcsr));
}

/** Books the exceptions; throws where one is unmasked. */
function finish(state: CpuState): void {
  const flags = float.raised(env);
  if (flags === 0) return;
  state.set32(S.mxcsr, state.get32(S.mxcsr) | flags);
  if (!float.mustFault(env)) return;
  throw new GuestFault((state.get(S.cr4) & CR4_OSXMMEXCPT) !== 0n ? Vector.XM : Vector.UD);
}

/** By the last opcode byte. */
const ARITHMETIC_32: Record<number, float.Lane32> = {
  81: float.sqrt32,
  88: float.add32,
  89: float.mul32,
  92: float.sub32,
  93: float.min32,
  94: float.div32,
  95: float.max32,
};
const ARITHMETIC_64: Record<number, float.Lane64> = {
  81: float.sqrt64,
  88: float.add64,
  89: float.mul64,
  92: float.sub64,
  93: float.min64,
  94: float.div64,
  95: float.max64,
};

function floatArithmetic({ state }: HelperCore, opcode: bigint, form: bigint, dst: bigint): void {
  const { lanes32, lanes64, source32, source64 } = vectorsOf(state);
  begin(state);
  if (form & 1n) {
    const x = lanes64[Number(dst)];
    float.packed64(env, ARITHMETIC_64[Number(opcode)], form & 2n ? 1 : 2, x, x, source64);
  } else {
    const x = lanes32[Number(dst)];
    float.packed32(env, ARITHMETIC_32[Number(opcode)], form & 2n ? 1 : 4, x, x, source32);
  }
  finish(state);
}

function floatCompare({ state }: HelperCore, predicate: bigint, form: bigint, dst: bigint): void {
  const { lanes32, lanes64, source32, source64 } = vectorsOf(state);
  const relation = Number(predicate & 7n);
  begin(state);
  if (form & 1n) {
    const x = lanes64[Number(dst)];
    float.cmpPacked64(env, relation, form & 2n ? 1 : 2, x, x, source64);
  } else {
    const x = lanes32[Number(dst)];
    float.cmpPacked32(env, relation, form & 2n ? 1 : 4, x, x, source32);
  }
  finish(state);
}

/** COMISS and its family: ZF, PF and CF as in RFLAGS. */
function floatCompareFlags({ state }: HelperCore, signaling: bigint, form: bigint, dst: bigint): bigint {
  const { lanes32, lanes64, source32, source64 } = vectorsOf(state);
  begin(state);
  const flags =
    form & 1n
      ? float.comis64(env, lanes64[Number(dst)][0], source64[0], signaling !== 0n)
      : float.comis32(env, lanes32[Number(dst)][0], source32[0], signaling !== 0n);
  float.endLane(env);
  finish(state);
  return BigInt(flags);
}

/** HADD (7C), HSUB (7D), ADDSUB (D0). */
function floatHorizontal({ state }: HelperCore, opcode: bigint, form: bigint, dst: bigint): void {
  const { lanes32, lanes64, source32, source64 } = vectorsOf(state);
  begin(state);
  if (form & 1n) {
    const x = lanes64[Number(dst)];
    if (opcode === 0xd0n) float.addsub64(env, x, x, source64);
    else float.horizontal64(env, opcode === 0x7cn ? float.add64 : float.sub64, x, x, source64);
  } else {
    const x = lanes32[Number(dst)];
    if (opcode === 0xd0n) float.addsub32(env, x, x, source32);
    else float.horizontal32(env, opcode === 0x7cn ? float.add32 : float.sub32, x, x, source32);
  }
  finish(state);
}

function floatRound({ state }: HelperCore, imm: bigint, form: bigint, dst: bigint): void {
  const { lanes32, lanes64, source32, source64 } = vectorsOf(state);
  begin(state);
  if (form & 1n) float.roundPacked64(env, Number(imm), form & 2n ? 1 : 2, lanes64[Number(dst)], source64);
  else float.roundPacked32(env, Number(imm), form & 2n ? 1 : 4, lanes32[Number(dst)], source32);
  finish(state);
}

function floatDot({ state }: HelperCore, imm: bigint, form: bigint, dst: bigint): void {
  const { lanes32, lanes64, source32, source64 } = vectorsOf(state);
  begin(state);
  const x32 = lanes32[Number(dst)];
  const x64 = lanes64[Number(dst)];
  if (form & 1n) float.dppd(env, Number(imm), x64, x64, source64);
  else float.dpps(env, Number(imm), x32, x32, source32);
  finish(state);
}

/** RSQRT (52) and RCP (53): no exceptions. */
function floatApproximate({ state }: HelperCore, opcode: bigint, form: bigint, dst: bigint): void {
  const { lanes32, source32 } = vectorsOf(state);
  const approximate = opcode === 0x52n ? float.rsqrt32 : float.rcp32;
  const x = lanes32[Number(dst)];
  for (let i = 0; i < (form & 2n ? 1 : 4); i++) x[i] = approximate(source32[i]);
}

const signed32 = (bits: number): bigint => BigInt(bits | 0);
const converted32 = new Uint32Array(4);
const converted64 = new BigUint64Array(2);

/** Converts `lanes` lanes with exceptions gathered as one instruction. */
function convertLanes(state: CpuState, lanes: number, lane: (i: number) => void): void {
  begin(state);
  for (let i = 0; i < lanes; i++) {
    lane(i);
    float.endLane(env);
  }
  finish(state);
}

function to32(state: CpuState, lanes: number, lane: (i: number) => number): void {
  converted32.fill(0);
  convertLanes(state, lanes, i => {
    converted32[i] = lane(i);
  });
}
function to64(state: CpuState, lanes: number, lane: (i: number) => bigint): void {
  convertLanes(state, lanes, i => {
    converted64[i] = lane(i);
  });
}

function floatConvert({ state }: HelperCore, conversion: bigint, dst: bigint): void {
  const { lanes32, lanes64, source32, source64 } = vectorsOf(state);
  const x32 = lanes32[Number(dst)];
  const x64 = lanes64[Number(dst)];
  switch (Number(conversion)) {
    case Conversion.psToPd:
      to64(state, 2, i => float.f32ToF64(env, source32[i]));
      x64.set(converted64);
      return;
    case Conversion.pdToPs:
      to32(state, 2, i => float.f64ToF32(env, source64[i]));
      x32.set(converted32);
      return;
    case Conversion.ssToSd:
      to64(state, 1, () => float.f32ToF64(env, source32[0]));
      x64[0] = converted64[0];
      return;
    case Conversion.sdToSs:
      to32(state, 1, () => float.f64ToF32(env, source64[0]));
      x32[0] = converted32[0];
      return;
    case Conversion.dqToPs:
      to32(state, 4, i => float.intToF32(env, signed32(source32[i])));
      x32.set(converted32);
      return;
    case Conversion.dqToPd:
      to64(state, 2, i => float.intToF64(env, signed32(source32[i])));
      x64.set(converted64);
      return;
    case Conversion.psToDq:
    case Conversion.psToDqTruncated: {
      const truncate = Number(conversion) === Conversion.psToDqTruncated;
      to32(state, 4, i => float.f32ToI32(env, source32[i], truncate));
      x32.set(converted32);
      return;
    }
    case Conversion.pdToDq:
    case Conversion.pdToDqTruncated: {
      const truncate = Number(conversion) === Conversion.pdToDqTruncated;
      to32(state, 2, i => float.f64ToI32(env, source64[i], truncate));
      x32.set(converted32);
      return;
    }
    case Conversion.piToPs:
      to32(state, 2, i => float.intToF32(env, signed32(source32[i])));
      x32.set(converted32.subarray(0, 2));
      return;
    default:
      throw new Error(`no such conversion: ${conversion}`);
  }
}

/** CVTPS2PI, CVTPD2PI and their truncating forms: two 32-bit lanes as one value. */
function floatToPacked({ state }: HelperCore, truncate: bigint, form: bigint): bigint {
  const { source32, source64 } = vectorsOf(state);
  const cut = truncate !== 0n;
  if (form & 1n) to32(state, 2, i => float.f64ToI32(env, source64[i], cut));
  else to32(state, 2, i => float.f32ToI32(env, source32[i], cut));
  return (BigInt(converted32[1]) << 32n) | BigInt(converted32[0]);
}

/** CVTSS2SI, CVTSD2SI and their truncating forms. @param width 32 or 64 */
function floatToInteger({ state }: HelperCore, truncate: bigint, form: bigint, width: bigint): bigint {
  const { source32, source64 } = vectorsOf(state);
  const cut = truncate !== 0n;
  begin(state);
  let result: bigint;
  if (form & 1n) {
    const bits = source64[0];
    result = width === 64n ? float.f64ToI64(env, bits, cut) : BigInt(float.f64ToI32(env, bits, cut));
  } else {
    const bits = source32[0];
    result = width === 64n ? float.f32ToI64(env, bits, cut) : BigInt(float.f32ToI32(env, bits, cut));
  }
  float.endLane(env);
  finish(state);
  return BigInt.asUintN(Number(width), result);
}

/** CVTSI2SS, CVTSI2SD. @param value sign-extended to 64 bits */
function integerToFloat({ state }: HelperCore, form: bigint, dst: bigint, value: bigint): void {
  const { lanes32, lanes64 } = vectorsOf(state);
  const integer = BigInt.asIntN(64, value);
  if (form & 1n) {
    to64(state, 1, () => float.intToF64(env, integer));
    lanes64[Number(dst)][0] = converted64[0];
  } else {
    to32(state, 1, () => float.intToF32(env, integer));
    lanes32[Number(dst)][0] = converted32[0];
  }
}

/** `form` is a FloatForm, `dst` a register number; the source stands in the scratch area. */
export const sseFloatHelpers: Record<string, Helper> = {
  floatArithmetic,
  floatCompare,
  floatCompareFlags,
  floatHorizontal,
  floatRound,
  floatDot,
  floatApproximate,
  floatConvert,
  floatToPacked,
  floatToInteger,
  integerToFloat,
};
