// Encodings of MMX and, from the same rows, of the XMM forms that SSE, SSE2 and SSSE3 gave its instructions; then MMX's own
// (SDM Vol. 2, appendix A, 0F and 0F 38 maps).
import type { RowSink } from '../decode/table.ts';
import * as int from '../semantics/sse-integer.ts';
import * as move from '../semantics/sse-move.ts';
import {
  type Lanes,
  type LanesImmediate,
  mmx,
  mmxImmediate,
  paired,
  sse,
  sseImmediate,
  upperHalf,
} from '../semantics/sse-operands.ts';
import * as shuffle from '../semantics/sse-shuffle.ts';

const MMX = { unit: 'mmx' } as const;
const SSE = { unit: 'sse' } as const;
const SSSE3_MMX = { unit: 'mmx', feature: 'ssse3' } as const;
const SSSE3 = { unit: 'sse', feature: 'ssse3' } as const;
const { direct } = int;

/** Lane by lane: the MMX form is the lower half of the XMM form. */
const LANE_BY_LANE: readonly [opcode: string, operation: Lanes][] = [
  ['64', direct('i8x16.gt_s')],
  ['65', direct('i16x8.gt_s')],
  ['66', direct('i32x4.gt_s')],
  ['74', direct('i8x16.eq')],
  ['75', direct('i16x8.eq')],
  ['76', direct('i32x4.eq')],
  ['D1', int.byVector(int.logicalShift('i16x8', 'shr_u'))],
  ['D2', int.byVector(int.logicalShift('i32x4', 'shr_u'))],
  ['D3', int.byVector(int.logicalShift('i64x2', 'shr_u'))],
  ['D4', direct('i64x2.add')],
  ['D5', direct('i16x8.mul')],
  ['D8', direct('i8x16.sub_sat_u')],
  ['D9', direct('i16x8.sub_sat_u')],
  ['DA', direct('i8x16.min_u')],
  ['DB', direct('v128.and')],
  ['DC', direct('i8x16.add_sat_u')],
  ['DD', direct('i16x8.add_sat_u')],
  ['DE', direct('i8x16.max_u')],
  ['DF', int.pandn],
  ['E0', direct('i8x16.avgr_u')],
  ['E1', int.byVector(int.arithmeticShift('i16x8'))],
  ['E2', int.byVector(int.arithmeticShift('i32x4'))],
  ['E3', direct('i16x8.avgr_u')],
  ['E4', int.multiplyHigh('u')],
  ['E5', int.multiplyHigh('s')],
  ['E8', direct('i8x16.sub_sat_s')],
  ['E9', direct('i16x8.sub_sat_s')],
  ['EA', direct('i16x8.min_s')],
  ['EB', direct('v128.or')],
  ['EC', direct('i8x16.add_sat_s')],
  ['ED', direct('i16x8.add_sat_s')],
  ['EE', direct('i16x8.max_s')],
  ['EF', direct('v128.xor')],
  ['F1', int.byVector(int.logicalShift('i16x8', 'shl'))],
  ['F2', int.byVector(int.logicalShift('i32x4', 'shl'))],
  ['F3', int.byVector(int.logicalShift('i64x2', 'shl'))],
  ['F4', int.pmuludq],
  ['F5', int.pmaddwd],
  ['F6', int.psadbw],
  ['F8', direct('i8x16.sub')],
  ['F9', direct('i16x8.sub')],
  ['FA', direct('i32x4.sub')],
  ['FB', direct('i64x2.sub')],
  ['FC', direct('i8x16.add')],
  ['FD', direct('i16x8.add')],
  ['FE', direct('i32x4.add')],
];

/** Two lanes become one: the MMX form works on both operands side by side. */
const HALVING: readonly [opcode: string, operation: Lanes][] = [
  ['63', direct('i8x16.narrow_i16x8_s')],
  ['67', direct('i8x16.narrow_i16x8_u')],
  ['6B', direct('i16x8.narrow_i32x4_s')],
];

/** PUNPCKL and PUNPCKH of bytes, words, doublewords. */
const UNPACKS: readonly [low: string, high: string, laneBytes: number][] = [
  ['60', '68', 1],
  ['61', '69', 2],
  ['62', '6A', 4],
];

/** SSSE3, 0F 38 map. */
const SSSE3_LANES: readonly [opcode: string, operation: Lanes][] = [
  ['04', int.pmaddubsw],
  ['08', int.psign('i8x16')],
  ['09', int.psign('i16x8')],
  ['0A', int.psign('i32x4')],
  ['0B', int.pmulhrsw],
  ['1C', int.onSource('i8x16.abs')],
  ['1D', int.onSource('i16x8.abs')],
  ['1E', int.onSource('i32x4.abs')],
];
const SSSE3_HALVING: readonly [opcode: string, operation: Lanes][] = [
  ['01', int.horizontal('i16x8.add', 2)],
  ['02', int.horizontal('i32x4.add', 4)],
  ['03', int.horizontal('i16x8.add_sat_s', 2)],
  ['05', int.horizontal('i16x8.sub', 2)],
  ['06', int.horizontal('i32x4.sub', 4)],
  ['07', int.horizontal('i16x8.sub_sat_s', 2)],
];

/** Shifts by an immediate: groups 12, 13 and 14. */
const SHIFTS: readonly [opcode: string, reg: number, shift: int.Shift][] = [
  ['71', 2, int.logicalShift('i16x8', 'shr_u')],
  ['71', 4, int.arithmeticShift('i16x8')],
  ['71', 6, int.logicalShift('i16x8', 'shl')],
  ['72', 2, int.logicalShift('i32x4', 'shr_u')],
  ['72', 4, int.arithmeticShift('i32x4')],
  ['72', 6, int.logicalShift('i32x4', 'shl')],
  ['73', 2, int.logicalShift('i64x2', 'shr_u')],
  ['73', 6, int.logicalShift('i64x2', 'shl')],
];

/** The register that ModRM.rm names is source and destination: bound to both. */
function shiftOperation(shift: int.Shift): LanesImmediate {
  return (o, x, _y, imm) => shift(o, x, imm);
}

export function mmxRows({ row }: RowSink): void {
  for (const [opcode, f] of LANE_BY_LANE) {
    row(`NP 0F ${opcode} /r`, mmx(f), 'Pq', 'Qq', MMX);
    row(`66 0F ${opcode} /r`, sse(f), 'Vx', 'Wx', SSE);
  }
  for (const [opcode, f] of HALVING) {
    row(`NP 0F ${opcode} /r`, mmx(paired(f)), 'Pq', 'Qq', MMX);
    row(`66 0F ${opcode} /r`, sse(f), 'Vx', 'Wx', SSE);
  }
  for (const [low, high, bytes] of UNPACKS) {
    const unpackLow = shuffle.unpack(bytes, 0);
    row(`NP 0F ${low} /r`, mmx(unpackLow, 32), 'Pq', 'Qd', MMX);
    row(`66 0F ${low} /r`, sse(unpackLow), 'Vx', 'Wx', SSE);
    row(`NP 0F ${high} /r`, mmx(upperHalf(unpackLow)), 'Pq', 'Qq', MMX);
    row(`66 0F ${high} /r`, sse(shuffle.unpack(bytes, 8)), 'Vx', 'Wx', SSE);
  }
  for (const [opcode, f] of SSSE3_LANES) {
    row(`NP 0F 38 ${opcode} /r`, mmx(f), 'Pq', 'Qq', SSSE3_MMX);
    row(`66 0F 38 ${opcode} /r`, sse(f), 'Vx', 'Wx', SSSE3);
  }
  for (const [opcode, f] of SSSE3_HALVING) {
    row(`NP 0F 38 ${opcode} /r`, mmx(paired(f)), 'Pq', 'Qq', SSSE3_MMX);
    row(`66 0F 38 ${opcode} /r`, sse(f), 'Vx', 'Wx', SSSE3);
  }
  row('NP 0F 38 00 /r', mmx(shuffle.pshufb(8)), 'Pq', 'Qq', SSSE3_MMX);
  row('66 0F 38 00 /r', sse(shuffle.pshufb(16)), 'Vx', 'Wx', SSSE3);
  row('NP 0F 3A 0F /r', mmxImmediate(shuffle.palignrMmx), 'Pq', 'Qq', 'Ib', SSSE3_MMX);
  row('66 0F 3A 0F /r', sseImmediate(shuffle.palignr), 'Vx', 'Wx', 'Ib', SSSE3);
  for (const [opcode, reg, shift] of SHIFTS) {
    const f = shiftOperation(shift);
    row(`NP 0F ${opcode} /${reg} :r`, (o, w, r, imm) => mmxImmediate(f)(o, w, r, r, imm), 'Nq', 'Ib', MMX);
    row(`66 0F ${opcode} /${reg} :r`, (o, w, r, imm) => sseImmediate(f)(o, w, r, r, imm), 'Ux', 'Ib', SSE);
  }

  row('NP 0F 70 /r', mmxImmediate(shuffle.pshuflw), 'Pq', 'Qq', 'Ib', MMX);
  row('NP 0F C4 /r', shuffle.pinsrwMmx, 'Pq', 'Ew', 'Ib', MMX);
  row('NP 0F C5 /r :r', shuffle.pextrwMmx, 'Gd', 'Nq', 'Ib', MMX);
  row('NP 0F D7 /r :r', shuffle.pmovmskbMmx, 'Gd', 'Nq', MMX);
  row('NP 0F F7 /r :r', move.maskMoveMmx, 'Pq', 'Nq', 'Xb', MMX);

  row('NP 0F 6E /r', move.movIntoMmx, 'Pq', 'Ey', MMX);
  row('NP 0F 7E /r', move.movFromMmx, 'Ey', 'Pq', MMX);
  row('NP 0F 6F /r', move.movqMmx, 'Pq', 'Qq', MMX);
  row('NP 0F 7F /r', move.movqMmxStore, 'Qq', 'Pq', MMX);
  row('NP 0F E7 /r :m', move.movqMmxStore, 'Mq', 'Pq', MMX);
  row('F3 0F D6 /r :r', move.movq2dq, 'Vx', 'Nq', SSE);
  row('F2 0F D6 /r :r', move.movdq2q, 'Pq', 'Ux', SSE);
  row('NP 0F 77', move.emms, MMX);
}
