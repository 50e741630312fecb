/**
 * Integers in text the way C's library reads them, because XenStore's daemon leaves its number parsing to atoi() and
 * strtol() and guests see the consequences ("1x" is domain 1, "0x10" in a permission is domain 16).
 */

const SPACE = /^[ \t\n\v\f\r]*/;

/** atoi(): leading blanks, a sign, decimal digits; whatever follows is ignored; no digits is 0. A 32-bit signed value. */
export function atoi(text: string): number {
  const digits = /^[+-]?\d+/.exec(text.replace(SPACE, ''));
  if (digits === null) return 0;
  const value = Number(digits[0]);
  // glibc's atoi is (int)strtol: saturates at 64 bits, then keeps the low 32.
  const limit = 2 ** 63;
  if (value >= limit) return -1;
  if (value < -limit) return 0;
  return Number(BigInt.asIntN(32, BigInt(digits[0])));
}

/**
 * strtol(text, &end, 0) where all of the text must be a number: decimal, 0x hexadecimal or 0 octal, blanks and a sign
 * before it. Undefined where something is left over or nothing is there. Values are exact up to 2^53.
 */
export function strictStrtol(text: string): number | undefined {
  const match = /^([+-]?)(0[xX][0-9a-fA-F]+|\d+)$/.exec(text.replace(SPACE, ''));
  if (match === null) return undefined;
  const digits = match[2]!;
  let value: number;
  if (/^0[xX]/.test(digits)) value = Number.parseInt(digits, 16);
  else if (digits.length > 1 && digits[0] === '0') {
    if (/[89]/.test(digits)) return undefined;
    value = Number.parseInt(digits, 8);
  } else value = Number(digits);
  return match[1] === '-' ? -value : value;
}
