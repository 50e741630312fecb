// Interrupts of an HVM guest's emulated platform as events: numbers that stand for lines and messages.
import { beforeEach, describe, expect, it } from 'vitest';
import { XENFEAT } from '../../../src/abi/xen/elfnote.ts';
import { EVTCHNOP, evtchnBindPirq, evtchnClose } from '../../../src/abi/xen/event-channel.ts';
import * as abi from '../../../src/abi/xen/physdev.ts';
import { MAP_PIRQ_TYPE, PHYSDEVOP, XENIRQSTAT } from '../../../src/abi/xen/physdev.ts';
import { XENVER, xenFeatureInfo } from '../../../src/abi/xen/version.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { NR_PIRQS } from '../../../src/hypervisor/events/pirq.ts';
import { PlatformBus } from '../../../src/machine/bus.ts';
import { InterruptBus } from '../../../src/machine/interrupts/interrupt-bus.ts';
import { IrqWiring } from '../../../src/machine/interrupts/irq-wiring.ts';
import { PciBus } from '../../../src/machine/pci/bus.ts';
import { PciFunction } from '../../../src/machine/pci/function.ts';
import { Msi } from '../../../src/machine/pci/msi.ts';
import { TestHost } from '../harness.ts';
import { HvmGuest } from './hvm-guest.ts';

const CALLBACK_GSI = 5n;
const CALLBACK_VECTOR = (2n << 56n) | 0xf3n;
/** An ISA line, an edge, and one of PCI's, a level. */
const CLOCK = 8;
const PCI = 17;

class PcGuest extends HvmGuest {
  readonly interrupts = new InterruptBus();
  readonly wiring = new IrqWiring({ bus: this.interrupts });
  readonly pci = new PciBus({
    platform: new PlatformBus(),
    intx: (slot, pin) => this.wiring.pci(slot, pin),
    message: (address, data) => void this.interrupts.writeMsi(address, data),
  });

  constructor(host: TestHost) {
    super(host);
    this.hvm.pirqs.connect(this.wiring, this.interrupts, this.pci);
    this.hvm.upcalls.setVia(CALLBACK_VECTOR);
  }

  map(gsi: number, pirq = -1, domid = DOMID_SELF, type: number = MAP_PIRQ_TYPE.gsi): string {
    const value = { ...abi.physdevMapPirq.zero(), domid, type, index: gsi, pirq };
    const result = this.op('physdev_op', PHYSDEVOP.map_pirq, abi.physdevMapPirq, value);
    return result === '0' ? `pirq ${this.got(abi.physdevMapPirq).pirq}` : result;
  }
  unmap = (pirq: number, domid = DOMID_SELF): string =>
    this.op('physdev_op', PHYSDEVOP.unmap_pirq, abi.physdevUnmapPirq, { domid, pirq });
  free(type: number = MAP_PIRQ_TYPE.msi): string {
    const result = this.op('physdev_op', PHYSDEVOP.get_free_pirq, abi.physdevGetFreePirq, { type, pirq: 0 });
    return result === '0' ? `pirq ${this.got(abi.physdevGetFreePirq).pirq}` : result;
  }
  bind(pirq: number): string {
    const value = { pirq, flags: 0, port: 0 };
    const result = this.op('event_channel_op', EVTCHNOP.bind_pirq, evtchnBindPirq, value);
    return result === '0' ? `port ${this.got(evtchnBindPirq).port}` : result;
  }
  close = (port: number): string => this.op('event_channel_op', EVTCHNOP.close, evtchnClose, { port });
  eoi = (irq: number): string => this.op('physdev_op', PHYSDEVOP.eoi, abi.physdevEoi, { irq });
  status(irq: number): string {
    const result = this.op('physdev_op', PHYSDEVOP.irq_status_query, abi.physdevIrqStatusQuery, { irq, flags: 0 });
    return result === '0' ? `flags ${this.got(abi.physdevIrqStatusQuery).flags}` : result;
  }

  /** Whether the event of a port waits; it is taken. */
  takes(port: number): boolean {
    const at = this.host.memory.frameOffset(this.domain.sharedInfoMfn) + 2048 + (port >> 3);
    const waits = (this.host.memory.u8[at] & (1 << (port & 7))) !== 0;
    this.host.memory.u8[at] &= ~(1 << (port & 7));
    return waits;
  }

  /** A redirection entry of the I/O APIC, unmasked, as the guest would write it: its vector goes to no processor here, but is held. */
  ioApicHolds(pin: number): boolean {
    this.wiring.ioApic.write(0, 4, 0x10 + 2 * pin);
    return (this.wiring.ioApic.read(0x10, 4) & (1 << 12)) !== 0;
  }
  unmaskLevel(pin: number): void {
    this.wiring.ioApic.write(0, 4, 0x10 + 2 * pin);
    this.wiring.ioApic.write(0x10, 4, 0x40 | (1 << 13) | (1 << 15));
  }
}

let host: TestHost;
let guest: PcGuest;
beforeEach(() => {
  host = new TestHost();
  guest = new PcGuest(host);
});

describe('who has them', () => {
  it('is told by a feature: a PC, not a platform of nothing but local APICs', () => {
    const offered = (g: HvmGuest): boolean => {
      expect(g.op('xen_version', XENVER.get_features, xenFeatureInfo, { submapIdx: 0, submap: 0 })).toBe('0');
      return (g.got(xenFeatureInfo).submap & (1 << XENFEAT.hvm_pirqs)) !== 0;
    };
    const bare = new HvmGuest(host);
    expect([offered(guest), offered(bare)]).toEqual([true, false]);
    expect(bare.op('physdev_op', PHYSDEVOP.get_free_pirq, abi.physdevGetFreePirq, { type: 0, pirq: 0 })).toBe(
      '-ENOSYS',
    );
  });

  it('has these operations and none of the control domain’s', () => {
    for (const command of [PHYSDEVOP.setup_gsi, PHYSDEVOP.apic_read, PHYSDEVOP.pirq_eoi_gmfn_v2, 4, 99]) {
      expect(guest.try('physdev_op', command, 0x1000)).toBe('-ENOSYS');
    }
  });
});

describe('mapping', () => {
  it('gives the number asked for, or a free one of the GSIs', () => {
    expect([guest.map(CLOCK, CLOCK), guest.map(PCI), guest.map(18)]).toEqual(['pirq 8', 'pirq 16', 'pirq 17']);
    expect([guest.status(CLOCK), guest.status(9)]).toEqual([`flags ${XENIRQSTAT.needs_eoi}`, '-EINVAL']);
  });

  it('refuses lines and numbers that do not exist, and messages, which guests program themselves', () => {
    expect([guest.map(24), guest.map(-1), guest.map(3, NR_PIRQS)]).toEqual(['-EINVAL', '-EINVAL', '-EINVAL']);
    expect(guest.map(0, -1, DOMID_SELF, MAP_PIRQ_TYPE.msi)).toBe('-EINVAL');
    expect([guest.map(3, 3, 99), guest.map(3, 3, new HvmGuest(host).domain.id)]).toEqual(['-ESRCH', '-EPERM']);
    expect([guest.unmap(3, 99), guest.unmap(3, host.guest().domain.id)]).toEqual(['-ESRCH', '-EPERM']);
  });

  it('wants events by a vector: a callback by a line would call itself', () => {
    guest.hvm.upcalls.lines = { gsis: 24, gsi: () => {}, pciIntx: () => {} };
    guest.hvm.upcalls.setVia(CALLBACK_GSI);
    expect(guest.map(CLOCK, CLOCK)).toBe('-EINVAL');
  });

  it('leaves as it is what stands for something else', () => {
    guest.map(CLOCK, CLOCK);
    expect([guest.map(CLOCK, 20), guest.map(9, CLOCK)]).toEqual(['pirq 20', 'pirq 8']);
    expect([guest.status(20), guest.unmap(CLOCK), guest.status(CLOCK)]).toEqual(['-EINVAL', '0', '-EINVAL']);
    expect(guest.unmap(CLOCK)).toBe('0');
  });

  it('ends with the numbers', () => {
    for (let left = NR_PIRQS - 24; left > 0; left--) expect(guest.free()).toMatch(/^pirq/);
    expect(guest.free()).toBe('-ENOSPC');
    expect(guest.free(MAP_PIRQ_TYPE.gsi)).toBe('pirq 16');
  });
});

describe('a line', () => {
  it('that is an edge is an event each time that it goes up', () => {
    const line = guest.wiring.isa(CLOCK);
    guest.map(CLOCK, CLOCK);
    line(true);
    expect(guest.bind(CLOCK)).toBe('port 1');
    expect(guest.takes(1)).toBe(false);
    line(false);
    line(true);
    expect([guest.takes(1), guest.eoi(CLOCK), guest.takes(1)]).toEqual([true, '0', false]);
  });

  it('that is a level comes again until it is served', () => {
    const line = guest.wiring.gsi(PCI);
    guest.map(PCI, PCI);
    guest.bind(PCI);
    guest.unmaskLevel(PCI);
    line(true);
    expect([guest.takes(1), guest.ioApicHolds(PCI)]).toEqual([true, false]);
    expect([guest.eoi(PCI), guest.takes(1)]).toEqual(['0', true]);
    line(false);
    expect([guest.eoi(PCI), guest.takes(1)]).toEqual(['0', false]);
  });

  it('is the I/O APIC’s again when its number stands for it no more', () => {
    guest.map(PCI, PCI);
    guest.bind(PCI);
    guest.unmaskLevel(PCI);
    guest.wiring.gsi(PCI)(true);
    expect(guest.ioApicHolds(PCI)).toBe(false);
    guest.unmap(PCI);
    expect(guest.ioApicHolds(PCI)).toBe(true);
  });

  it('that is bound and not mapped goes to the I/O APIC', () => {
    expect([guest.bind(PCI), guest.bind(PCI), guest.bind(NR_PIRQS)]).toEqual(['port 1', '-EEXIST', '-EINVAL']);
    guest.unmaskLevel(PCI);
    guest.wiring.gsi(PCI)(true);
    expect([guest.takes(1), guest.ioApicHolds(PCI)]).toEqual([false, true]);
  });

  it('is lost while nobody listens', () => {
    guest.map(CLOCK, CLOCK);
    guest.bind(CLOCK);
    expect(guest.close(1)).toBe('0');
    guest.wiring.isa(CLOCK)(true);
    expect(guest.bind(CLOCK)).toBe('port 1');
    expect(guest.takes(1)).toBe(false);
  });
});

describe('a message', () => {
  const address = (pirq: number): number => 0xfee00000 + (pirq << 12);
  /** Edge, asserted, delivery mode 3, vector 0: XEN_PIRQ_MSI_DATA of Linux. */
  const DATA = 0x4300;

  it('that names a number instead of a vector is its event', () => {
    expect([guest.free(), guest.bind(NR_PIRQS - 1)]).toEqual([`pirq ${NR_PIRQS - 1}`, 'port 1']);
    expect(guest.interrupts.writeMsi(address(NR_PIRQS - 1), DATA)).toBe(true);
    expect([guest.takes(1), guest.status(NR_PIRQS - 1)]).toEqual([true, 'flags 1']);
    guest.interrupts.writeMsi(address(NR_PIRQS - 1), DATA);
    expect(guest.takes(1)).toBe(true);
  });

  it('is sent although it is masked, as the guest leaves it', () => {
    const device = new PciFunction({ vendor: 0x1af4, device: 1, classCode: 0xff00 });
    const messages = new Msi(device);
    guest.pci.add(device, 3);
    const write = (offset: number, size: 2 | 4, value: number): void =>
      guest.pci.writeConfig(0, 3 << 3, offset, size, value);
    write(4, 2, 4);
    const at = guest.pci.readConfig(0, 3 << 3, 0x34, 1);
    write(at + 4, 4, address(40));
    write(at + 12, 2, DATA);
    write(at + 16, 4, 1);
    write(at + 2, 2, 1);
    guest.bind(40);
    messages.notify(0);
    expect(guest.takes(1)).toBe(true);
    write(at + 12, 2, 0x31);
    messages.notify(0);
    expect(guest.pci.readConfig(0, 3 << 3, at + 20, 4)).toBe(1);
  });

  it('with a vector is what it always was', () => {
    guest.bind(20);
    guest.interrupts.writeMsi(address(20), 0x31);
    expect(guest.takes(1)).toBe(false);
  });

  it('that names none, one that does not exist, or a line’s, is lost', () => {
    guest.map(CLOCK, CLOCK);
    guest.bind(CLOCK);
    for (const pirq of [0, NR_PIRQS, 255, CLOCK]) expect(guest.interrupts.writeMsi(address(pirq), DATA)).toBe(true);
    expect(guest.takes(1)).toBe(false);
  });
});

it('asks for an EOI of something', () => {
  expect([guest.eoi(30), guest.eoi(0xffffffff)]).toEqual(['-EINVAL', '-EINVAL']);
});

it('is over with the domain', () => {
  guest.map(CLOCK, CLOCK);
  guest.bind(CLOCK);
  host.hypervisor.destroyDomain(guest.domain);
  expect(() => guest.wiring.isa(CLOCK)(true)).not.toThrow();
});
