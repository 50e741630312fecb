// struct virtio_net_hdr in front of every frame (virtio 1.2, 5.1.6): what of checksum and segmentation is left to be done.
import type { Frame, Segmentation } from '../../backends/net/link.ts';

/** Length without and with num_buffers. */
export const HEADER = 10;
export const HEADER_WITH_BUFFERS = 12;

const NEEDS_CHECKSUM = 1;
const Gso = { none: 0, tcpv4: 1, tcpv6: 4, ecn: 0x80 } as const;
const TCP_DATA_OFFSET = 12;

/** A frame as the driver hands it over; null where what it says makes no sense. */
export function decodeHeader(header: Uint8Array, bytes: Uint8Array): Frame | null {
  const view = new DataView(header.buffer, header.byteOffset);
  const gsoType = view.getUint8(1) & ~Gso.ecn;
  const size = view.getUint16(4, true);
  const needsChecksum = (view.getUint8(0) & NEEDS_CHECKSUM) !== 0;
  const start = view.getUint16(6, true);
  const offset = view.getUint16(8, true);
  if (needsChecksum && start + offset + 2 > bytes.length) return null;
  const checksum = needsChecksum ? { start, offset } : null;
  if (gsoType === Gso.none) return { bytes, checksum, segmentation: null };
  const type = gsoType === Gso.tcpv4 ? 'tcpv4' : gsoType === Gso.tcpv6 ? 'tcpv6' : null;
  if (type === null || size === 0 || !checksum) return null;
  return { bytes, checksum, segmentation: { type, size } };
}

/** Writes a frame's header to the start of `into`; `buffers` is null where the header has no such field. */
export function encodeHeader(into: Uint8Array, frame: Frame, buffers: number | null): void {
  const view = new DataView(into.buffer, into.byteOffset);
  const { checksum, segmentation, bytes } = frame;
  if (checksum) {
    view.setUint8(0, NEEDS_CHECKSUM);
    view.setUint16(6, checksum.start, true);
    view.setUint16(8, checksum.offset, true);
  }
  if (checksum && segmentation) {
    view.setUint8(1, gsoOf(segmentation));
    view.setUint16(2, checksum.start + ((bytes[checksum.start + TCP_DATA_OFFSET] ?? 0) >> 4) * 4, true);
    view.setUint16(4, segmentation.size, true);
  }
  if (buffers !== null) view.setUint16(10, buffers, true);
}

const gsoOf = ({ type }: Segmentation): number => (type === 'tcpv4' ? Gso.tcpv4 : Gso.tcpv6);
