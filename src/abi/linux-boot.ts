// The header of a Linux/x86 kernel image (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").

import { cString, hasBytesAt, viewOf } from '../util/bytes.ts';

/** Offsets in the file, and in the zero page (boot_params), where the header stands at the same place. */
export const SETUP = {
  setupSects: 0x1f1,
  rootFlags: 0x1f2,
  sysSize: 0x1f4,
  ramSize: 0x1f8,
  vidMode: 0x1fa,
  rootDev: 0x1fc,
  bootFlag: 0x1fe,
  jump: 0x200,
  header: 0x202,
  version: 0x206,
  realmodeSwitch: 0x208,
  startSysSeg: 0x20c,
  kernelVersion: 0x20e,
  typeOfLoader: 0x210,
  loadflags: 0x211,
  setupMoveSize: 0x212,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  bootsectKludge: 0x220,
  heapEndPtr: 0x224,
  extLoaderVer: 0x226,
  extLoaderType: 0x227,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  kernelAlignment: 0x230,
  relocatableKernel: 0x234,
  minAlignment: 0x235,
  xloadflags: 0x236,
  cmdlineSize: 0x238,
  hardwareSubarch: 0x23c,
  hardwareSubarchData: 0x240,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
  setupData: 0x250,
  prefAddress: 0x258,
  initSize: 0x260,
  handoverOffset: 0x264,
  kernelInfoOffset: 0x268,
} as const;

export const LOADED_HIGH = 1 << 0;
export const XLF_KERNEL_64 = 1 << 0;
export const XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1;
export const XLF_EFI_HANDOVER_64 = 1 << 3;

const HDRS = [0x48, 0x64, 0x72, 0x53];

export interface LinuxBootHeader {
  /** Boot protocol: 0x020f is 2.15. */
  readonly protocol: number;
  /** Bytes of real-mode code, boot sector included; the protected-mode part follows. */
  readonly setupSize: number;
  /** `uname -r` and more: "6.1.0-56-amd64 (builder@host) #1 SMP …"; empty where the image has none. */
  readonly kernelVersion: string;
  readonly loadflags: number;
  readonly xloadflags: number;
  readonly initrdAddrMax: number;
  readonly kernelAlignment: number;
  readonly relocatable: boolean;
  readonly minAlignment: number;
  /** Longest command line without its NUL. */
  readonly cmdlineSize: number;
  /** File offset and size of the compressed kernel; 0 and 0 before protocol 2.08. */
  readonly payloadOffset: number;
  readonly payloadLength: number;
  readonly prefAddress: bigint;
  /** Bytes of contiguous memory that the kernel needs at its load address while it starts. */
  readonly initSize: number;
  readonly handoverOffset: number;
}

/** Whether the file has a Linux boot header ("HdrS" and the boot sector's signature). */
export function isBzImage(bytes: Uint8Array): boolean {
  return hasBytesAt(bytes, SETUP.bootFlag, [0x55, 0xaa]) && hasBytesAt(bytes, SETUP.header, HDRS);
}

/** Reads the header; fields that the image's protocol does not have are 0. The caller checked isBzImage(). */
export function readBootHeader(bytes: Uint8Array): LinuxBootHeader {
  // Fields may lie past the end of a truncated file: they read as zero.
  const head = new Uint8Array(0x270);
  head.set(bytes.subarray(0, head.length));
  const view = viewOf(head);
  const protocol = view.getUint16(SETUP.version, true);
  const since = <T>(version: number, value: T, otherwise: T) => (protocol >= version ? value : otherwise);
  // 0 means 4, for the oldest kernels.
  const setupSize = ((head[SETUP.setupSects] || 4) + 1) * 512;
  const versionAt = view.getUint16(SETUP.kernelVersion, true);
  return {
    protocol,
    setupSize,
    kernelVersion: versionAt === 0 ? '' : cString(bytes, versionAt + 0x200, 512),
    loadflags: head[SETUP.loadflags],
    xloadflags: since(0x20c, view.getUint16(SETUP.xloadflags, true), 0),
    initrdAddrMax: since(0x203, view.getUint32(SETUP.initrdAddrMax, true), 0x37ffffff),
    kernelAlignment: since(0x205, view.getUint32(SETUP.kernelAlignment, true), 0),
    relocatable: since(0x205, head[SETUP.relocatableKernel] !== 0, false),
    minAlignment: since(0x20a, head[SETUP.minAlignment], 0),
    cmdlineSize: since(0x206, view.getUint32(SETUP.cmdlineSize, true), 255),
    payloadOffset: since(0x208, setupSize + view.getUint32(SETUP.payloadOffset, true), 0),
    payloadLength: since(0x208, view.getUint32(SETUP.payloadLength, true), 0),
    prefAddress: since(0x20a, view.getBigUint64(SETUP.prefAddress, true), 0n),
    initSize: since(0x20a, view.getUint32(SETUP.initSize, true), 0),
    handoverOffset: since(0x20b, view.getUint32(SETUP.handoverOffset, true), 0),
  };
}
