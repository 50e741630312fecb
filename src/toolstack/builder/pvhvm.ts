// The builder of PVHVM domains: a PC of the domain's own, its chips, firmware's tables and Xen's platform device, and a kernel that is put
// into its RAM and entered as a boot loader does it. Genuine Xen takes the way through hvmloader, a BIOS and a boot loader; what a kernel
// finds afterwards is the same. Source: tools/firmware/hvmloader; tools/libs/guest/xg_dom_x86.c.
import { HVM_PARAM } from '../../abi/xen/hvm.ts';
import type { Domain } from '../../hypervisor/domain.ts';
import { ShutdownReason } from '../../hypervisor/domain.ts';
import { HvmBus } from '../../hypervisor/hvm/bus.ts';
import { GuestLog } from '../../hypervisor/hvm/guest-log.ts';
import { apicIdOf, connectProcessors } from '../../hypervisor/hvm/hvm-vcpu.ts';
import { PlatformDevice, UNPLUG_PORTS } from '../../hypervisor/hvm/platform-device.ts';
import type { CallbackLines } from '../../hypervisor/hvm/upcalls.ts';
import { XEN_VERSION } from '../../hypervisor/hypervisor.ts';
import { Board } from '../../machine/board.ts';
import type { IrqWiring } from '../../machine/interrupts/irq-wiring.ts';
import { DebugConsole } from '../../machine/legacy/debug-ports.ts';
import { layOutMemory, MemoryType } from '../../machine/memory-layout.ts';
import { i440fxHostBridge, piix3IsaBridge } from '../../machine/pci/bridges.ts';
import type { SmbiosIdentity } from '../../machine/smbios.ts';
import type { KernelImage } from '../image/kernel.ts';
import { BuildError } from './error.ts';
import { populateHvm } from './hvm-memory.ts';
import { ACPI_BYTES, ACPI_TABLES, HVMLOADER_PLAN, PM_PLACES, RESERVED_START } from './hvmloader-plan.ts';
import { enterLinux, loadLinux } from './linux-boot.ts';

const PAGE = 4096;
const PAGES_PER_MIB = 256;
const LEAST_MIB = 16;
const DEBUG_PORT = 0xe9;
const SLOT = { hostBridge: 0, isaBridge: 1, platform: 2 } as const;
const ISA_GSIS = 16;
const GIB4 = 0x1_0000_0000;
const BIOS = 0xf0000;
/** What hvmloader tells of the end of the first 4 GiB: tables, then Xen's own pages, the interrupt controllers and firmware. */
const RESERVED = [
  { address: RESERVED_START, size: ACPI_BYTES, type: MemoryType.nvs },
  { address: RESERVED_START + ACPI_BYTES, size: GIB4 - RESERVED_START - ACPI_BYTES, type: MemoryType.reserved },
] as const;
const HOLE_START = HVMLOADER_PLAN.pci.memory.start;

export interface PvHvmBuildOptions {
  image: Pick<KernelImage, 'name' | 'elf' | 'boot' | 'bzImage'>;
  initrd: Uint8Array | null;
  cmdline: string;
  /** Pages of RAM. */
  pages: number;
  storePort: number;
  consolePort: number;
  /** A byte that the first serial port sends. */
  serialOutput(byte: number): void;
}

/** Fills an empty HVM domain and gives it its PC. Throws BuildError where the kernel cannot start like this. */
export function buildPvHvm(domain: Domain, options: PvHvmBuildOptions): Board {
  const { image, initrd, cmdline, pages } = options;
  const { hypervisor } = domain;
  const hvm = domain.hvm!;
  if (pages < LEAST_MIB * PAGES_PER_MIB) throw new BuildError(`a PVHVM guest has at least ${LEAST_MIB} MiB of memory`);
  const tables = { first: RESERVED_START / PAGE, count: ACPI_BYTES / PAGE };
  populateHvm(domain, { ...options, holeStart: HOLE_START / PAGE, tables });
  const board = new Board({
    processor: hypervisor.processor,
    memory: hypervisor.memory,
    clock: hvm.clock,
    plan: HVMLOADER_PLAN,
    layout: layOutMemory({
      ramBytes: pages * PAGE,
      holeStart: HOLE_START,
      reserved: RESERVED,
      acpi: { address: ACPI_TABLES, size: RESERVED_START + ACPI_BYTES - ACPI_TABLES },
      firmware: BIOS,
    }),
    map: hvm.physmap.map,
    identity: {
      oem: { id: 'Xen', table: 'HVM', creator: 'HVML' },
      smbios: hvmloaderIdentity(domain),
      hostBridge: i440fxHostBridge(),
    },
    serialOutput: options.serialOutput,
    end: (how, why) => {
      hypervisor.log(`(XEN) d${domain.id}: ${why}`);
      domain.shutDown(ShutdownReason[how]);
    },
  });
  board.pci.add(piix3IsaBridge(), SLOT.isaBridge);
  addPlatformDevice(domain, board);
  hvm.upcalls.lines = callbackLines(board.wiring);
  hvm.params.poke(HVM_PARAM.acpi_ioports_location, 1n);
  hvm.onAcpiPorts = version => board.placePm(PM_PLACES[version]);
  hvm.pirqs.connect(board.wiring, board.interrupts, board.pci);

  connectProcessors(domain, { bus: new HvmBus(domain, board.bus), interrupts: board.interrupts });
  for (const { hvm: processor } of domain.vcpus) processor!.registers.mtrrs.setUpAsFirmware(HOLE_START);
  board.runFirmware(domain.vcpus.map(({ id }) => apicIdOf(id)));
  domain.memoryMap = board.memoryMap.map(({ address, size, type }) => ({
    address: BigInt(address),
    size: BigInt(size),
    type,
  }));

  const entry = loadLinux(board.physical, { image, initrd, cmdline, map: board.memoryMap, rsdp: board.rsdp });
  const [boot] = domain.vcpus;
  boot.hvm!.apic.enterVirtualWireMode();
  enterLinux(boot.stored, entry);
  boot.hvm!.logical.activity = 'running';
  boot.isInitialised = true;
  boot.isUp = true;
  return board;
}

/** What hvmloader says of the machine (tools/firmware/hvmloader/smbios.c). */
function hvmloaderIdentity({ config }: Domain): SmbiosIdentity {
  const version = `${XEN_VERSION.major}.${XEN_VERSION.minor}${XEN_VERSION.extra}`;
  return {
    bios: { vendor: 'Xen', version, date: '01/01/2026' },
    system: { manufacturer: 'Xen', product: 'HVM domU', version },
    ...(config.handle ? { uuid: config.handle } : {}),
  };
}

function addPlatformDevice(domain: Domain, board: Board): void {
  const { ports } = board.bus;
  const log = new GuestLog(domain);
  const device = new PlatformDevice({
    log: byte => log.write(byte),
    // There are no emulated disks and network cards to begin with.
    unplug: () => {},
  });
  board.pci.add(device.pci, SLOT.platform);
  ports.attach(UNPLUG_PORTS.start, UNPLUG_PORTS.length, device.ports);
  ports.attach(DEBUG_PORT, 1, new DebugConsole(byte => log.write(byte)));
}

/** Lines that an event callback can use, each made when it is first driven. */
function callbackLines(wiring: IrqWiring): CallbackLines {
  const made = new Map<string, (level: boolean) => void>();
  const line = (name: string, make: () => (level: boolean) => void): ((level: boolean) => void) => {
    let found = made.get(name);
    if (!found) made.set(name, (found = make()));
    return found;
  };
  return {
    gsis: wiring.ioApic.pins,
    gsi: (gsi, level) => line(`gsi ${gsi}`, () => (gsi < ISA_GSIS ? wiring.isa(gsi) : wiring.gsi(gsi)))(level),
    pciIntx: (device, pin, level) => line(`pin ${device} ${pin}`, () => wiring.pci(device, pin))(level),
  };
}
