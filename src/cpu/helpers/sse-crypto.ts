// AES-NI (SDM Vol. 2, AESENC and its family; FIPS 197). Sources stand in the scratch area.
import type { Helper, HelperCore } from './core.ts';
import { vectorsOf } from './vector-registers.ts';

const BLOCK = 16;

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

/** Products with the coefficients that MixColumns gives the bytes of a column, from a byte's own row on. */
const products = (coefficients: readonly number[]) =>
  coefficients.map(c => Uint8Array.from({ length: 256 }, (_, x) => multiply(x, c)));
const MIX = products([2, 3, 1, 1]);
const MIX_INVERSE = products([14, 11, 13, 9]);

const block = new Uint8Array(BLOCK);

/** out[i] = column of `block` mixed, XOR key[i]. */
function mixColumns(mix: readonly Uint8Array[], key: Uint8Array | null, out: Uint8Array): void {
  for (let i = 0; i < BLOCK; i++) {
    const column = i & 12;
    let sum = key ? key[i] : 0;
    for (let k = 0; k < 4; k++) sum ^= mix[k][block[column + ((i + k) & 3)]];
    out[i] = sum;
  }
}

/** One round; the round key is the source. */
function aesRound(rows: readonly number[], box: Uint8Array, mix: readonly Uint8Array[] | null): Helper {
  return ({ state }, dst) => {
    const { lanes8, scratch } = vectorsOf(state);
    const x = lanes8[Number(dst)];
    for (let i = 0; i < BLOCK; i++) block[i] = box[x[rows[i]]];
    if (mix) mixColumns(mix, scratch, x);
    else for (let i = 0; i < BLOCK; i++) x[i] = block[i] ^ scratch[i];
  };
}

function aesimc({ state }: HelperCore, dst: bigint): void {
  const { lanes8, scratch } = vectorsOf(state);
  block.set(scratch.subarray(0, BLOCK));
  mixColumns(MIX_INVERSE, null, lanes8[Number(dst)]);
}

/** S-box of the source's doublewords 1 and 3, and the same rotated by a byte with the round constant. */
function aeskeygenassist({ state }: HelperCore, dst: bigint, imm: bigint): void {
  const { lanes8, scratch } = vectorsOf(state);
  const x = lanes8[Number(dst)];
  for (let i = 0; i < BLOCK; i++) {
    const word = i & 8 ? 12 : 4;
    x[i] = SUBSTITUTE[scratch[word + ((i & 4 ? i + 1 : i) & 3)]];
    if (i === 4 || i === 12) x[i] ^= Number(imm);
  }
}

export const sseCryptoHelpers: Record<string, Helper> = {
  aesenc: aesRound(SHIFT_ROWS, SUBSTITUTE, MIX),
  aesenclast: aesRound(SHIFT_ROWS, SUBSTITUTE, null),
  aesdec: aesRound(SHIFT_ROWS_INVERSE, SUBSTITUTE_INVERSE, MIX_INVERSE),
  aesdeclast: aesRound(SHIFT_ROWS_INVERSE, SUBSTITUTE_INVERSE, null),
  aesimc,
  aeskeygenassist,
};
