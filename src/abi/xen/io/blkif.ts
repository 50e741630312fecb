// xen/include/public/io/blkif.h: what a block front end and back end put on their ring. Layouts differ between the ABIs: the frontend's
// "protocol" node (x86_32-abi, x86_64-abi) says which it uses.
import { array, i16, struct, u8, u16, u32, u64 } from '../../struct.ts';

/** BLKIF_OP_*. */
export const BLKIF_OP = { read: 0, write: 1, writeBarrier: 2, flushDiskcache: 3, discard: 5, indirect: 6 } as const;
/** BLKIF_RSP_*. */
export const BLKIF_RSP = { okay: 0, error: -1, eopnotsupp: -2 } as const;
/** Most segments of a request without indirect pages; of an indirect request; indirect pages. */
export const BLKIF_MAX_SEGMENTS_PER_REQUEST = 11;
export const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST = 8;
/** Flags of blkif_request_discard. */
export const BLKIF_DISCARD_SECURE = 1;
/** Values of the vbd's "info" node. */
export const VDISK = { cdrom: 1, removable: 2, readonly: 4 } as const;

/** A piece of a request: sectors (of 512 bytes) firstSect to lastSect of the granted page. */
export const blkifRequestSegment = struct('blkif_request_segment', { gref: u32, firstSect: u8, lastSect: u8 });

export const blkifRequest = struct('blkif_request', {
  operation: u8,
  nrSegments: u8,
  handle: u16,
  id: u64,
  sectorNumber: u64,
  seg: array(blkifRequestSegment, BLKIF_MAX_SEGMENTS_PER_REQUEST),
});
export const blkifRequestDiscard = struct('blkif_request_discard', {
  operation: u8,
  flag: u8,
  handle: u16,
  id: u64,
  sectorNumber: u64,
  nrSectors: u64,
});
export const blkifRequestIndirect = struct('blkif_request_indirect', {
  operation: u8,
  indirectOp: u8,
  nrSegments: u16,
  id: u64,
  sectorNumber: u64,
  handle: u16,
  indirectGrefs: array(u32, BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST),
  /** 32-bit guests only. */
  pad: array(u64, { 32: 1, 64: 0 }),
});
export const blkifResponse = struct('blkif_response', { id: u64, operation: u8, status: i16 });
