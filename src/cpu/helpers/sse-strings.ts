// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM Vol. 1, 12.8.3; Vol. 2B, 4.1) and the masked stores of MASKMOVQ and MASKMOVDQU.
import { Flag, lazyFlags } from '../flags.ts';
import { R, S } from '../layout.ts';
import type { CpuState } from '../state.ts';
import type { Helper, HelperCore } from './core.ts';
import { vectorsOf } from './vector-registers.ts';

const VECTOR_BYTES = 16;

/** Elements of a string operand, and how many of them count. Kept for the next comparison: C libraries' loops consist of them. */
interface Elements {
  readonly values: Int32Array;
  length: number;
}

const operand = (): Elements => ({ values: new Int32Array(VECTOR_BYTES), length: 0 });
const operands = { first: operand(), second: operand() };

/**
 * Takes the elements out of a register. Returns their count.
 * @param control imm8: bit 0 words, bit 1 signed
 */
function take({ values }: Elements, bytes: Uint8Array, control: number): number {
  const signed = (control & 2) !== 0;
  if ((control & 1) === 0) {
    for (let i = 0; i < VECTOR_BYTES; i++) values[i] = signed ? (bytes[i] << 24) >> 24 : bytes[i];
    return VECTOR_BYTES;
  }
  for (let i = 0; i < VECTOR_BYTES / 2; i++) {
    const word = bytes[2 * i] | (bytes[2 * i + 1] << 8);
    values[i] = signed ? (word << 16) >> 16 : word;
  }
  return VECTOR_BYTES / 2;
}

function implicitLength(values: Int32Array, count: number): number {
  let length = 0;
  while (length < count && values[length] !== 0) length++;
  return length;
}

/** The absolute value of EAX or EDX (RAX, RDX with REX.W), at most the number of elements. */
function explicitLength(register: bigint, width: number, most: number): number {
  const signed = BigInt.asIntN(width, register);
  const length = signed < 0n ? -signed : signed;
  return length > BigInt(most) ? most : Number(length);
}

const EQUAL_ANY = 0;
const RANGES = 1;
const EQUAL_EACH = 2;

/** Does element j of the second operand, of so many in a register, match, by the aggregation that imm8 bits 3-2 choose? */
function matches(aggregation: number, first: Elements, second: Elements, count: number, j: number): boolean {
  const { values: a, length: m } = first;
  const { values: b, length: n } = second;
  switch (aggregation) {
    case EQUAL_ANY:
      for (let i = 0; j < n && i < m; i++) if (a[i] === b[j]) return true;
      return false;
    case RANGES:
      for (let i = 0; j < n && i + 1 < m; i += 2) if (a[i] <= b[j] && b[j] <= a[i + 1]) return true;
      return false;
    case EQUAL_EACH:
      return j < n && j < m ? a[j] === b[j] : j >= n && j >= m;
    default:
      // equal ordered: the first operand's string begins here, as far as the register reaches
      for (let i = 0; i < m && j + i < count; i++) if (j + i >= n || a[i] !== b[j + i]) return false;
      return true;
  }
}

/** Compares and sets the flags. Returns IntRes2, a bit an element. @param width 0: lengths are implicit */
function compare(state: CpuState, dst: bigint, imm: bigint, width: bigint): { bits: number; count: number } {
  const { lanes8, scratch } = vectorsOf(state);
  const control = Number(imm);
  const { first, second } = operands;
  const count = take(first, lanes8[Number(dst)], control);
  take(second, scratch, control);
  if (width === 0n) {
    first.length = implicitLength(first.values, count);
    second.length = implicitLength(second.values, count);
  } else {
    first.length = explicitLength(state.gpr[R.rax], Number(width), count);
    second.length = explicitLength(state.gpr[R.rdx], Number(width), count);
  }
  const all = (1 << count) - 1;
  const aggregation = (control >> 2) & 3;
  let bits = 0;
  for (let j = 0; j < count; j++) if (matches(aggregation, first, second, count, j)) bits |= 1 << j;
  if (control & 0x10) bits ^= control & 0x20 ? (1 << second.length) - 1 : all;
  const flags =
    (bits !== 0 ? Flag.CF : 0) |
    (second.length < count ? Flag.ZF : 0) |
    (first.length < count ? Flag.SF : 0) |
    (bits & 1 ? Flag.OF : 0);
  const { ccResult, ccAux } = lazyFlags(flags);
  state.set(S.ccResult, ccResult);
  state.set(S.ccAux, ccAux);
  return { bits, count };
}

function compareStringsIndex({ state }: HelperCore, dst: bigint, imm: bigint, width: bigint): bigint {
  const { bits, count } = compare(state, dst, imm, width);
  if (bits === 0) return BigInt(count);
  const last = 31 - Math.clz32(bits);
  const first = 31 - Math.clz32(bits & -bits);
  return BigInt(imm & 0x40n ? last : first);
}

function compareStringsMask({ state }: HelperCore, dst: bigint, imm: bigint, width: bigint): bigint {
  const { bits, count } = compare(state, dst, imm, width);
  const xmm0 = vectorsOf(state).lanes8[0];
  const elementBytes = VECTOR_BYTES / count;
  for (let i = 0; i < VECTOR_BYTES; i++) {
    if (imm & 0x40n) xmm0[i] = (bits >> Math.floor(i / elementBytes)) & 1 ? 0xff : 0;
    else xmm0[i] = i < 2 ? (bits >> (8 * i)) & 0xff : 0;
  }
  return 0n;
}

/** Stores runs of bytes of the scratch area whose mask byte, 16 bytes behind, has its top bit set. */
function maskedStore(core: HelperCore, linear: bigint, bytes: bigint): void {
  const { scratch } = vectorsOf(core.state);
  const count = Number(bytes);
  const chosen = (i: number) => i < count && (scratch[VECTOR_BYTES + i] & 0x80) !== 0;
  const data = scratch.slice(0, count);
  for (let i = 0; i < count; i++) {
    if (!chosen(i)) continue;
    let end = i;
    while (chosen(end)) end++;
    core.writeLinear(BigInt.asUintN(64, linear + BigInt(i)), data.subarray(i, end));
    i = end;
  }
}

export const sseStringHelpers: Record<string, Helper> = { compareStringsIndex, compareStringsMask, maskedStore };
