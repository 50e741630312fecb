// Guests that reach for others by grants and events.
import * as ev from '../../../src/abi/xen/event-channel.ts';
import * as gnt from '../../../src/abi/xen/grant-table.ts';
import { GNTMAP, GNTTABOP } from '../../../src/abi/xen/grant-table.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { addr, dword, eax, qword, rax } from '../../../src/toolstack/init/assembler/assembler.ts';
import { event, grant, mmuext, remap, reservation } from '../calls.ts';
import type { PvGuest } from '../pv-guest.ts';
import {
  all,
  type Computed,
  code,
  entry,
  entryFor,
  evaluate,
  hypercall,
  mfnOf,
  READ_ONLY,
  READ_WRITE,
  read,
  statusIn,
  store,
  sum,
  type Value,
  words,
} from '../value.ts';
import { SECRET, type World, world } from '../world.ts';

const guest = world();
type Guest = PvGuest<World>;

const XEN = 0xffff830000000000n;
const NOWHERE = 0x0000800000000000n;
const NOBODY = 999;
/** GNTST_* with their signs turned. */
const GENERAL_ERROR = 1;
const BAD_DOMAIN = 2;
const BAD_GNTREF = 3;
const BAD_HANDLE = 4;
const BAD_VIRT_ADDR = 5;
const PERMISSION_DENIED = 8;
const BAD_PAGE = 9;
const BAD_COPY_ARG = 10;
/** References in the innocent guest's table: read-only for the hostile guest; for writing; for Dom0. */
const READABLE = 20;
const WRITABLE = 21;
const FOREIGN = 22;

/** The innocent guest's id; it grants its pages by the references above. */
const granting = (g: Guest): Value =>
  g.given(({ innocent, hostile, innocentFrame }) => {
    innocent.grants.seed(READABLE, hostile.id, innocentFrame('secret'), true);
    innocent.grants.seed(WRITABLE, hostile.id, innocentFrame('offered'), false);
    innocent.grants.seed(FOREIGN, 0, innocentFrame('secret'), false);
    return innocent.id;
  });

const map = (dom: Value, hostAddr: Value, ref: Value, flags: number): Computed =>
  all(
    grant('map_grant_ref', gnt.gnttabMapGrantRef, { hostAddr, flags, ref, dom }, 'map'),
    statusIn(gnt.gnttabMapGrantRef, 'map'),
  );
const unmap = (hostAddr: Value, handle: Value, devBusAddr: Value = 0): Computed =>
  all(
    grant('unmap_grant_ref', gnt.gnttabUnmapGrantRef, { hostAddr, devBusAddr, handle }, 'unmap'),
    statusIn(gnt.gnttabUnmapGrantRef, 'unmap'),
  );
const lastHandle = dword('map', gnt.gnttabMapGrantRef.offset('handle', 64));

guest('maps what was not granted to it', g => {
  const page = g.page();
  const other = granting(g);
  const { host_map, readonly, contains_pte, device_map } = GNTMAP;
  g.tries("to map what is Dom0's", map(other, page, FOREIGN, host_map)).gets(GENERAL_ERROR);
  g.tries("to map the other's console", map(other, page, 0, host_map)).gets(GENERAL_ERROR);
  g.tries('to map what nobody granted', map(other, page, 50, host_map)).gets(GENERAL_ERROR);
  g.tries('to map a reference beyond the table', map(other, page, 512, host_map)).gets(BAD_GNTREF);
  g.tries('to map reference 2^32-1', map(other, page, 0xffffffff, host_map)).gets(BAD_GNTREF);
  g.tries('to map from nobody', map(NOBODY, page, READABLE, host_map)).gets(BAD_DOMAIN);
  g.tries('to write to what it may read', map(other, page, READABLE, host_map)).gets(GENERAL_ERROR);
  g.tries('to write by a device to what it may read', map(other, page, READABLE, device_map)).gets(GENERAL_ERROR);
  g.tries('to map neither for itself nor for a device', map(other, page, READABLE, readonly)).gets(BAD_GNTREF);
  g.tries('to map it in Xen', map(other, XEN, READABLE, host_map | readonly)).gets(GENERAL_ERROR);
  g.tries('to map it nowhere', map(other, NOWHERE, READABLE, host_map | readonly)).gets(GENERAL_ERROR);
  const pte = host_map | readonly | contains_pte;
  g.tries(
    "to map it by an entry of the other's table",
    map(
      other,
      g.given(w => w.innocentRoot * 4096),
      READABLE,
      pte,
    ),
  ).gets(GENERAL_ERROR);
  g.tries('to map it by an entry that is not aligned', map(other, sum(entryFor(page), 4), READABLE, pte)).gets(
    GENERAL_ERROR,
  );
  g.tries('to map it by an L2 entry', map(other, entryFor(page, 2), READABLE, pte)).gets(GENERAL_ERROR);
  g.tries('to use its own page still', all(store(page, 77), read(page))).gets(77);
});

guest('does more with a grant than it was given', g => {
  const page = g.page();
  const second = g.page();
  const handle = g.variable('handle');
  const other = granting(g);
  const { host_map, readonly } = GNTMAP;
  const secretFrame = g.given(w => w.innocentFrame('secret'));
  g.prepares('to map what it may read', map(other, page, READABLE, host_map | readonly));
  g.does(store(addr('handle'), lastHandle));
  g.tries('to read it', read(page)).gets(SECRET);
  g.tries('to write to it', store(page, 0)).gets('#PF(0x3)');
  g.tries('to make the mapping writable', remap(page, entry(secretFrame, READ_WRITE))).gets('-EBUSY');
  g.tries('to map the frame elsewhere', remap(second, entry(secretFrame, READ_ONLY))).gets('-EBUSY');
  g.tries('to make a page table of it', mmuext('pin_l1_table', secretFrame)).gets('-EINVAL');
  g.tries('to make a descriptor table of it', hypercall('set_gdt', words(secretFrame), 512)).gets('-EINVAL');
  g.tries('to free it', reservation('decrease_reservation', words(secretFrame), 1)).gets(0);
  g.tries('to unmap it elsewhere', unmap(second, handle)).gets(GENERAL_ERROR);
  g.tries('to unmap a handle that there is not', unmap(page, 12345)).gets(BAD_HANDLE);
  g.tries('to unmap handle 2^32-1', unmap(page, 0xffffffff)).gets(BAD_HANDLE);
  g.tries('to unmap it', unmap(page, handle)).gets(0);
  g.tries('to unmap it again', unmap(page, handle)).gets(BAD_HANDLE);
  g.tries('to read it now', read(page)).gets('#PF(0)');
  g.prepares('to map what it may write to', map(other, page, WRITABLE, host_map));
  g.tries('to write to that', all(store(page, 5), read(page))).gets(5);
  // It dies with the mapping.
});

guest('overwrites the entry of a grant that it has mapped', g => {
  const page = g.page();
  const second = g.page();
  const other = granting(g);
  g.prepares('to map a grant', map(other, page, WRITABLE, GNTMAP.host_map));
  g.prepares('to put another page there', remap(page, entry(mfnOf(second), READ_WRITE)));
  g.tries('to unmap the grant', unmap(page, lastHandle)).gets(GENERAL_ERROR);
  g.tries('to use its page', all(store(page, 6), read(second))).gets(6);
});

guest('copies what is not its own', g => {
  const page = g.page();
  const other = granting(g);
  const { source_gref, dest_gref } = gnt.GNTCOPY;
  const mine = { domid: DOMID_SELF, u: { gmfn: mfnOf(page) } };
  type Side = { domid: Value; offset?: Value; u: { ref?: Value; gmfn?: Value } };
  const copy = (source: Side, dest: Side, flags: number, len: Value = 8): Computed =>
    all(grant('copy', gnt.gnttabCopy, { source, dest, len, flags }, 'copied'), statusIn(gnt.gnttabCopy, 'copied'));
  const theirs = (ref: Value): Side => ({ domid: other, u: { ref } });
  g.tries(
    'to copy from a frame of another',
    copy({ domid: other, u: { gmfn: g.given(w => w.innocentFrame('secret')) } }, mine, 0),
  ).gets(PERMISSION_DENIED);
  g.tries(
    'to copy to a frame of another',
    copy(mine, { domid: other, u: { gmfn: g.given(w => w.innocentFrame('secret')) } }, 0),
  ).gets(PERMISSION_DENIED);
  g.tries(
    'to copy from its frame as its own',
    copy({ domid: DOMID_SELF, u: { gmfn: g.given(w => w.innocentFrame('secret')) } }, mine, 0),
  ).gets(BAD_PAGE);
  g.tries('to copy from a frame that there is not', copy({ domid: DOMID_SELF, u: { gmfn: -1n } }, mine, 0)).gets(
    BAD_PAGE,
  );
  g.tries(
    'to copy to its own page table',
    copy(mine, { domid: DOMID_SELF, u: { gmfn: sum(0, frameOf(entryFor(page))) } }, 0),
  ).gets(GENERAL_ERROR);
  g.tries('to write to what it may read', copy(mine, theirs(READABLE), dest_gref)).gets(GENERAL_ERROR);
  g.tries("to read what is Dom0's", copy(theirs(FOREIGN), mine, source_gref)).gets(GENERAL_ERROR);
  g.tries('to copy from nobody', copy({ domid: NOBODY, u: { ref: 0 } }, mine, source_gref)).gets(BAD_DOMAIN);
  g.tries('to copy beyond the page', copy({ ...theirs(READABLE), offset: 4090 }, mine, source_gref)).gets(BAD_COPY_ARG);
  g.tries('to copy 64 KiB', copy(theirs(READABLE), mine, source_gref, 0xffff)).gets(BAD_COPY_ARG);
  g.tries('to copy what it may', copy(theirs(READABLE), mine, source_gref)).gets(0);
  g.tries('to find it', read(page)).gets(SECRET);
});

const frameOf = (address: Value): Computed =>
  code(a => {
    evaluate(a, address);
    a.shr(rax, 12);
  });

guest('asks the grant table for too much', g => {
  const other = granting(g);
  const setup = (dom: Value, nrFrames: Value, frameList: Value): Computed =>
    all(
      grant('setup_table', gnt.gnttabSetupTable, { dom, nrFrames, frameList }, 'setup'),
      statusIn(gnt.gnttabSetupTable, 'setup'),
    );
  const list = g.page(2, 'list');
  g.prepares('to have nothing behind its list', remap(addr('list', 4096), 0));
  g.tries('more frames than there are', setup(DOMID_SELF, 65, list)).gets(GENERAL_ERROR);
  g.tries('2^32-1 frames', setup(DOMID_SELF, 0xffffffff, list)).gets(GENERAL_ERROR);
  g.tries("another's frames", setup(other, 1, list)).gets(PERMISSION_DENIED);
  g.tries("nobody's frames", setup(NOBODY, 1, list)).gets(BAD_DOMAIN);
  g.tries('them where nothing is', setup(DOMID_SELF, 1, addr('list', 4096))).gets(BAD_VIRT_ADDR);
  const inXen = { dom: DOMID_SELF, nrFrames: 1, frameList: XEN };
  g.tries('them in Xen', grant('setup_table', gnt.gnttabSetupTable, inXen)).gets('-EFAULT');
  g.tries('all that there are', setup(DOMID_SELF, 64, list)).gets(0);
  g.tries('version 3', grant('set_version', gnt.gnttabSetVersion, { version: 3 })).gets('-EINVAL');
  g.tries('an operation that there is not', hypercall('grant_table_op', 99, list, 1)).gets('-ENOSYS');
  g.tries('-1 operations', hypercall('grant_table_op', GNTTABOP.map_grant_ref, list, 0xffffffff)).gets('-EINVAL');
  g.tries('2^31-1 operations', hypercall('grant_table_op', GNTTABOP.unmap_grant_ref, list, 0x7fffffff)).gets('-EFAULT');
  g.tries('operations in Xen', hypercall('grant_table_op', GNTTABOP.map_grant_ref, XEN, 1)).gets('-EFAULT');
});

guest('binds, closes and asks for what is not its own', g => {
  const other = g.given(w => w.innocent.id);
  const bind = (remoteDom: Value, remotePort: Value): Computed =>
    event('bind_interdomain', ev.evtchnBindInterdomain, { remoteDom, remotePort });
  g.tries("to bind to another's XenStore", bind(other, 1)).gets('-EINVAL');
  g.tries('to bind to a port that there is not', bind(other, 100_000)).gets('-EINVAL');
  g.tries('to bind to port 2^32-1', bind(other, 0xffffffff)).gets('-EINVAL');
  g.tries('to bind to nobody', bind(NOBODY, 1)).gets('-ESRCH');
  g.tries(
    'to make a port of another',
    event('alloc_unbound', ev.evtchnAllocUnbound, { dom: other, remoteDom: 0 }),
  ).gets('-EPERM');
  g.tries("to see another's ports", event('status', ev.evtchnStatus, { dom: other, port: 1 })).gets('-EPERM');
  g.tries("to reset another's ports", event('reset', ev.evtchnReset, { dom: other })).gets('-EPERM');
  for (const port of [0, 3, 4095, 4096, 131072, 0xffffffff]) {
    g.tries(`to send to port ${port}`, event('send', ev.evtchnSend, { port })).gets('-EINVAL');
    g.tries(`to close port ${port}`, event('close', ev.evtchnClose, { port })).gets('-EINVAL');
    g.tries(`to bind port ${port} to a vCPU`, event('bind_vcpu', ev.evtchnBindVcpu, { port, vcpu: 0 })).gets(
      /^-E(INVAL|NOENT)$/,
    );
  }
  g.tries('to unmask port 2^32-1', event('unmask', ev.evtchnUnmask, { port: 0xffffffff })).gets('-EINVAL');
  g.tries(
    'to bind its port to a vCPU that there is not',
    event('bind_vcpu', ev.evtchnBindVcpu, { port: 1, vcpu: 99 }),
  ).gets('-ENOENT');
  g.tries('to bind an IPI to a vCPU that there is not', event('bind_ipi', ev.evtchnBindIpi, { vcpu: 99 })).gets(
    '-ENOENT',
  );
  g.tries('to bind a virtual interrupt that there is not', event('bind_virq', ev.evtchnBindVirq, { virq: 24 })).gets(
    '-EINVAL',
  );
  g.tries('to bind virtual interrupt 2^32-1', event('bind_virq', ev.evtchnBindVirq, { virq: 0xffffffff })).gets(
    '-EINVAL',
  );
  g.tries('to bind an interrupt of the machine', event('bind_pirq', ev.evtchnBindPirq, { pirq: 4 })).gets('-EPERM');
  g.tries(
    'to set a priority that there is not',
    event('set_priority', ev.evtchnSetPriority, { port: 1, priority: 99 }),
  ).gets(/^-E(INVAL|NOSYS|OPNOTSUPP)$/);
  g.tries('to close its XenStore port', event('close', ev.evtchnClose, { port: 1 })).gets(0);
  g.tries('to send to it', event('send', ev.evtchnSend, { port: 1 })).gets('-EINVAL');
});

guest('uses up its ports', g => {
  g.tries(
    'to make ports without end',
    code(a => {
      a.mov(qword('made'), 0).label('make').inc(qword('made'));
      evaluate(a, event('alloc_unbound', ev.evtchnAllocUnbound, { dom: DOMID_SELF, remoteDom: DOMID_SELF }));
      a.test(eax, eax).je('make');
    }),
  ).gets('-ENOSPC');
  g.variable('made');
  g.tries('to count them: all but port 0 and two of the daemons', qword('made')).gets(1024 - 3 + 1);
  g.tries('to make one more for an IPI', event('bind_ipi', ev.evtchnBindIpi, {})).gets('-ENOSPC');
  g.tries('to close one', event('close', ev.evtchnClose, { port: 1000 })).gets(0);
  g.tries('to make one again', event('bind_ipi', ev.evtchnBindIpi, {})).gets(0);
});

guest('gives bad event queues', g => {
  const control = g.page(1, 'control');
  const array = g.page(1, 'array');
  const initControl = (controlGfn: Value, offset: Value = 0, vcpu: Value = 0): Computed =>
    event('init_control', ev.evtchnInitControl, { controlGfn, offset, vcpu });
  const expand = (arrayGfn: Value): Computed => event('expand_array', ev.evtchnExpandArray, { arrayGfn });
  g.tries('an array before there are queues', expand(mfnOf(array))).gets('-EOPNOTSUPP');
  g.tries('a control block at no frame', initControl(-2n)).gets('-EINVAL');
  g.tries("a control block in another's page", initControl(g.given(w => w.innocentFrame('secret')))).gets('-EINVAL');
  g.tries("a control block in Xen's page", initControl(g.given(w => w.host.hypervisor.addressSpace.idleRoot))).gets(
    '-EINVAL',
  );
  g.tries('a control block in its page table', initControl(frameOf(entryFor(control)))).gets('-EINVAL');
  g.tries('a control block across pages', initControl(mfnOf(control), 4072)).gets('-EINVAL');
  g.tries('a control block that is not aligned', initControl(mfnOf(control), 4)).gets('-EINVAL');
  g.tries('a control block of a vCPU that there is not', initControl(mfnOf(control), 0, 9)).gets('-ENOENT');
  g.prepares('to use queues', initControl(mfnOf(control)));
  g.tries("an array in another's page", expand(g.given(w => w.innocentFrame('secret')))).gets('-EINVAL');
  g.prepares('to give an array', expand(mfnOf(array)));
  g.tries('to give its page away', remap(array, entry(mfnOf(array), READ_ONLY))).gets(0);
  g.tries('to make a page table of it', mmuext('pin_l1_table', mfnOf(array))).gets('-EINVAL');
  g.prepares('to have its page back', remap(array, entry(mfnOf(array), READ_WRITE)));
  for (let i = 0; i < 4; i++) g.does(event('bind_ipi', ev.evtchnBindIpi, {}));
  // Words of events that point at themselves, then beyond the array, and queue heads that point nowhere.
  g.tries(
    'to send on, with links in circles',
    all(
      ...[3, 4, 5, 6].map(port => store(sum(array, port * 4), 0x60000000 | port, 4)),
      ...[3, 4, 5, 6].map(port => event('send', ev.evtchnSend, { port })),
      ...[3, 4, 5, 6].map(port => store(sum(array, port * 4), 0x2001ffff, 4)),
      ...Array.from({ length: 16 }, (_, i) => store(sum(control, 8 + i * 4), 0xffffffff, 4)),
      ...[3, 4, 5, 6].map(port => event('send', ev.evtchnSend, { port })),
    ),
  ).gets(0);
});
