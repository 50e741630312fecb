// One request of a PV disk: granted pages as buffers, checked against the disk, and what the source is asked to do with them.
import { BLKIF_DISCARD_SECURE, BLKIF_OP, BLKIF_RSP } from '../../abi/xen/io/blkif.ts';
import {
  BLKIF_SECTOR,
  type BlkifRequest,
  type BlkifSegment,
  decodeSegments,
  SECTORS_PER_PAGE,
  SEGMENTS_PER_INDIRECT_PAGE,
} from '../../protocols/blkif.ts';
import { FrontendError } from '../xenbus/backend-device.ts';
import type { GrantedPage } from '../xenbus/frontend-domain.ts';
import type { RequestPages } from './persistent-grants.ts';
import type { BlockDone, BlockSource } from './source.ts';

/** Segments of an indirect request at most: a megabyte, as Linux's back end has it by default. */
export const MAX_INDIRECT_SEGMENTS = 256;

/** What requests of a disk are done with. */
export interface BlkbackDisk {
  readonly source: BlockSource;
  readonly isReadOnly: boolean;
  readonly mayDiscard: boolean;
  /** A request failed by no fault of the front end's: one line. */
  readonly log: (line: string) => void;
}

/** Called once with a status of BLKIF_RSP. */
type Answer = (status: number) => void;

/** A part of a granted page. */
interface Piece {
  readonly page: GrantedPage;
  readonly offset: number;
  readonly length: number;
}

/** Bytes that a request moves or touches at most, so that turns can be bounded. */
export function sizeOf(request: BlkifRequest): number {
  if (request.kind === 'transfer') return request.segments.length * SECTORS_PER_PAGE * BLKIF_SECTOR;
  return request.kind === 'indirect' ? request.count * SECTORS_PER_PAGE * BLKIF_SECTOR : 0;
}

/** Serves a request. `isOpen` says whether the front end is still there when a slow source answers. */
export function serveRequest(
  disk: BlkbackDisk,
  pages: RequestPages,
  request: BlkifRequest,
  isOpen: () => boolean,
  answer: Answer,
): void {
  switch (request.kind) {
    case 'unknown':
      return answer(BLKIF_RSP.eopnotsupp);
    case 'malformed':
      return answer(BLKIF_RSP.error);
    case 'discard':
      return discard(disk, request, answer);
    case 'indirect':
    case 'transfer':
      return transfer(disk, pages, request, isOpen, answer);
  }
}

function discard(disk: BlkbackDisk, request: BlkifRequest & { kind: 'discard' }, answer: Answer): void {
  const { sector, sectors, flags } = request;
  if (!disk.mayDiscard || flags & BLKIF_DISCARD_SECURE) return answer(BLKIF_RSP.eopnotsupp);
  if (!isOnDisk(disk.source, sector, sectors)) return answer(BLKIF_RSP.error);
  disk.source.discard(Number(sector) * BLKIF_SECTOR, Number(sectors) * BLKIF_SECTOR, reported(disk, answer));
}

function transfer(
  disk: BlkbackDisk,
  pages: RequestPages,
  request: BlkifRequest & { kind: 'transfer' | 'indirect' },
  isOpen: () => boolean,
  answer: Answer,
): void {
  const { source } = disk;
  const { operation, sector } = request;
  const isRead = operation === BLKIF_OP.read;
  const isFlush = operation === BLKIF_OP.flushDiskcache || operation === BLKIF_OP.writeBarrier;
  const taken = new Set<GrantedPage>();
  const finish = (status: number): void => {
    pages.give(taken);
    answer(status);
  };
  const done: BlockDone = reported(disk, finish);
  if (!isRead && disk.isReadOnly && !(isFlush && sizeOf(request) === 0)) return finish(BLKIF_RSP.error);
  const pieces = piecesOf(pages, request, !isRead, taken);
  const length = pieces && pieces.reduce((sum, piece) => sum + piece.length, 0);
  if (!pieces || length === null) return finish(BLKIF_RSP.error);
  // Only a flush may have nothing to write.
  if (length === 0) return isFlush ? source.flush(done) : finish(BLKIF_RSP.error);
  const offset = Number(sector) * BLKIF_SECTOR;
  if (!isOnDisk(source, sector, BigInt(length / BLKIF_SECTOR))) return finish(BLKIF_RSP.error);
  if (offset % source.sectorSize !== 0 || length % source.sectorSize !== 0) return finish(BLKIF_RSP.error);
  if (isRead) return readInto(source, offset, pieces, isOpen, done);
  if (!isFlush) return writeFrom(source, offset, pieces, done);
  // A barrier, or a write behind a flush: nothing before it is lost where this is not.
  source.flush(error => {
    if (error || !isOpen()) return done(error);
    const isBarrier = operation === BLKIF_OP.writeBarrier;
    writeFrom(source, offset, pieces, isBarrier ? failed => (failed ? done(failed) : source.flush(done)) : done);
  });
}

/** Maps what a request names; null where that is not in order. What was mapped by then is in `taken`. */
function piecesOf(
  pages: RequestPages,
  request: BlkifRequest & { kind: 'transfer' | 'indirect' },
  readonly: boolean,
  taken: Set<GrantedPage>,
): Piece[] | null {
  try {
    const segments = request.kind === 'transfer' ? request.segments : readIndirect(pages, request, taken);
    if (!segments) return null;
    const pieces: Piece[] = [];
    for (const { gref, firstSect, lastSect } of segments) {
      if (firstSect > lastSect || lastSect >= SECTORS_PER_PAGE) return null;
      const page = pages.take(gref, readonly);
      taken.add(page);
      pieces.push({ page, offset: firstSect * BLKIF_SECTOR, length: (lastSect - firstSect + 1) * BLKIF_SECTOR });
    }
    return pieces;
  } catch (error) {
    if (error instanceof FrontendError) return null;
    throw error;
  }
}

function readIndirect(
  pages: RequestPages,
  request: BlkifRequest & { kind: 'indirect' },
  taken: Set<GrantedPage>,
): BlkifSegment[] | null {
  if (request.count > MAX_INDIRECT_SEGMENTS) return null;
  return request.pages.flatMap((ref, i) => {
    const page = pages.take(ref, true);
    taken.add(page);
    return decodeSegments(page.bytes(), request.count - i * SEGMENTS_PER_INDIRECT_PAGE);
  });
}

const bufferOf = ({ page, offset, length }: Piece): Uint8Array => page.bytes().subarray(offset, offset + length);

function readInto(
  source: BlockSource,
  offset: number,
  pieces: readonly Piece[],
  isOpen: () => boolean,
  done: BlockDone,
): void {
  const wrote = (): void => {
    for (const { page, offset: at, length } of pieces) page.wrote(at, length);
  };
  if (source.isImmediate) {
    return source.read(offset, pieces.map(bufferOf), error => {
      wrote();
      done(error);
    });
  }
  // The engine's memory may move, and the pages be somebody else's, by the time when the answer comes.
  const buffers = pieces.map(({ length }) => new Uint8Array(length));
  source.read(offset, buffers, error => {
    if (!isOpen()) return;
    if (!error) {
      pieces.forEach((piece, i) => {
        bufferOf(piece).set(buffers[i]!);
      });
    }
    wrote();
    done(error);
  });
}

function writeFrom(source: BlockSource, offset: number, pieces: readonly Piece[], done: BlockDone): void {
  const buffers = pieces.map(bufferOf);
  source.write(offset, source.isImmediate ? buffers : buffers.map(buffer => buffer.slice()), done);
}

function isOnDisk(source: BlockSource, sector: bigint, sectors: bigint): boolean {
  return (sector + sectors) * BigInt(BLKIF_SECTOR) <= BigInt(source.size);
}

function reported(disk: BlkbackDisk, answer: Answer): BlockDone {
  return error => {
    if (error) disk.log(error.message);
    answer(error ? BLKIF_RSP.error : BLKIF_RSP.okay);
  };
}
