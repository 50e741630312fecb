import { beforeEach, describe, expect, it } from 'vitest';
import { struct, type Type, u8, u16, u32, u64, ulong } from '../../../src/abi/struct.ts';
import * as dom from '../../../src/abi/xen/domctl.ts';
import { DOMCTL } from '../../../src/abi/xen/domctl.ts';
import * as ev from '../../../src/abi/xen/event-channel.ts';
import { EVTCHNOP } from '../../../src/abi/xen/event-channel.ts';
import * as abi from '../../../src/abi/xen/physdev.ts';
import { MAP_PIRQ_TYPE, PHYSDEVOP } from '../../../src/abi/xen/physdev.ts';
import * as platform from '../../../src/abi/xen/platform.ts';
import { XENPF } from '../../../src/abi/xen/platform.ts';
import * as sys from '../../../src/abi/xen/sysctl.ts';
import { SYSCTL } from '../../../src/abi/xen/sysctl.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { AT } from '../../../src/machine/board.ts';
import { swizzledGsi } from '../../../src/machine/interrupts/irq-wiring.ts';
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
    expect(mapGsi(3)).toBe('0');
    const port = bind(3);
    const line = machine.board.wiring.isa(3);
    expect(isPending(port)).toBe(false);
    line(true);
    expect(isPending(port)).toBe(true);
    clear(port);
    line(false);
    expect(isPending(port)).toBe(false);
    line(true);
    expect(isPending(port)).toBe(true);
  });

  it("Xen's own is Xen's, and what is bound stays as it is", () => {
    expect([setUp(4, 0, 0), mapGsi(4)]).toEqual(['-EEXIST', '0']);
    const bindPirq = dom0.put(ev.evtchnBindPirq, [{ pirq: 4, flags: 0, port: 0 }]);
    expect(dom0.try('event_channel_op', EVTCHNOP.bind_pirq, bindPirq)).toBe('-EBUSY');
    expect([setUp(9, 1, 1), setUp(9, 1, 1), mapGsi(9)]).toEqual(['0', '0', '0']);
    bind(9);
    expect(setUp(9, 1, 1)).toBe('-EEXIST');
  });

  it('a PCI pin is a level: after its event it waits for the EOI, and comes again while the device asserts it', () => {
    const gsi = swizzledGsi(machine.board.pci.placeOf(card).slot, 0);
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
    expect(mapGsi(3)).toBe('0');
    const line = machine.board.wiring.isa(3);
    line(true);
    line(false);
    const port = bind(3);
    expect(isPending(port)).toBe(false);
    expect(dom0.try('event_channel_op', EVTCHNOP.close, dom0.put(ev.evtchnClose, [{ port }]))).toBe('0');
    line(true);
    line(false);
    const again = bind(3);
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
    expect(mapGsi(3)).toBe('0');
    bind(3);
    const again = dom0.put(ev.evtchnBindPirq, [{ pirq: 3, flags: 0, port: 0 }]);
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
  const head = struct('head', { cmd: u32, interfaceVersion: u32 });
  const UNION = 8;
  /** Makes the call with a member of the union. */
  function ask<T>(cmd: number, type: Type<T>, u: T, guest = dom0, interfaceVersion = VERSION): string {
    const pointer = guest.put(head, [{ cmd, interfaceVersion }]);
    guest.put(type, [u], UNION);
    return guest.try('platform_op', pointer);
  }

  it('sets the wall clock of all domains', () => {
    const guest = machine.host.guest({ id: 1 });
    const time = { secs: 1000n, nsecs: 5, mbz: 0, systemTime: 0n };
    expect(ask(XENPF.settime64, platform.settime64, time)).toBe('0');
    expect(machine.host.hypervisor.clock.wallClockAtBoot).toBe(1_000_000_000_005n);
    expect(ask(XENPF.settime64, platform.settime64, { ...time, mbz: 1 })).toBe('-EINVAL');
    expect(ask(XENPF.settime64, platform.settime64, { ...time, nsecs: 1_000_000_000 })).toBe('-EINVAL');
    expect(ask(XENPF.settime64, platform.settime64, time, guest)).toBe('-EPERM');
  });

  it('tells of processors until there is none', () => {
    const info = (xenCpuid: number) => {
      expect(ask(XENPF.get_cpuinfo, platform.pcpuInfo, { ...platform.pcpuInfo.zero(), xenCpuid })).toBe('0');
      return dom0.got(platform.pcpuInfo, UNION);
    };
    expect(info(1)).toMatchObject({ maxPresent: 1, flags: 1, apicId: 1, acpiId: 1 });
    expect(info(2)).toMatchObject({ maxPresent: 1, flags: 4 });
  });

  it('tells what firmware made of the MTRRs, and takes what the kernel can do about power', () => {
    const memtype = struct('memtype', { reg: u32, mfn: ulong, nrMfns: u64, type: u32 });
    const read = (reg: number) => ask(XENPF.read_memtype, memtype, { reg, mfn: 9n, nrMfns: 9n, type: 9 });
    expect(read(0)).toBe('0');
    expect(dom0.got(memtype, UNION)).toEqual({ reg: 0, mfn: 0xc0000n, nrMfns: 0x40000n, type: 0 });
    expect(read(7)).toBe('0');
    expect(dom0.got(memtype, UNION)).toMatchObject({ mfn: 0n, nrMfns: 0n });
    expect(read(8)).toBe('-EINVAL');
    const pminfo = struct('pminfo', { id: u32, type: u32 });
    expect(ask(XENPF.set_processor_pminfo, pminfo, { id: 0xffffffff, type: 3 })).toBe('0');
    expect(ask(XENPF.set_processor_pminfo, pminfo, { id: 0xffffffff, type: 0 })).toBe('-EINVAL');
  });

  it('has no disks of a BIOS to tell of, and a keyboard', () => {
    const firmwareInfo = struct('firmware', { type: u32, index: u32, kbdShiftFlags: u8 });
    const firmware = (type: number, index: number) =>
      ask(XENPF.firmware_info, firmwareInfo, { type, index, kbdShiftFlags: 0xff });
    const all = [1, 2, 3, 9].map(type => firmware(type, 0));
    expect(all).toEqual(['-ESRCH', '-ESRCH', '-ESRCH', '-EINVAL']);
    // Started by no EFI, as Xen says it.
    expect(firmware(4, 0)).toBe('-ENOSYS');
    expect(firmware(5, 0)).toBe('0');
    expect(dom0.got(firmwareInfo, UNION).kbdShiftFlags).toBe(0);
  });

  it('switches the machine off by ACPI, and by the shutdown of the domain', () => {
    const sleep = (sleepState: number) =>
      ask(XENPF.enter_acpi_sleep, platform.enterAcpiSleep, { valA: 0, valB: 0, sleepState, flags: 0 });
    expect(sleep(3)).toBe('-EINVAL');
    expect(machine.ends).toEqual([]);
    expect(sleep(5)).toBe('0');
    expect(machine.ends).toEqual(['poweroff']);
    dom0.domain.shutDown(1);
    expect(machine.ends).toEqual(['poweroff', 'reset']);
  });

  it('answers tools of another version by EACCES', () => {
    expect(ask(XENPF.firmware_info, u32, 0, dom0, 1)).toBe('-EACCES');
  });
});

describe('sysctl and domctl', () => {
  const head = struct('head', { cmd: u32, interfaceVersion: u32, domain: u16 });
  const VERSION = 0x15;
  const sysctl = <T>(cmd: number, type: Type<T>, u: T, guest = dom0, interfaceVersion = VERSION): string => {
    const pointer = guest.put(head, [{ cmd, interfaceVersion, domain: 0 }]);
    guest.put(type, [u], 8);
    return guest.try('sysctl', pointer);
  };
  const domctl = <T>(cmd: number, domain: number, type: Type<T>, u: T, guest = dom0): string => {
    const pointer = guest.put(head, [{ cmd, interfaceVersion: VERSION, domain }]);
    guest.put(type, [u], 16);
    return guest.try('domctl', pointer);
  };

  it('describes the host', () => {
    expect(sysctl(SYSCTL.physinfo, sys.physinfo, sys.physinfo.zero())).toBe('0');
    const { frames } = machine.host.hypervisor;
    expect(dom0.got(sys.physinfo, 8)).toMatchObject({
      ...{ threadsPerCore: 1, coresPerSocket: 2, nrCpus: 2, maxCpuId: 1, nrNodes: 1, maxNodeId: 0 },
      ...{ totalPages: BigInt(frames.count), freePages: BigInt(frames.free), maxMfn: BigInt(frames.count - 1) },
    });
    expect(sysctl(SYSCTL.sched_id, sys.schedId, { schedId: 0 })).toBe('0');
    expect(dom0.got(sys.schedId, 8).schedId).toBe(6);
  });

  it('lists domains from an id on', () => {
    const guest = machine.host.guest({ id: 5 });
    guest.domain.pauseCount = 1;
    const list = (firstDomain: number, maxDomains: number) => {
      const request = { firstDomain, maxDomains, buffer: dom0.va(6), numDomains: 0 };
      expect(sysctl(SYSCTL.getdomaininfolist, sys.getdomaininfolist, request)).toBe('0');
      return dom0.got(sys.getdomaininfolist, 8).numDomains;
    };
    expect(list(0, 10)).toBe(2);
    const at = machine.host.memory.frameOffset(dom0.mfns[6]);
    const read = (i: number) =>
      dom.getdomaininfo.read(machine.host.memory.view, at + i * dom.getdomaininfo.size(64), 64);
    expect(read(0)).toMatchObject({ domain: 0, maxVcpuId: 0 });
    expect(read(1)).toMatchObject({ domain: 5, totPages: 64n });
    expect(read(1).flags & 8).toBe(8);
    expect(list(1, 10)).toBe(1);
    expect(list(0, 1)).toBe(1);
    expect(list(6, 10)).toBe(0);
  });

  it('finds the next domain by domctl, and says ESRCH behind the last', () => {
    machine.host.guest({ id: 5 });
    expect(domctl(DOMCTL.getdomaininfo, 1, dom.getdomaininfo, dom.getdomaininfo.zero())).toBe('0');
    expect(dom0.got(dom.getdomaininfo, 16).domain).toBe(5);
    expect(dom0.got(head).domain).toBe(5);
    expect(domctl(DOMCTL.getdomaininfo, 6, dom.getdomaininfo, dom.getdomaininfo.zero())).toBe('-ESRCH');
  });

  it('pauses and unpauses others, as often as it is asked', () => {
    const { domain } = machine.host.guest({ id: 5 });
    const no = struct('nothing', { pad: u32 });
    for (let i = 0; i < 2; i++) expect(domctl(DOMCTL.pausedomain, 5, no, { pad: 0 })).toBe('0');
    expect(domain.pauseCount).toBe(2);
    for (let i = 0; i < 2; i++) expect(domctl(DOMCTL.unpausedomain, 5, no, { pad: 0 })).toBe('0');
    expect(domctl(DOMCTL.unpausedomain, 5, no, { pad: 0 })).toBe('-EINVAL');
    expect(domctl(DOMCTL.pausedomain, 0, no, { pad: 0 })).toBe('-EINVAL');
    expect(domctl(DOMCTL.pausedomain, 9, no, { pad: 0 })).toBe('-ESRCH');
  });

  it('tells of vCPUs and where they may run', () => {
    expect(domctl(DOMCTL.getvcpuinfo, 0, dom.getvcpuinfo, dom.getvcpuinfo.zero())).toBe('0');
    expect(dom0.got(dom.getvcpuinfo, 16)).toMatchObject({ running: 1, cpu: 0 });
    expect(domctl(DOMCTL.getvcpuinfo, 0, dom.getvcpuinfo, { ...dom.getvcpuinfo.zero(), vcpu: 7 })).toBe('-EINVAL');
    const bitmap = { bitmap: dom0.va(6), nrBits: 16 };
    const request = { vcpu: 0, flags: 1, cpumapHard: bitmap, cpumapSoft: { bitmap: 0n, nrBits: 0 } };
    expect(domctl(DOMCTL.getvcpuaffinity, 0, dom.vcpuaffinity, request)).toBe('0');
    expect(dom0.peek(6, 0) & 0xffffn).toBe(3n);
  });

  it('reads the messages in parts, and dumps state for a debug key', () => {
    machine.host.hypervisor.log('(XEN) something');
    const key = dom0.put(u8, ['q'.charCodeAt(0)], 512);
    expect(sysctl(SYSCTL.debug_keys, sys.debugKeys, { keys: key, nrKeys: 1 })).toBe('0');
    let text = '';
    for (let index = 0, got = 1; got > 0; ) {
      const request = { ...sys.readconsole.zero(), incremental: 1, index, buffer: dom0.va(6), count: 100 };
      expect(sysctl(SYSCTL.readconsole, sys.readconsole, request)).toBe('0');
      ({ index, count: got } = dom0.got(sys.readconsole, 8));
      const at = machine.host.memory.frameOffset(dom0.mfns[6]);
      text += new TextDecoder().decode(machine.host.memory.u8.slice(at, at + got));
    }
    expect(text).toContain('(XEN) something\n');
    expect(text).toContain("(XEN) 'q' pressed -> dump domain (and guest debug) info\n");
    expect(text).toContain('(XEN) General information for domain 0:\n');
  });

  it('is for the control domain, of tools of our version', () => {
    const guest = machine.host.guest({ id: 5 });
    expect(sysctl(SYSCTL.physinfo, sys.physinfo, sys.physinfo.zero(), guest)).toBe('-EPERM');
    expect(sysctl(SYSCTL.physinfo, sys.physinfo, sys.physinfo.zero(), guest, 0x14)).toBe('-EACCES');
    expect(domctl(DOMCTL.getdomaininfo, 0, dom.getdomaininfo, dom.getdomaininfo.zero(), guest)).toBe('-EPERM');
    for (const cmd of [DOMCTL.pausedomain, DOMCTL.getvcpuinfo, DOMCTL.createdomain, DOMCTL.destroydomain]) {
      expect(domctl(cmd, 0, u32, 0, guest)).toBe('-EPERM');
    }
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
