import { describe, expect, it } from 'vitest';
import { Reg } from '../../../src/machine/interrupts/apic-registers.ts';
import { IrqWiring } from '../../../src/machine/interrupts/irq-wiring.ts';
import { EXTERNAL_VECTOR } from '../../../src/machine/interrupts/local-apic.ts';
import { drain, rig } from './rig.ts';

const LEVEL_LOW = 0xa000;

function board(pins = 24) {
  const { bus, apics } = rig(1);
  const wiring = new IrqWiring({ bus, ioApic: { pins } });
  const entry = (pin: number, low: number) => {
    wiring.ioApic.write(0, 4, 0x11 + 2 * pin);
    wiring.ioApic.write(0x10, 4, 0);
    wiring.ioApic.write(0, 4, 0x10 + 2 * pin);
    wiring.ioApic.write(0x10, 4, low);
  };
  const startPic = () => {
    for (const [ports, base] of [
      [wiring.pic.masterPorts, 0x30],
      [wiring.pic.slavePorts, 0x38],
    ] as const) {
      for (const [a0, value] of [
        [0, 0x11],
        [1, base],
        [1, 4],
        [1, 1],
      ])
        ports.write(a0, 1, value);
    }
  };
  return { wiring, entry, startPic, apic: apics[0] };
}

describe('an ISA line', () => {
  it('drives the 8259A, whose INTR reaches LINT0, and the I/O APIC', () => {
    const { wiring, entry, startPic, apic } = board();
    startPic();
    apic.enterVirtualWireMode();
    entry(4, 0x44);
    const line = wiring.isa(4);
    line(true);
    expect(apic.pending()).toBe(EXTERNAL_VECTOR);
    expect(apic.acknowledge()).toBe(0x34);
    expect(drain(apic)).toEqual([0x44]);
  });

  it('of the timer is pin 2, of which the cascade knows nothing; pin 0 is the 8259A', () => {
    const { wiring, entry, startPic, apic } = board();
    entry(2, 0x52);
    entry(0, 0x700);
    wiring.isa(2)(true);
    expect(drain(apic)).toEqual([]);
    wiring.isa(0)(true);
    expect(drain(apic)).toEqual([0x52]);
    wiring.isa(0)(false);
    startPic();
    wiring.isa(1)(true);
    expect(apic.pending()).toBe(EXTERNAL_VECTOR);
    expect(apic.acknowledge()).toBe(0x31);
  });
});

describe('a PCI line', () => {
  it('is shared: asserted while any device asserts it', () => {
    const { wiring, entry, apic } = board();
    entry(17, LEVEL_LOW | 0x61);
    const first = wiring.pci(1, 0);
    const second = wiring.pci(4, 1);
    expect(drain(apic)).toEqual([]);
    first(true);
    second(true);
    expect(apic.acknowledge()).toBe(0x61);
    first(false);
    apic.writeRegister(Reg.eoi, 0);
    expect(apic.acknowledge()).toBe(0x61);
    second(false);
    apic.writeRegister(Reg.eoi, 0);
    expect(apic.pending()).toBe(-1);
  });

  it('also drives the ISA line that the chipset routes its link to', () => {
    const { wiring, startPic, apic } = board();
    startPic();
    apic.enterVirtualWireMode();
    wiring.pic.triggerPorts.write(1, 1, 0x0c);
    const line = wiring.pci(3, 2);
    line(true);
    expect(apic.pending()).toBe(-1);
    wiring.route(1, 10);
    expect(apic.acknowledge()).toBe(0x3a);
    wiring.pic.slavePorts.write(0, 1, 0x20);
    wiring.pic.masterPorts.write(0, 1, 0x20);
    expect(apic.pending()).toBe(EXTERNAL_VECTOR);
    wiring.route(1, 11);
    expect(apic.acknowledge()).toBe(0x3b);
    line(false);
    wiring.pic.slavePorts.write(0, 1, 0x20);
    wiring.pic.masterPorts.write(0, 1, 0x20);
    expect(apic.pending()).toBe(-1);
  });
});

describe('a saved wiring', () => {
  it('goes on after its devices have driven their lines anew', () => {
    const { wiring, entry, startPic } = board();
    startPic();
    entry(18, LEVEL_LOW | 0x61);
    wiring.route(2, 11);
    wiring.isa(4)(true);
    wiring.pci(2, 0)(true);
    const state = structuredClone(wiring.save());
    const copy = board();
    copy.wiring.load(state);
    copy.wiring.isa(4)(true);
    copy.wiring.pci(2, 0)(true);
    expect(copy.wiring.save()).toEqual(state);
  });
});
