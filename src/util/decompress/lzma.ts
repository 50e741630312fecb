// The .lzma format ("LZMA alone", LZMA specification by I. Pavlov, "File format"): 13 bytes of header, then one LZMA stream,
// whose length stands in the header or is marked by an end symbol.

import { DecompressError } from './error.ts';
import { LzmaDecoder } from './lzma-decoder.ts';
import { Window } from './window.ts';

const HEADER = 13;
const PIECE = 1 << 20;

/** Decompresses piece by piece. Bytes after the stream are not looked at. */
export function* lzma(bytes: Uint8Array): Generator<Uint8Array, void> {
  if (bytes.length < HEADER + 5) throw new DecompressError('lzma', 'the file is shorter than its header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER);
  const dictionary = Math.max(view.getUint32(1, true), 4096);
  const low = view.getUint32(5, true);
  const high = view.getUint32(9, true);
  const unknown = low === 0xffffffff && high === 0xffffffff;
  let left = unknown ? Number.POSITIVE_INFINITY : high * 2 ** 32 + low;
  const window = new Window('lzma', dictionary, bytes.length);
  const decoder = new LzmaDecoder(window);
  if (!decoder.setProperties(bytes[0])) throw new DecompressError('lzma', 'the header is corrupted');
  if (!decoder.coder.start(bytes, HEADER, bytes.length)) throw new DecompressError('lzma', 'the data is corrupted');
  while (left > 0) {
    const stop = decoder.decode(Math.min(left, PIECE));
    const piece = window.take();
    left -= piece.length;
    if (stop === 'bad-distance' || left < 0) throw new DecompressError('lzma', 'the data is corrupted');
    if (stop === 'input-ended') throw new DecompressError('lzma', 'the data is truncated');
    if (piece.length > 0) yield piece;
    if (stop === 'end-marker') {
      decoder.coder.normalize();
      if (!unknown && left > 0)
        throw new DecompressError('lzma', 'the data ends before the size that its header gives');
      if (!decoder.coder.finished) throw new DecompressError('lzma', 'the data is corrupted');
      return;
    }
  }
}
