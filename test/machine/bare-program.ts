// Small programs on a bare PC, in flat 32-bit protected mode: they run until the machine ends or all its processors wait for ever.
import { EngineMemory } from '../../src/cpu/memory.ts';
import { cpuModel } from '../../src/cpu/models/index.ts';
import { createProcessor } from '../../src/cpu/processor.ts';
import { PCI_HOLE } from '../../src/machine/board.ts';
import { HostEvents } from '../../src/machine/host-events.ts';
import { layOutMemory } from '../../src/machine/memory-layout.ts';
import { Pc } from '../../src/machine/pc.ts';
import { Scheduler } from '../../src/machine/schedule.ts';
import { enterLinux } from '../../src/toolstack/builder/linux-boot.ts';
import { makeClock } from '../../src/toolstack/clock.ts';
import { type Assembler, asm, dword, esp, mem } from '../../src/toolstack/init/assembler/assembler.ts';

const PROGRAM = 0x10000;
const GDT = 0x1000;
const IDT = 0x2000;
export const TIMER_VECTOR = 0x40;
const MIB = 1 << 20;
const MOST_STEPS = 100_000;

/** Registers of the local APIC. */
const APIC = 0xfee00000;
export const apicAt = (register: number) => dword(APIC + register);

export interface Ran {
  pc: Pc;
  /** Why the machine ended; null where all its processors wait for ever, or are at it still. */
  end: string | null;
  /** System time at the end, in ns. */
  ns: bigint;
  /** It was stopped at the number of instructions that it may have. */
  isBusy: boolean;
}

export interface ProgramOptions {
  cpus?: number;
  model?: string;
  /** Bytes at addresses below 1 MiB. */
  images?: Record<number, number[]>;
  /** Instructions after which a program may still be running; without it that is an error. */
  most?: bigint;
  /** Puts devices on the board. */
  equip?: (pc: Pc, events: HostEvents) => void;
}

/** Runs a program on the first processor. */
export function run(write: (a: Assembler) => void, options: ProgramOptions = {}): Ran {
  const { cpus = 1, model = 'epyc', images = {}, most = null, equip } = options;
  const cpu = cpuModel(model)!;
  const memory = new EngineMemory(4 * MIB);
  const processor = createProcessor(memory, cpu);
  const { clock, attach } = makeClock({ clock: 'virtual' }, cpu);
  const hostEvents = new HostEvents();
  let end: string | null = null;
  const pc = new Pc({
    ...{ processor, memory, clock, cpus },
    layout: layOutMemory({ ramBytes: 4 * MIB, ...PCI_HOLE }),
    serialOutput: () => {},
    end: (how, why) => {
      end ??= `${how}: ${why}`;
      for (const logical of pc.processors) logical.stop();
    },
  });
  equip?.(pc, hostEvents);
  const scheduler = new Scheduler({ processor, clock, hostEvents, work: 0, runners: () => pc.processors });
  attach(scheduler);
  const program = asm(write, 32).flat(PROGRAM);
  pc.physical.write(PROGRAM, program.bytes);
  for (const [address, bytes] of Object.entries(images)) pc.physical.write(Number(address), Uint8Array.from(bytes));
  pc.physical.setU64(GDT + 0x10, 0x00cf9b000000ffffn);
  pc.physical.setU64(GDT + 0x18, 0x00cf93000000ffffn);
  const handler = program.symbols.get('handler');
  if (handler !== undefined) {
    const gate = (handler & 0xffffn) | (0x10n << 16n) | (0x8e00n << 32n) | ((handler >> 16n) << 48n);
    pc.physical.setU64(IDT + 8 * TIMER_VECTOR, gate);
  }
  enterLinux(pc.processors[0].cpu, { mode: 'protected32', rip: PROGRAM });
  let isBusy = false;
  for (let steps = 0; !isBusy && scheduler.step().kind === 'ran'; steps++) {
    if (most !== null) isBusy = scheduler.retiredNow() > most;
    else if (steps === MOST_STEPS) throw new Error('it goes on for ever');
  }
  return { pc, end, ns: clock.nowNs(), isBusy };
}

/** Interrupts through the IDT: its register, a stack, the local APIC on. */
export function setUp(a: Assembler): void {
  a.mov(esp, 0x9000);
  a.lidt(mem('idt_pointer'));
  a.mov(apicAt(0xf0), 0x1ff);
}

export function stopForEver(a: Assembler): void {
  a.label('stop').cli().hlt().jmp('stop');
  a.align(4).label('idt_pointer').dw(0x7ff).dd(IDT);
}
