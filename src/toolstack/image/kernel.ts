// A kernel file read into what the domain builders need: bzImage or ELF, compressed or not, given as bytes.

import { ElfError, type ElfFile, EM_386, EM_X86_64, isElf, PT_LOAD, readElf } from '../../abi/elf.ts';
import { isBzImage, type LinuxBootHeader, readBootHeader } from '../../abi/linux-boot.ts';
import { cString, indexOfBytes, viewOf } from '../../util/bytes.ts';
import { type Compression, DecompressError, decompress, detectCompression } from '../../util/decompress/index.ts';
import { ImageError } from './error.ts';
import type { ModuleTree } from './modules.ts';
import { readXenNotes, type XenNotes } from './xen-notes.ts';

export interface KernelImage {
  /** The name it was given under, usually the file's. */
  readonly name: string;
  /** Lower-case hexadecimal digest of the file as given (of the package, where it was one). */
  readonly sha256: string;
  readonly format: 'bzImage' | 'vmlinux';
  /** How the kernel proper is compressed; null where it is not. */
  readonly compression: Compression | null;
  /** `uname -r`, such as "6.1.0-56-amd64"; empty for a kernel that is not Linux. */
  readonly release: string;
  /** The whole version text: release, builder, build number and date; empty as above. */
  readonly version: string;
  /** The real-mode header; null for a vmlinux. */
  readonly boot: LinuxBootHeader | null;
  /** The bzImage's bytes as a native boot loader reads them; null for a vmlinux. */
  readonly bzImage: Uint8Array | null;
  /** The uncompressed kernel. Load its PT_LOAD segments by `paddr - paddrOffset`. */
  readonly elf: ElfFile;
  /** What it tells Xen. */
  readonly xen: XenNotes;
  /** Xen's VIRT_BASE and PADDR_OFFSET, 0 where unset; ENTRY, or the ELF entry where unset. */
  readonly virtBase: bigint;
  readonly paddrOffset: bigint;
  readonly entry: bigint;
  /** The virtual range that the loaded segments take: [start, end). */
  readonly virtStart: bigint;
  readonly virtEnd: bigint;
  /** CONFIG_ options without the prefix ("XEN_PV" → "y"), where the package has its configuration. */
  readonly config: ReadonlyMap<string, string> | null;
  /** The package's modules, where it was a package. */
  readonly modules: ModuleTree | null;
}

/** What the bytes of a kernel file say by themselves. */
export type KernelFile = Omit<KernelImage, 'name' | 'sha256' | 'config' | 'modules'>;

/** Whether these bytes may be a kernel file. */
export function looksLikeKernel(bytes: Uint8Array): boolean {
  return isBzImage(bytes) || isElf(bytes) || detectCompression(bytes) !== null;
}

/** Reads a bzImage or an ELF kernel. Rejects with ImageError; `name` is for its message. */
export async function readKernel(bytes: Uint8Array, name: string): Promise<KernelFile> {
  if (isBzImage(bytes)) return readBzImage(bytes, name);
  if (isElf(bytes)) return describe('vmlinux', null, bytes, null, null, name);
  const compression = detectCompression(bytes);
  if (compression !== null) {
    const inner = await unpack(bytes, name, undefined);
    if (isElf(inner)) return describe('vmlinux', compression, inner, null, null, name);
    throw new ImageError(`${name}: a ${compression} file that does not contain a kernel`);
  }
  if (bytes.length === 0) throw new ImageError(`${name}: the file is empty`);
  throw new ImageError(`${name}: not a kernel (neither a bzImage, nor an ELF file, nor a kernel package)`);
}

async function readBzImage(bytes: Uint8Array, name: string): Promise<KernelFile> {
  const boot = readBootHeader(bytes);
  if (boot.payloadLength === 0) {
    throw new ImageError(
      `${name}: its boot protocol, ${protocolText(boot)}, is older than 2.08 and does not say where the kernel is`,
    );
  }
  const end = boot.payloadOffset + boot.payloadLength;
  if (end > bytes.length) {
    throw new ImageError(`${name}: truncated: the kernel in it ends at byte ${end}, the file at ${bytes.length}`);
  }
  let payload = bytes.subarray(boot.payloadOffset, end);
  if (isElf(payload)) return describe('bzImage', null, payload, boot, bytes, name);
  const compression = detectCompression(payload);
  if (compression === null || payload.length < 8) {
    throw new ImageError(`${name}: the kernel in it is compressed in no known format`);
  }
  // All formats but gzip, whose own last field it is, have the uncompressed size appended.
  const size = viewOf(payload).getUint32(payload.length - 4, true);
  if (compression !== 'gzip') payload = payload.subarray(0, -4);
  const elf = await unpack(payload, name, size);
  if (elf.length !== size)
    throw new ImageError(`${name}: corrupted: the kernel in it has ${elf.length} bytes instead of ${size}`);
  return describe('bzImage', compression, elf, boot, bytes, name);
}

async function unpack(bytes: Uint8Array, name: string, size: number | undefined): Promise<Uint8Array> {
  try {
    return await decompress(bytes, size === undefined ? {} : { size });
  } catch (error) {
    if (!(error instanceof DecompressError)) throw error;
    throw new ImageError(`${name}: the kernel in it cannot be decompressed: ${error.message}`, { cause: error });
  }
}

function describe(
  format: KernelFile['format'],
  compression: Compression | null,
  bytes: Uint8Array,
  boot: LinuxBootHeader | null,
  bzImage: Uint8Array | null,
  name: string,
): KernelFile {
  const elf = readKernelElf(bytes, name);
  const xen = readXenNotes(elf);
  const version = boot !== null && boot.kernelVersion !== '' ? boot.kernelVersion : linuxBanner(elf);
  const virtBase = xen.virtBase ?? 0n;
  const paddrOffset = xen.paddrOffset ?? 0n;
  let [low, high] = [2n ** 64n, 0n];
  for (const segment of elf.segments) {
    if (segment.type !== PT_LOAD || segment.memorySize === 0) continue;
    const end = segment.paddr + BigInt(segment.memorySize);
    if (segment.paddr < low) low = segment.paddr;
    if (end > high) high = end;
  }
  const offset = virtBase - paddrOffset;
  return {
    format,
    compression,
    release: version.split(' ')[0],
    version,
    boot,
    bzImage,
    elf,
    xen,
    virtBase,
    paddrOffset,
    entry: xen.entry ?? elf.entry,
    virtStart: BigInt.asUintN(64, low + offset),
    virtEnd: BigInt.asUintN(64, high + offset),
  };
}

function readKernelElf(bytes: Uint8Array, name: string): ElfFile {
  try {
    const elf = readElf(bytes);
    if (elf.machine !== EM_X86_64 && elf.machine !== EM_386) {
      throw new ElfError(`the kernel is for another processor (ELF machine ${elf.machine}), not for x86`);
    }
    if (!elf.segments.some(segment => segment.type === PT_LOAD && segment.memorySize > 0)) {
      throw new ElfError('the ELF file has nothing to load');
    }
    return elf;
  } catch (error) {
    if (!(error instanceof ElfError)) throw error;
    throw new ImageError(`${name}: ${error.message}`, { cause: error });
  }
}

/** The text of Linux's linux_banner ("Linux version …") without its first two words; empty where there is none. */
function linuxBanner(elf: ElfFile): string {
  const marker = new TextEncoder().encode('Linux version ');
  const areas = elf.segments.filter(segment => segment.type === PT_LOAD).map(segment => segment.data);
  for (const area of areas) {
    for (let at = indexOfBytes(area, marker); at >= 0; at = indexOfBytes(area, marker, at + 1)) {
      const text = cString(area, at + marker.length, 512);
      // A format string follows the banner in some kernels: a version starts with a digit.
      if (/^\d/.test(text)) return text.trim();
    }
  }
  return '';
}

/** "2.15" for 0x020f. */
export function protocolText(boot: LinuxBootHeader): string {
  return `${boot.protocol >> 8}.${String(boot.protocol & 0xff).padStart(2, '0')}`;
}
