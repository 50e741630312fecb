/**
 * Requests and responses on a PV disk's ring. Source: xen/include/public/io/blkif.h, as its authors clarified it in 2025: sectors are of 512
 * bytes everywhere, whatever the disk's own are. Layouts follow the front end's ABI, which its "protocol" node names.
 */
import type { Abi, Of } from '../abi/struct.ts';
import {
  BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP,
  blkifRequest,
  blkifRequestDiscard,
  blkifRequestIndirect,
  blkifRequestSegment,
  blkifResponse,
} from '../abi/xen/io/blkif.ts';
import { viewOf } from '../util/bytes.ts';

export const BLKIF_SECTOR = 512;
export const SECTORS_PER_PAGE = 8;
const PAGE = 4096;
const SEGMENT = blkifRequestSegment.size(64);
/** Segments that one indirect page describes. */
export const SEGMENTS_PER_INDIRECT_PAGE = PAGE / SEGMENT;

export type BlkifSegment = Of<typeof blkifRequestSegment>;

/** A request as it stood in the ring; numbers are the guest's, unchecked but for those that say where the others are. */
export type BlkifRequest =
  | { kind: 'transfer'; operation: number; id: bigint; sector: bigint; segments: BlkifSegment[] }
  | { kind: 'indirect'; operation: number; id: bigint; sector: bigint; count: number; pages: number[] }
  | { kind: 'discard'; operation: number; id: bigint; sector: bigint; sectors: bigint; flags: number }
  /** An operation that nobody knows, or more segments than a request has room for. */
  | { kind: 'unknown'; operation: number; id: bigint }
  | { kind: 'malformed'; operation: number; id: bigint };

/** What stands in "protocol" for each ABI. */
export const BLKIF_PROTOCOLS: Readonly<Record<string, Abi>> = { 'x86_32-abi': 32, 'x86_64-abi': 64 };

/** Size of a ring's entries. */
export const blkifEntrySize = (abi: Abi): number => Math.max(blkifRequest.size(abi), blkifResponse.size(abi));

/** @param bytes a copy of the entry */
export function decodeBlkifRequest(bytes: Uint8Array, abi: Abi): BlkifRequest {
  const view = viewOf(bytes);
  const request = blkifRequest.read(view, 0, abi);
  const { operation, id, sectorNumber: sector, nrSegments } = request;
  switch (operation) {
    case BLKIF_OP.read:
    case BLKIF_OP.write:
    case BLKIF_OP.writeBarrier:
    case BLKIF_OP.flushDiskcache:
      if (nrSegments > BLKIF_MAX_SEGMENTS_PER_REQUEST) return { kind: 'malformed', operation, id };
      return { kind: 'transfer', operation, id, sector, segments: request.seg.slice(0, nrSegments) };
    case BLKIF_OP.discard: {
      const { nrSectors: sectors, flag: flags } = blkifRequestDiscard.read(view, 0, abi);
      return { kind: 'discard', operation, id, sector, sectors, flags };
    }
    case BLKIF_OP.indirect:
      return decodeIndirect(blkifRequestIndirect.read(view, 0, abi));
    default:
      return { kind: 'unknown', operation, id };
  }
}

function decodeIndirect(request: Of<typeof blkifRequestIndirect>): BlkifRequest {
  const { indirectOp: operation, id, sectorNumber: sector, nrSegments: count, indirectGrefs } = request;
  if (operation !== BLKIF_OP.read && operation !== BLKIF_OP.write) return { kind: 'unknown', operation, id };
  const pages = Math.ceil(count / SEGMENTS_PER_INDIRECT_PAGE);
  if (pages > BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST) return { kind: 'malformed', operation, id };
  return { kind: 'indirect', operation, id, sector, count, pages: indirectGrefs.slice(0, pages) };
}

/** Segments of an indirect page, up to `count`: copies. */
export function decodeSegments(page: Uint8Array, count: number): BlkifSegment[] {
  const view = viewOf(page);
  const length = Math.min(count, SEGMENTS_PER_INDIRECT_PAGE);
  return Array.from({ length }, (_, i) => blkifRequestSegment.read(view, i * SEGMENT, 64));
}

export function encodeBlkifResponse(response: Of<typeof blkifResponse>, abi: Abi): Uint8Array {
  const bytes = new Uint8Array(blkifResponse.size(abi));
  blkifResponse.write(viewOf(bytes), 0, response, abi);
  return bytes;
}
