import { beforeEach, describe, expect, it } from 'vitest';
import * as ev from '../../../src/abi/xen/event-channel.ts';
import { EVTCHNOP } from '../../../src/abi/xen/event-channel.ts';
import * as abi from '../../../src/abi/xen/physdev.ts';
import { MAP_PIRQ_TYPE, PHYSDEVOP } from '../../../src/abi/xen/physdev.ts';
import * as platform from '../../../src/abi/xen/platform.ts';
import { XENPF } from '../../../src/abi/xen/platform.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { AT } from '../../../src/machine/board.ts';
import { PciFunction } from '../../../src/machine/pci/function.ts';
import { Msix } from '../../../src/machine/pci/msix.ts';
import type { Guest } from '../harness.ts';
import { type BoardHost, boardHost } from './board-host.ts';

const SLOT = 3;
const DEVFN = SLOT << 3;
const MSIX_BAR = 1;
const BUS_MASTER = 4;

let card: PciFunction;
let msix: Msix;
let machine: BoardHost;
let dom0: Guest;

beforeEach(() => {
  machine = boardHost(board => {
    card = new PciFunction({ vendor: 0x1af4, device: 0x1041, classCode: 0x020000, interruptPin: 1 });
    msix = new Msix(card, 2, MSIX_BAR);
    board.pci.add(card, SLOT);
  });
  ({ dom0 } = machine);
});

const physdev = (guest: Guest, op: keyof typeof PHYSDEVOP, argument: bigint): string =>
  guest.try('physdev_op', PHYSDEVOP[op], argument);

function mapGsi(gsi: number, guest = dom0): string {
  const request = { ...abi.physdevMapPirq.zero(), domid: DOMID_SELF, type: MAP_PIRQ_TYPE.gsi, index: gsi, pirq: gsi };
  return physdev(guest, 'map_pirq', guest.put(abi.physdevMapPirq, [request]));
}

function bind(pirq: number): number {
  const rc = dom0.call(
    'event_channel_op',
    EVTCHNOP.bind_pirq,
    dom0.put(ev.evtchnBindPirq, [{ pirq, flags: 0, port: 0 }]),
  );
  expect(rc).toBe(0);
  return dom0.got(ev.evtchnBindPirq).port;
}

const isPending = (port: number): boolean => {
  const { events } = dom0.domain;
  return events.isPending(events.channelAt(port)!);
};
const clear = (port: number): void => {
  // what a kernel does before it handles an event
  const { memory } = machine.host;
  const at = memory.frameOffset(dom0.domain.sharedInfoMfn) + 2048 + (port >> 3);
  memory.u8[at] &= ~(1 << (port & 7));
};
const eoi = (pirq: number): string => physdev(dom0, 'eoi', dom0.put(abi.physdevEoi, [{ irq: pirq }]));
const setUp = (gsi: number, triggering: number, polarity: number): string =>
  physdev(dom0, 'setup_gsi', dom0.put(abi.physdevSetupGsi, [{ gsi, triggering, polarity }]));

describe('interrupts of the machine in the domain that drives it', () => {
  beforeEach(() => {
    const { hypervisor } = machine.host;
    dom0.domain.sharedInfoMfn = hypervisor.frames.allocateXen(0, true);
    dom0.vcpu.info.at = hypervisor.memory.frameOffset(dom0.domain.sharedInfoMfn);
  });

  it('an ISA interrupt is an edge: an event for each, without an EOI', () => {
    expect(mapGsi(4)).toBe('0');
    const port = bind(4);
    const line = machine.board.wiring.isa(4);
    expect(isPending(port)).toBe(false);
    line(true);
    expect(isPending(port)).toBe(true);
    clear(port);
    line(false);
    expect(isPending(port)).toBe(false);
    line(true);
    expect(isPending(port)).toBe(true);
  });

  it('a PCI pin is a level: after its event it waits for the EOI, and comes again while the device asserts it', () => {
    const gsi = machine.board.pci.gsiOf(card)!;
    expect(setUp(gsi, 1, 1)).toBe('0');
    expect(mapGsi(gsi)).toBe('0');
    const port = bind(gsi);
    card.setInterrupt(true);
    expect(isPending(port)).toBe(true);
    clear(port);
    card.setInterrupt(false);
    card.setInterrupt(true);
    expect(isPending(port)).toBe(false);
    expect(eoi(gsi)).toBe('0');
    expect(isPending(port)).toBe(true);
    clear(port);
    card.setInterrupt(false);
    expect(eoi(gsi)).toBe('0');
    expect(isPending(port)).toBe(false);
  });

  it('nothing comes before it is bound, nor after its port is closed', () => {
    expect(mapGsi(4)).toBe('0');
    const line = machine.board.wiring.isa(4);
    line(true);
    line(false);
    const port = bind(4);
    expect(isPending(port)).toBe(false);
    expect(dom0.try('event_channel_op', EVTCHNOP.close, dom0.put(ev.evtchnClose, [{ port }]))).toBe('0');
    line(true);
    line(false);
    const again = bind(4);
    expect(isPending(again)).toBe(false);
  });

  it("Xen programs a function's MSI-X entry and unmasks it when it is bound", () => {
    const table = card.bars.find(bar => bar.size === 4096)!.address!;
    const request = {
      ...abi.physdevMapPirq.zero(),
      ...{ domid: DOMID_SELF, type: MAP_PIRQ_TYPE.msi_seg, index: -1, pirq: -1, bus: 0, devfn: DEVFN, entryNr: 1 },
      tableBase: BigInt(table),
    };
    expect(physdev(dom0, 'map_pirq', dom0.put(abi.physdevMapPirq, [request]))).toBe('0');
    const { pirq } = dom0.got(abi.physdevMapPirq);
    expect(pirq).toBeGreaterThanOrEqual(24);
    machine.board.pci.writeConfig(0, DEVFN, 4, 2, card.command | BUS_MASTER);
    const port = bind(pirq);
    msix.notify(1);
    expect(isPending(port)).toBe(true);
    clear(port);
    msix.notify(0); // another entry, which nobody has set up
    expect(isPending(port)).toBe(false);
    expect(dom0.try('event_channel_op', EVTCHNOP.close, dom0.put(ev.evtchnClose, [{ port }]))).toBe('0');
    expect(physdev(dom0, 'unmap_pirq', dom0.put(abi.physdevUnmapPirq, [{ domid: DOMID_SELF, pirq }]))).toBe('0');
    msix.notify(1);
  });

  it('refuses what there is not: a GSI beyond the I/O APIC, a function or an entry that does not exist, a pirq bound twice', () => {
    expect(mapGsi(24)).toBe('-EINVAL');
    const message = (devfn: number, entryNr: number) =>
      physdev(
        dom0,
        'map_pirq',
        dom0.put(abi.physdevMapPirq, [
          {
            ...abi.physdevMapPirq.zero(),
            ...{ domid: DOMID_SELF, type: MAP_PIRQ_TYPE.msi_seg, pirq: -1, devfn, entryNr, tableBase: 0x1000n },
          },
        ]),
      );
    expect(message(9 << 3, 0)).toBe('-ENODEV');
    expect(message(DEVFN, 2)).toBe('-EINVAL');
    expect(mapGsi(4)).toBe('0');
    bind(4);
    const again = dom0.put(ev.evtchnBindPirq, [{ pirq: 4, flags: 0, port: 0 }]);
    expect(dom0.try('event_channel_op', EVTCHNOP.bind_pirq, again)).toBe('-EEXIST');
    expect(eoi(200)).toBe('-EINVAL');
  });

  it('is nobody else’s: other domains get EPERM for all of it', () => {
    const guest = machine.host.guest({ id: 1 });
    expect(mapGsi(4, guest)).toBe('-EPERM');
    const gsi = guest.put(abi.physdevSetupGsi, [{ gsi: 4, triggering: 0, polarity: 0 }]);
    expect(physdev(guest, 'setup_gsi', gsi)).toBe('-EPERM');
    for (const op of ['apic_read', 'apic_write', 'pci_device_add', 'unmap_pirq'] as const) {
      expect(
        physdev(guest, op, guest.put(abi.physdevMapPirq, [{ ...abi.physdevMapPirq.zero(), domid: DOMID_SELF }])),
      ).toBe('-EPERM');
    }
  });
});

describe('the I/O APIC and PCI devices', () => {
  it('shows the version of the I/O APIC at its address', () => {
    const ask = (apicPhysbase: bigint) =>
      physdev(dom0, 'apic_read', dom0.put(abi.physdevApic, [{ apicPhysbase, reg: 1, value: 0 }]));
    expect(ask(BigInt(AT.ioApic))).toBe('0');
    expect(dom0.got(abi.physdevApic).value).toBe(0x170020);
    expect(ask(0x1000n)).toBe('-EINVAL');
  });

  it('takes note of devices that exist', () => {
    const add = (devfn: number) =>
      physdev(
        dom0,
        'pci_device_add',
        dom0.put(abi.physdevPciDeviceAdd, [{ ...abi.physdevPciDeviceAdd.zero(), devfn }]),
      );
    expect(add(DEVFN)).toBe('0');
    expect(add(5 << 3)).toBe('-ENODEV');
  });
});

describe('ports', () => {
  it('reach the chips, but for those that are Xen’s', () => {
    const { domain } = dom0;
    expect(domain.ports.read(AT.keyboardControl, 1)).not.toBe(0xff);
    expect(domain.ports.read(AT.com1 + 5, 1)).toBe(0xff);
    expect(domain.ports.read(AT.pic + 1, 1)).toBe(0xff);
    expect(machine.board.bus.portRead(AT.com1 + 5, 1)).not.toBe(0xff);
  });
});

describe('platform_op', () => {
  const VERSION = 0x03000001;
  const ask = <T>(type: { put?: never } & Parameters<Guest['put']>[0], cmd: number, u: T, guest = dom0): string =>
    guest.try('platform_op', guest.put(type, [{ cmd, interfaceVersion: VERSION, u }] as never));

  it('sets the wall clock of all domains', () => {
    const guest = machine.host.guest({ id: 1 });
    expect(ask(platform.settime64, XENPF.settime64, { secs: 1000n, nsecs: 5, mbz: 0, systemTime: 0n })).toBe('0');
    expect(machine.host.hypervisor.clock.wallClockAtBoot).toBe(1_000_000_000_005n);
    expect(ask(platform.settime64, XENPF.settime64, { secs: 1n, nsecs: 0, mbz: 1, systemTime: 0n })).toBe('-EINVAL');
    expect(ask(platform.settime64, XENPF.settime64, { secs: 1n, nsecs: 0, mbz: 0, systemTime: 0n }, guest)).toBe(
      '-EPERM',
    );
  });

  it('tells of processors until there is none', () => {
    const info = (xenCpuid: number) => {
      expect(
        ask(platform.pcpuInfo, XENPF.get_cpuinfo, { xenCpuid, maxPresent: 0, flags: 0, apicId: 0, acpiId: 0 }),
      ).toBe('0');
      return dom0.got(platform.pcpuInfo).u;
    };
    expect(info(1)).toMatchObject({ maxPresent: 1, flags: 1, apicId: 1, acpiId: 1 });
    expect(info(2)).toMatchObject({ maxPresent: 1, flags: 4 });
  });

  it('has no disks of a BIOS to tell of, and a keyboard', () => {
    const firmware = (type: number, index: number) =>
      ask(platform.firmwareInfo, XENPF.firmware_info, { type, index, kbdShiftFlags: 0xff });
    expect([firmware(1, 0), firmware(2, 0), firmware(3, 0), firmware(9, 0)]).toEqual([
      '-ESRCH',
      '-ESRCH',
      '-ESRCH',
      '-EINVAL',
    ]);
    expect(firmware(5, 0)).toBe('0');
    expect(dom0.got(platform.firmwareInfo).u.kbdShiftFlags).toBe(0);
  });

  it('switches the machine off by ACPI, and by the shutdown of the domain', () => {
    const sleep = (sleepState: number) =>
      ask(platform.enterAcpiSleep, XENPF.enter_acpi_sleep, { valA: 0, valB: 0, sleepState, flags: 0 });
    expect(sleep(3)).toBe('-EINVAL');
    expect(machine.ends).toEqual([]);
    expect(sleep(5)).toBe('0');
    expect(machine.ends).toEqual(['poweroff']);
    dom0.domain.shutDown(1);
    expect(machine.ends).toEqual(['poweroff', 'reset']);
  });

  it('answers tools of another version by EACCES', () => {
    const pointer = dom0.put(platform.xenPlatformOp, [{ cmd: 50, interfaceVersion: 1, u: new Uint8Array(128) }]);
    expect(dom0.try('platform_op', pointer)).toBe('-EACCES');
  });
});

describe('the console', () => {
  it('gives what was typed to the domain that drives the machine, with room for 128 bytes', () => {
    const { hypervisor } = machine.host;
    expect(hypervisor.console.write(new TextEncoder().encode('hello'))).toBe(5);
    const buffer = dom0.va(6);
    expect(dom0.call('console_io', 1, 3, buffer)).toBe(3);
    expect(dom0.call('console_io', 1, 16, buffer)).toBe(2);
    expect(dom0.call('console_io', 1, 16, buffer)).toBe(0);
    expect(hypervisor.console.write(new Uint8Array(200))).toBe(128);
  });
});
