// What a PVH Dom0 meets outside of its RAM: an I/O APIC and MSI-X tables of its own in front of the machine's.
import { beforeEach, describe, expect, it } from 'vitest';
import { ControlBus } from '../../../src/hypervisor/hardware/control-bus.ts';
import { AT } from '../../../src/machine/board.ts';
import { OWN_PLAN } from '../../../src/machine/board-plan.ts';
import { InterruptBus } from '../../../src/machine/interrupts/interrupt-bus.ts';
import { swizzledGsi } from '../../../src/machine/interrupts/irq-wiring.ts';
import { PciFunction } from '../../../src/machine/pci/function.ts';
import { Msix } from '../../../src/machine/pci/msix.ts';
import { type BoardHost, boardHost } from './board-host.ts';

const SLOT = 3;
const DEVFN = SLOT << 3;
const MSIX_BAR = 1;
const MEMORY_AND_MASTER = 6;
const LEVEL_LOW = (1 << 15) | (1 << 13);
const MASKED = 1 << 16;

let card: PciFunction;
let msix: Msix;
let machine: BoardHost;
let bus: ControlBus;
let own: InterruptBus;
/** Vectors that the domain's processor was given. */
let arrived: number[];

beforeEach(() => {
  machine = boardHost(board => {
    card = new PciFunction({ vendor: 0x1af4, device: 0x1041, classCode: 0x020000, interruptPin: 1 });
    msix = new Msix(card, 2, MSIX_BAR);
    board.pci.add(card, SLOT);
  });
  own = new InterruptBus();
  arrived = [];
  own.attach({
    acceptsVectors: true,
    processorPriority: 0,
    isMeant: () => true,
    lint: () => {},
    accept: ({ vector }) => {
      arrived.push(vector);
      return true;
    },
  });
  bus = new ControlBus(machine.host.hypervisor.hardware!, own);
});

const write = (address: number, value: number): void => bus.write(BigInt(address), 4, BigInt(value >>> 0));
const read = (address: number): number => Number(bus.read(BigInt(address), 4));

describe('the I/O APIC', () => {
  const select = (index: number): void => write(AT.ioApic, index);
  const route = (pin: number, low: number): void => {
    select(0x10 + 2 * pin);
    write(AT.ioApic + 0x10, low);
  };

  it('is one of 24 pins without an EOI register, whatever the machine has', () => {
    select(1);
    expect(read(AT.ioApic + 0x10)).toBe(0x170011);
  });

  it('a level comes once, and again after its EOI while the device asserts it', () => {
    const gsi = swizzledGsi(SLOT, 0);
    route(gsi, 0x51 | LEVEL_LOW);
    expect(arrived).toEqual([]);
    card.setInterrupt(true);
    expect(arrived).toEqual([0x51]);
    own.endOfInterrupt(0x51);
    expect(arrived).toEqual([0x51, 0x51]);
    card.setInterrupt(false);
    own.endOfInterrupt(0x51);
    expect(arrived).toEqual([0x51, 0x51]);
    card.setInterrupt(true);
    expect(arrived).toEqual([0x51, 0x51, 0x51]);
  });

  it('an edge comes each time; what is masked does not', () => {
    const line = machine.board.wiring.isa(3);
    route(3, 0x61);
    line(true);
    line(false);
    line(true);
    line(false);
    expect(arrived).toEqual([0x61, 0x61]);
    route(3, 0x61 | MASKED);
    line(true);
    line(false);
    expect(arrived).toEqual([0x61, 0x61]);
  });

  it("the vector that the machine's own entry has is Xen's", () => {
    route(3, 0x61);
    const chip = machine.board.wiring.ioApic;
    chip.write(0, 4, 0x10 + 6);
    expect(chip.read(0x10, 4) & 0xff).not.toBe(0x61);
  });

  it("a line that is Xen's own stays silent", () => {
    route(4, 0x71);
    machine.board.wiring.isa(4)(true);
    expect(arrived).toEqual([]);
  });
});

describe('PCI', () => {
  const at = (register: number): number => OWN_PLAN.ecam + (DEVFN << 12) + register;
  let capability = 0;
  let table = 0;
  beforeEach(() => {
    write(at(4), MEMORY_AND_MASTER);
    capability = read(at(0x34)) & 0xff;
    table = (read(at(0x10 + 4 * MSIX_BAR)) & ~0xf) >>> 0;
  });
  const enable = (): void => write(at(capability), (read(at(capability)) & 0xffff) | (0x8000 << 16));
  const program = (entry: number, data: number): void => {
    write(table + 16 * entry, 0xfee00000);
    write(table + 16 * entry + 8, data);
    write(table + 16 * entry + 12, 0);
  };

  it('is the same by ports and by memory', () => {
    bus.portWrite(0xcf8, 4, 0x8000_0000 | (DEVFN << 8));
    expect(bus.portRead(0xcfc, 4)).toBe(0x10411af4);
    expect(read(at(0))).toBe(0x10411af4);
    expect(read(at(0x1000 * 8))).toBe(0xffffffff); // no such function
  });

  it('a message that the domain has programmed arrives, and the function has another', () => {
    program(1, 0x45);
    enable();
    msix.notify(1);
    msix.notify(0);
    expect(arrived).toEqual([0x45]);
    expect(read(table + 16 + 8)).toBe(0x45);
    const { memory } = machine.board.bus;
    expect(memory.read(table + 16 + 8, 4)).not.toBe(0x45);
  });

  it('a mask holds it back until it is lifted, with what the message is then', () => {
    enable();
    program(0, 0x45);
    write(table + 12, 1);
    msix.notify(0);
    expect(arrived).toEqual([]);
    write(table + 8, 0x46);
    write(table + 12, 0);
    expect(arrived).toEqual([0x46]);
  });

  it('a table follows its range to another address', () => {
    write(at(4), 0);
    write(at(0x10 + 4 * MSIX_BAR), 0xd000_0000);
    write(at(4), MEMORY_AND_MASTER);
    table = 0xd000_0000;
    program(0, 0x47);
    enable();
    msix.notify(0);
    expect(arrived).toEqual([0x47]);
  });

  it('a message to no local APIC is lost', () => {
    program(0, 0x45);
    write(table, 0x1000);
    enable();
    msix.notify(0);
    expect(arrived).toEqual([]);
  });
});

it("of Xen's own ports and of what is nowhere nothing comes", () => {
  expect(bus.portRead(AT.pit, 1)).toBe(0xff);
  expect(bus.portRead(AT.com1, 1)).toBe(0xff);
  expect(bus.read(0xdead_0000n, 8)).toBe((1n << 64n) - 1n);
});
