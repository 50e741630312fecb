// The PVH domain builder: a kernel with a PHYS32_ENTRY note, entered without firmware in flat protected mode, on a platform of nothing but
// local APICs. What it makes is what libxenguest and libxl make (tools/libs/guest/xg_dom_x86.c, tools/libs/light/libxl_x86.c and
// libxl_x86_acpi.c); the boot protocol: docs/misc/pvh.pandoc, xen/include/public/arch-x86/hvm/start_info.h.
import { PT_LOAD } from '../../abi/elf.ts';
import {
  HVM_START_MAGIC,
  hvmMemmapTableEntry,
  hvmModlistEntry,
  hvmStartInfo,
  VCPU_HVM_MODE,
  vcpuHvmContext,
} from '../../abi/xen/hvm.ts';
import { E820 } from '../../abi/xen/memory.ts';
import type { Domain, MemoryMapEntry } from '../../hypervisor/domain.ts';
import { HvmBus } from '../../hypervisor/hvm/bus.ts';
import { loadHvmContext } from '../../hypervisor/hvm/context.ts';
import { GuestLog } from '../../hypervisor/hvm/guest-log.ts';
import { apicIdOf, connectProcessors } from '../../hypervisor/hvm/hvm-vcpu.ts';
import type { AcpiMachine } from '../../machine/acpi/description.ts';
import { acpiTables, type PlacedBytes } from '../../machine/acpi/tables.ts';
import { PlatformBus } from '../../machine/bus.ts';
import { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { DebugConsole } from '../../machine/legacy/debug-ports.ts';
import type { PhysicalMemory } from '../../machine/physical-memory.ts';
import type { KernelImage } from '../image/kernel.ts';
import { BuildError } from './error.ts';
import { type HvmMemory, highRam, populateHvm, SPECIAL_RANGE } from './hvm-memory.ts';

const PAGE = 4096;
const MIB = 1 << 20;
/** RAM below 4 GiB ends here: ACPI tables, special pages and local APICs stand above. */
const HOLE_START = 0xfc000000;
/** Where libxl puts the tables, and behind them the root pointer, of which the guest is told. */
const ACPI_TABLES = 0xfc001000;
const RSDP = 0xfc008000;
const LOCAL_APIC = 0xfee00000;
const DEBUG_PORT = 0xe9;
const MTRR_DEFAULT_TYPE = 0x2ff;
const MTRR_ENABLED_WRITE_BACK = 0x806n;
const START_INFO_VERSION = 1;
/** Room for modules in the list that libxenguest leaves, whatever their number. */
const MODULE_SLOTS = 2;

/** Registers at the entry: docs/misc/pvh.pandoc. */
const CR0_PE_ET = 0x11;
const FLAT_CODE = 0xc9b;
const FLAT_DATA = 0xc93;
const TSS = { limit: 0x67, attributes: 0x8b } as const;

export interface PvhBuildOptions {
  image: Pick<KernelImage, 'elf' | 'xen' | 'name'>;
  initrd: Uint8Array | null;
  cmdline: string;
  /** Pages of RAM. */
  pages: number;
  storePort: number;
  consolePort: number;
}

/** Fills an empty HVM domain and gives it its processors. Throws BuildError where the kernel cannot start like this. */
export function buildPvh(domain: Domain, options: PvhBuildOptions): void {
  const { image } = options;
  const { phys32Entry } = image.xen;
  if (phys32Entry === null) throw new BuildError(`${image.name}: the kernel has no PVH entry point (PHYS32_ENTRY)`);
  const memory = populateHvm(domain, { ...options, holeStart: HOLE_START / PAGE });
  const { physical } = memory;
  const tables = acpiTables(hardwareOf(domain), { rsdp: RSDP, tables: ACPI_TABLES });
  placeTables(domain, physical, tables);
  domain.memoryMap = memoryMap(memory, tables);

  const kernel = placeKernel(options, memory.lowEnd);
  for (const { paddr, data, memorySize } of kernel.segments) {
    physical.write(paddr, data);
    physical.fill(paddr + data.length, memorySize - data.length, 0);
  }
  const startInfo = writeStartInfo(physical, options, domain.memoryMap, kernel.end, memory.lowEnd);

  connectPlatform(domain);
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

/** The platform: an interrupt bus with the vCPUs' local APICs on it, and a port to the log; no devices. */
function connectPlatform(domain: Domain): void {
  const devices = new PlatformBus();
  connectProcessors(domain, { bus: new HvmBus(domain, devices), interrupts: new InterruptBus() });
  const log = new GuestLog(domain);
  devices.ports.attach(DEBUG_PORT, 1, new DebugConsole(byte => log.write(byte)));
  // All memory is cached: there are no devices.
  for (const { hvm } of domain.vcpus) hvm!.registers.wrmsr(MTRR_DEFAULT_TYPE, MTRR_ENABLED_WRITE_BACK);
}

/** Firmware's tables are pages of the domain's, beside its RAM. */
function placeTables(domain: Domain, physical: PhysicalMemory, tables: readonly PlacedBytes[]): void {
  const { frames } = domain.hypervisor;
  const { physmap } = domain.hvm!;
  for (const { address, bytes } of tables) {
    for (let gfn = Math.floor(address / PAGE); gfn * PAGE < address + bytes.length; gfn++) {
      if (physmap.typeOf(gfn) === 'none') physmap.add(gfn, frames.allocate(domain));
    }
    physical.write(address, bytes);
  }
}

/** Processors with local APICs, and nothing else: a hardware-reduced machine. */
function hardwareOf({ vcpus }: Domain): AcpiMachine {
  return {
    oem: { id: 'Xen', table: 'HVM', creator: 'HVML' },
    apicIds: vcpus.map(({ id }) => apicIdOf(id)),
    localApic: LOCAL_APIC,
    ioApic: null,
    overrides: [],
    fixed: null,
    isa: null,
    hpet: null,
    pci: null,
  };
}

/** As libxl orders it: RAM, special pages, ACPI tables, RAM above 4 GiB. */
function memoryMap(memory: HvmMemory, tables: readonly PlacedBytes[]): MemoryMapEntry[] {
  const start = ACPI_TABLES;
  const end = Math.max(...tables.map(({ address, bytes }) => address + bytes.length));
  return [
    { address: 0n, size: BigInt(memory.lowEnd), type: E820.ram },
    SPECIAL_RANGE,
    { address: BigInt(start), size: BigInt(roundUp(end - start, PAGE)), type: E820.acpi },
    ...highRam(memory),
  ];
}

interface PlacedKernel {
  segments: { paddr: number; data: Uint8Array; memorySize: number }[];
  /** First address after it. */
  end: number;
  /** How far it has been moved from where it is linked to be. */
  offset: number;
}

/** Where it is linked to be loaded; elsewhere only if there is no room and the kernel says that it can be moved (PHYS32_RELOC). */
function placeKernel({ image }: PvhBuildOptions, lowEnd: number): PlacedKernel {
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
  { image, initrd, cmdline }: PvhBuildOptions,
  map: readonly MemoryMapEntry[],
  kernelEnd: number,
  lowEnd: number,
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
      nrModules: initrd ? 1 : 0,
      modlistPaddr: initrd ? BigInt(modulesAt) : 0n,
      cmdlinePaddr: BigInt(commandLineAt),
      rsdpPaddr: BigInt(RSDP),
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
