// Bytes of the fixtures: LEB128 numbers, 64-bit values with a length byte, strings with a length.

export class Writer {
  private bytes = new Uint8Array(1 << 16);
  private length = 0;
  /** What was written so far. */
  taken(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }
  u8(value: number): void {
    if (this.length === this.bytes.length) {
      const grown = new Uint8Array(this.length * 2);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes[this.length++] = value;
  }
  varint(value: number): void {
    let v = value;
    for (; v > 127; v = Math.floor(v / 128)) this.u8((v % 128) | 128);
    this.u8(v);
  }
  u64(value: bigint): void {
    let n = 0;
    for (let v = value; v !== 0n; v >>= 8n) n++;
    this.u8(n);
    for (let i = 0; i < n; i++) this.u8(Number((value >> BigInt(i * 8)) & 0xffn));
  }
  raw(bytes: Uint8Array): void {
    for (const b of bytes) this.u8(b);
  }
  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.varint(bytes.length);
    this.raw(bytes);
  }
}

export class Reader {
  at = 0;
  readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  u8(): number {
    if (this.at >= this.bytes.length) throw new RangeError('the fixture ends in the middle of a case');
    return this.bytes[this.at++];
  }
  varint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const b = this.u8();
      value += (b & 127) * scale;
      if (b < 128) return value;
    }
  }
  u64(): bigint {
    const n = this.u8();
    let value = 0n;
    for (let i = 0; i < n; i++) value |= BigInt(this.u8()) << BigInt(i * 8);
    return value;
  }
  raw(length: number): Uint8Array {
    this.at += length;
    return this.bytes.slice(this.at - length, this.at);
  }
  string(): string {
    return new TextDecoder().decode(this.raw(this.varint()));
  }
}
