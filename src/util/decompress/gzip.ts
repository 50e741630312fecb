// gzip (RFC 1952), inflated by fflate, which checks neither the CRC-32 nor the size of a member: that is done here.

import { Gunzip } from 'fflate';
import { viewOf } from '../bytes.ts';
import { crc32 } from '../crc.ts';
import { DecompressError } from './error.ts';

const STEP = 1 << 16;
const TRAILER = 8;

/** Decompresses piece by piece; members that follow each other are one output. */
export function* gzip(bytes: Uint8Array): Generator<Uint8Array, void> {
  if (bytes.length < 18) throw new DecompressError('gzip', 'the data is truncated');
  const view = viewOf(bytes);
  let pieces: Uint8Array[] = [];
  let crc = 0;
  let size = 0;
  const endMember = (end: number) => {
    const at = end - TRAILER;
    if (at < 0 || view.getUint32(at, true) !== crc || view.getUint32(at + 4, true) !== size >>> 0) {
      throw new DecompressError('gzip', 'the data is corrupted or truncated (checksum)');
    }
    crc = size = 0;
  };
  const gunzip = new Gunzip(piece => {
    crc = crc32(piece, crc);
    size = (size + piece.length) % 2 ** 32;
    if (piece.length > 0) pieces.push(piece);
  });
  gunzip.onmember = endMember;
  for (let at = 0; at < bytes.length; at += STEP) {
    const last = at + STEP >= bytes.length;
    try {
      gunzip.push(bytes.subarray(at, at + STEP), last);
    } catch (error) {
      if (error instanceof DecompressError) throw error;
      throw new DecompressError('gzip', `the data is corrupted or truncated (${(error as Error).message})`);
    }
    const ready = pieces;
    pieces = [];
    yield* ready;
  }
  endMember(bytes.length);
}
