// Encodings of SSE to SSE4.2 apart from floating-point arithmetic and from what MMX has too: moves, logic, shuffles, SSE4
// (SDM Vol. 2, appendix A).
import type { RowSink } from '../decode/table.ts';
import { mov } from '../semantics/move.ts';
import { aes, pclmulqdq } from '../semantics/sse-crypto.ts';
import * as int from '../semantics/sse-integer.ts';
import * as move from '../semantics/sse-move.ts';
import { type Lanes, sse, sseImmediate } from '../semantics/sse-operands.ts';
import * as shuffle from '../semantics/sse-shuffle.ts';
import { blendVariable, compareStrings } from '../semantics/sse-strings.ts';

const SSE = { unit: 'sse' } as const;
const SSE3 = { unit: 'sse', feature: 'pni' } as const;
const SSE41 = { unit: 'sse', feature: 'sse4_1' } as const;
const SSE42 = { unit: 'sse', feature: 'sse4_2' } as const;
const SSE42_SIZED = { unit: 'sse', feature: 'sse4_2', width: 'y' } as const;
const { direct } = int;

const SSE41_LANES: readonly [opcode: string, operation: Lanes][] = [
  ['28', int.pmuldq],
  ['29', direct('i64x2.eq')],
  ['2B', direct('i16x8.narrow_i32x4_u')],
  ['38', direct('i8x16.min_s')],
  ['39', direct('i32x4.min_s')],
  ['3A', direct('i16x8.min_u')],
  ['3B', direct('i32x4.min_u')],
  ['3C', direct('i8x16.max_s')],
  ['3D', direct('i32x4.max_s')],
  ['3E', direct('i16x8.max_u')],
  ['3F', direct('i32x4.max_u')],
  ['40', direct('i32x4.mul')],
  ['41', int.phminposuw],
];

/** PMOVSX and PMOVZX: the lane widths on the way. */
const WIDENINGS = [
  [8, 16],
  [8, 16, 32],
  [8, 16, 32, 64],
  [16, 32],
  [16, 32, 64],
  [32, 64],
] as const;
const WIDENING_MEMORY = ['Wq', 'Wd', 'Ww', 'Wq', 'Wd', 'Wq'];

export function sseRows({ row }: RowSink): void {
  moves({ row });
  shuffles({ row });
  sse4({ row });
  cryptography({ row });
}

function moves({ row }: RowSink): void {
  for (const prefix of ['NP', '66']) {
    row(`${prefix} 0F 10 /r`, move.movUnaligned, 'Vx', 'Wx', SSE);
    row(`${prefix} 0F 11 /r`, move.movUnaligned, 'Wx', 'Vx', SSE);
    row(`${prefix} 0F 12 /r :m`, move.movLow, 'Vx', 'Mq', SSE);
    row(`${prefix} 0F 13 /r :m`, move.movLow, 'Mq', 'Vx', SSE);
    row(`${prefix} 0F 16 /r :m`, move.movToHigh, 'Vx', 'Mq', SSE);
    row(`${prefix} 0F 17 /r :m`, move.movFromHigh, 'Mq', 'Vx', SSE);
    row(`${prefix} 0F 28 /r`, move.movAligned, 'Vx', 'Wx', SSE);
    row(`${prefix} 0F 29 /r`, move.movAligned, 'Wx', 'Vx', SSE);
    row(`${prefix} 0F 2B /r :m`, move.movAligned, 'Mx', 'Vx', SSE);
  }
  row('NP 0F 12 /r :r', move.movFromHigh, 'Vx', 'Ux', SSE);
  row('NP 0F 16 /r :r', move.movToHigh, 'Vx', 'Ux', SSE);
  row('F3 0F 10 /r', move.movScalar(32), 'Vx', 'Wd', SSE);
  row('F3 0F 11 /r', move.movScalar(32), 'Wd', 'Vx', SSE);
  row('F2 0F 10 /r', move.movScalar(64), 'Vx', 'Wq', SSE);
  row('F2 0F 11 /r', move.movScalar(64), 'Wq', 'Vx', SSE);
  row('F2 0F 12 /r', move.movddup, 'Vx', 'Wq', SSE3);
  row('F3 0F 12 /r', sse(shuffle.pickLanes(4, [0, 0, 2, 2])), 'Vx', 'Wx', SSE3);
  row('F3 0F 16 /r', sse(shuffle.pickLanes(4, [1, 1, 3, 3])), 'Vx', 'Wx', SSE3);

  row('66 0F 6E /r', move.movIntoVector, 'Vx', 'Ey', SSE);
  row('66 0F 7E /r', move.movFromVector, 'Ey', 'Vx', SSE);
  row('F3 0F 7E /r', move.movqIntoVector, 'Vx', 'Wq', SSE);
  row('66 0F D6 /r', move.movqFromVector, 'Wq', 'Vx', SSE);
  row('66 0F 6F /r', move.movAligned, 'Vx', 'Wx', SSE);
  row('66 0F 7F /r', move.movAligned, 'Wx', 'Vx', SSE);
  row('F3 0F 6F /r', move.movUnaligned, 'Vx', 'Wx', SSE);
  row('F3 0F 7F /r', move.movUnaligned, 'Wx', 'Vx', SSE);
  row('66 0F E7 /r :m', move.movAligned, 'Mx', 'Vx', SSE);
  row('66 0F 38 2A /r :m', move.movAligned, 'Vx', 'Mx', SSE41);
  row('F2 0F F0 /r :m', move.movUnaligned, 'Vx', 'Mx', SSE3);
  row('NP 0F C3 /r :m', mov, 'My', 'Gy');
  row('66 0F F7 /r :r', move.maskMove, 'Vx', 'Ux', 'Xb', SSE);
}

function shuffles({ row }: RowSink): void {
  for (const [prefix, lane] of [
    ['NP', 4],
    ['66', 8],
  ] as const) {
    row(`${prefix} 0F 14 /r`, sse(shuffle.unpack(lane, 0)), 'Vx', 'Wx', SSE);
    row(`${prefix} 0F 15 /r`, sse(shuffle.unpack(lane, 8)), 'Vx', 'Wx', SSE);
    row(`${prefix} 0F 50 /r :r`, shuffle.signMask(lane === 4 ? 'i32x4' : 'i64x2'), 'Gd', 'Ux', SSE);
    row(`${prefix} 0F 54 /r`, sse(direct('v128.and')), 'Vx', 'Wx', SSE);
    row(`${prefix} 0F 55 /r`, sse(int.pandn), 'Vx', 'Wx', SSE);
    row(`${prefix} 0F 56 /r`, sse(direct('v128.or')), 'Vx', 'Wx', SSE);
    row(`${prefix} 0F 57 /r`, sse(direct('v128.xor')), 'Vx', 'Wx', SSE);
    row(`${prefix} 0F C6 /r`, sseImmediate(lane === 4 ? shuffle.shufps : shuffle.shufpd), 'Vx', 'Wx', 'Ib', SSE);
  }
  row('66 0F 6C /r', sse(shuffle.unpack(8, 0)), 'Vx', 'Wx', SSE);
  row('66 0F 6D /r', sse(shuffle.unpack(8, 8)), 'Vx', 'Wx', SSE);
  row('66 0F 70 /r', sseImmediate(shuffle.pshufd), 'Vx', 'Wx', 'Ib', SSE);
  row('F2 0F 70 /r', sseImmediate(shuffle.pshuflw), 'Vx', 'Wx', 'Ib', SSE);
  row('F3 0F 70 /r', sseImmediate(shuffle.pshufhw), 'Vx', 'Wx', 'Ib', SSE);
  row('66 0F 73 /3 :r', byteShift(shuffle.psrldq), 'Ux', 'Ib', SSE);
  row('66 0F 73 /7 :r', byteShift(shuffle.pslldq), 'Ux', 'Ib', SSE);
  row('66 0F C4 /r', shuffle.insert(16), 'Vx', 'Ew', 'Ib', SSE);
  row('66 0F C5 /r :r', shuffle.extract(16), 'Gd', 'Ux', 'Ib', SSE);
  row('66 0F D7 /r :r', shuffle.signMask('i8x16'), 'Gd', 'Ux', SSE);
}

function byteShift(shift: int.Shift) {
  return (...[o, w, r, imm]: Parameters<ReturnType<typeof sseImmediate>>): void =>
    sseImmediate((ops, x, _y, count) => shift(ops, x, count))(o, w, r, r, imm);
}

function sse4({ row }: RowSink): void {
  for (const [opcode, f] of SSE41_LANES) row(`66 0F 38 ${opcode} /r`, sse(f), 'Vx', 'Wx', SSE41);
  row('66 0F 38 37 /r', sse(direct('i64x2.gt_s')), 'Vx', 'Wx', SSE42);
  WIDENINGS.forEach((steps, i) => {
    row(`66 0F 38 2${i} /r`, shuffle.widen('s', steps), 'Vx', WIDENING_MEMORY[i], SSE41);
    row(`66 0F 38 3${i} /r`, shuffle.widen('u', steps), 'Vx', WIDENING_MEMORY[i], SSE41);
  });
  row('66 0F 38 10 /r', blendVariable(8), 'Vx', 'Wx', 'XMM0', SSE41);
  row('66 0F 38 14 /r', blendVariable(32), 'Vx', 'Wx', 'XMM0', SSE41);
  row('66 0F 38 15 /r', blendVariable(64), 'Vx', 'Wx', 'XMM0', SSE41);
  row('66 0F 38 17 /r', move.ptest, 'Vx', 'Wx', SSE41);
  row('66 0F 3A 0C /r', sseImmediate(int.blendByBits('i32x4')), 'Vx', 'Wx', 'Ib', SSE41);
  row('66 0F 3A 0D /r', sseImmediate(int.blendByBits('i64x2')), 'Vx', 'Wx', 'Ib', SSE41);
  row('66 0F 3A 0E /r', sseImmediate(int.blendByBits('i16x8')), 'Vx', 'Wx', 'Ib', SSE41);
  row('66 0F 3A 42 /r', sseImmediate(int.mpsadbw), 'Vx', 'Wx', 'Ib', SSE41);
  row('66 0F 3A 14 /r', shuffle.extract(8), 'Ed', 'Vx', 'Ib', SSE41);
  row('66 0F 3A 15 /r', shuffle.extract(16), 'Ed', 'Vx', 'Ib', SSE41);
  row('66 0F 3A 16 /r', shuffle.extract(null), 'Ey', 'Vx', 'Ib', SSE41);
  row('66 0F 3A 17 /r', shuffle.extract(32), 'Ed', 'Vx', 'Ib', SSE41);
  row('66 0F 3A 20 /r', shuffle.insert(8), 'Vx', 'Ed', 'Ib', SSE41);
  row('66 0F 3A 21 /r', shuffle.insertps, 'Vx', 'Wd', 'Ib', SSE41);
  row('66 0F 3A 22 /r', shuffle.insert(null), 'Vx', 'Ey', 'Ib', SSE41);
  row('66 0F 3A 60 /r', compareStrings('mask', true), 'Vx', 'Wx', 'Ib', SSE42_SIZED);
  row('66 0F 3A 61 /r', compareStrings('index', true), 'Vx', 'Wx', 'Ib', SSE42_SIZED);
  row('66 0F 3A 62 /r', compareStrings('mask', false), 'Vx', 'Wx', 'Ib', SSE42_SIZED);
  row('66 0F 3A 63 /r', compareStrings('index', false), 'Vx', 'Wx', 'Ib', SSE42_SIZED);
}

function cryptography({ row }: RowSink): void {
  const feature = { unit: 'sse', feature: 'aes' } as const;
  row('66 0F 38 DB /r', aes('aesimc'), 'Vx', 'Wx', feature);
  row('66 0F 38 DC /r', aes('aesenc'), 'Vx', 'Wx', feature);
  row('66 0F 38 DD /r', aes('aesenclast'), 'Vx', 'Wx', feature);
  row('66 0F 38 DE /r', aes('aesdec'), 'Vx', 'Wx', feature);
  row('66 0F 38 DF /r', aes('aesdeclast'), 'Vx', 'Wx', feature);
  row('66 0F 3A DF /r', aes('aeskeygenassist'), 'Vx', 'Wx', 'Ib', feature);
  row('66 0F 3A 44 /r', pclmulqdq, 'Vx', 'Wx', 'Ib', { unit: 'sse', feature: 'pclmulqdq' });
}
