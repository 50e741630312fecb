// The data behind test/fixtures/decompress: made here, so that only its compressed forms are stored. Text that repeats,
// noise that does not, and x86 calls with 32-bit targets, which are what the branch filter of xz changes.

/** A small deterministic generator (xorshift32). */
export function noise(seed: number): () => number {
  let x = seed | 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x >>> 0;
  };
}

/** `size` bytes, the same for the same arguments. */
export function sampleBytes(size: number, seed = 1): Uint8Array {
  const next = noise(seed);
  const out = new Uint8Array(size);
  const words = ['xen', 'grant', 'event', 'channel', 'page', 'table ', '\n', '0123456789', '\0\0\0\0'];
  let at = 0;
  const put = (byte: number) => {
    if (at < size) out[at++] = byte;
  };
  while (at < size) {
    switch (next() % 8) {
      case 0:
        for (let i = 0; i < 5; i++) put(next());
        break;
      case 1: {
        // CALL or JMP rel32 to one of few targets.
        const target = ((next() % 16) * 0x1111 - (at + 5)) | 0;
        for (const byte of [0xe8 + (next() & 1), target, target >> 8, target >> 16, target >> 24]) put(byte & 255);
        break;
      }
      case 2: {
        const [from, length] = [next() % (at + 1), next() % 200];
        for (let i = 0; i < length && at > 0; i++) put(out[(from + i) % at]);
        break;
      }
      case 3:
        if (next() % 8 === 0) for (let i = next() % 600, byte = next() & 255; i > 0; i--) put(byte);
        break;
      default:
        for (const char of words[next() % words.length]) put(char.charCodeAt(0));
    }
  }
  return out;
}
