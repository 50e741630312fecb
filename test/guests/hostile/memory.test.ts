// Guests that reach for memory that is not theirs, or for their own in ways that Xen forbids.

import { XENMEM, xenMemoryExchange } from '../../../src/abi/xen/memory.ts';
import { MMU, MMUEXT, mmuextOp, VMASST_CMD } from '../../../src/abi/xen/xen.ts';
import { VmAssist } from '../../../src/hypervisor/domain.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import { eax, qword, rax, rcx } from '../../../src/toolstack/init/assembler/assembler.ts';
import { mmuext, remap, reservation, update } from '../calls.ts';
import type { PvGuest } from '../pv-guest.ts';
import { M2P_BASE } from '../runtime.ts';
import {
  all,
  code,
  entry,
  entryFor,
  entryVa,
  evaluate,
  hypercall,
  mfnOf,
  or,
  PTE,
  READ_ONLY,
  READ_WRITE,
  read,
  record,
  store,
  sum,
  tableFor,
  type Value,
  words,
} from '../value.ts';
import { type World, world } from '../world.ts';

const guest = world();
type Guest = PvGuest<World>;

const DOMID_IO = 0x7ff1;
const DOMID_XEN = 0x7ff2;

/** Frames that no guest may have, by what they are. */
function forbidden(g: Guest): [what: string, frame: Value, errno: string][] {
  return [
    ["the M2P's frame", g.given(w => w.host.hypervisor.m2p.firstMfn), '-EBUSY'],
    ["Xen's own page table", g.given(w => w.host.hypervisor.addressSpace.idleRoot), '-EBUSY'],
    ["another domain's page", g.given(w => w.innocentFrame('secret')), '-EBUSY'],
    ["another domain's page table", g.given(w => w.innocentRoot), '-EBUSY'],
    ["another domain's shared info", g.given(w => w.innocent.sharedInfoMfn), '-EBUSY'],
    ['a free frame', g.given(w => lastFree(w)), '-EBUSY'],
    ['a frame beyond the memory', g.given(w => w.host.hypervisor.frames.count), '-EPERM'],
    ['the last frame that there can be', 0xfffffffffn, '-EPERM'],
    ['no frame', 0xffffffffffn, '-EINVAL'],
  ];
}

function lastFree({ host }: World): number {
  const { frames } = host.hypervisor;
  let mfn = frames.count - 1;
  while (frames.refCount[mfn] !== 0) mfn--;
  return mfn;
}

guest('maps frames that are not its own, by address', g => {
  const page = g.page();
  for (const [what, frame, errno] of forbidden(g)) {
    g.tries(`to write to ${what}`, remap(page, entry(frame, READ_WRITE))).gets(errno);
    g.tries(`to read ${what}`, remap(page, entry(frame, READ_ONLY))).gets(errno);
  }
  g.tries('to use its own page still', all(store(page, 77), read(page))).gets(77);
});

guest('maps frames that are not its own, by an update of its own L1 table', g => {
  const page = g.page();
  for (const [what, frame, errno] of forbidden(g)) {
    g.tries(`to write to ${what}`, update(entryFor(page), entry(frame, READ_WRITE))).gets(errno);
    g.tries(`to read ${what} as I/O memory`, update(entryFor(page), entry(frame, READ_ONLY), DOMID_IO)).gets(errno);
    g.tries(`to read ${what} as Xen's`, update(entryFor(page), entry(frame, READ_ONLY), DOMID_XEN)).gets('-EPERM');
  }
  g.tries('to use its own page still', all(store(page, 77), read(page))).gets(77);
});

guest('maps frames that are not its own, by writes to its L1 table', g => {
  const page = g.page();
  const frames = forbidden(g);
  g.tries('to write to its L1 table', store(entryVa(page), entry(frames[2][1], READ_WRITE))).gets('#PF(0x3)');
  g.prepares('to have such writes emulated', hypercall('vm_assist', VMASST_CMD.enable, VmAssist.writablePagetables));
  for (const [what, frame] of frames) {
    g.tries(`to map ${what}`, store(entryVa(page), entry(frame, READ_WRITE))).gets('#PF(0x3)');
  }
  g.tries(
    'to map it with a locked exchange',
    code(a => {
      evaluate(a, entryVa(page));
      a.push(rax);
      evaluate(a, entry(frames[2][1], READ_WRITE));
      a.pop(rcx).xchg(qword(rcx), rax);
    }),
  ).gets('#PF(0x3)');
  g.tries('to write half an entry', store(sum(entryVa(page), 4), 0xffff, 4)).gets('#PF(0x3)');
  g.tries('to use its own page still', all(store(page, 77), read(page))).gets(77);
});

guest('names other domains', g => {
  const page = g.page();
  const other = g.given(w => w.innocent.id);
  const frame = g.given(w => w.innocentFrame('secret'));
  const root = g.given(w => w.innocentRoot);
  const pte = entry(frame, READ_WRITE);
  g.tries('to map it by address', hypercall('update_va_mapping_otherdomain', page, pte, 0, other)).gets('-EPERM');
  g.tries('to map it by update', update(entryFor(page), pte, other)).gets('-EPERM');
  g.tries(
    'to write to its page table',
    update(
      g.given(w => w.innocentRoot * 4096),
      0,
      or(
        DOMID_SELF,
        g.given(w => (w.innocent.id + 1) * 65536),
      ),
    ),
  ).gets('-EPERM');
  g.tries(
    'to write to its page table as its own',
    update(
      g.given(w => w.innocentRoot * 4096),
      0,
    ),
  ).gets('-EINVAL');
  g.tries('to pin its table', mmuext('pin_l4_table', root, other)).gets('-EPERM');
  g.tries('to unpin its table', mmuext('unpin_table', root, other)).gets('-EPERM');
  g.tries('to unpin its table as its own', mmuext('unpin_table', root)).gets('-EINVAL');
  g.tries('to run on its table', mmuext('new_baseptr', root)).gets('-EINVAL');
  g.tries('to clear its page', mmuext('clear_page', frame)).gets('-EINVAL');
  g.tries(
    'to name its frame in the M2P',
    update(
      g.given(w => w.innocentFrame('secret') * 4096 + MMU.machphysUpdate),
      5,
    ),
  ).gets('-EINVAL');
  g.tries('to name a domain that there is not', update(entryFor(page), pte, 999)).gets('-ESRCH');
});

guest('makes its page tables writable', g => {
  const page = g.page();
  for (const level of [1, 2, 3, 4]) {
    g.tries(`to map an L${level} table for writing`, remap(page, entry(tableFor(page, level), READ_WRITE))).gets(
      '-EBUSY',
    );
    g.tries(`to map an L${level} table for reading`, remap(page, entry(tableFor(page, level), READ_ONLY))).gets(0);
    g.tries('to make that mapping writable', remap(page, entry(tableFor(page, level), READ_WRITE))).gets('-EBUSY');
    g.tries('to write to it', store(page, 0)).gets('#PF(0x3)');
  }
});

guest('pins and installs what is no page table', g => {
  const page = g.page();
  const target = g.page();
  const own = mfnOf(page);
  g.tries('to pin a page that it can write to', mmuext('pin_l1_table', own)).gets('-EINVAL');
  g.tries('to run on it', mmuext('new_baseptr', own)).gets('-EINVAL');
  g.tries('to have its user run on it', mmuext('new_user_baseptr', own)).gets('-EINVAL');
  g.tries('to pin its L1 table as an L4 table', mmuext('pin_l4_table', tableFor(page))).gets('-EINVAL');
  g.tries('to pin its L4 table again', mmuext('pin_l4_table', tableFor(page, 4))).gets('-EINVAL');
  g.tries('to unpin what it has not pinned', mmuext('unpin_table', own)).gets('-EINVAL');
  g.tries('to enter it into its L2 table', update(entryFor(page, 2), entry(own, READ_WRITE))).gets('-EINVAL');
  g.tries('to map 2 MiB at once', update(entryFor(page, 2), entry(own, READ_WRITE | PTE.ps))).gets('-EINVAL');
  g.tries('to map 1 GiB at once', update(entryFor(page, 3), entry(own, READ_WRITE | PTE.ps))).gets('-EINVAL');
  for (const [what, frame, errno] of forbidden(g)) {
    g.does(store(page, entry(frame, READ_WRITE)));
    g.prepares('to give up writing to the page', remap(page, entry(own, READ_ONLY)));
    g.tries(`to pin a table that maps ${what}`, mmuext('pin_l1_table', own)).gets(errno);
    g.tries(`to pin an L2 table with ${what}`, mmuext('pin_l2_table', own)).gets('-EINVAL');
    g.prepares('to write to it again', remap(page, entry(own, READ_WRITE)));
  }
  g.does(store(page, entry(mfnOf(target), READ_WRITE)));
  g.prepares('to give up writing to a good table', remap(page, entry(own, READ_ONLY)));
  g.prepares('to pin it', mmuext('pin_l1_table', own));
  g.tries('to write to it now', remap(page, entry(own, READ_WRITE))).gets('-EBUSY');
});

guest("writes to the parts of its address space that are Xen's", g => {
  const page = g.page();
  const l4 = (slot: number) => sum(entryFor(0, 4), slot * 8);
  for (const slot of [256, 257, 260, 262, 271]) {
    g.tries(`to fill slot ${slot} of its L4 table`, update(l4(slot), entry(tableFor(page, 3), READ_WRITE))).gets(
      '-EINVAL',
    );
    g.tries(`to empty slot ${slot}`, update(l4(slot), 0)).gets('-EINVAL');
  }
  g.tries('to map a page into the M2P', remap(M2P_BASE, entry(mfnOf(page), READ_WRITE))).gets('-EINVAL');
  g.tries('to write to the M2P', store(M2P_BASE, 0)).gets('#PF(0x3)');
  g.tries(
    'to read the M2P',
    code(a => a.mov(rcx, M2P_BASE).mov(rcx, qword(rcx))),
  ).gets(0);
  g.tries('to read the M2P beyond its end', read(M2P_BASE + (1n << 37n))).gets('#PF(0)');
  g.tries(
    'to run in the M2P',
    code(a => a.mov(rax, M2P_BASE).jmp(rax)),
  ).gets('#PF(0x11)');
  for (const address of [0xffff820000000000n, 0xffff82d040000000n, 0xffff830000000000n, 0xffff87fffffffff8n]) {
    g.tries(`to read at ${address.toString(16)}`, read(address)).gets(/^#PF\((0|0x1)\)$/);
    g.tries(`to write at ${address.toString(16)}`, store(address, 0)).gets(/^#PF\((0x2|0x3)\)$/);
  }
  g.tries('to read at an address that there is not', read(0x800000000000n)).gets('#GP(0)');
});

guest('builds page tables in circles', g => {
  const page = g.page();
  const slot = sum(entryFor(0, 4), 511 * 8);
  const self = tableFor(page, 4);
  g.tries('to enter its L4 table into itself for writing', update(slot, entry(self, READ_WRITE))).gets('-EINVAL');
  g.tries('to enter its L4 table into itself', update(slot, entry(self, PTE.p | PTE.u))).gets(0);
  g.tries('to make that entry writable', update(slot, entry(self, PTE.p | PTE.u | PTE.rw))).gets('-EINVAL');
  g.tries('to write to the table through the circle', store(0xfffffffffffff000n + 511n * 8n, 0)).gets('#PF(0x3)');
  g.prepares('to leave the circle', update(slot, 0));
});

guest('frees what it uses', g => {
  const page = g.page();
  const frame = g.variable('freed');
  g.does(store({ kind: 'address', label: 'freed', addend: 0n }, mfnOf(page)));
  const free = (mfn: Value) => reservation('decrease_reservation', words(mfn), 1);
  for (const [what, mfn] of forbidden(g)) g.tries(`to free ${what}`, free(mfn)).gets(0);
  g.tries('to free a page that is still mapped', free(frame)).gets(1);
  g.tries('to use it further', all(store(page, 77), read(page))).gets(77);
  g.tries('to map it once more', remap(page, entry(frame, READ_ONLY))).gets(0);
  g.prepares('to unmap it', remap(page, 0));
  g.tries('to free it again', free(frame)).gets(0);
  g.tries('to map it again', remap(page, entry(frame, READ_ONLY))).gets('-EBUSY');
  g.tries('to free its L4 table', free(tableFor(page, 4))).gets(1);
  g.tries('to free its L1 table', free(tableFor(page, 1))).gets(1);
  g.tries(
    'to run further on those tables',
    code(a => a.mov(eax, 5)),
  ).gets(5);
  g.tries(
    'to free the page that it shares with Xen',
    free(mfnOf({ kind: 'address', label: 'shared_info', addend: 0n })),
  ).gets(1);
});

guest('takes more memory than it may have', g => {
  const list = g.page(1, 'extents');
  const many = g.page(2, 'many');
  g.tries('to take 512 pages', reservation('populate_physmap', list, 512)).gets(256);
  g.tries('to take another', reservation('populate_physmap', words(9999), 1)).gets(0);
  g.tries('to take 2 MiB', reservation('populate_physmap', words(9999), 1, 9)).gets(0);
  g.tries('to take 2^40 pages', reservation('populate_physmap', many, 1n << 40n)).gets(0);
  g.tries('to take 2^64-1 pages', reservation('increase_reservation', many, -1n)).gets(0);
  g.tries('to take pages of order 63', reservation('populate_physmap', many, 1, 63)).gets(0);
  g.tries('to take pages of order 2^32-1', reservation('populate_physmap', many, 1, 0xffffffff)).gets(0);
  g.tries('to free 2^60 pages', reservation('decrease_reservation', many, 1n << 60n)).gets(0);
  g.tries('to take pages of a node that there is not', reservation('increase_reservation', list, 1, 0, 0xff00)).gets(
    /^(0|-EINVAL)$/,
  );
});

guest('exchanges memory into places that are not its own', g => {
  const page = g.page();
  const pfns = g.page(1, 'pfns');
  const exchange = (input: Value, output: Value, count: Value = 1, order = 0, nrExchanged: Value = 0) =>
    hypercall(
      'memory_op',
      XENMEM.exchange,
      record(xenMemoryExchange, {
        in: { extentStart: input, nrExtents: count, extentOrder: order, domid: DOMID_SELF },
        out: { extentStart: output, nrExtents: count, extentOrder: order, domid: DOMID_SELF },
        nrExchanged,
      }),
    );
  g.tries('to have the result written to the M2P', exchange(words(mfnOf(page)), M2P_BASE)).gets('-EFAULT');
  g.tries('to have it written far behind the array', exchange(words(mfnOf(page)), pfns, 1, 0, 1n << 60n)).gets(
    '-EINVAL',
  );
  g.tries(
    'to have the result written below the M2P by its index',
    exchange(words(mfnOf(page)), 0xffff7fffff000000n, 0x400000, 0, 0x3fffff),
  ).gets(/^-E(FAULT|INVAL|PERM)$/);
  g.tries('to have input read from Xen', exchange(M2P_BASE + 0x100000n, pfns)).gets('-EFAULT');
  g.tries('to exchange 2^60 pages', exchange(words(mfnOf(page)), pfns, 1n << 60n)).gets(/^-E(FAULT|INVAL|PERM)$/);
  g.tries("to exchange another's page", exchange(words(g.given(w => w.innocentFrame('secret'))), pfns)).gets('-EINVAL');
  g.tries('to exchange a page in use', exchange(words(tableFor(page)), pfns)).gets('-EINVAL');
});

guest('edits one table through another', g => {
  // Two entries for one L1 table: taking one away must not let the other be stale (the shape of XSA-286).
  const page = g.page();
  const second = g.page();
  const l2 = sum(entryFor(0, 2), 100 * 8);
  const alias = sum(page, 100 * (1 << 21));
  g.prepares('to map an L1 table twice', update(l2, read(entryVa(page, 2))));
  g.tries('to reach its page by the second way', all(store(alias, 5), read(page))).gets(5);
  g.prepares('to take the second way away', update(l2, 0));
  g.tries('to read it there now', read(alias)).gets('#PF(0)');
  g.tries('to change the entry that is gone', remap(alias, entry(mfnOf(second), READ_WRITE))).gets('-EINVAL');
  g.tries('to change an entry of an address that there is not', remap(0x800000000000n, 0)).gets('-EINVAL');
  g.tries(
    'to invalidate such an address',
    hypercall(
      'mmuext_op',
      record(mmuextOp, { cmd: MMUEXT.invlpg_local, arg1: { linearAddr: 0x800000000000n } }),
      1,
      0,
      DOMID_SELF,
    ),
  ).gets(0);
});
