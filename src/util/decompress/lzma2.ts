// LZMA2 (LZMA specification; the .xz file format, section 5.3.1): chunks of LZMA or of stored bytes, each of which says what
// it resets and how long it is.

import { DecompressError } from './error.ts';
import { LzmaDecoder } from './lzma-decoder.ts';
import { Window } from './window.ts';

const CORRUPTED = 'the data is corrupted';

/**
 * Decompresses the LZMA2 data at `at` piece by piece; the generator's result is the offset after it.
 * `dictionary` is the window's size in bytes.
 */
export function* lzma2(bytes: Uint8Array, at: number, dictionary: number): Generator<Uint8Array, number> {
  const window = new Window('xz', Math.max(dictionary, 4096), bytes.length - at);
  const decoder = new LzmaDecoder(window);
  let needsDictionary = true;
  let needsProperties = true;
  let next = at;
  for (;;) {
    if (next >= bytes.length) throw new DecompressError('xz', 'the data is truncated');
    const control = bytes[next];
    if (control === 0) return next + 1;
    if (control >= 0xe0 || control === 1) {
      needsDictionary = false;
      needsProperties = true;
      decoder.resetDictionary();
    } else if (needsDictionary) {
      throw new DecompressError('xz', CORRUPTED);
    }
    if (control < 0x80) {
      if (control > 2) throw new DecompressError('xz', CORRUPTED);
      const size = ((bytes[next + 1] << 8) | bytes[next + 2]) + 1;
      next += 3;
      if (next + size > bytes.length) throw new DecompressError('xz', 'the data is truncated');
      window.append(bytes.subarray(next, next + size));
      decoder.noteStored(size);
      next += size;
      yield window.take();
      continue;
    }
    if (next + 6 > bytes.length) throw new DecompressError('xz', 'the data is truncated');
    const unpacked = ((control & 0x1f) << 16) + (bytes[next + 1] << 8) + bytes[next + 2] + 1;
    const packed = (bytes[next + 3] << 8) + bytes[next + 4] + 1;
    next += 5;
    if (control >= 0xc0) {
      const properties = bytes[next++];
      // LZMA2 allows lc + lp of at most 4.
      const lc = properties % 9;
      const lp = Math.floor(properties / 9) % 5;
      if (lc + lp > 4 || !decoder.setProperties(properties)) throw new DecompressError('xz', CORRUPTED);
      needsProperties = false;
    } else if (needsProperties) {
      throw new DecompressError('xz', CORRUPTED);
    } else if (control >= 0xa0) {
      decoder.resetState();
    }
    const end = next + packed;
    if (end > bytes.length) throw new DecompressError('xz', 'the data is truncated');
    if (!decoder.coder.start(bytes, next, end)) throw new DecompressError('xz', CORRUPTED);
    if (decoder.decode(unpacked) !== 'limit') throw new DecompressError('xz', CORRUPTED);
    decoder.coder.normalize();
    const piece = window.take();
    if (piece.length !== unpacked || decoder.coder.at !== end || !decoder.coder.finished) {
      throw new DecompressError('xz', CORRUPTED);
    }
    next = end;
    yield piece;
  }
}
