/**
 * Packets on the rings of a PV network device: which requests make one up, and which responses. Source: xen/include/public/io/netif.h.
 *
 *   transmit: a request; extra infos while the one before says so; a request for each further piece while the one before says so
 *   receive: the same of responses, where extra infos take the place of one
 *
 * The first transmit request has the whole packet's size, those after it their own. Everything was copied from the ring, but is
 * the guest's word: what contradicts itself is refused here, before a grant is touched.
 */

import { member, type Of } from '../abi/struct.ts';
import {
  NETRXF,
  NETTXF,
  netifExtraInfo,
  netifRxRequest,
  netifRxResponse,
  netifTxRequest,
  netifTxResponse,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE,
} from '../abi/xen/io/netif.ts';
import { viewOf } from '../util/bytes.ts';

export const TX_ENTRY = netifTxRequest.size(64);
export const RX_ENTRY = Math.max(netifRxRequest.size(64), netifRxResponse.size(64));
/** Requests with data of one packet at most: XEN_NETIF_NR_SLOTS_MIN, what every back end takes. */
export const MAX_SLOTS = 18;
const MAX_EXTRAS = 4;
const PAGE = 4096;
const ETHERNET_HEADER = 14;

export type TxRequest = Of<typeof netifTxRequest>;
export type RxRequest = Of<typeof netifRxRequest>;
export type ExtraInfo = Of<typeof netifExtraInfo>;

/** A piece of a packet: `size` bytes of a granted page from `offset` on. */
export interface TxPiece {
  id: number;
  gref: number;
  offset: number;
  size: number;
}

export interface TxPacket {
  flags: number;
  /** All of it, in bytes. */
  size: number;
  pieces: TxPiece[];
  extras: ExtraInfo[];
  /** Ids of its requests, each of which gets a response with the packet's status. */
  ids: number[];
  /** What is wrong with this packet alone; null where nothing is. */
  problem: string | null;
}

/**
 * Takes one packet from the ring. `more()` says whether a further entry waits, `take()` takes it. A string: the front end does not keep to the
 * protocol at all, and nothing after it can be understood.
 */
export function takeTxPacket(more: () => boolean, take: () => Uint8Array): TxPacket | string {
  const first = readTx(take());
  const packet: TxPacket = {
    flags: first.flags,
    size: first.size,
    pieces: [],
    extras: [],
    ids: [first.id],
    problem: first.size < ETHERNET_HEADER ? `a packet of ${first.size} bytes` : null,
  };
  for (let hasExtra = (first.flags & NETTXF.extraInfo) !== 0; hasExtra; ) {
    if (!more()) return 'an extra info is missing';
    if (packet.extras.length >= MAX_EXTRAS) return 'too many extra infos';
    const extra = netifExtraInfo.read(viewOf(take()), 0, 64);
    if (extra.type === XEN_NETIF_EXTRA_TYPE.none || extra.type > XEN_NETIF_EXTRA_TYPE.hash) {
      return `an extra info of type ${extra.type}`;
    }
    packet.extras.push(extra);
    hasExtra = (extra.flags & XEN_NETIF_EXTRA_FLAG_MORE) !== 0;
  }
  const rest: TxRequest[] = [];
  for (let hasMore = (first.flags & NETTXF.moreData) !== 0; hasMore; ) {
    if (!more()) return 'a packet goes on where the ring ends';
    const request = readTx(take());
    packet.ids.push(request.id);
    rest.push(request);
    hasMore = (request.flags & NETTXF.moreData) !== 0;
  }
  if (rest.length + 1 > MAX_SLOTS) packet.problem ??= `a packet of ${rest.length + 1} pieces`;
  const restSize = rest.reduce((total, { size }) => total + size, 0);
  if (restSize > first.size) packet.problem ??= 'pieces larger than their packet';
  for (const piece of [{ ...first, size: first.size - restSize }, ...rest]) {
    if (packet.problem !== null) break;
    if (piece.offset + piece.size > PAGE) return `a piece of ${piece.size} bytes at ${piece.offset} crosses its page`;
    packet.pieces.push(piece);
  }
  return packet;
}

function readTx(entry: Uint8Array): TxRequest {
  return netifTxRequest.read(viewOf(entry), 0, 64);
}

export function readRxRequest(entry: Uint8Array): RxRequest {
  return netifRxRequest.read(viewOf(entry), 0, 64);
}

export function txResponse(id: number, status: number): Uint8Array {
  const entry = new Uint8Array(netifTxResponse.size(64));
  netifTxResponse.write(viewOf(entry), 0, { id, status }, 64);
  return entry;
}

/** `status`: bytes in the page, or NETIF_RSP. */
export function rxResponse(id: number, flags: number, status: number): Uint8Array {
  const entry = new Uint8Array(netifRxResponse.size(64));
  netifRxResponse.write(viewOf(entry), 0, { id, offset: 0, flags, status }, 64);
  return entry;
}

/** A large segment: NETIF_GSO_TYPE, and payload bytes on the wire. */
export interface GsoExtra {
  type: number;
  size: number;
}

/** A hash that the front end asked for by its control ring. */
export interface HashExtra {
  type: number;
  algorithm: number;
  value: number;
}

/** Extra infos of a received packet, in order. */
export function rxExtras(gso: GsoExtra | null, hash: HashExtra | null): Uint8Array[] {
  const infos: ExtraInfo[] = [];
  if (gso !== null) {
    infos.push({ type: XEN_NETIF_EXTRA_TYPE.gso, flags: 0, u: member({ gso: { ...gso, pad: 0, features: 0 } }) });
  }
  if (hash !== null) {
    const value = new Uint8Array(4);
    viewOf(value).setUint32(0, hash.value, true);
    infos.push({ type: XEN_NETIF_EXTRA_TYPE.hash, flags: 0, u: member({ hash: { ...hash, value } }) });
  }
  return infos.map((info, i) => {
    const entry = new Uint8Array(netifExtraInfo.size(64));
    const flags = i + 1 < infos.length ? XEN_NETIF_EXTRA_FLAG_MORE : 0;
    netifExtraInfo.write(viewOf(entry), 0, { ...info, flags }, 64);
    return entry;
  });
}

/** Pages that a frame fills. */
export const pagesFor = (length: number): number => Math.max(1, Math.ceil(length / PAGE));

/** Flags of a receive response. */
export function rxFlags(isPartial: boolean, more: boolean, extra: boolean): number {
  return (
    (isPartial ? NETRXF.csumBlank | NETRXF.dataValidated : 0) |
    (more ? NETRXF.moreData : 0) |
    (extra ? NETRXF.extraInfo : 0)
  );
}
