// Guests that make hypercalls with pointers, counts and numbers that make no sense.

import { EVTCHNOP } from '../../../src/abi/xen/event-channel.ts';
import { XENMEM, xenAddToPhysmap, xenMemoryReservation } from '../../../src/abi/xen/memory.ts';
import { physdevMapPirq, physdevSetIobitmap } from '../../../src/abi/xen/physdev.ts';
import { schedPoll, schedRemoteShutdown, schedWatchdog } from '../../../src/abi/xen/sched.ts';
import {
  vcpuRegisterArea,
  vcpuRegisterVcpuInfo,
  vcpuSetPeriodicTimer,
  vcpuSetSingleshotTimer,
} from '../../../src/abi/xen/vcpu.ts';
import { HYPERCALL, MMUEXT, mmuextOp, mmuUpdate, multicallEntry } from '../../../src/abi/xen/xen.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import {
  addr,
  dword,
  eax,
  ecx,
  mem,
  qword,
  r8,
  r9,
  rax,
  rdi,
  rdx,
} from '../../../src/toolstack/init/assembler/assembler.ts';
import { physdev, remap, reservation, sched, update, vcpuOp } from '../calls.ts';
import {
  all,
  type Computed,
  code,
  entry,
  entryFor,
  evaluate,
  type Fields,
  hypercall,
  mfnOf,
  READ_ONLY,
  record,
  store,
  sum,
  tableFor,
  tableVa,
  type Value,
  words,
} from '../value.ts';
import { world } from '../world.ts';

const guest = world();

const XEN = 0xffff830000000000n;
const M2P = 0xffff800000000000n;
const NOWHERE = 0x0000800000000000n;
const UNMAPPED = 0x40000000;

/** Hypercalls that read or write through a pointer, which stands for it. */
const takingPointers: [name: string, call: (pointer: Value) => Value][] = [
  ['set_trap_table', p => hypercall('set_trap_table', p)],
  ['mmu_update', p => hypercall('mmu_update', p, 1, 0, DOMID_SELF)],
  ['mmuext_op', p => hypercall('mmuext_op', p, 1, 0, DOMID_SELF)],
  ['set_gdt', p => hypercall('set_gdt', p, 512)],
  ['memory_op populate', p => hypercall('memory_op', XENMEM.populate_physmap, p)],
  ['memory_op exchange', p => hypercall('memory_op', XENMEM.exchange, p)],
  ['multicall', p => hypercall('multicall', p, 1)],
  ['xen_version extraversion', p => hypercall('xen_version', 1, p)],
  ['xen_version commandline', p => hypercall('xen_version', 9, p)],
  ['xen_version get_features', p => hypercall('xen_version', 6, p)],
  ['grant_table_op map', p => hypercall('grant_table_op', 0, p, 1)],
  ['grant_table_op copy', p => hypercall('grant_table_op', 5, p, 1)],
  ['grant_table_op query_size', p => hypercall('grant_table_op', 6, p, 1)],
  ['vcpu_op get_runstate_info', p => vcpuOp('get_runstate_info', 0, p)],
  ['vcpu_op set_singleshot_timer', p => vcpuOp('set_singleshot_timer', 0, p)],
  ['vcpu_op register_vcpu_info', p => vcpuOp('register_vcpu_info', 0, p)],
  ['sched_op shutdown', p => sched('shutdown', p)],
  ['sched_op poll', p => sched('poll', p)],
  ['callback_op', p => hypercall('callback_op', 0, p)],
  ['event_channel_op send', p => hypercall('event_channel_op', EVTCHNOP.send, p)],
  ['event_channel_op status', p => hypercall('event_channel_op', EVTCHNOP.status, p)],
  ['physdev_op set_iopl', p => hypercall('physdev_op', 6, p)],
];
/** Those of them that only read. */
const READERS = /set_|multicall|mmu|populate|exchange|shutdown|poll|callback|send|register|map|copy/;

guest('passes pointers to what is not there', g => {
  for (const [where, pointer] of [
    ['in Xen', XEN],
    ['nowhere', NOWHERE],
    ['at the end of memory', -4n],
    ['unmapped', UNMAPPED],
  ] as const) {
    for (const [name, call] of takingPointers)
      g.tries(`${name}, ${where}`, call(pointer)).gets(name === 'memory_op populate' ? 0 : '-EFAULT');
  }
  g.tries('set_trap_table at 0, which clears it', hypercall('set_trap_table', 0)).gets(0);
  g.does(hypercall('set_trap_table', addr('trap_table')));
});

guest('has results written to what it may only read', g => {
  const page = g.page();
  g.does(store(page, BigInt(DOMID_SELF) | (1n << 32n)));
  g.prepares('to map a page for reading', remap(page, entry(mfnOf(page), READ_ONLY)));
  for (const [name, call] of takingPointers.filter(([name]) => !READERS.test(name))) {
    g.tries(`${name}, to a page for reading`, call(name.includes('status') ? page : sum(page, 64))).gets('-EFAULT');
    g.tries(`${name}, to the M2P`, call(M2P)).gets('-EFAULT');
  }
  g.tries('a list of results in the M2P', reservation('populate_physmap', M2P + 0x1000n, 1)).gets(0);
  g.tries(
    'how many updates were done, in the M2P',
    hypercall(
      'mmu_update',
      record(mmuUpdate, { ptr: entryFor(page), val: entry(mfnOf(page), READ_ONLY) }),
      1,
      M2P,
      DOMID_SELF,
    ),
  ).gets(/^(0|-EFAULT)$/);
  g.tries("a call's result, in the M2P", hypercall('multicall', M2P, 1)).gets(/^-E/);
});

guest('asks for more than there is', g => {
  const list = g.page(2, 'list');
  g.prepares('to have nothing behind its list', remap(addr('list', 4096), 0));
  // 256 updates of one entry to what it is already.
  const same = all(
    entryFor(list),
    code(a => {
      evaluate(a, entryFor(list));
      a.mov(r8, rax).mov(r9, qword(rdx)).lea(rdi, mem('list')).mov(ecx, 256);
      a.label('fill').mov(qword(rdi), r8).mov(qword(rdi, 8), r9).add(rdi, 16).dec(ecx).jne('fill').xor(eax, eax);
    }),
  );
  g.prepares('to fill its list', same);
  g.variable('done');
  g.tries('as many updates as there are', hypercall('mmu_update', list, 256, addr('done'), DOMID_SELF)).gets(0);
  g.tries('to have them all done', dword('done')).gets(256);
  g.tries('one more', hypercall('mmu_update', list, 257, addr('done'), DOMID_SELF)).gets('-EFAULT');
  g.tries('to have 256 done', dword('done')).gets(256);
  g.tries('2^31-1 updates', hypercall('mmu_update', list, 0x7fffffff, 0, DOMID_SELF)).gets('-EFAULT');
  g.tries('2^31-1 operations', hypercall('mmuext_op', list, 0x7fffffff, 0, DOMID_SELF)).gets(/^-E/);
  g.tries('2^32-1 multicalls', hypercall('multicall', addr('list', 4032), 0xffffffff)).gets('-EFAULT');
  const call = (fields: Fields): Computed => record(multicallEntry, fields);
  g.tries(
    'a multicall within a multicall',
    hypercall('multicall', call({ op: HYPERCALL.multicall, args: [list, 1] }), 1),
  ).gets(0);
  const poll = (nrPorts: Value, ports: Value, timeout: Value = 1): Computed =>
    sched('poll', record(schedPoll, { ports, nrPorts, timeout }));
  g.tries('to wait for 129 ports', poll(129, list)).gets('-EINVAL');
  g.tries('to wait for 2^32-1 ports', poll(0xffffffff, list)).gets('-EINVAL');
  g.tries('to wait for ports in Xen', poll(1, XEN)).gets('-EFAULT');
  g.tries('to wait for ports that are not there', poll(128, addr('list', 4096))).gets('-EFAULT');
  for (const port of [32, 1000, 4096, 0xffffffff]) {
    g.tries(`to wait for port ${port}`, poll(1, words(port))).gets(/^(0|-EINVAL)$/);
  }
});

guest('makes hypercalls that are not for it', g => {
  const page = g.page();
  const other = g.given(w => w.innocent.id);
  for (const number of [11, 43, 49, 55, 56, 63, 64, 100, 0x7fffffff, 0xffffffff]) {
    g.tries(`number ${number}`, hypercall(number, page, page, page)).gets('-ENOSYS');
  }
  for (const [name, version] of [
    ['platform_op', 0x03000001],
    ['sysctl', 0x15],
    ['domctl', 0x15],
  ] as const) {
    g.tries(name, hypercall(name, words(sum(version << 32, 3), 0, 0, 0))).gets(/^-E(PERM|ACCES)$/);
    g.tries(`${name} of a wrong version`, hypercall(name, words(99n << 32n, 0))).gets(/^-E(PERM|ACCES)$/);
  }
  g.tries('console_io write', hypercall('console_io', 0, 3, page)).gets('-EPERM');
  g.tries('console_io write of 2^31 bytes', hypercall('console_io', 0, 0x80000000, page)).gets('-EPERM');
  g.tries('console_io read', hypercall('console_io', 1, 100, page)).gets('-EPERM');
  g.tries(
    "another's shutdown",
    sched('remote_shutdown', record(schedRemoteShutdown, { domainId: other, reason: 0 })),
  ).gets('-EPERM');
  g.tries(
    "another's memory",
    hypercall(
      'memory_op',
      XENMEM.decrease_reservation,
      record(xenMemoryReservation, { extentStart: page, nrExtents: 1, domid: other }),
    ),
  ).gets(0);
  g.tries("another's current reservation", hypercall('memory_op', XENMEM.current_reservation, words(other))).gets(
    '-EPERM',
  );
  g.tries(
    'a frame at a place of its choice',
    hypercall('memory_op', XENMEM.add_to_physmap, record(xenAddToPhysmap, { domid: DOMID_SELF, space: 0, gpfn: 5 })),
  ).gets(/^-E(ACCES|PERM|INVAL|OPNOTSUPP)$/);
  g.tries('the memory map of the machine', hypercall('memory_op', XENMEM.machine_memory_map, words(1, page))).gets(
    '-EPERM',
  );
  g.tries('a memory operation that there is not', hypercall('memory_op', 60, page)).gets('-ENOSYS');
  g.tries(
    'an interrupt of the machine',
    physdev('map_pirq', physdevMapPirq, { domid: DOMID_SELF, type: 1, index: 4, pirq: 4 }),
  ).gets('-EPERM');
  g.tries(
    'a bitmap of 65537 ports',
    physdev('set_iobitmap', physdevSetIobitmap, { bitmap: page, nrPorts: 65537 }),
  ).gets('-EINVAL');
  g.tries('a bitmap in Xen', physdev('set_iobitmap', physdevSetIobitmap, { bitmap: XEN, nrPorts: 65536 })).gets(
    /^(0|-EFAULT|-EINVAL)$/,
  );
  g.tries('an assist that there is not', hypercall('vm_assist', 0, 99)).gets('-EINVAL');
  g.tries('an assist command that there is not', hypercall('vm_assist', 9, 2)).gets('-ENOSYS');
  g.tries(
    'an operation on page tables that there is not',
    hypercall('mmuext_op', record(mmuextOp, { cmd: 99 }), 1, 0, DOMID_SELF),
  ).gets('-ENOSYS');
  g.tries('a superpage', hypercall('mmuext_op', record(mmuextOp, { cmd: MMUEXT.mark_super }), 1, 0, DOMID_SELF)).gets(
    '-EOPNOTSUPP',
  );
  g.tries('an update of page tables that there is not', update(3, 0)).gets(/^-E/);
  g.tries('a watchdog that there is not', sched('watchdog', record(schedWatchdog, { id: 99, timeout: 1 }))).gets(
    '-EINVAL',
  );
  g.tries('a version of what there is not', hypercall('xen_version', 99, page)).gets('-ENOSYS');
});

guest('gives Xen bad places and times', g => {
  const page = g.page();
  const register = (mfn: Value, offset: Value, vcpu: Value = 0): Computed =>
    vcpuOp('register_vcpu_info', vcpu, record(vcpuRegisterVcpuInfo, { mfn, offset }));
  g.tries(
    "to have its info in another's page",
    register(
      g.given(w => w.innocentFrame('secret')),
      0,
    ),
  ).gets('-EINVAL');
  g.tries('to have it in its page table', register(tableFor(page), 0)).gets('-EINVAL');
  g.tries('to have it across pages', register(mfnOf(page), 4040)).gets('-ENXIO');
  g.tries('to have it unaligned', register(mfnOf(page), 4)).gets('-ENXIO');
  g.tries('to have it at offset 2^32-1', register(mfnOf(page), 0xffffffff)).gets('-ENXIO');
  g.tries('to have that of a vCPU that there is not', register(mfnOf(page), 0, 7)).gets('-ENOENT');
  const area = (pointer: Value): Fields => ({ addr: { h: pointer } });
  for (const op of ['register_runstate_memory_area', 'register_vcpu_time_memory_area'] as const) {
    g.tries(`${op} in Xen`, vcpuOp(op, 0, record(vcpuRegisterArea, area(XEN)))).gets('-EFAULT');
    g.tries(`${op} on its page table`, vcpuOp(op, 0, record(vcpuRegisterArea, area(tableVa(page))))).gets(0);
    g.tries(`${op} unmapped`, vcpuOp(op, 0, record(vcpuRegisterArea, area(UNMAPPED)))).gets(0);
  }
  const periodic = (periodNs: Value): Computed =>
    vcpuOp('set_periodic_timer', 0, record(vcpuSetPeriodicTimer, { periodNs }));
  g.tries('a period of a nanosecond', periodic(1)).gets('-EINVAL');
  g.tries('a period of 2^64-1 nanoseconds', periodic(-1n)).gets('-EINVAL');
  g.tries(
    'to be woken in the past',
    vcpuOp('set_singleshot_timer', 0, record(vcpuSetSingleshotTimer, { timeoutAbsNs: 1 })),
  ).gets(0);
  g.tries(
    'to be woken in 584 years',
    vcpuOp('set_singleshot_timer', 0, record(vcpuSetSingleshotTimer, { timeoutAbsNs: -1n })),
  ).gets(0);
  for (const time of [1n, -1n, 1n << 63n, (1n << 63n) - 1n])
    g.tries(`a timer at ${time}`, hypercall('set_timer_op', time)).gets(0);
  g.tries('to sleep through all that', all(hypercall('set_timer_op', 0), yieldALittle)).gets(0);
  g.tries('to be told once where its info is', register(mfnOf(page), 0)).gets(0);
  g.tries('to be told again', register(mfnOf(page), 64)).gets('-EINVAL');
});

const yieldALittle = all(sched('yield'), sched('yield'), sched('yield'));
