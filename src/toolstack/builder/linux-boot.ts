// A Linux kernel put into a machine's RAM as a boot loader does it, by the kernel's own entry points: the 64-bit or the 32-bit one of a
// bzImage, whose own decompressor then runs, or the entry of a vmlinux (Documentation/arch/x86/boot.rst; zero-page.rst).
import { PT_LOAD } from '../../abi/elf.ts';
import { LOADED_HIGH, SETUP, XLF_KERNEL_64 } from '../../abi/linux-boot.ts';
import { Cr0, Cr4, Efer } from '../../cpu/helpers/control-registers.ts';
import { Attr, SystemType } from '../../cpu/helpers/descriptors.ts';
import { R, S, SEG } from '../../cpu/layout.ts';
import type { CpuState } from '../../cpu/state.ts';
import type { MemoryRange } from '../../machine/memory-layout.ts';
import { MemoryType } from '../../machine/memory-layout.ts';
import type { PhysicalMemory } from '../../machine/physical-memory.ts';
import { viewOf } from '../../util/bytes.ts';
import type { KernelImage } from '../image/kernel.ts';
import { BuildError } from './error.ts';

const PAGE = 4096;
const MIB = 1 << 20;

/** Where the loader's own things stand, all in conventional memory, which a kernel leaves alone until it has read them. */
const AT = { gdt: 0x1000, bootParams: 0x10000, pageTables: 0x20000, commandLine: 0x30000 } as const;

/** Fields of boot_params outside of the setup header (arch/x86/include/uapi/asm/bootparam.h). */
const ZERO_PAGE = {
  acpiRsdp: 0x070,
  extRamdiskImage: 0x0c0,
  extRamdiskSize: 0x0c4,
  altMemK: 0x1e0,
  e820Entries: 0x1e8,
  e820Table: 0x2d0,
  size: 4096,
} as const;
const E820_ENTRY = 20;
const E820_MAX = 128;
const TYPE_OF_LOADER_UNKNOWN = 0xff;
const CAN_USE_HEAP = 0x80;
/** End of the setup code's heap, an offset from its start: nobody runs it here. */
const HEAP_END = 0xde00;
/** The 64-bit entry stands behind the 32-bit one. */
const ENTRY_64 = 0x200;
/** __BOOT_CS and __BOOT_DS. */
const BOOT_CS = 0x10;
const BOOT_DS = 0x18;

export interface LinuxBootOptions {
  image: Pick<KernelImage, 'name' | 'elf' | 'boot' | 'bzImage'>;
  initrd: Uint8Array | null;
  cmdline: string;
  map: readonly MemoryRange[];
  /** Physical address of the RSDP; null where the machine has no ACPI. */
  rsdp: number | null;
  /** Where to enter a bzImage; the 64-bit entry where it has one. Boot loaders started by a BIOS take the 32-bit one. */
  entry?: LinuxEntry['mode'] | undefined;
}

/** Where the kernel is entered, and how. */
export interface LinuxEntry {
  mode: 'long64' | 'protected32';
  rip: number;
}

/** Puts kernel, initramfs, command line and boot_params into RAM. Throws BuildError where they do not go in. */
export function loadLinux(memory: PhysicalMemory, options: LinuxBootOptions): LinuxEntry {
  const { image, initrd, map } = options;
  const kernel = image.boot && image.bzImage ? placeBzImage(options) : placeElf(options);
  const commandLine = new TextEncoder().encode(options.cmdline);
  const limit = image.boot?.cmdlineSize ?? 2047;
  if (commandLine.length > limit) {
    throw new BuildError(`the command line has ${commandLine.length} bytes; this kernel takes at most ${limit}`);
  }
  const ramdisk = initrd && initrd.length > 0 ? placeInitrd(initrd.length, kernel, options) : null;
  kernel.load(memory);
  if (ramdisk !== null) memory.write(ramdisk, initrd!);
  memory.write(AT.commandLine, commandLine);
  memory.setU8(AT.commandLine + commandLine.length, 0);
  memory.write(AT.bootParams, zeroPage(options, ramdisk));
  writeGdt(memory);
  if (kernel.entry.mode === 'long64') writePageTables(memory);
  if (map.length > E820_MAX) throw new BuildError(`a memory map of ${map.length} ranges is too long for boot_params`);
  return kernel.entry;
}

interface PlacedKernel {
  entry: LinuxEntry;
  /** The range that it needs while it starts: [start, end). */
  start: number;
  end: number;
  load(memory: PhysicalMemory): void;
}

function placeBzImage({ image, map, entry: wish }: LinuxBootOptions): PlacedKernel {
  const boot = image.boot!;
  const code = image.bzImage!.subarray(boot.setupSize);
  if (!(boot.loadflags & LOADED_HIGH)) throw new BuildError(`${image.name}: a zImage, which is loaded below 1 MiB`);
  const long = wish !== 'protected32' && image.elf.bits === 64 && (boot.xloadflags & XLF_KERNEL_64) !== 0;
  // Before protocol 2.10 a kernel says neither where it wants to be nor what it needs: 1 MiB, and room to unpack.
  const needs = Math.max(boot.initSize, code.length + (boot.initSize === 0 ? 16 * MIB : 0));
  const wanted = boot.prefAddress > 0n ? Number(boot.prefAddress) : MIB;
  let start = wanted;
  if (!isRam(map, start, needs) && boot.relocatable) {
    const alignment = Math.max(boot.kernelAlignment, PAGE);
    start = Math.ceil(MIB / alignment) * alignment;
  }
  if (!isRam(map, start, needs)) {
    throw new BuildError(
      `${image.name} needs ${Math.ceil((start + needs) / MIB)} MiB of memory to start; the machine has less`,
    );
  }
  const entry: LinuxEntry = long ? { mode: 'long64', rip: start + ENTRY_64 } : { mode: 'protected32', rip: start };
  return { entry, start, end: start + needs, load: memory => void memory.write(start, code) };
}

/** A vmlinux: its segments where they are linked to run, entered at the ELF entry point. */
function placeElf({ image, map }: LinuxBootOptions): PlacedKernel {
  const { elf } = image;
  if (elf.bits !== 64) throw new BuildError(`${image.name}: a 32-bit vmlinux has no boot header (give the bzImage)`);
  const segments = elf.segments.filter(segment => segment.type === PT_LOAD && segment.memorySize > 0);
  let [start, end] = [Number.POSITIVE_INFINITY, 0];
  for (const { paddr, memorySize } of segments) {
    start = Math.min(start, Number(paddr));
    end = Math.max(end, Number(paddr) + memorySize);
  }
  if (!isRam(map, start, end - start)) {
    throw new BuildError(`${image.name} needs ${Math.ceil(end / MIB)} MiB of memory to start; the machine has less`);
  }
  const load = (memory: PhysicalMemory): void => {
    for (const { paddr, data, memorySize } of segments) {
      memory.write(Number(paddr), data);
      memory.fill(Number(paddr) + data.length, memorySize - data.length, 0);
    }
  };
  return { entry: { mode: 'long64', rip: Number(elf.entry) }, start, end, load };
}

/** Whether a range is RAM for the kernel to use. */
function isRam(map: readonly MemoryRange[], address: number, size: number): boolean {
  return map.some(
    range => range.type === MemoryType.ram && range.address <= address && range.address + range.size >= address + size,
  );
}

/** As high as the kernel allows, clear of the kernel. */
function placeInitrd(length: number, kernel: PlacedKernel, { image, map }: LinuxBootOptions): number {
  const limit = (image.boot?.initrdAddrMax ?? 0x7fffffff) + 1;
  let best = -1;
  for (const range of map) {
    if (range.type !== MemoryType.ram || range.address < MIB) continue;
    const end = Math.min(range.address + range.size, limit);
    const at = Math.floor((end - length) / PAGE) * PAGE;
    if (at < range.address) continue;
    if (at < kernel.end && at + length > kernel.start) continue;
    best = Math.max(best, at);
  }
  if (best < 0) {
    throw new BuildError(
      `an initramfs of ${Math.ceil(length / MIB)} MiB does not fit into the memory beside the kernel`,
    );
  }
  return best;
}

/** boot_params: the image's own setup header, filled in, and what the firmware would have told. */
function zeroPage({ image, initrd, map, rsdp }: LinuxBootOptions, ramdisk: number | null): Uint8Array {
  const page = new Uint8Array(ZERO_PAGE.size);
  const view = viewOf(page);
  if (image.bzImage) {
    const end = SETUP.header + image.bzImage[SETUP.jump + 1];
    page.set(image.bzImage.subarray(SETUP.setupSects, end), SETUP.setupSects);
  } else {
    view.setUint16(SETUP.bootFlag, 0xaa55, true);
    view.setUint32(SETUP.header, 0x53726448, true);
    view.setUint16(SETUP.version, 0x020f, true);
    page[SETUP.loadflags] = LOADED_HIGH;
    view.setUint32(SETUP.kernelAlignment, 0x1000000, true);
  }
  page[SETUP.typeOfLoader] = TYPE_OF_LOADER_UNKNOWN;
  page[SETUP.loadflags] |= CAN_USE_HEAP;
  view.setUint16(SETUP.heapEndPtr, HEAP_END, true);
  view.setUint32(SETUP.cmdLinePtr, AT.commandLine, true);
  if (ramdisk !== null) {
    view.setUint32(SETUP.ramdiskImage, ramdisk, true);
    view.setUint32(SETUP.ramdiskSize, initrd!.length, true);
    view.setUint32(ZERO_PAGE.extRamdiskImage, Math.floor(ramdisk / 2 ** 32), true);
  }
  if (rsdp !== null) view.setBigUint64(ZERO_PAGE.acpiRsdp, BigInt(rsdp), true);
  const above1M = map.find(range => range.type === MemoryType.ram && range.address === MIB);
  view.setUint32(ZERO_PAGE.altMemK, (above1M?.size ?? 0) / 1024, true);
  page[ZERO_PAGE.e820Entries] = map.length;
  map.forEach((range, i) => {
    const at = ZERO_PAGE.e820Table + i * E820_ENTRY;
    view.setBigUint64(at, BigInt(range.address), true);
    view.setBigUint64(at + 8, BigInt(range.size), true);
    view.setUint32(at + 16, range.type, true);
  });
  return page;
}

const CODE_ATTRIBUTES = Attr.present | Attr.nonSystem | Attr.code | Attr.writable | Attr.accessed | Attr.granular;
const DATA_ATTRIBUTES = Attr.present | Attr.nonSystem | Attr.writable | Attr.accessed | Attr.granular | Attr.big;
const GDT_ENTRIES = 4;

/** A flat descriptor of base 0 and limit 4 GiB. */
const flat = (attributes: number): bigint =>
  0xffffn | (BigInt(attributes & 0xff) << 40n) | (0xfn << 48n) | (BigInt(attributes >> 8) << 48n);

function writeGdt(memory: PhysicalMemory): void {
  memory.fill(AT.gdt, GDT_ENTRIES * 8, 0);
  memory.setU64(AT.gdt + BOOT_CS, flat(CODE_ATTRIBUTES | Attr.big));
  memory.setU64(AT.gdt + BOOT_DS, flat(DATA_ATTRIBUTES));
}

/** 4 GiB mapped to themselves by pages of 2 MiB. */
function writePageTables(memory: PhysicalMemory): void {
  const [present, writable, large] = [1n, 2n, 0x80n];
  const [pml4, pdpt, directories] = [AT.pageTables, AT.pageTables + PAGE, AT.pageTables + 2 * PAGE];
  memory.fill(pml4, 6 * PAGE, 0);
  memory.setU64(pml4, BigInt(pdpt) | present | writable);
  for (let gib = 0; gib < 4; gib++) {
    const directory = directories + gib * PAGE;
    memory.setU64(pdpt + gib * 8, BigInt(directory) | present | writable);
    for (let i = 0; i < 512; i++) {
      memory.setU64(directory + i * 8, (BigInt(gib * 512 + i) << 21n) | present | writable | large);
    }
  }
}

/** Gives a reset processor the state that the entry point asks for: flat segments, interrupts off, boot_params in RSI. */
export function enterLinux(state: CpuState, entry: LinuxEntry): void {
  const long = entry.mode === 'long64';
  const code = long ? CODE_ATTRIBUTES | Attr.long : CODE_ATTRIBUTES | Attr.big;
  state.writeSegment(SEG.cs, { selector: BOOT_CS, base: 0n, limit: 0xffffffff, attributes: code });
  for (const segment of [SEG.ds, SEG.es, SEG.ss, SEG.fs, SEG.gs]) {
    state.writeSegment(segment, { selector: BOOT_DS, base: 0n, limit: 0xffffffff, attributes: DATA_ATTRIBUTES });
  }
  state.writeSegment(SEG.gdtr, { selector: 0, base: BigInt(AT.gdt), limit: GDT_ENTRIES * 8 - 1, attributes: 0 });
  state.writeSegment(SEG.idtr, { selector: 0, base: 0n, limit: 0, attributes: 0 });
  const tss = { selector: 0, base: 0n, limit: 0xffff, attributes: Attr.present | SystemType.busyTss };
  state.writeSegment(SEG.tr, tss);
  state.gpr.fill(0n);
  state.gpr[R.rsi] = BigInt(AT.bootParams);
  state.rflags = 2n;
  state.rip = BigInt(entry.rip);
  if (long) {
    state.set(S.cr3, BigInt(AT.pageTables));
    state.set(S.cr4, Cr4.PAE);
    state.set(S.efer, Efer.LME | Efer.LMA);
  }
  state.set(S.cr0, (long ? Cr0.PG : 0n) | Cr0.PE | Cr0.ET | Cr0.NE);
}
