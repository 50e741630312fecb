// PCLMULQDQ (SDM Vol. 2B) and AES-NI (SDM Vol. 2, AESENC and its family; FIPS 197). Sources stand in the scratch area.
import type { Helper, HelperCore } from './core.ts';
import { vectorsOf } from './vector-registers.ts';

const BLOCK = 16;

/** Multiplies two polynomials over GF(2) of 64 bits each. */
function carrylessMultiply(a: bigint, b: bigint): bigint {
  let product = 0n;
  let shifted = a;
  for (let rest = b; rest !== 0n; rest >>= 1n) {
    if (rest & 1n) product ^= shifted;
    shifted <<= 1n;
  }
  return product;
}

function pclmulqdq({ state }: HelperCore, dst: bigint, imm: bigint): void {
  const { lanes64, source64 } = vectorsOf(state);
  const x = lanes64[Number(dst)];
  const product = carrylessMultiply(x[imm & 1n ? 1 : 0], source64[imm & 0x10n ? 1 : 0]);
  x[0] = BigInt.asUintN(64, product);
  x[1] = product >> 64n;
}

/** Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let x = a, y = b; y !== 0; y >>= 1) {
    if (y & 1) product ^= x;
    x = (x << 1) ^ (x & 0x80 ? 0x11b : 0);
  }
  return product;
}

/** The S-box: inverse in GF(2^8), then the affine map (FIPS 197, 5.1.1). */
const SUBSTITUTE = new Uint8Array(256);
const SUBSTITUTE_INVERSE = new Uint8Array(256);
for (let x = 0; x < 256; x++) {
  let inverse = 1;
  for (let i = 0; i < 254; i++) inverse = multiply(inverse, x); // x^254; 0 stays 0
  const rotated = (n: number) => ((inverse << n) | (inverse >> (8 - n))) & 0xff;
  const y = inverse ^ rotated(1) ^ rotated(2) ^ rotated(3) ^ rotated(4) ^ 0x63;
  SUBSTITUTE[x] = y;
  SUBSTITUTE_INVERSE[y] = x;
}

/** Byte 4 * column + row moves along its row by so many columns as the row's number. */
const SHIFT_ROWS = Array.from({ length: BLOCK }, (_, i) => (i + 4 * (i & 3)) & 15);
const SHIFT_ROWS_INVERSE = Array.from({ length: BLOCK }, (_, i) => (i - 4 * (i & 3)) & 15);
const MIX = [2, 3, 1, 1];
const MIX_INVERSE = [14, 11, 13, 9];

function mixColumns(block: Uint8Array, coefficients: readonly number[]): Uint8Array {
  return block.map((_, i) => {
    let sum = 0;
    for (let k = 0; k < 4; k++) sum ^= multiply(block[(i & 12) + k], coefficients[(k - i) & 3]);
    return sum;
  });
}

/** One round; the round key is the source. */
function aesRound(rows: readonly number[], box: Uint8Array, mix: readonly number[] | null): Helper {
  return ({ state }, dst) => {
    const { lanes8, scratch } = vectorsOf(state);
    const x = lanes8[Number(dst)];
    let block = Uint8Array.from(rows, from => box[x[from]]);
    if (mix) block = mixColumns(block, mix) as typeof block;
    for (let i = 0; i < BLOCK; i++) x[i] = block[i] ^ scratch[i];
  };
}

function aesimc({ state }: HelperCore, dst: bigint): void {
  const { lanes8, scratch } = vectorsOf(state);
  lanes8[Number(dst)].set(mixColumns(scratch.slice(0, BLOCK), MIX_INVERSE));
}

/** S-box of the source's doublewords 1 and 3, and the same rotated by a byte with the round constant. */
function aeskeygenassist({ state }: HelperCore, dst: bigint, imm: bigint): void {
  const { lanes8, scratch } = vectorsOf(state);
  const x = lanes8[Number(dst)];
  const result = new Uint8Array(BLOCK);
  for (let i = 0; i < BLOCK; i++) {
    const from = i & 8 ? 12 : 4;
    result[i] = SUBSTITUTE[scratch[from + ((i & 4 ? i + 1 : i) & 3)]];
    if (i === 4 || i === 12) result[i] ^= Number(imm);
  }
  x.set(result);
}

export const sseCryptoHelpers: Record<string, Helper> = {
  pclmulqdq,
  aesenc: aesRound(SHIFT_ROWS, SUBSTITUTE, MIX),
  aesenclast: aesRound(SHIFT_ROWS, SUBSTITUTE, null),
  aesdec: aesRound(SHIFT_ROWS_INVERSE, SUBSTITUTE_INVERSE, MIX_INVERSE),
  aesdeclast: aesRound(SHIFT_ROWS_INVERSE, SUBSTITUTE_INVERSE, null),
  aesimc,
  aeskeygenassist,
};
