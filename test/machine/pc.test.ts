// Processors of a bare PC at work: small programs in flat 32-bit protected mode, and in real mode for processors that are started.
import { describe, expect, it } from 'vitest';
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
import {
  type Assembler,
  asm,
  byte,
  dword,
  eax,
  ecx,
  edx,
  esp,
  mem,
} from '../../src/toolstack/init/assembler/assembler.ts';

const PROGRAM = 0x10000;
const GDT = 0x1000;
const IDT = 0x2000;
const TIMER_VECTOR = 0x40;
const MIB = 1 << 20;
const MOST_STEPS = 100_000;

/** Registers of the local APIC. */
const APIC = 0xfee00000;
const at = (register: number) => dword(APIC + register);

interface Ran {
  pc: Pc;
  /** Why the machine ended; null where all its processors wait for ever. */
  end: string | null;
  /** System time at the end, in ns. */
  ns: bigint;
}

/** Runs a program on the first processor until nobody has anything to do. `images` are bytes at addresses below 1 MiB. */
function run(
  write: (a: Assembler) => void,
  { cpus = 1, model = 'epyc', images = {} }: { cpus?: number; model?: string; images?: Record<number, number[]> } = {},
): Ran {
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
      end = `${how}: ${why}`;
      for (const logical of pc.processors) logical.stop();
    },
  });
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
  for (let steps = 0; scheduler.step().kind === 'ran'; steps++) {
    if (steps === MOST_STEPS) throw new Error('it goes on for ever');
  }
  return { pc, end, ns: clock.nowNs() };
}

/** Interrupts through the IDT: its register, a stack, the local APIC on. */
function setUp(a: Assembler): void {
  a.mov(esp, 0x9000);
  a.lidt(mem('idt_pointer'));
  a.mov(at(0xf0), 0x1ff);
}

function stopForEver(a: Assembler): void {
  a.label('stop').cli().hlt().jmp('stop');
  a.align(4).label('idt_pointer').dw(0x7ff).dd(IDT);
}

/** An interrupt command to processor 1. */
function command(a: Assembler, low: number): void {
  a.mov(at(0x310), 1 << 24);
  a.mov(at(0x300), low);
}

describe('processors', () => {
  it('are started, woken by an NMI while they are halted, and started anew', () => {
    const waitFor = (a: Assembler, address: number): void => {
      const again = a.unique('wait');
      a.label(again).cmp(byte(address), 1).jne(again);
    };
    const { pc, end } = run(
      a => {
        setUp(a);
        command(a, 0x4500);
        command(a, 0x4608);
        waitFor(a, 0x600);
        command(a, 0x4400);
        waitFor(a, 0x601);
        // one that runs takes no notice of a start-up message
        command(a, 0x4609);
        command(a, 0x4500);
        command(a, 0x4609);
        waitFor(a, 0x602);
        stopForEver(a);
      },
      {
        cpus: 2,
        images: {
          // the vector of NMIs: 0000:8100
          8: [0x00, 0x81, 0x00, 0x00],
          // inc byte [0x600]; hlt; jmp to the hlt
          32768: [0xfe, 0x06, 0x00, 0x06, 0xf4, 0xeb, 0xfd],
          // inc byte [0x601]; iret
          33024: [0xfe, 0x06, 0x01, 0x06, 0xcf],
          // inc byte [0x602]; hlt; jmp to the hlt
          36864: [0xfe, 0x06, 0x02, 0x06, 0xf4, 0xeb, 0xfd],
        },
      },
    );
    expect(end).toBeNull();
    expect([0x600, 0x601, 0x602].map(address => pc.physical.u8(address))).toEqual([1, 1, 1]);
    expect(pc.processors.map(({ activity }) => activity)).toEqual(['halted', 'halted']);
  });

  it('shut down on a triple fault', () => {
    const { end } = run(a => {
      a.lidt(mem('nothing'));
      a.int(3);
      a.label('nothing').dw(0).dd(0);
    });
    expect(end).toMatch(/^crash: triple fault on CPU 0/);
  });
});

describe('the local timer', () => {
  /** Notes the TSC and ends the interrupt. */
  const handler = (a: Assembler): void => {
    a.label('handler').rdtsc();
    a.mov(dword(0x704), eax);
    a.mov(at(0xb0), 0);
    a.iretd();
  };

  it('wakes a halted processor at its time, to the instruction', () => {
    const { pc } = run(a => {
      setUp(a);
      a.mov(at(0x3e0), 0xb);
      a.mov(at(0x320), TIMER_VECTOR);
      a.rdtsc();
      a.mov(dword(0x700), eax);
      a.mov(at(0x380), 1000);
      a.sti().hlt();
      stopForEver(a);
      handler(a);
    });
    // 1000 periods of 10 ns from the instruction on that started it
    const waited = pc.physical.u32(0x704) - pc.physical.u32(0x700);
    expect(waited).toBeGreaterThanOrEqual(10_000);
    expect(waited).toBeLessThan(10_006);
  });

  it('keeps to its deadline where the TSC is moved', () => {
    const { pc, ns } = run(
      a => {
        setUp(a);
        a.mov(at(0x320), TIMER_VECTOR | (2 << 17));
        a.mov(eax, 1_000_000_000).xor(edx, edx);
        a.mov(ecx, 0x6e0);
        a.wrmsr();
        a.mov(eax, 999_990_000);
        a.mov(ecx, 0x10);
        a.wrmsr();
        a.sti().hlt();
        stopForEver(a);
        handler(a);
      },
      { model: 'skylake' },
    );
    expect(pc.physical.u32(0x704)).toBeGreaterThanOrEqual(1_000_000_000);
    expect(pc.physical.u32(0x704)).toBeLessThan(1_000_000_010);
    expect(ns).toBeLessThan(11_000n);
  });
});
