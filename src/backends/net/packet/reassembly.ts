/**
 * Puts IPv4 datagrams together again from fragments. Source: RFC 791 section 3.2, RFC 815; overlaps as RFC 5722 has them for IPv6: a
 * datagram whose fragments overlap is dropped whole, since no honest sender makes one. Datagrams, their fragments and their time are bounded.
 */
import type { Ipv4Packet } from './ipv4.ts';
import { MAX_IPV4_PAYLOAD } from './ipv4.ts';

const MAX_DATAGRAMS = 16;
const MAX_FRAGMENTS = 128;
const LIFETIME_NS = 30_000_000_000n;

interface Pieces {
  startedNs: bigint;
  /** In order, without overlap. */
  fragments: { offset: number; bytes: Uint8Array }[];
  /** Known once the last fragment has come. */
  length: number | null;
  /** Fragments overlapped: what still comes of it is dropped, too. */
  isSpoilt: boolean;
}

export class Reassembly {
  /** By source, destination, protocol and identification; the oldest first. */
  readonly #datagrams = new Map<string, Pieces>();

  /** Datagrams that wait for fragments. */
  get waiting(): number {
    return this.#datagrams.size;
  }

  /** The packet whole, where it is or this fragment makes it so; null where more is needed or it is dropped. */
  take(packet: Ipv4Packet, nowNs: bigint): Ipv4Packet | null {
    if (!packet.moreFragments && packet.fragmentOffset === 0) return packet;
    this.#forgetOld(nowNs);
    const key = `${packet.source} ${packet.destination} ${packet.protocol} ${packet.id}`;
    const pieces = this.#datagrams.get(key) ?? this.#start(key, nowNs);
    if (pieces.isSpoilt) return null;
    if (!insert(pieces, packet)) {
      pieces.isSpoilt = true;
      pieces.fragments = [];
      return null;
    }
    const payload = whole(pieces);
    if (payload === null) return null;
    this.#datagrams.delete(key);
    return { ...packet, moreFragments: false, fragmentOffset: 0, payload };
  }

  #start(key: string, nowNs: bigint): Pieces {
    if (this.#datagrams.size >= MAX_DATAGRAMS) this.#datagrams.delete(this.#datagrams.keys().next().value!);
    const pieces: Pieces = { startedNs: nowNs, fragments: [], length: null, isSpoilt: false };
    this.#datagrams.set(key, pieces);
    return pieces;
  }

  #forgetOld(nowNs: bigint): void {
    for (const [key, { startedNs }] of this.#datagrams) {
      if (nowNs - startedNs < LIFETIME_NS) return;
      this.#datagrams.delete(key);
    }
  }
}

/** False where the fragment does not fit what is there. */
function insert(pieces: Pieces, packet: Ipv4Packet): boolean {
  const { fragmentOffset: offset, payload, moreFragments } = packet;
  const end = offset + payload.length;
  if (payload.length === 0 || end > MAX_IPV4_PAYLOAD || pieces.fragments.length >= MAX_FRAGMENTS) return false;
  if (moreFragments && payload.length % 8 !== 0) return false;
  const { fragments } = pieces;
  const at = fragments.findIndex(fragment => fragment.offset >= offset);
  const next = at < 0 ? undefined : fragments[at];
  if (next !== undefined && next.offset === offset && next.bytes.length === payload.length) return true; // sent twice
  const before = fragments[at < 0 ? fragments.length - 1 : at - 1];
  if (before !== undefined && before.offset + before.bytes.length > offset) return false;
  if (next !== undefined && next.offset < end) return false;
  const last = fragments.at(-1);
  const length = moreFragments ? pieces.length : end;
  if (pieces.length !== null && (length !== pieces.length || end > pieces.length)) return false;
  if (length !== null && last !== undefined && last.offset + last.bytes.length > length) return false;
  pieces.length = length;
  fragments.splice(at < 0 ? fragments.length : at, 0, { offset, bytes: payload.slice() });
  return true;
}

function whole({ fragments, length }: Pieces): Uint8Array | null {
  if (length === null) return null;
  let end = 0;
  for (const { offset, bytes } of fragments) {
    if (offset !== end) return null;
    end += bytes.length;
  }
  if (end !== length) return null;
  const payload = new Uint8Array(length);
  for (const { offset, bytes } of fragments) payload.set(bytes, offset);
  return payload;
}
