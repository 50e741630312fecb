// A PC's board: buses and chips, without processors. Bare machines put processors on it (pc.ts), a hypervisor drives it in their place.
import type { EngineMemory } from '../cpu/memory.ts';
import type { CpuModel } from '../cpu/models/model.ts';
import { PhysicalMap } from '../cpu/physical-map.ts';
import type { Processor } from '../cpu/types.ts';
import type { AcpiMachine } from './acpi/description.ts';
import { AcpiPm, GPE0_LENGTH, PM_LENGTH } from './acpi/pm.ts';
import { acpiTables } from './acpi/tables.ts';
import { type BoardPlan, holeOf, OWN_PLAN } from './board-plan.ts';
import { type Detach, PlatformBus } from './bus.ts';
import { type ChipClock, type RegisterSpace, unconnected } from './chip.ts';
import { InterruptBus } from './interrupts/interrupt-bus.ts';
import { IrqWiring, pciLink } from './interrupts/irq-wiring.ts';
import { I8042 } from './legacy/i8042.ts';
import { RESET_PORT, RESET_VALUE, ResetControl, SystemControlPortA } from './legacy/reset.ts';
import type { MemoryLayout, MemoryRange } from './memory-layout.ts';
import { genericHostBridge } from './pci/bridges.ts';
import { PciBus } from './pci/bus.ts';
import { CONFIG_PORTS, ConfigPorts, ECAM_SIZE, EcamWindow } from './pci/config-access.ts';
import { assignResources } from './pci/firmware.ts';
import type { PciFunction } from './pci/function.ts';
import { PhysicalMemory } from './physical-memory.ts';
import { Uart16550 } from './serial/uart-16550.ts';
import { type SmbiosIdentity, smbiosProcessor, smbiosTables } from './smbios.ts';
import { cmosMemory } from './timers/cmos-memory.ts';
import { CmosRtc } from './timers/cmos-rtc.ts';
import { HPET_LENGTH, Hpet } from './timers/hpet.ts';
import { Pit8254 } from './timers/pit-8254.ts';
import { SystemControlPort } from './timers/system-control.ts';

export type MachineEnd = 'poweroff' | 'reboot' | 'crash';

/** What software is told of the maker. */
export interface BoardIdentity {
  /** In ACPI tables: at most 6, 8 and 4 characters. */
  readonly oem: AcpiMachine['oem'];
  readonly smbios: SmbiosIdentity;
  readonly hostBridge: PciFunction;
}

export interface BoardOptions {
  processor: Processor;
  memory: EngineMemory;
  clock: ChipClock & { /** Nanoseconds since 1970 at system time 0. */ readonly wallClockAtBoot: bigint };
  layout: MemoryLayout;
  /** Which machine frames the RAM is; by default the first ones, in order. */
  map?: PhysicalMap;
  /** Where its chips stand; by default as on a PC of our own. */
  plan?: BoardPlan;
  /** What it says that it is; by default a machine of our own. */
  identity?: BoardIdentity;
  /** A byte that the first serial port sends. */
  serialOutput(byte: number): void;
  /** The machine is off or wants to start again; why, in words for a log. */
  end(how: MachineEnd, why: string): void;
}

/** Where chips stand on every PC: physical addresses below 4 GiB, and I/O ports. Firmware's tables say the same to the kernel. */
export const AT = {
  ioApic: 0xfec0_0000,
  hpet: 0xfed0_0000,
  localApic: 0xfee0_0000,
  pic: 0x20,
  pit: 0x40,
  keyboardData: 0x60,
  systemControl: 0x61,
  keyboardControl: 0x64,
  clock: 0x70,
  systemControlA: 0x92,
  pic2: 0xa0,
  com1: 0x3f8,
  picTriggers: 0x4d0,
} as const;
export const IRQ = { timer: 0, keyboard: 1, com1: 4, clock: 8, acpi: 9, mouse: 12 } as const;

/** For layOutMemory, of a PC of our own. */
export const PCI_HOLE = holeOf(OWN_PLAN);

/** Inputs of the I/O APIC that the HPET can drive; PCI's pins are below them. */
const HPET_INPUTS = [20, 21, 22, 23];
const FRAME = 4096;

/** A machine of our own. */
const ownIdentity = (): BoardIdentity => ({
  oem: { id: 'DMZERO', table: 'DMZEROPC', creator: 'DMZ0' },
  smbios: {
    bios: { vendor: 'domzero', version: '1', date: '01/01/2026' },
    system: { manufacturer: 'domzero', product: 'PC', version: '1' },
  },
  hostBridge: genericHostBridge(),
});

export class Board {
  readonly bus = new PlatformBus();
  readonly interrupts = new InterruptBus();
  readonly wiring: IrqWiring;
  /** Which machine frames its RAM is. */
  readonly map: PhysicalMap;
  /** RAM as devices reach it. */
  readonly physical: PhysicalMemory;
  readonly pci: PciBus;
  readonly uart: Uart16550;
  readonly pm: AcpiPm;
  readonly keyboard: I8042;
  /** What firmware tells the kernel. */
  readonly memoryMap: readonly MemoryRange[];
  private readonly plan: BoardPlan;
  private pmPorts: Detach[] = [];
  private readonly layout: MemoryLayout;
  private readonly oem: AcpiMachine['oem'];
  private readonly smbios: SmbiosIdentity;
  private readonly model: CpuModel;
  private readonly hpet: Hpet;

  constructor(options: BoardOptions) {
    const { processor, memory, clock, layout } = options;
    this.layout = layout;
    this.memoryMap = layout.map;
    const { plan = OWN_PLAN } = options;
    this.plan = plan;
    this.map = options.map ?? mapRam(layout);
    const { oem, smbios, hostBridge } = options.identity ?? ownIdentity();
    this.oem = oem;
    this.smbios = smbios;
    this.model = processor.model;
    this.physical = new PhysicalMemory(memory, this.map, (mfn, offset, length) =>
      processor.wroteFrame(mfn, offset, length),
    );
    const reset = (why: string) => () => options.end('reboot', why);

    const { interrupts } = this;
    const { ports, memory: devices } = this.bus;
    this.wiring = new IrqWiring({ bus: interrupts, ioApic: plan.ioApic, pciGsi: plan.pciGsi });
    const { wiring } = this;
    ports.attach(AT.pic, 2, wiring.pic.masterPorts);
    ports.attach(AT.pic2, 2, wiring.pic.slavePorts);
    ports.attach(AT.picTriggers, 2, wiring.pic.triggerPorts);
    devices.attach(AT.ioApic, 4096, wiring.ioApic);

    const hpetLines = new Map(HPET_INPUTS.map(input => [input, wiring.gsi(input)]));
    this.hpet = new Hpet(clock, {
      irq0: wiring.isa(IRQ.timer),
      irq8: wiring.isa(IRQ.clock),
      gsi: (input, level) => hpetLines.get(input)?.(level),
    });
    const { hpet } = this;
    devices.attach(AT.hpet, HPET_LENGTH, hpet);
    const pit = new Pit8254(clock, hpet.pitInput);
    ports.attach(AT.pit, 4, pit);
    ports.attach(AT.systemControl, 1, new SystemControlPort(clock, pit));
    const cmos = cmosMemory(layout.lowEnd, layout.highEnd);
    const clockInterrupt = (level: boolean): void => {
      hpet.rtcInput(level);
      if (level) this.pm.clockAlarm();
    };
    ports.attach(AT.clock, 2, new CmosRtc(clock, clockInterrupt, clock.wallClockAtBoot, cmos));

    const wires = { sci: wiring.isa(IRQ.acpi), powerOff: () => options.end('poweroff', 'ACPI soft off') };
    this.pm = new AcpiPm(clock, wires, plan.smiCommand === null);
    this.placePm(plan);
    if (plan.smiCommand !== null) ports.attach(plan.smiCommand, 2, this.pm.smiCommand);

    this.keyboard = new I8042({
      keyboardInterrupt: wiring.isa(IRQ.keyboard),
      mouseInterrupt: wiring.isa(IRQ.mouse),
      reset: reset('reset by the keyboard controller'),
      a20: unconnected,
    });
    ports.attach(AT.keyboardData, 1, this.keyboard.data);
    ports.attach(AT.keyboardControl, 1, this.keyboard.control);
    ports.attach(AT.systemControlA, 1, new SystemControlPortA(reset('reset by port 0x92'), unconnected));
    this.uart = new Uart16550(clock, wiring.isa(IRQ.com1), byte => options.serialOutput(byte));
    ports.attach(AT.com1, 8, this.uart);

    this.pci = new PciBus({
      platform: this.bus,
      intx: (slot, pin) => wiring.pci(slot, pin),
      message: (address, data) => void interrupts.writeMsi(address, data),
    });
    this.pci.add(hostBridge, 0);
    const resetControl = new ResetControl(reset('reset by port 0xcf9'));
    ports.attach(CONFIG_PORTS.start, CONFIG_PORTS.length, new ConfigPorts(this.pci, at(RESET_PORT, resetControl)));
    if (plan.ecam !== null) devices.attach(plan.ecam, ECAM_SIZE, new EcamWindow(this.pci));
  }

  /** Physical address of ACPI's root pointer. */
  get rsdp(): number {
    return this.plan.rsdp;
  }

  /** Puts ACPI's registers at these ports, away from where they were. */
  placePm({ pm, gpe0 }: Pick<BoardPlan, 'pm' | 'gpe0'>): void {
    const { ports } = this.bus;
    for (const detach of this.pmPorts) detach();
    this.pmPorts = [ports.attach(pm, PM_LENGTH, this.pm), ports.attach(gpe0, GPE0_LENGTH, this.pm.gpe0)];
  }

  /**
   * What firmware does once all devices are in their places: addresses for PCI functions, interrupts for the 8259s, tables.
   * @param apicIds of the processors, the boot processor's first
   */
  runFirmware(apicIds: readonly number[]): void {
    const { plan } = this;
    assignResources(this.pci, plan.pci, (slot, pin) => plan.linkIrqs[pciLink(slot, pin)]);
    plan.linkIrqs.forEach((irq, link) => void this.wiring.route(link, irq));
    const levels = plan.linkIrqs.reduce((mask, irq) => mask | (1 << irq), 1 << IRQ.acpi);
    this.bus.portWrite(AT.picTriggers, 2, levels);
    const at = { rsdp: this.rsdp, tables: this.layout.acpi.address };
    const tables = [
      ...acpiTables(this.describe(apicIds), at),
      ...smbiosTables(
        {
          ...this.smbios,
          processor: smbiosProcessor(this.model, apicIds.length),
          ram: this.layout.ram.map(([gfn, frames]) => ({ address: gfn * FRAME, size: frames * FRAME })),
        },
        plan.smbios,
      ),
    ];
    for (const { address, bytes } of tables) this.physical.write(address, bytes);
  }

  private describe(apicIds: readonly number[]): AcpiMachine {
    const { plan } = this;
    const { io, memory } = plan.pci;
    return {
      oem: this.oem,
      apicIds,
      localApic: AT.localApic,
      ioApic: { id: plan.ioApicId, address: AT.ioApic },
      overrides: plan.overrides,
      fixed: {
        sci: IRQ.acpi,
        pm: plan.pm,
        gpe0: plan.gpe0,
        smiCommand: plan.smiCommand,
        reset: { port: RESET_PORT, value: RESET_VALUE },
      },
      isa: { pic: true, timer: true, clock: true, keyboard: true, serial: [{ port: AT.com1, irq: IRQ.com1 }] },
      hpet: { address: AT.hpet, capabilities: this.hpet.read(0, 4) },
      pci: {
        ecam: plan.ecam === null ? null : { address: plan.ecam, buses: ECAM_SIZE >> 20 },
        io: [
          { start: 0, end: CONFIG_PORTS.start },
          { start: CONFIG_PORTS.start + CONFIG_PORTS.length, end: io.end },
        ],
        memory: [memory],
        memory64: null,
        gsi: plan.pciGsi,
        isaIrq: (slot, pin) => plan.linkIrqs[pciLink(slot, pin)],
      },
    };
  }
}

/** A one-byte register in the middle of PCI's address register. */
function at(port: number, register: RegisterSpace): RegisterSpace {
  const offset = port - CONFIG_PORTS.start;
  return {
    read: (from, size) => (from === offset ? register.read(0, size) : 0xff),
    write: (to, size, value) => {
      if (to === offset) register.write(0, size, value);
    },
  };
}

function mapRam(layout: MemoryLayout): PhysicalMap {
  const [gfn, frames] = layout.ram.at(-1)!;
  const map = new PhysicalMap(gfn + frames);
  let mfn = 0;
  for (const [first, count] of layout.ram) for (let i = 0; i < count; i++) map.set(first + i, mfn++);
  return map;
}
