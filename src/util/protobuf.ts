// Writes Protocol Buffers messages. Source: protobuf.dev, "Encoding".

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIRST_SIZE = 1 << 12;
/** A length of less than 2^28 bytes. */
const LONGEST_LENGTH = 4;

const encoder = new TextEncoder();

/** Fields in the order in which they are written; a message within a message is a call within a call. */
export class ProtobufWriter {
  private bytes = new Uint8Array(FIRST_SIZE);
  /** Bytes written so far. */
  length = 0;

  /** What was written since the last take(); the writer is empty again. */
  take(): Uint8Array {
    const taken = this.bytes.slice(0, this.length);
    this.length = 0;
    return taken;
  }

  /** uint32, uint64, bool, enum; a negative number is written as 64 bits, as int32 and int64 are. */
  varint(field: number, value: number | bigint): void {
    this.tag(field, VARINT);
    this.raw(value);
  }

  fixed64(field: number, value: bigint): void {
    this.tag(field, FIXED64);
    this.room(8);
    new DataView(this.bytes.buffer).setBigUint64(this.length, BigInt.asUintN(64, value), true);
    this.length += 8;
  }

  string(field: number, text: string): void {
    this.tag(field, LENGTH_DELIMITED);
    const { length } = text;
    // Three bytes for a character at most.
    this.room(length * 3 + LONGEST_LENGTH);
    const { written } = encoder.encodeInto(text, this.bytes.subarray(this.length + LONGEST_LENGTH));
    this.close(written);
  }

  message(field: number, fill: () => void): void {
    this.tag(field, LENGTH_DELIMITED);
    this.room(LONGEST_LENGTH);
    const start = this.length;
    this.length += LONGEST_LENGTH;
    fill();
    const size = this.length - start - LONGEST_LENGTH;
    this.length = start;
    this.close(size);
  }

  /** The content stands behind the room for its longest length: puts the length in front of it. */
  private close(size: number): void {
    const start = this.length;
    this.raw(size);
    this.bytes.copyWithin(this.length, start + LONGEST_LENGTH, start + LONGEST_LENGTH + size);
    this.length += size;
  }

  private tag(field: number, type: number): void {
    this.raw(field * 8 + type);
  }

  private raw(value: number | bigint): void {
    this.room(10);
    if (typeof value === 'number' && value >= 0 && value < 0x8000_0000) {
      let rest = value;
      for (; rest > 0x7f; rest >>>= 7) this.bytes[this.length++] = (rest & 0x7f) | 0x80;
      this.bytes[this.length++] = rest;
      return;
    }
    let rest = BigInt.asUintN(64, BigInt(value));
    for (; rest > 0x7fn; rest >>= 7n) this.bytes[this.length++] = Number(rest & 0x7fn) | 0x80;
    this.bytes[this.length++] = Number(rest);
  }

  private room(more: number): void {
    const needed = this.length + more;
    if (needed <= this.bytes.length) return;
    const bigger = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    // All of it: a message that is being closed stands behind the end.
    bigger.set(this.bytes);
    this.bytes = bigger;
  }
}
