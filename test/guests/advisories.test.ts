// Rules that Xen learnt from security advisories (the XSA numbers beside them) and that its own tests of PV guests look at.
import { VGCF, vcpuGuestContext64 } from '../../src/abi/xen/arch-x86.ts';
import { evtchnBindIpi, evtchnSend } from '../../src/abi/xen/event-channel.ts';
import * as gnt from '../../src/abi/xen/grant-table.ts';
import { GNTMAP } from '../../src/abi/xen/grant-table.ts';
import { physdevSetIopl } from '../../src/abi/xen/physdev.ts';
import { HYPERCALL, multicallEntry, VMASST_CMD } from '../../src/abi/xen/xen.ts';
import { VmAssist } from '../../src/hypervisor/domain.ts';
import { DOMID_SELF } from '../../src/hypervisor/domain-ids.ts';
import {
  type Assembler,
  addr,
  al,
  byte,
  cr4,
  dword,
  eax,
  ecx,
  esi,
  fs,
  mem,
  qword,
  rax,
  rbp,
  rcx,
  rdi,
  rsp,
  ss,
  within,
  word,
} from '../../src/toolstack/init/assembler/assembler.ts';
import { event, grant, mmuext, physdev, remap, vcpuOp } from './calls.ts';
import type { PvGuest } from './pv-guest.ts';
import { FLAT_CS, registerCallback } from './runtime.ts';
import { FLAT_SS, withUserMode } from './user-mode.ts';
import {
  all,
  type Computed,
  code,
  computed,
  entry,
  entryVa,
  evaluate,
  hypercall,
  machineAddress,
  mfnOf,
  READ_ONLY,
  READ_WRITE,
  read,
  record,
  records,
  statusIn,
  store,
  sum,
  type Value,
} from './value.ts';
import { type World, world } from './world.ts';

const guest = world();
const onIntel = world({ cpu: 'skylake' });
type Guest = PvGuest<World>;

// ---- grants of a domain to itself

const REF = 30;

/** Fills an entry of the guest's own grant table: a page of its own, for itself. */
function grantToItself(g: Guest, page: Value): Value {
  const table = g.page(1, 'grant_table');
  const self = g.given(w => w.hostile.id);
  g.prepares(
    'to get its grant table',
    grant('setup_table', gnt.gnttabSetupTable, { dom: DOMID_SELF, nrFrames: 1, frameList: addr('grant_frame') }),
  );
  g.variable('grant_frame');
  g.prepares('to map it', remap(table, entry(qword('grant_frame'), READ_WRITE)));
  g.does(store(sum(table, REF * 8), gnt.GTF.permit_access, 2));
  g.does(store(sum(table, REF * 8 + 2), self, 2));
  g.does(store(sum(table, REF * 8 + 4), mfnOf(page), 4));
  return self;
}
const map = (dom: Value, hostAddr: Value, flags: number, label: string): Computed =>
  all(
    grant('map_grant_ref', gnt.gnttabMapGrantRef, { hostAddr, flags, ref: REF, dom }, label),
    statusIn(gnt.gnttabMapGrantRef, label),
  );
const handleOf = (label: string) => dword(label, gnt.gnttabMapGrantRef.offset('handle', 64));
const unmap = (hostAddr: Value, handle: Value, devBusAddr: Value = 0): Computed =>
  all(
    grant('unmap_grant_ref', gnt.gnttabUnmapGrantRef, { hostAddr, devBusAddr, handle }, 'unmap'),
    statusIn(gnt.gnttabUnmapGrantRef, 'unmap'),
  );
const isStillWritable = (g: Guest, page: Value): void => {
  g.tries('to make a page table of what it can still write to', mmuext('pin_l1_table', mfnOf(page))).gets('-EINVAL');
  g.prepares('to give up writing', remap(page, entry(mfnOf(page), READ_ONLY)));
  g.tries('to make one then', mmuext('pin_l1_table', mfnOf(page))).gets(0);
};

guest('unmaps a grant for itself and for a device apart (XSA-224)', g => {
  const page = g.page();
  const place = g.page();
  const self = grantToItself(g, page);
  g.prepares('to map for both', map(self, place, GNTMAP.host_map | GNTMAP.device_map, 'both'));
  g.tries('to unmap its own part', unmap(place, handleOf('both'))).gets(0);
  g.tries("to unmap the device's", unmap(0, handleOf('both'), machineAddress(page))).gets(0);
  g.tries('to unmap anything more', unmap(0, handleOf('both'), machineAddress(page))).gets(4);
  isStillWritable(g, page);
});

guest('counts mappings for reading and writing apart (XSA-234)', g => {
  const page = g.page();
  const [first, second, third] = [g.page(), g.page(), g.page()];
  const self = grantToItself(g, page);
  g.prepares('to map for reading', map(self, first, GNTMAP.host_map | GNTMAP.readonly, 'reading'));
  g.prepares('to map for writing', map(self, second, GNTMAP.host_map, 'writing'));
  g.tries('to unmap the writing one where the reading one is', unmap(first, handleOf('writing'))).gets(1);
  g.tries('to unmap the reading one', unmap(first, handleOf('reading'))).gets(0);
  const replace = grant(
    'unmap_and_replace',
    gnt.gnttabUnmapAndReplace,
    { hostAddr: second, newAddr: third, handle: handleOf('writing') },
    'replaced',
  );
  g.does(store(third, 33));
  g.tries('to unmap and replace the writing one', all(replace, statusIn(gnt.gnttabUnmapAndReplace, 'replaced'))).gets(
    0,
  );
  g.tries('to find the replacement there', read(second)).gets(33);
  g.tries('to find nothing where that was', read(third)).gets('#PF(0)');
  isStillWritable(g, page);
});

guest('has its status frames mapped when it leaves version 2 (XSA-255)', g => {
  const page = g.page();
  g.variable('frame');
  const version = (number: number): Value => grant('set_version', gnt.gnttabSetVersion, { version: number });
  g.prepares('to use version 2', version(2));
  g.prepares(
    'to get its status frames',
    grant('get_status_frames', gnt.gnttabGetStatusFrames, { nrFrames: 1, dom: DOMID_SELF, frameList: addr('frame') }),
  );
  g.prepares('to map one', remap(page, entry(qword('frame'), READ_WRITE)));
  g.tries('to use version 1', version(1)).gets('-EBUSY');
  g.prepares('to unmap it', remap(page, 0));
  g.tries('to use version 1 then', version(1)).gets(0);
  g.tries('to map it again', remap(page, entry(qword('frame'), READ_WRITE))).gets('-EBUSY');
});

// ---- entering and leaving

guest('returns from within a multicall (XSA-213)', g => {
  g.variable('unused');
  g.aside(a => a.label('returned').mov(rsp, qword('resume_rsp')).mov(eax, 7).jmp(qword('resume')));
  g.tries(
    'to iret as the first of two calls',
    computed(a => {
      evaluate(
        a,
        records(multicallEntry, [{ op: HYPERCALL.iret }, { op: HYPERCALL.xen_version, result: 0x1234 }], 'calls'),
      );
      a.mov(rdi, rax);
      a.push(FLAT_SS).lea(rax, mem('stack_top')).push(rax).push(0x202).push(0xe030).lea(rax, mem('returned')).push(rax);
      a.push(0).push(0).push(0).push(0).mov(esi, 2).mov(eax, HYPERCALL.multicall).syscall();
    }),
  ).gets(7);
  g.tries('to find the second undone', qword('calls', multicallEntry.size(64) + 8)).gets(0x1234);
});

guest('calls through a gate that its LDT has not (XSA-298)', g => {
  const inUser = withUserMode(g);
  g.tries(
    'in user mode',
    inUser(a => a.sub(rsp, 16).mov(dword(rsp), 0).mov(word(rsp, 4), 0x1007).db(0xff, 0x1c, 0x24)),
  ).gets('#GP(0x1004)');
  g.tries(
    'in kernel mode',
    code(a => a.sub(rsp, 16).mov(dword(rsp), 0).mov(word(rsp, 4), 0x1007).db(0xff, 0x1c, 0x24)),
  ).gets('#GP(0x1004)');
});

const sysenterWithNt = (a: Assembler): Assembler => a.pushfq().or(qword(rsp), 0x4000).popfq().sysenter();

guest('enters by SYSENTER on an AMD processor (XSA-339)', g => {
  const inUser = withUserMode(g);
  g.tries('without a callback', inUser(sysenterWithNt)).gets('#UD');
  g.prepares('to register one', registerCallback('sysenter', addr('from_user')));
  g.tries('with one', inUser(sysenterWithNt)).gets('#UD');
});

onIntel('enters by SYSENTER on an Intel processor (XSA-339)', g => {
  const inUser = withUserMode(g);
  g.tries('without a callback', inUser(sysenterWithNt)).gets('#GP(0)');
  g.prepares('to register one', registerCallback('sysenter', addr('entered')));
  g.aside(a => a.label('entered').movzx(eax, word(rsp, 24)).mov(rsp, qword('resume_rsp')).jmp(qword('resume')));
  g.tries('to find a code segment of 3 in the frame', inUser(sysenterWithNt)).gets(3);
});

guest(
  'starts another vCPU with an event pending (XSA-296)',
  g => {
    const root = g.page(1, 'root');
    g.does(store(root, read(entryVa(0, 4))));
    g.prepares('to make a table that nobody has looked at', remap(root, entry(mfnOf(root), READ_ONLY)));
    g.prepares('to bind an IPI', event('bind_ipi', evtchnBindIpi, {}, 'ipi'));
    g.prepares('to send it', event('send', evtchnSend, { port: dword('ipi', 4) }));
    g.does(code(a => a.mov(byte('shared_info', 1), 0)));
    g.aside(
      a =>
        void a
          .label('second')
          .pause()
          .jmp('second')
          .section('bss')
          .align(16)
          .reserve(4096)
          .label('second_stack')
          .section('text'),
    );
    const stack = addr('second_stack');
    g.tries(
      'to give it a context',
      vcpuOp(
        'initialise',
        1,
        record(vcpuGuestContext64, {
          flags: VGCF.inKernel,
          userRegs: { rip: addr('second'), rsp: stack, rflags: 0x202, cs: FLAT_CS, ss: FLAT_SS },
          kernelSs: FLAT_SS,
          kernelSp: stack,
          ctrlreg: [0, 0, 0, machineAddress(root)],
        }),
      ),
    ).gets(0);
    g.tries('to hear of the event', qword('events')).gets(1);
    g.tries('to write to the table now', remap(root, entry(mfnOf(root), READ_WRITE))).gets('-EBUSY');
  },
  { vcpus: 2 },
);

// ---- debugging

guest('holds a trap off by MOV SS (XSA-260, XSA-265)', g => {
  const inUser = withUserMode(g);
  g.aside(a => void a.section('data').align(8).label('stack_segment').dq(FLAT_SS).section('text'));
  g.tries('to find DR6 as it starts', hypercall('get_debugreg', 6)).gets(0xffff0ff0n);
  g.tries('to find DR7 as it starts', hypercall('get_debugreg', 7)).gets(0x400);
  for (const register of [0, 1, 2, 3])
    g.tries(`to find DR${register} as it starts`, hypercall('get_debugreg', register)).gets(0);
  g.prepares('to watch a word', hypercall('set_debugreg', 0, addr('stack_segment')));
  g.prepares('to have accesses trap', hypercall('set_debugreg', 7, 0x000f0301));
  g.tries(
    'to read it',
    code(a => a.mov(eax, dword('stack_segment')).label('after_read').nop()),
  ).gets('#DB');
  g.tries(
    'to find the trap behind that',
    code(a => a.mov(rax, qword('trap_rip')).lea(rcx, mem('after_read')).sub(rax, rcx)),
  ).gets(0);
  g.tries(
    'to load SS from it',
    code(a => a.mov(ss, word('stack_segment')).nop().label('after_nop').nop()),
  ).gets('#DB');
  g.tries(
    'to find the trap one instruction later',
    code(a => a.mov(rax, qword('trap_rip')).lea(rcx, mem('after_nop')).sub(rax, rcx)),
  ).gets(0);
  g.tries(
    'to load SS before a system call',
    inUser(a => a.mov(eax, 9).mov(ss, word('stack_segment')).syscall()),
  ).gets(9);
  g.tries(
    'to load SS before INT3',
    inUser(a => a.mov(ss, word('stack_segment')).int3()),
  ).gets(/^#(BP|DB)$/);
  g.tries(
    'to load SS before an undefined instruction',
    inUser(a => a.mov(ss, word('stack_segment')).ud2()),
  ).gets(/^#(UD|DB)$/);
  g.tries(
    'to find the bits of the traps',
    code(a => {
      evaluate(a, hypercall('get_debugreg', 6));
      a.and(eax, 0xf);
    }),
  ).gets(1);
  g.prepares('to stop watching', hypercall('set_debugreg', 7, 0));
  g.tries(
    'to read it untrapped',
    code(a => a.mov(eax, dword('stack_segment'))),
  ).gets(FLAT_SS);
});

guest('watches ports', g => {
  const set = (value: number): Value => hypercall('set_debugreg', 7, value);
  const cr4Bits = (bits: number): Value => code(a => a.mov(eax, bits).mov(cr4, rax).xor(eax, eax));
  g.prepares('to have its ports emulated', physdev('set_iopl', physdevSetIopl, { iopl: 1 }));
  g.prepares('to name port 0x80', hypercall('set_debugreg', 0, 0x80));
  g.tries('to watch it without debugging extensions', set(0x00020001)).gets('-EPERM');
  g.tries('to find DR7 as it was', hypercall('get_debugreg', 7)).gets(0x400);
  g.prepares('to turn debugging extensions on', cr4Bits(8));
  g.tries('to use DR4', hypercall('get_debugreg', 4)).gets('-ENODEV');
  g.tries('to watch it', set(0x00020001)).gets(0);
  g.tries('to find DR7 as it set it', hypercall('get_debugreg', 7)).gets(0x00020401);
  g.tries(
    'to write to the port',
    code(a => a.out(0x80, al)),
  ).gets('#DB');
  g.tries(
    'to write to another',
    code(a => a.out(0x81, al).xor(eax, eax)),
  ).gets(0);
  g.prepares('to stop', set(0));
  g.tries(
    'to write to it then',
    code(a => a.out(0x80, al).xor(eax, eax)),
  ).gets(0);
});

// ---- privileges

for (const iopl of [0, 1, 2, 3]) {
  guest(`uses ports and CLI with an I/O privilege of ${iopl}`, g => {
    const inUser = withUserMode(g);
    g.prepares('to set it', physdev('set_iopl', physdevSetIopl, { iopl }));
    const kernel = iopl >= 1 ? 0 : '#GP(0)';
    const user = iopl >= 3 ? 0 : '#GP(0)';
    g.tries(
      'CLI in kernel mode',
      code(a => a.cli()),
    ).gets(kernel);
    g.tries(
      'OUT in kernel mode',
      code(a => a.out(0x80, al)),
    ).gets(kernel);
    g.tries(
      'CLI in user mode',
      inUser(a => a.cli().xor(eax, eax).syscall()),
    ).gets(user);
    g.tries(
      'OUT in user mode',
      inUser(a => a.out(0x80, al).xor(eax, eax).syscall()),
    ).gets(user);
    g.prepares(
      'to have the privilege in its flags',
      hypercall('vm_assist', VMASST_CMD.enable, VmAssist.architecturalIopl),
    );
    g.tries(
      'CLI in kernel mode at any',
      code(a => a.cli()),
    ).gets(0);
    const target = { rflags: 0x202 | (iopl << 12) };
    g.tries(
      'OUT in user mode by its flags',
      inUser(a => a.out(0x80, al).xor(eax, eax).syscall(), target),
    ).gets(user);
  });
}

guest('reads and writes segment bases by instruction', g => {
  const set = (bits: number): Value => code(a => a.mov(eax, bits).mov(cr4, rax).xor(eax, eax));
  g.tries(
    'RDFSBASE, which is off',
    code(a => a.rdfsbase(rax)),
  ).gets('#UD');
  g.prepares('to turn it on', set(1 << 16));
  g.tries(
    'WRFSBASE',
    code(a => a.mov(eax, 0x123000).wrfsbase(rax).rdfsbase(rcx).mov(rax, rcx)),
  ).gets(0x123000);
  g.tries(
    'WRFSBASE of an address that there is not',
    code(a => a.mov(rax, 1n << 47n).wrfsbase(rax)),
  ).gets('#GP(0)');
  g.tries(
    'to find the base as it was',
    code(a => a.rdfsbase(rax)),
  ).gets(0x123000);
  g.tries(
    'to find it by RDMSR',
    code(a => a.mov(ecx, 0xc0000100).rdmsr()),
  ).gets(0x123000);
  g.prepares('to turn it off', set(0));
  g.tries(
    'RDGSBASE then',
    code(a => a.rdgsbase(rax)),
  ).gets('#UD');
});

guest('addresses memory that no address can be of', g => {
  const inUser = withUserMode(g);
  const nowhere = 1n << 47n;
  const cases: [string, (a: Assembler) => Assembler, string][] = [
    ['by RAX', a => a.mov(rax, qword(rcx)), '#GP(0)'],
    ['by RSP', a => a.mov(rsp, rcx).mov(rax, qword(rsp)), '#SS(0)'],
    ['by RBP', a => a.mov(rbp, rcx).mov(rax, qword(rbp)), '#SS(0)'],
    ['by RBP within FS', a => a.mov(rbp, rcx).mov(rax, within(fs, qword(rbp))), '#GP(0)'],
    ['by PUSH', a => a.lea(rsp, mem(rcx, 8)).push(rax), '#SS(0)'],
    ['by POP', a => a.mov(rsp, rcx).pop(rax), '#SS(0)'],
    ['by RET', a => a.mov(rsp, rcx).ret(), '#SS(0)'],
    ['by a string instruction', a => a.mov(rdi, rcx).stosb(), '#GP(0)'],
    ['by a locked instruction', a => a.lock().inc(qword(rcx)), '#GP(0)'],
  ];
  for (const [what, emit, expected] of cases)
    g.tries(
      what,
      inUser(a => emit(a.mov(rcx, nowhere))),
    ).gets(expected);
});
