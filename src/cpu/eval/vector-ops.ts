// The abstract builder's vector operations by lanes, on BigInts of 128 bits (WebAssembly specification 2.0, 4.3 "Vector operations").
// The names are those of interp/vector-opcodes.ts.

import { evaluateFloat } from './float-lanes.ts';

type Binary = (a: bigint, b: bigint, bits: number) => bigint;

const ALL = (1n << 128n) - 1n;
const signed = BigInt.asIntN;
const unsigned = BigInt.asUintN;
const min = (a: bigint, b: bigint) => (a < b ? a : b);
const max = (a: bigint, b: bigint) => (a > b ? a : b);

/** Lanes of a vector, unsigned, lowest first. */
function lanesOf(v: bigint, bits: number): bigint[] {
  return Array.from({ length: 128 / bits }, (_, i) => unsigned(bits, v >> BigInt(i * bits)));
}

/** A vector of lanes, each taken modulo its width. */
function join(lanes: readonly bigint[], bits: number): bigint {
  return lanes.reduce((v, lane, i) => v | (unsigned(bits, lane) << BigInt(i * bits)), 0n);
}

function saturateSigned(v: bigint, bits: number): bigint {
  const top = 1n << BigInt(bits - 1);
  return max(-top, min(top - 1n, v));
}
function saturateUnsigned(v: bigint, bits: number): bigint {
  return max(0n, min((1n << BigInt(bits)) - 1n, v));
}

function onSigned(f: Binary): Binary {
  return (a, b, bits) => f(signed(bits, a), signed(bits, b), bits);
}
const truth = (holds: boolean): bigint => (holds ? -1n : 0n);

/** Lane by lane, on unsigned lanes. */
const BINARY: Record<string, Binary> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  add_sat_s: onSigned((a, b, bits) => saturateSigned(a + b, bits)),
  add_sat_u: (a, b, bits) => saturateUnsigned(a + b, bits),
  sub_sat_s: onSigned((a, b, bits) => saturateSigned(a - b, bits)),
  sub_sat_u: (a, b, bits) => saturateUnsigned(a - b, bits),
  min_s: onSigned(min),
  min_u: min,
  max_s: onSigned(max),
  max_u: max,
  avgr_u: (a, b) => (a + b + 1n) >> 1n,
  q15mulr_sat_s: onSigned((a, b, bits) => saturateSigned((a * b + 0x4000n) >> 15n, bits)),
  eq: (a, b) => truth(a === b),
  gt_s: onSigned((a, b) => truth(a > b)),
};

function ones(v: bigint): bigint {
  let count = 0n;
  for (let rest = v; rest !== 0n; rest >>= 1n) count += rest & 1n;
  return count;
}

const UNARY: Record<string, (a: bigint, bits: number) => bigint> = {
  abs: (a, bits) => max(signed(bits, a), -signed(bits, a)),
  neg: a => -a,
  popcnt: ones,
};

const SHIFTS: Record<string, (a: bigint, count: bigint, bits: number) => bigint> = {
  shl: (a, count) => a << count,
  shr_u: (a, count) => a >> count,
  shr_s: (a, count, bits) => signed(bits, a) >> count,
};

/** Lanes of `bits` from lanes of half or double that width; `lane` reads a source lane by the operation's sign. */
type Resizing = (x: bigint[], y: bigint[], bits: number) => bigint[];
const halfOf = (lanes: bigint[], half: string): bigint[] =>
  half === 'high' ? lanes.slice(lanes.length / 2) : lanes.slice(0, lanes.length / 2);
const pairs = (lanes: bigint[]): bigint[] =>
  lanes.filter((_, i) => i % 2 === 0).map((lane, i) => lane + lanes[2 * i + 1]);

function resizing(name: string): Resizing | null {
  switch (name) {
    case 'narrow_s':
      return (x, y, bits) => [...x, ...y].map(lane => saturateSigned(lane, bits));
    case 'narrow_u':
      return (x, y, bits) => [...x, ...y].map(lane => saturateUnsigned(lane, bits));
    case 'extend_low':
    case 'extend_high':
      return x => halfOf(x, name.slice(7));
    case 'extmul_low':
    case 'extmul_high': {
      const half = name.slice(7);
      return (x, y) => halfOf(x, half).map((lane, i) => lane * halfOf(y, half)[i]);
    }
    case 'extadd_pairwise':
      return x => pairs(x);
    case 'dot':
      return (x, y) => pairs(x.map((lane, i) => lane * y[i]));
    default:
      return null;
  }
}

function bitwise(op: string, [a, b, c]: readonly bigint[]): bigint {
  switch (op) {
    case 'v128.not':
      return ALL & ~a;
    case 'v128.and':
      return a & b;
    case 'v128.andnot':
      return a & ~b;
    case 'v128.or':
      return a | b;
    case 'v128.xor':
      return a ^ b;
    case 'v128.bitselect':
      return (a & c) | (b & ~c & ALL);
    default:
      throw new Error(`no such vector operation: ${op}`);
  }
}

/** Bits of a shape's lanes, and the operation's name behind the point. */
function parse(op: string): [bits: number, name: string] | null {
  const m = /^i(8|16|32|64)x\d+\.(\w+)$/.exec(op);
  return m && [Number(m[1]), m[2]];
}

/**
 * An operation that gives a vector.
 * @param args vectors as BigInts of 128 bits; a shift's count or a lane's value last, as one of 64
 * @param immediates bytes of a shuffle, lane of a replace_lane
 */
export function evaluateVector(op: string, args: readonly bigint[], immediates: readonly number[] = []): bigint {
  const float = evaluateFloat(op, args);
  if (float !== null) return float;
  const shaped = parse(op);
  if (!shaped) return bitwise(op, args);
  const [bits, name] = shaped;
  const [a, b] = args;
  const x = (): bigint[] => lanesOf(a, bits);
  if (name === 'splat') return join(Array(128 / bits).fill(a), bits);
  if (name === 'replace_lane') return join(x().with(immediates[0], b), bits);
  if (name === 'shuffle') {
    const both = [...x(), ...lanesOf(b, bits)];
    return join(immediates.map(i => both[i]), bits); // biome-ignore format: one line
  }
  if (name === 'swizzle') {
    const source = x();
    return join(lanesOf(b, bits).map(i => (i < 16n ? source[Number(i)] : 0n)), bits); // biome-ignore format: one line
  }
  if (name in BINARY) return join(lanesOf(b, bits).map((lane, i) => BINARY[name](x()[i], lane, bits)), bits); // biome-ignore format: one line
  if (name in UNARY) return join(x().map(lane => UNARY[name](lane, bits)), bits); // biome-ignore format: one line
  if (name in SHIFTS) {
    const count = b & BigInt(bits - 1);
    return join(x().map(lane => SHIFTS[name](lane, count, bits)), bits); // biome-ignore format: one line
  }
  // names such as narrow_i16x8_s or extmul_low_i8x16_u: narrowing reads its lanes as signed, whatever it saturates to
  const m = /^(\w+)_i(8|16|32)x\d+_([su])$/.exec(name);
  const narrow = m?.[1] === 'narrow';
  const resize = m && resizing(narrow ? `narrow_${m[3]}` : m[1]);
  if (!m || !resize) throw new Error(`no such vector operation: ${op}`);
  const from = Number(m[2]);
  const read = (v: bigint): bigint[] =>
    lanesOf(v, from).map(lane => (narrow || m[3] === 's' ? signed(from, lane) : lane));
  return join(resize(read(a), read(b ?? 0n), bits), bits);
}

/** An operation that gives an integer, zero-extended to 64 bits. */
export function evaluateScalar(op: string, args: readonly bigint[], lane = 0): bigint {
  const [a] = args;
  if (op === 'v128.any_true') return a === 0n ? 0n : 1n;
  const shaped = parse(op);
  if (!shaped) throw new Error(`no such vector operation: ${op}`);
  const [bits, name] = shaped;
  const lanes = lanesOf(a, bits);
  switch (name) {
    case 'extract_lane':
    case 'extract_lane_u':
      return lanes[lane];
    case 'all_true':
      return lanes.every(l => l !== 0n) ? 1n : 0n;
    case 'bitmask':
      return lanes.reduce((mask, l, i) => mask | ((l >> BigInt(bits - 1)) << BigInt(i)), 0n);
    default:
      throw new Error(`no such vector operation: ${op}`);
  }
}
