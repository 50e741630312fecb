// The two cyclic redundancy checks of compressed files: CRC-32 (RFC 1952 section 8; also xz, ext4's old checksums) and
// CRC-64/XZ (the .xz file format, section 6). Both reflected, both kept as a running value so that pieces can be added.

const CRC32 = makeCrc32Tables();
const [CRC64_LOW, CRC64_HIGH] = makeCrc64Tables();

/** Adds bytes to a CRC-32; start with 0. The value is an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array, previous = 0): number {
  const t = CRC32;
  let crc = ~previous;
  let i = 0;
  // Four bytes a turn ("slicing"): each table holds the effect of a byte that stands 0 to 3 places before the end.
  for (const end = bytes.length - 3; i < end; i += 4) {
    crc ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    crc = t[768 + (crc & 255)] ^ t[512 + ((crc >>> 8) & 255)] ^ t[256 + ((crc >>> 16) & 255)] ^ t[crc >>> 24];
  }
  for (; i < bytes.length; i++) crc = t[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** A running CRC-64/XZ in two 32-bit halves, since plain numbers hold no 64-bit integer. */
export class Crc64 {
  low = 0;
  high = 0;

  add(bytes: Uint8Array): void {
    const tl = CRC64_LOW;
    const th = CRC64_HIGH;
    let low = ~this.low;
    let high = ~this.high;
    for (let i = 0; i < bytes.length; i++) {
      const k = (low ^ bytes[i]) & 255;
      low = ((low >>> 8) | (high << 24)) ^ tl[k];
      high = (high >>> 8) ^ th[k];
    }
    this.low = ~low;
    this.high = ~high;
  }
}

function makeCrc32Tables(): Int32Array {
  const table = new Int32Array(4 * 256);
  for (let n = 0; n < 256; n++) {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    table[n] = c;
  }
  for (let n = 256; n < 1024; n++) table[n] = (table[n - 256] >>> 8) ^ table[table[n - 256] & 255];
  return table;
}

function makeCrc64Tables(): [Int32Array, Int32Array] {
  const low = new Int32Array(256);
  const high = new Int32Array(256);
  for (let n = 0; n < 256; n++) {
    let l = n;
    let h = 0;
    for (let k = 0; k < 8; k++) {
      const carry = l & 1;
      l = (l >>> 1) | (h << 31);
      h >>>= 1;
      if (carry) {
        l ^= 0xd7870f42;
        h ^= 0xc96c5795;
      }
    }
    low[n] = l;
    high[n] = h;
  }
  return [low, high];
}
