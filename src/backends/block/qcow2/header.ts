// The header of a qcow2 image and its extensions: docs/interop/qcow2.rst in QEMU.

export class Qcow2Error extends Error {
  override name = 'Qcow2Error';
}

export interface Backing {
  /** A path, relative to the image's own directory, or a URL. */
  readonly file: string;
  readonly format: string;
}

export interface Qcow2Header {
  readonly version: 2 | 3;
  /** In bytes, of the disk. */
  readonly size: number;
  readonly clusterBits: number;
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly refcountsOffset: number;
  readonly refcountsClusters: number;
  /** Binary logarithm of a reference count's bits. */
  readonly refcountOrder: number;
  readonly snapshots: number;
  readonly bitmaps: number;
  /** Reference counts may be wrong: it was not closed. */
  readonly isDirty: boolean;
  readonly isCorrupt: boolean;
  readonly backing: Backing | null;
}

const MAGIC = 0x514649fb;
export const HEADER_BYTES = 104;
const V2_HEADER_BYTES = 72;
/** Where the features stand that a reader must know. */
export const INCOMPATIBLE_AT = 72;
export const DIRTY = 1;
const CORRUPT = 2;
const COMPRESSION_TYPE = 8;
const AUTOCLEAR_AT = 88;
const EXTENSION = { end: 0, backingFormat: 0xe2792aca, bitmaps: 0x23852875 };
/** QEMU's own limits. */
const CLUSTER_BITS = { least: 9, most: 21 };
const MOST_L1_BYTES = 32 << 20;
const MOST_REFCOUNT_TABLE_BYTES = 8 << 20;
const MOST_NAME = 1023;

/** Whether a file that begins like this is such an image. */
export function isQcow2(beginning: Uint8Array): boolean {
  return beginning.length >= 4 && view(beginning).getUint32(0) === MAGIC;
}

/** @param bytes the image's first cluster, or 64 KiB. Throws Qcow2Error where the image is not one, or one that we cannot read. */
export function parseHeader(bytes: Uint8Array): Qcow2Header {
  if (!isQcow2(bytes)) throw new Qcow2Error('it is no qcow2 image');
  const header = view(bytes);
  const version = header.getUint32(4);
  if (version !== 2 && version !== 3) throw new Qcow2Error(`qcow2 images of version ${version} are not known`);
  const incompatible = version === 2 ? 0n : header.getBigUint64(INCOMPATIBLE_AT);
  const length = version === 2 ? V2_HEADER_BYTES : header.getUint32(100);
  const unknown = incompatible & ~BigInt(DIRTY | CORRUPT | COMPRESSION_TYPE);
  if (unknown !== 0n) throw new Qcow2Error(`it has features that are not built (0x${unknown.toString(16)})`);
  if (length > HEADER_BYTES && bytes[104] !== 0) throw new Qcow2Error('its clusters are not compressed by zlib');
  if (header.getUint32(32) !== 0) throw new Qcow2Error('it is encrypted');
  const clusterBits = header.getUint32(20);
  if (clusterBits < CLUSTER_BITS.least || clusterBits > CLUSTER_BITS.most)
    throw new Qcow2Error('its header is damaged');
  const extensions = parseExtensions(bytes, length);
  const parsed: Qcow2Header = {
    version,
    clusterBits,
    size: number(header, 24),
    l1Entries: header.getUint32(36),
    l1Offset: number(header, 40),
    refcountsOffset: number(header, 48),
    refcountsClusters: header.getUint32(56),
    refcountOrder: version === 2 ? 4 : header.getUint32(96),
    snapshots: header.getUint32(60),
    bitmaps: extensions.bitmaps,
    isDirty: (incompatible & BigInt(DIRTY)) !== 0n,
    isCorrupt: (incompatible & BigInt(CORRUPT)) !== 0n,
    backing: backingOf(bytes, extensions.format),
  };
  const cluster = 2 ** clusterBits;
  const isSound =
    parsed.l1Entries * 8 <= MOST_L1_BYTES &&
    parsed.l1Entries >= Math.ceil(parsed.size / (cluster * (cluster / 8))) &&
    parsed.l1Offset % cluster === 0 &&
    parsed.refcountsOffset % cluster === 0 &&
    parsed.refcountsClusters * cluster <= MOST_REFCOUNT_TABLE_BYTES &&
    parsed.size % 512 === 0;
  if (!isSound) throw new Qcow2Error('its header is damaged');
  return parsed;
}

/** A header of version 3, with its extensions and the backing file's name. */
export function encodeHeader(header: Qcow2Header): Uint8Array {
  const name = new TextEncoder().encode(header.backing?.file ?? '');
  const format = new TextEncoder().encode(header.backing?.format ?? '');
  if (name.length > MOST_NAME) throw new Qcow2Error('the path of its base is too long');
  const formatBytes = header.backing === null ? 0 : 8 + padded(format.length);
  const nameAt = HEADER_BYTES + formatBytes + 8;
  const bytes = new Uint8Array(nameAt + name.length);
  const to = view(bytes);
  to.setUint32(0, MAGIC);
  to.setUint32(4, header.version);
  to.setBigUint64(8, BigInt(header.backing === null ? 0 : nameAt));
  to.setUint32(16, name.length);
  to.setUint32(20, header.clusterBits);
  to.setBigUint64(24, BigInt(header.size));
  to.setUint32(36, header.l1Entries);
  to.setBigUint64(40, BigInt(header.l1Offset));
  to.setBigUint64(48, BigInt(header.refcountsOffset));
  to.setUint32(56, header.refcountsClusters);
  to.setUint32(96, header.refcountOrder);
  to.setUint32(100, HEADER_BYTES);
  if (header.backing !== null) {
    to.setUint32(HEADER_BYTES, EXTENSION.backingFormat);
    to.setUint32(HEADER_BYTES + 4, format.length);
    bytes.set(format, HEADER_BYTES + 8);
  }
  bytes.set(name, nameAt);
  return bytes;
}

/** The parts of a header that change while an image is written to, as what to write where. */
export function headerChange(change: {
  isDirty: boolean;
  refcounts: { offset: number; clusters: number };
}): { offset: number; bytes: Uint8Array }[] {
  const refcounts = new Uint8Array(12);
  view(refcounts).setBigUint64(0, BigInt(change.refcounts.offset));
  view(refcounts).setUint32(8, change.refcounts.clusters);
  const features = new Uint8Array(8);
  features[7] = change.isDirty ? DIRTY : 0;
  return [
    { offset: 48, bytes: refcounts },
    { offset: INCOMPATIBLE_AT, bytes: features },
    // Whatever says that something agrees with the content does not any more.
    { offset: AUTOCLEAR_AT, bytes: new Uint8Array(8) },
  ];
}

function parseExtensions(bytes: Uint8Array, start: number): { format: string | null; bitmaps: number } {
  const header = view(bytes);
  let format: string | null = null;
  let bitmaps = 0;
  for (let at = start; at + 8 <= bytes.length; ) {
    const type = header.getUint32(at);
    const length = header.getUint32(at + 4);
    at += 8;
    if (type === EXTENSION.end) break;
    if (at + length > bytes.length) throw new Qcow2Error('its header is damaged');
    if (type === EXTENSION.backingFormat) format = new TextDecoder().decode(bytes.subarray(at, at + length));
    if (type === EXTENSION.bitmaps && length >= 4) bitmaps = header.getUint32(at);
    at += padded(length);
  }
  return { format, bitmaps };
}

function backingOf(bytes: Uint8Array, format: string | null): Backing | null {
  const header = view(bytes);
  const at = number(header, 8);
  if (at === 0) return null;
  const length = header.getUint32(16);
  if (length === 0 || length > MOST_NAME || at + length > bytes.length) throw new Qcow2Error('its header is damaged');
  const file = new TextDecoder().decode(bytes.subarray(at, at + length));
  // Whoever writes to a raw base could otherwise choose what it is taken for.
  if (format === null)
    throw new Qcow2Error(
      `it does not say of which format its base "${file}" is: "qemu-img rebase -u -F" makes it do so`,
    );
  return { file, format };
}

const padded = (length: number): number => Math.ceil(length / 8) * 8;

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function number(from: DataView, at: number): number {
  const value = from.getBigUint64(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Qcow2Error('its header is damaged');
  return Number(value);
}
