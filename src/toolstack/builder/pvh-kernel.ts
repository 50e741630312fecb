// A kernel with a PHYS32_ENTRY note in a domain's memory, ready to be entered: as the PVH boot protocol says, whoever builds the domain.
// Source: docs/misc/pvh.pandoc, xen/include/public/arch-x86/hvm/start_info.h; tools/libs/guest/xg_dom_x86.c.
import { PT_LOAD } from '../../abi/elf.ts';
import {
  HVM_START_MAGIC,
  hvmMemmapTableEntry,
  hvmModlistEntry,
  hvmStartInfo,
  VCPU_HVM_MODE,
  vcpuHvmContext,
} from '../../abi/xen/hvm.ts';
import type { Domain, MemoryMapEntry } from '../../hypervisor/domain.ts';
import { loadHvmContext } from '../../hypervisor/hvm/context.ts';
import type { PhysicalMemory } from '../../machine/physical-memory.ts';
import type { KernelImage } from '../image/kernel.ts';
import { BuildError } from './error.ts';

const PAGE = 4096;
const MIB = 1 << 20;
const START_INFO_VERSION = 1;
/** Room for modules in the list that libxenguest leaves, whatever their number. */
const MODULE_SLOTS = 2;

/** Registers at the entry: docs/misc/pvh.pandoc. */
const CR0_PE_ET = 0x11;
const FLAT_CODE = 0xc9b;
const FLAT_DATA = 0xc93;
const TSS = { limit: 0x67, attributes: 0x8b } as const;

export interface PvhKernelOptions {
  image: Pick<KernelImage, 'elf' | 'xen' | 'name'>;
  initrd: Uint8Array | null;
  cmdline: string;
  /** What the kernel is told: its memory map, and where ACPI's root pointer is. */
  map: readonly MemoryMapEntry[];
  rsdp: number;
  /** SIF_* of public/xen.h. */
  flags?: number;
  /** First address after the RAM that kernel and initramfs go into. */
  lowEnd: number;
}

/** Loads the kernel and gives the boot processor its registers. Throws BuildError where the kernel cannot start like this. */
export function startPvhKernel(domain: Domain, physical: PhysicalMemory, options: PvhKernelOptions): void {
  const { image } = options;
  const { phys32Entry } = image.xen;
  if (phys32Entry === null) throw new BuildError(`${image.name}: the kernel has no PVH entry point (PHYS32_ENTRY)`);
  const kernel = placeKernel(options);
  for (const { paddr, data, memorySize } of kernel.segments) {
    physical.write(paddr, data);
    physical.fill(paddr + data.length, memorySize - data.length, 0);
  }
  const startInfo = writeStartInfo(physical, options, kernel.end);
  const context = vcpuHvmContext.zero();
  context.mode = VCPU_HVM_MODE.bits32;
  Object.assign(context.cpuRegs.x8632, {
    ebx: startInfo,
    eip: phys32Entry + kernel.offset,
    eflags: 2,
    cr0: CR0_PE_ET,
    csLimit: 0xffffffff,
    dsLimit: 0xffffffff,
    ssLimit: 0xffffffff,
    esLimit: 0xffffffff,
    trLimit: TSS.limit,
    csAr: FLAT_CODE,
    dsAr: FLAT_DATA,
    ssAr: FLAT_DATA,
    esAr: FLAT_DATA,
    trAr: TSS.attributes,
  });
  loadHvmContext(domain.vcpus[0], context);
  domain.vcpus[0].isUp = true;
}

interface PlacedKernel {
  segments: { paddr: number; data: Uint8Array; memorySize: number }[];
  /** First address after it. */
  end: number;
  /** How far it has been moved from where it is linked to be. */
  offset: number;
}

/** Where it is linked to be loaded; elsewhere only if there is no room and the kernel says that it can be moved (PHYS32_RELOC). */
function placeKernel({ image, lowEnd }: PvhKernelOptions): PlacedKernel {
  const loads = image.elf.segments.filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0);
  const start = Math.min(...loads.map(({ paddr }) => Number(paddr)));
  const end = Math.max(...loads.map(({ paddr, memorySize }) => Number(paddr) + memorySize));
  let offset = 0;
  if (end > lowEnd) {
    const reloc = image.xen.phys32Reloc;
    const at = reloc ? Math.ceil(reloc.min / reloc.align) * reloc.align : start;
    if (!reloc || at + (end - start) > lowEnd || at + (end - start) - 1 > reloc.max) {
      throw new BuildError(
        `${image.name} needs ${Math.ceil(end / MIB)} MiB of memory to start; the domain has ${Math.floor(lowEnd / MIB)}`,
      );
    }
    offset = at - start;
  }
  const segments = loads.map(({ paddr, data, memorySize }) => ({ paddr: Number(paddr) + offset, data, memorySize }));
  return { segments, end: end + offset, offset };
}

const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;

/** hvm_start_info with what it points at, on the pages after the kernel, and the module after that. Returns its address. */
function writeStartInfo(
  physical: PhysicalMemory,
  { image, initrd, cmdline, map, rsdp, flags = 0, lowEnd }: PvhKernelOptions,
  kernelEnd: number,
): number {
  const at = roundUp(kernelEnd, PAGE);
  const commandLine = new TextEncoder().encode(`${cmdline}\0`);
  const commandLineAt = at + hvmStartInfo.size(64);
  const modulesAt = commandLineAt + roundUp(commandLine.length, 8);
  const mapAt = modulesAt + MODULE_SLOTS * hvmModlistEntry.size(64);
  const infoEnd = mapAt + map.length * hvmMemmapTableEntry.size(64);
  const moduleAt = roundUp(infoEnd, PAGE);
  if (moduleAt + (initrd?.length ?? 0) > lowEnd) {
    throw new BuildError(
      `${image.name} and its initramfs do not fit into the domain's ${Math.floor(lowEnd / MIB)} MiB`,
    );
  }
  const raw = new Uint8Array(infoEnd - at);
  const view = new DataView(raw.buffer);
  hvmStartInfo.write(
    view,
    0,
    {
      ...hvmStartInfo.zero(),
      magic: HVM_START_MAGIC,
      version: START_INFO_VERSION,
      flags,
      nrModules: initrd ? 1 : 0,
      modlistPaddr: initrd ? BigInt(modulesAt) : 0n,
      cmdlinePaddr: BigInt(commandLineAt),
      rsdpPaddr: BigInt(rsdp),
      memmapPaddr: BigInt(mapAt),
      memmapEntries: map.length,
    },
    64,
  );
  raw.set(commandLine, commandLineAt - at);
  if (initrd) {
    const entry = { ...hvmModlistEntry.zero(), paddr: BigInt(moduleAt), size: BigInt(initrd.length) };
    hvmModlistEntry.write(view, modulesAt - at, entry, 64);
    physical.write(moduleAt, initrd);
  }
  map.forEach(({ address, size, type }, i) => {
    const entry = { addr: address, size, type, reserved: 0 };
    hvmMemmapTableEntry.write(view, mapAt - at + i * hvmMemmapTableEntry.size(64), entry, 64);
  });
  physical.write(at, raw);
  return at;
}
