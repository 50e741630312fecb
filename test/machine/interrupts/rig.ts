// A board without processors: a clock that the test moves, a bus, and local APICs whose processors only write down what they are told.

import { type ApicKind, Reg } from '../../../src/machine/interrupts/apic-registers.ts';
import { InterruptBus } from '../../../src/machine/interrupts/interrupt-bus.ts';
import { LocalApic } from '../../../src/machine/interrupts/local-apic.ts';
import { Clock, VirtualTicks } from '../../../src/machine/time/clock.ts';

export const INTEL: ApicKind = { version: 0x01060015, x2apic: true, tscDeadline: true, physicalAddressBits: 40 };
export const AMD: ApicKind = { version: 0x00050010, x2apic: false, tscDeadline: false, physicalAddressBits: 40 };

export interface Rig {
  clock: Clock;
  bus: InterruptBus;
  apics: LocalApic[];
  /** What the processors were told, "changed" left out: "1: nmi". */
  log: string[];
  /** Lets time pass, timers included. */
  pass(ns: bigint): void;
}

export function rig(count = 1, kind: ApicKind = INTEL, tscOffset = 0n): Rig {
  const clock = new Clock(new VirtualTicks(() => 0n));
  const bus = new InterruptBus();
  const log: string[] = [];
  const apics = Array.from({ length: count }, (_, id) => {
    return new LocalApic({
      id,
      bootstrap: id === 0,
      kind,
      clock,
      tsc: () => clock.cycles() + tscOffset,
      tscHz: clock.tscHz,
      bus,
      processor: {
        changed: () => {},
        nmi: () => void log.push(`${id}: nmi`),
        init: () => void log.push(`${id}: init`),
        startUp: vector => void log.push(`${id}: start-up ${vector}`),
      },
    });
  });
  for (const apic of apics) apic.writeRegister(Reg.spurious, 0x1ff);
  const pass = (ns: bigint): void => {
    const end = clock.nowNs() + ns;
    for (;;) {
      const next = clock.nextDeadline();
      if (next === null || next > end) break;
      clock.advanceTo(next);
      clock.fireDue();
    }
    clock.advanceTo(end);
  };
  return { clock, bus, apics, log, pass };
}

/** Takes everything that waits, with its EOIs: the vectors in order. */
export function drain(apic: LocalApic): number[] {
  const vectors: number[] = [];
  while (apic.pending() >= 0) {
    vectors.push(apic.acknowledge());
    apic.writeRegister(Reg.eoi, 0);
  }
  return vectors;
}

export const X2APIC_ON = 0xfee00d00n;
