// Every operation that is the control domain's, made by a domain that is not: what it gets, and which check comes first. The order is that of
// genuine Xen 4.17 (xen/common/{domctl,sysctl,memory}.c, xen/arch/x86/{platform_hypercall,physdev,mm}.c, xen/include/xsm/dummy.h).
import { beforeEach, describe, expect, it } from 'vitest';
import { struct, type Type, u16, u32 } from '../../../src/abi/struct.ts';
import { DOMCTL } from '../../../src/abi/xen/domctl.ts';
import { MC } from '../../../src/abi/xen/mca.ts';
import * as mem from '../../../src/abi/xen/memory.ts';
import { XENMEM } from '../../../src/abi/xen/memory.ts';
import * as phys from '../../../src/abi/xen/physdev.ts';
import { PHYSDEVOP } from '../../../src/abi/xen/physdev.ts';
import { XENPF } from '../../../src/abi/xen/platform.ts';
import { SCHEDOP, schedRemoteShutdown } from '../../../src/abi/xen/sched.ts';
import { SYSCTL } from '../../../src/abi/xen/sysctl.ts';
import { MMUEXT } from '../../../src/abi/xen/xen.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { type Guest, type HypercallName, TestHost } from '../harness.ts';

/** No memory of the guest's. */
const UNREADABLE = 0xffff_8000_0000_0000n;
const NOBODY = 77;
const VERSIONS = { platform_op: 0x03000001, sysctl: 0x15, domctl: 0x15 } as const;

let host: TestHost;
let guest: Guest;
let other: Guest;

beforeEach(() => {
  host = new TestHost();
  host.guest({ id: 0, isPrivileged: true });
  guest = host.guest();
  other = host.guest();
});

const head = struct('head', { cmd: u32, interfaceVersion: u32, domain: u16 });
/** A hypercall whose operation stands in memory, in front of an interface version. */
function versioned(
  name: keyof typeof VERSIONS,
  cmd: number,
  domain = 0,
  interfaceVersion: number = VERSIONS[name],
): string {
  return guest.try(name, guest.put(head, [{ cmd, interfaceVersion, domain }]));
}
const names = (numbers: Readonly<Record<string, number>>): [string, number][] => Object.entries(numbers);

describe.each(['platform_op', 'sysctl'] as const)('%s', name => {
  it.each(names(name === 'sysctl' ? SYSCTL : XENPF))('%s', (_, cmd) => {
    expect(guest.try(name, UNREADABLE)).toBe('-EFAULT');
    expect(versioned(name, cmd, 0, VERSIONS[name] + 1)).toBe('-EACCES');
    expect(versioned(name, cmd)).toBe('-EPERM');
  });

  it('an operation that there is not is refused as well', () => {
    expect(versioned(name, 999)).toBe('-EPERM');
  });
});

describe('domctl', () => {
  /** These are asked before the domain is. */
  const WITHOUT_DOMAIN = ['createdomain', 'getdomaininfo'];

  it.each(names(DOMCTL))('%s', (operation, cmd) => {
    expect(guest.try('domctl', UNREADABLE)).toBe('-EFAULT');
    expect(versioned('domctl', cmd, guest.domain.id, 0x14)).toBe('-EACCES');
    expect(versioned('domctl', cmd, NOBODY)).toBe(WITHOUT_DOMAIN.includes(operation) ? '-EPERM' : '-ESRCH');
    for (const { domain } of [guest, other]) expect(versioned('domctl', cmd, domain.id)).toBe('-EPERM');
    expect(versioned('domctl', cmd, 0)).toBe('-EPERM');
  });
});

describe('mca', () => {
  it.each(names(MC))('%s: before its argument is read', (_, cmd) => {
    expect(guest.try('mca', UNREADABLE)).toBe('-EPERM');
    expect(guest.try('mca', guest.put(u32, [cmd, 0]))).toBe('-EPERM');
  });
});

describe('physdev_op', () => {
  type Order = 'the argument first' | 'the right first';
  const zero = <T>(type: Type<T> & { zero(): T }): bigint => guest.put(type, [type.zero()]);
  /** Operations of the control domain's, and which check comes first. */
  const OF_CONTROL: Readonly<Record<string, [Order, () => bigint]>> = {
    map_pirq: [
      'the argument first',
      () => guest.put(phys.physdevMapPirq, [{ ...phys.physdevMapPirq.zero(), domid: DOMID_SELF }]),
    ],
    unmap_pirq: [
      'the argument first',
      () => guest.put(phys.physdevUnmapPirq, [{ ...phys.physdevUnmapPirq.zero(), domid: DOMID_SELF }]),
    ],
    apic_read: ['the argument first', () => zero(phys.physdevApic)],
    apic_write: ['the argument first', () => zero(phys.physdevApic)],
    alloc_irq_vector: ['the argument first', () => zero(phys.physdevIrq)],
    manage_pci_add: ['the argument first', () => zero(phys.physdevManagePci)],
    manage_pci_remove: ['the argument first', () => zero(phys.physdevManagePci)],
    manage_pci_add_ext: ['the argument first', () => zero(phys.physdevManagePciExt)],
    pci_device_add: ['the argument first', () => zero(phys.physdevPciDeviceAdd)],
    pci_device_remove: ['the argument first', () => zero(phys.physdevPciDevice)],
    prepare_msix: ['the argument first', () => zero(phys.physdevPciDevice)],
    release_msix: ['the argument first', () => zero(phys.physdevPciDevice)],
    setup_gsi: ['the argument first', () => zero(phys.physdevSetupGsi)],
    pci_mmcfg_reserved: ['the right first', () => zero(phys.physdevPciMmcfgReserved)],
    dbgp_op: ['the right first', () => zero(phys.physdevPciDevice)],
  };
  /** Everybody's; what they do to whom has tests of its own. restore_msi finds no device. */
  const OF_ALL = [
    ...[
      'irq_unmask_notify',
      'irq_status_query',
      'eoi',
      'pirq_eoi_gmfn_v1',
      'pirq_eoi_gmfn_v2',
      'set_iopl',
      'set_iobitmap',
    ],
    ...['get_free_pirq', 'restore_msi', 'restore_msi_ext'],
  ];

  it('every operation is one or the other', () => {
    expect([...Object.keys(OF_CONTROL), ...OF_ALL].sort()).toEqual(Object.keys(PHYSDEVOP).sort());
  });

  it.each(Object.entries(OF_CONTROL))('%s', (operation, [order, argument]) => {
    const cmd = PHYSDEVOP[operation as keyof typeof PHYSDEVOP];
    expect(guest.try('physdev_op', cmd, UNREADABLE)).toBe(order === 'the argument first' ? '-EFAULT' : '-EPERM');
    expect(guest.try('physdev_op', cmd, argument())).toBe('-EPERM');
  });

  it.each(['map_pirq', 'unmap_pirq'] as const)('%s of a domain that there is not', operation => {
    const type = operation === 'map_pirq' ? phys.physdevMapPirq : phys.physdevUnmapPirq;
    const argument = guest.put(type as typeof phys.physdevMapPirq, [{ ...type.zero(), domid: NOBODY } as never]);
    expect(guest.try('physdev_op', PHYSDEVOP[operation], argument)).toBe('-ESRCH');
  });
});

describe('memory_op on another domain', () => {
  const reservation = (domid: number) =>
    guest.put(mem.xenMemoryReservation, [
      { ...mem.xenMemoryReservation.zero(), nrExtents: 1n, extentStart: guest.va(6), domid },
    ]);
  const claim = (domid: number) => guest.put(mem.xenMemoryReservation, [{ ...mem.xenMemoryReservation.zero(), domid }]);
  const pod = (domid: number) => guest.put(mem.xenPodTarget, [{ ...mem.xenPodTarget.zero(), domid }]);
  const id = (domid: number) => guest.put(u16, [domid]);
  const resource = (domid: number) =>
    guest.put(mem.xenMemAcquireResource, [{ ...mem.xenMemAcquireResource.zero(), type: 1, domid }]);
  const map = (domid: number) => guest.put(mem.xenForeignMemoryMap, [{ ...mem.xenForeignMemoryMap.zero(), domid }]);

  // Argument unreadable, domain that there is not, another domain.
  it.each([
    // Counts of extents, never errors.
    ['increase_reservation', reservation, 0, 0, 0],
    ['decrease_reservation', reservation, 0, 0, 0],
    ['populate_physmap', reservation, 0, 0, 0],
    ['current_reservation', id, '-EFAULT', '-ESRCH', '-EPERM'],
    ['maximum_reservation', id, '-EFAULT', '-ESRCH', '-EPERM'],
    ['maximum_gpfn', id, '-EFAULT', '-ESRCH', '-EPERM'],
    ['set_memory_map', map, '-EFAULT', '-ESRCH', '-EPERM'],
    ['set_pod_target', pod, '-EFAULT', '-ESRCH', '-EPERM'],
    ['get_pod_target', pod, '-EFAULT', '-ESRCH', '-EPERM'],
    ['claim_pages', claim, '-EFAULT', '-EINVAL', '-EPERM'],
    ['acquire_resource', resource, '-EFAULT', '-ESRCH', '-EPERM'],
    ['machine_memory_map', id, '-EPERM', '-EPERM', '-EPERM'],
  ] as const)('%s', (operation, argument, unreadable, missing, foreign) => {
    const call = (pointer: bigint) => {
      const rc = guest.call('memory_op', XENMEM[operation], pointer);
      return rc >= 0 ? rc : guest.try('memory_op', XENMEM[operation], pointer);
    };
    expect(call(UNREADABLE)).toBe(unreadable);
    expect(call(argument(NOBODY))).toBe(missing);
    expect(call(argument(other.domain.id))).toBe(foreign);
  });

  it('its own resources are not to be acquired by anybody', () => {
    expect(guest.try('memory_op', XENMEM.acquire_resource, resource(DOMID_SELF))).toBe('-EPERM');
  });
});

describe('page tables of and with another domain', () => {
  it.each(names(MMUEXT))('mmuext %s', (_, cmd) => {
    expect(guest.mmuext({ cmd, mfn: other.mfns[8] }, other.domain.id)).toBe(-1);
    expect(guest.mmuext({ cmd, mfn: other.mfns[8] }, NOBODY)).toBe(-3);
  });

  it('mmu_update and update_va_mapping_otherdomain', () => {
    const entry = guest.entryAddress(3, 8);
    expect(guest.mmuUpdate([[entry, other.entry(8, 0x61n)]], other.domain.id)).toBe(-1);
    expect(guest.mmuUpdate([[entry, 0n]], NOBODY)).toBe(-3);
    const rc = guest.call('update_va_mapping_otherdomain', guest.va(8), other.entry(8, 0x61n), 0, other.domain.id);
    expect(rc).toBe(-1);
  });
});

describe('the rest', () => {
  it.each<[HypercallName, readonly (number | bigint)[], string]>([
    ['console_io', [0, 1, UNREADABLE], '-EPERM'],
    ['console_io', [1, 1, UNREADABLE], '-EPERM'],
    ['kexec_op', [0, UNREADABLE], '-EPERM'],
    ['hypfs_op', [0, 0, 0, 0, 0], '-EPERM'],
    ['xsm_op', [UNREADABLE], '-ENOSYS'],
    ['xenoprof_op', [0, UNREADABLE], '-ENOSYS'],
    ['xenpmu_op', [0, UNREADABLE], '-EOPNOTSUPP'],
  ])('%s, case %#', (name, args, expected) => {
    expect(guest.try(name, ...args)).toBe(expected);
  });

  it('dm_op: on itself, on nobody, on another', () => {
    const on = (id: number): string => guest.try('dm_op', id, 0, 0);
    expect([guest.domain.id, NOBODY, other.domain.id].map(on)).toEqual(['-EPERM', '-ESRCH', '-EPERM']);
  });

  it('remote_shutdown', () => {
    const on = (domid: number): string =>
      guest.try('sched_op', SCHEDOP.remote_shutdown, guest.put(schedRemoteShutdown, [{ domainId: domid, reason: 0 }]));
    expect(guest.try('sched_op', SCHEDOP.remote_shutdown, UNREADABLE)).toBe('-EFAULT');
    expect([NOBODY, other.domain.id].map(on)).toEqual(['-ESRCH', '-EPERM']);
    expect(other.domain.shutdown).toBeNull();
  });
});
