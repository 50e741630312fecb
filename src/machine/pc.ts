// The PC: buses, chips and logical processors put together, as a board and its firmware do it.
import type { EngineMemory } from '../cpu/memory.ts';
import { PhysicalMap } from '../cpu/physical-map.ts';
import type { Processor } from '../cpu/types.ts';
import { PlatformBus } from './bus.ts';
import type { HostEvents } from './host-events.ts';
import { apicPage } from './interrupts/apic-page.ts';
import { apicKindOf } from './interrupts/apic-registers.ts';
import { InterruptBus } from './interrupts/interrupt-bus.ts';
import { IrqWiring } from './interrupts/irq-wiring.ts';
import { LocalApic } from './interrupts/local-apic.ts';
import type { MemoryLayout, MemoryRange } from './memory-layout.ts';
import { genericHostBridge } from './pci/bridges.ts';
import { PciBus } from './pci/bus.ts';
import { CONFIG_PORTS, ConfigPorts, ECAM_SIZE, EcamWindow } from './pci/config-access.ts';
import { PhysicalMemory } from './physical-memory.ts';
import { LogicalProcessor } from './processor/logical-processor.ts';
import { MachineRegisters } from './processor/msrs.ts';
import { Uart16550 } from './serial/uart-16550.ts';
import type { Clock } from './time/clock.ts';
import { Pit8254 } from './timers/pit-8254.ts';
import { SystemControlPort } from './timers/system-control.ts';

export type MachineEnd = 'poweroff' | 'reboot' | 'crash';

export interface PcOptions {
  processor: Processor;
  memory: EngineMemory;
  clock: Clock;
  hostEvents: HostEvents;
  layout: MemoryLayout;
  cpus: number;
  /** A byte that the first serial port sends. */
  serialOutput(byte: number): void;
  /** The machine is off or wants to start again; why, in words for a log. */
  end(how: MachineEnd, why: string): void;
}

/** Physical addresses of what stands beside RAM below 4 GiB, and ports. */
const AT = {
  ecam: 0xe000_0000,
  ioApic: 0xfec0_0000,
  hpet: 0xfed0_0000,
  localApic: 0xfee0_0000,
  com1: 0x3f8,
  pic: 0x20,
  pic2: 0xa0,
  picTriggers: 0x4d0,
  pit: 0x40,
  systemControl: 0x61,
} as const;
const IRQ = { timer: 0, keyboard: 1, com1: 4, clock: 8, acpi: 9, mouse: 12 } as const;

/** For layOutMemory: RAM ends at 3 GiB, and what PCI's configuration window takes is nobody else's. */
export const PCI_HOLE = {
  holeStart: 0xc000_0000,
  reserved: [{ address: AT.ecam, size: ECAM_SIZE, type: 2 }],
} as const;

export class Pc {
  readonly processor: Processor;
  readonly bus = new PlatformBus();
  readonly interrupts = new InterruptBus();
  readonly wiring: IrqWiring;
  /** Which machine frames its RAM is. */
  readonly map: PhysicalMap;
  readonly physical: PhysicalMemory;
  readonly processors: LogicalProcessor[] = [];
  readonly localApics: LocalApic[] = [];
  readonly pci: PciBus;
  readonly uart: Uart16550;
  /** What firmware tells the kernel. */
  readonly memoryMap: readonly MemoryRange[];
  readonly rsdp: number | null = null;
  private readonly options: PcOptions;

  constructor(options: PcOptions) {
    const { processor, memory, clock, layout } = options;
    this.options = options;
    this.processor = processor;
    this.memoryMap = layout.map;
    this.map = mapRam(layout);
    this.physical = new PhysicalMemory(memory, this.map, (mfn, offset, length) =>
      processor.wroteFrame(mfn, offset, length),
    );
    const { bus, interrupts } = this;
    this.wiring = new IrqWiring({ bus: interrupts });
    const { wiring } = this;
    const { pic } = wiring;
    bus.ports.attach(AT.pic, 2, pic.masterPorts);
    bus.ports.attach(AT.pic2, 2, pic.slavePorts);
    bus.ports.attach(AT.picTriggers, 2, pic.triggerPorts);
    bus.memory.attach(AT.ioApic, 4096, wiring.ioApic);
    for (let id = 0; id < options.cpus; id++) this.addProcessor(id);
    bus.memory.attach(
      AT.localApic,
      4096,
      apicPage(() => this.localApics[this.accessor()]),
    );

    const pit = new Pit8254(clock, wiring.isa(IRQ.timer));
    bus.ports.attach(AT.pit, 4, pit);
    bus.ports.attach(AT.systemControl, 1, new SystemControlPort(clock, pit));
    this.uart = new Uart16550(clock, wiring.isa(IRQ.com1), byte => options.serialOutput(byte));
    bus.ports.attach(AT.com1, 8, this.uart);

    this.pci = new PciBus({
      platform: bus,
      routing: (slot, pin) => 16 + ((slot + pin - 1) % 4),
      gsi: gsi => wiring.pci(gsi - 16, 0),
      message: (address, data) => void interrupts.writeMsi(address, data),
    });
    this.pci.add(genericHostBridge(), 0);
    bus.ports.attach(CONFIG_PORTS.start, CONFIG_PORTS.length, new ConfigPorts(this.pci));
    bus.memory.attach(AT.ecam, ECAM_SIZE, new EcamWindow(this.pci));
  }

  private addProcessor(id: number): void {
    const { processor, clock, layout } = this.options;
    const apic: LocalApic = new LocalApic({
      id,
      bootstrap: id === 0,
      kind: apicKindOf(processor.model),
      clock,
      tsc: () => logical.tsc,
      tscHz: clock.tscHz,
      bus: this.interrupts,
      processor: {
        changed: () => logical.inputsChanged(),
        nmi: () => logical.nmi(),
        init: () => logical.init(),
        startUp: vector => logical.startUp(vector),
      },
    });
    const logical: LogicalProcessor = new LogicalProcessor({
      id,
      processor,
      map: this.map,
      bus: this.bus,
      registers: new MachineRegisters({
        model: processor.model,
        apic,
        processors: this.options.cpus,
        memory: { low: layout.lowEnd, high: layout.highEnd },
        holeStart: PCI_HOLE.holeStart,
        cpu: () => logical.cpu,
      }),
      interrupts: apic,
      isBootProcessor: id === 0,
      onShutdown: () => this.options.end('crash', `triple fault on CPU ${id}`),
      onInit: () => apic.init(),
      onFailure: error => this.options.end('crash', `the machine failed an assertion: ${String(error)}`),
    });
    if (id === 0) apic.enterVirtualWireMode();
    this.localApics.push(apic);
    this.processors.push(logical);
  }

  /** The processor whose instruction makes the present access. */
  private accessor(): number {
    return this.processors.findIndex(({ isLoaded }) => isLoaded);
  }
}

function mapRam(layout: MemoryLayout): PhysicalMap {
  const [gfn, frames] = layout.ram.at(-1)!;
  const map = new PhysicalMap(gfn + frames);
  let mfn = 0;
  for (const [first, count] of layout.ram) for (let i = 0; i < count; i++) map.set(first + i, mfn++);
  return map;
}
