// The PVH domain builder: a kernel with a PHYS32_ENTRY note, entered without firmware in flat protected mode, on a platform of nothing but
// local APICs. What it makes is what libxenguest and libxl make (tools/libs/guest/xg_dom_x86.c, tools/libs/light/libxl_x86.c and
// libxl_x86_acpi.c); the boot protocol: docs/misc/pvh.pandoc, xen/include/public/arch-x86/hvm/start_info.h.
import { E820 } from '../../abi/xen/memory.ts';
import type { Domain, MemoryMapEntry } from '../../hypervisor/domain.ts';
import { HvmBus } from '../../hypervisor/hvm/bus.ts';
import { GuestLog } from '../../hypervisor/hvm/guest-log.ts';
import { apicIdOf, connectProcessors } from '../../hypervisor/hvm/hvm-vcpu.ts';
import type { AcpiMachine } from '../../machine/acpi/description.ts';
import { acpiTables, type PlacedBytes } from '../../machine/acpi/tables.ts';
import { PlatformBus } from '../../machine/bus.ts';
import { InterruptBus } from '../../machine/interrupts/interrupt-bus.ts';
import { DebugConsole } from '../../machine/legacy/debug-ports.ts';
import type { PhysicalMemory } from '../../machine/physical-memory.ts';
import type { KernelImage } from '../image/kernel.ts';
import { type HvmMemory, highRam, populateHvm, SPECIAL_RANGE } from './hvm-memory.ts';
import { startPvhKernel } from './pvh-kernel.ts';

const PAGE = 4096;
/** RAM below 4 GiB ends here: ACPI tables, special pages and local APICs stand above. */
const HOLE_START = 0xfc000000;
/** Where libxl puts the tables, and behind them the root pointer, of which the guest is told. */
const ACPI_TABLES = 0xfc001000;
const RSDP = 0xfc008000;
const LOCAL_APIC = 0xfee00000;
const DEBUG_PORT = 0xe9;
const MTRR_DEFAULT_TYPE = 0x2ff;
const MTRR_ENABLED_WRITE_BACK = 0x806n;

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
  const memory = populateHvm(domain, { ...options, holeStart: HOLE_START / PAGE });
  const { physical, lowEnd } = memory;
  const tables = acpiTables(hardwareOf(domain), { rsdp: RSDP, tables: ACPI_TABLES });
  placeTables(domain, physical, tables);
  domain.memoryMap = memoryMap(memory, tables);
  connectPlatform(domain);
  startPvhKernel(domain, physical, { ...options, map: domain.memoryMap, rsdp: RSDP, lowEnd });
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

const roundUp = (n: number, to: number): number => Math.ceil(n / to) * to;
