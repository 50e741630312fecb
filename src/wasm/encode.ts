// LEB128 and immediates, appended to plain byte arrays (WebAssembly core specification 2.0, 5.2 "Values").

/** Appends an unsigned LEB128 of up to 32 bits. */
export function pushU32(out: number[], value: number): void {
  let v = value >>> 0;
  while (v > 0x7f) {
    out.push((v & 0x7f) | 0x80);
    v >>>= 7;
  }
  out.push(v);
}

/** Appends a signed LEB128 of a 32-bit integer. */
export function pushI32(out: number[], value: number): void {
  let v = value | 0;
  for (;;) {
    const byte = v & 0x7f;
    v >>= 7;
    if ((v === 0 && !(byte & 0x40)) || (v === -1 && byte & 0x40)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

/** Appends a signed LEB128 of a 64-bit integer (taken modulo 2^64). */
export function pushI64(out: number[], value: bigint): void {
  let v = BigInt.asIntN(64, value);
  if (v >= -0x40000000n && v < 0x40000000n) {
    pushI32(out, Number(v));
    return;
  }
  for (;;) {
    const byte = Number(v & 0x7fn);
    v >>= 7n;
    if ((v === 0n && !(byte & 0x40)) || (v === -1n && byte & 0x40)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

/** Appends a length-prefixed UTF-8 name. */
export function pushName(out: number[], name: string): void {
  const bytes = new TextEncoder().encode(name);
  pushU32(out, bytes.length);
  for (const b of bytes) out.push(b);
}
