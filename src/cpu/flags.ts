// Lazy arithmetic flags: two 64-bit words from which every flag is read without knowing the operation that set them.
//
// ccResult: the last result, sign-extended from its width. ZF = (ccResult == 0), SF = sign, PF = parity of the low byte.
// ccAux:    bit 63 CF, bit 62 CF xor OF, bit 3 AF; and two deltas for flags loaded as such (POPF, SAHF):
//           bit 0 inverts SF, bits 8-15 are xored into the low byte before its parity is taken.
// An addition stores its carry-out vector shifted to the top; a logical operation stores 0. SDM Vol. 1, 3.4.3.

/** RFLAGS bits (SDM Vol. 1, figure 3-8). */
export const Flag = {
  CF: 1 << 0, PF: 1 << 2, AF: 1 << 4, ZF: 1 << 6, SF: 1 << 7, TF: 1 << 8, IF: 1 << 9, DF: 1 << 10, OF: 1 << 11,
  IOPL: 3 << 12, NT: 1 << 14, RF: 1 << 16, VM: 1 << 17, AC: 1 << 18, VIF: 1 << 19, VIP: 1 << 20, ID: 1 << 21,
} as const; // biome-ignore format: a table

export const ARITHMETIC_FLAGS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;
/** Bit 1 is always set. */
export const RFLAGS_FIXED = 2n;
/** Every bit that RFLAGS has. */
export const RFLAGS_MASK = 0x3f7fd5n;

export const AUX_CF_BIT = 63;
export const AUX_PO_BIT = 62;
export const AUX_AF = 8n;
export const AUX_SF_INVERT = 1n;
export const AUX_PARITY_SHIFT = 8;

/** True where the low byte has an even number of ones. */
export function evenParity(byte: number): boolean {
  let x = byte & 0xff;
  x ^= x >> 4;
  return ((0x9669 >> (x & 15)) & 1) === 1;
}

/** CF PF AF ZF SF OF as RFLAGS bits, from the two lazy words (unsigned). */
export function readArithmeticFlags(ccResult: bigint, ccAux: bigint): number {
  const half = (word: bigint): number => Number(word & 0xffffffffn);
  return arithmeticFlags(half(ccResult), half(ccResult >> 32n), half(ccAux), half(ccAux >> 32n));
}

/** The same from the words' halves, which spares BigInts. */
export function arithmeticFlags(resultLow: number, resultHigh: number, auxLow: number, auxHigh: number): number {
  const cf = auxHigh >>> 31;
  const of = cf ^ ((auxHigh >>> 30) & 1);
  const sf = (resultHigh >>> 31) ^ (auxLow & 1);
  return (
    cf |
    (evenParity(resultLow ^ (auxLow >>> AUX_PARITY_SHIFT)) ? Flag.PF : 0) |
    (auxLow & 8 ? Flag.AF : 0) |
    ((resultLow | resultHigh) === 0 ? Flag.ZF : 0) |
    (sf ? Flag.SF : 0) |
    (of ? Flag.OF : 0)
  );
}

/** The two lazy words, unsigned, that read back as these RFLAGS bits. */
export function lazyFlags(flags: number): { ccResult: bigint; ccAux: bigint } {
  const zf = (flags & Flag.ZF) !== 0;
  const cf = flags & Flag.CF ? 1 : 0;
  const of = flags & Flag.OF ? 1 : 0;
  const invertParity = zf !== ((flags & Flag.PF) !== 0);
  const low = (flags & Flag.SF ? 1 : 0) | (flags & Flag.AF ? 8 : 0) | (invertParity ? 1 << AUX_PARITY_SHIFT : 0);
  return { ccResult: zf ? 0n : 1n, ccAux: (BigInt((cf << 1) | (cf ^ of)) << 62n) | BigInt(low) };
}
