// Whole SSE instructions on registers given as arrays of lanes, lowest first; a scalar form is `lanes` = 1.
// Each function expects `beginSse` before it and returns true if it wrote `dst`; false means #XM is due and `dst` is untouched.
// `dst` may be the same array as an operand.
import { endLane, endStep, mustFault, type SseEnv } from './sse-env.ts';
import {
  add32,
  add64,
  cmp32,
  cmp64,
  type Lane32,
  type Lane64,
  mul32,
  mul64,
  round32,
  round64,
  sub32,
  sub64,
} from './sse-lanes.ts';

/** Four binary32 lanes, or two binary64 lanes, as bits. Views of engine memory or plain arrays. */
export type Lanes32 = Uint32Array | number[];
export type Lanes64 = BigUint64Array | bigint[];

const result32 = new Uint32Array(4);
const result64 = new BigUint64Array(2);

function deliver32(env: SseEnv, lanes: number, dst: Lanes32): boolean {
  if (mustFault(env)) return false;
  for (let i = 0; i < lanes; i++) dst[i] = result32[i];
  return true;
}

function deliver64(env: SseEnv, lanes: number, dst: Lanes64): boolean {
  if (mustFault(env)) return false;
  for (let i = 0; i < lanes; i++) dst[i] = result64[i];
  return true;
}

/** dst = a op b for the first `lanes` lanes: ADDPS, MINSS, SQRTPS, … */
export function packed32(env: SseEnv, operation: Lane32, lanes: number, dst: Lanes32, a: Lanes32, b: Lanes32): boolean {
  for (let i = 0; i < lanes; i++) {
    result32[i] = operation(env, a[i], b[i]);
    endLane(env);
  }
  return deliver32(env, lanes, dst);
}

export function packed64(env: SseEnv, operation: Lane64, lanes: number, dst: Lanes64, a: Lanes64, b: Lanes64): boolean {
  for (let i = 0; i < lanes; i++) {
    result64[i] = operation(env, a[i], b[i]);
    endLane(env);
  }
  return deliver64(env, lanes, dst);
}

/** CMPccPS and CMPccSS. @param predicate imm8, 0-7 */
export function cmpPacked32(
  env: SseEnv,
  predicate: number,
  lanes: number,
  dst: Lanes32,
  a: Lanes32,
  b: Lanes32,
): boolean {
  for (let i = 0; i < lanes; i++) {
    result32[i] = cmp32(env, a[i], b[i], predicate);
    endLane(env);
  }
  return deliver32(env, lanes, dst);
}

export function cmpPacked64(
  env: SseEnv,
  predicate: number,
  lanes: number,
  dst: Lanes64,
  a: Lanes64,
  b: Lanes64,
): boolean {
  for (let i = 0; i < lanes; i++) {
    result64[i] = cmp64(env, a[i], b[i], predicate);
    endLane(env);
  }
  return deliver64(env, lanes, dst);
}

export function roundPacked32(env: SseEnv, imm: number, lanes: number, dst: Lanes32, b: Lanes32): boolean {
  for (let i = 0; i < lanes; i++) {
    result32[i] = round32(env, b[i], imm);
    endLane(env);
  }
  return deliver32(env, lanes, dst);
}

export function roundPacked64(env: SseEnv, imm: number, lanes: number, dst: Lanes64, b: Lanes64): boolean {
  for (let i = 0; i < lanes; i++) {
    result64[i] = round64(env, b[i], imm);
    endLane(env);
  }
  return deliver64(env, lanes, dst);
}

/** HADDPS (add32) and HSUBPS (sub32): neighbours within a, then within b. */
export function horizontal32(env: SseEnv, operation: Lane32, dst: Lanes32, a: Lanes32, b: Lanes32): boolean {
  for (let i = 0; i < 4; i++) {
    const source = i < 2 ? a : b;
    const first = (i & 1) * 2;
    result32[i] = operation(env, source[first], source[first + 1]);
    endLane(env);
  }
  return deliver32(env, 4, dst);
}

export function horizontal64(env: SseEnv, operation: Lane64, dst: Lanes64, a: Lanes64, b: Lanes64): boolean {
  for (let i = 0; i < 2; i++) {
    const source = i === 0 ? a : b;
    result64[i] = operation(env, source[0], source[1]);
    endLane(env);
  }
  return deliver64(env, 2, dst);
}

/** ADDSUBPS: subtracts in even lanes, adds in odd ones. */
export function addsub32(env: SseEnv, dst: Lanes32, a: Lanes32, b: Lanes32): boolean {
  for (let i = 0; i < 4; i++) {
    result32[i] = i & 1 ? add32(env, a[i], b[i]) : sub32(env, a[i], b[i]);
    endLane(env);
  }
  return deliver32(env, 4, dst);
}

export function addsub64(env: SseEnv, dst: Lanes64, a: Lanes64, b: Lanes64): boolean {
  for (let i = 0; i < 2; i++) {
    result64[i] = i & 1 ? add64(env, a[i], b[i]) : sub64(env, a[i], b[i]);
    endLane(env);
  }
  return deliver64(env, 2, dst);
}

/** DPPS: products of the lanes that imm8 bits 7-4 choose, summed in pairs, into the lanes of bits 3-0; +0 elsewhere. */
export function dpps(env: SseEnv, imm: number, dst: Lanes32, a: Lanes32, b: Lanes32): boolean {
  const product = (i: number) => {
    const value = (imm >> (4 + i)) & 1 ? mul32(env, a[i], b[i]) : 0;
    endLane(env);
    return value;
  };
  const products = [product(0), product(1), product(2), product(3)];
  if (!endStep(env)) return false;
  const low = add32(env, products[0], products[1]);
  endLane(env);
  const high = add32(env, products[2], products[3]);
  endLane(env);
  if (!endStep(env)) return false;
  const sum = add32(env, low, high);
  endLane(env);
  for (let i = 0; i < 4; i++) result32[i] = (imm >> i) & 1 ? sum : 0;
  return deliver32(env, 4, dst);
}

/** DPPD: as DPPS, with bits 5-4 and 1-0. */
export function dppd(env: SseEnv, imm: number, dst: Lanes64, a: Lanes64, b: Lanes64): boolean {
  const product = (i: number) => {
    const value = (imm >> (4 + i)) & 1 ? mul64(env, a[i], b[i]) : 0n;
    endLane(env);
    return value;
  };
  const products = [product(0), product(1)];
  if (!endStep(env)) return false;
  const sum = add64(env, products[0], products[1]);
  endLane(env);
  for (let i = 0; i < 2; i++) result64[i] = (imm >> i) & 1 ? sum : 0n;
  return deliver64(env, 2, dst);
}
