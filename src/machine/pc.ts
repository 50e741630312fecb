// A bare PC: a board with processors on it.
import type { Processor } from '../cpu/types.ts';
import { Board, type BoardOptions, PCI_HOLE } from './board.ts';
import { apicKindOf } from './interrupts/apic-registers.ts';
import { LocalApic } from './interrupts/local-apic.ts';
import { ProcessorBus } from './interrupts/processor-bus.ts';
import { LogicalProcessor } from './processor/logical-processor.ts';
import { MachineRegisters } from './processor/msrs.ts';
import type { Clock } from './time/clock.ts';

export interface PcOptions extends BoardOptions {
  clock: Clock;
  cpus: number;
}

export class Pc extends Board {
  readonly processor: Processor;
  readonly processors: LogicalProcessor[] = [];
  readonly localApics: LocalApic[] = [];

  constructor(options: PcOptions) {
    super(options);
    this.processor = options.processor;
    for (let id = 0; id < options.cpus; id++) this.addProcessor(id, options);
  }

  private addProcessor(id: number, { processor, clock, layout, cpus, end }: PcOptions): void {
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
      bus: new ProcessorBus(this.bus, apic),
      registers: new MachineRegisters({
        model: processor.model,
        apic,
        clock,
        tscHz: clock.tscHz,
        processors: cpus,
        memory: { low: layout.lowEnd, high: layout.highEnd },
        holeStart: PCI_HOLE.holeStart,
        cpu: () => logical.cpu,
      }),
      interrupts: apic,
      isBootProcessor: id === 0,
      onShutdown: () => end('crash', `triple fault on CPU ${id}`),
      onInit: () => apic.init(),
      onTscMove: () => apic.timer.tscChanged(),
      onFailure: error => end('crash', `the machine failed an assertion: ${String(error)}`),
    });
    if (id === 0) apic.enterVirtualWireMode();
    this.localApics.push(apic);
    this.processors.push(logical);
  }
}
