// Guests that misuse the processor: descriptors, privileged instructions, stacks, handlers, loops, contexts of other vCPUs.
import { trapInfo, VGCF, vcpuGuestContext64 } from '../../../src/abi/xen/arch-x86.ts';
import { evtchnBindIpi, evtchnSend } from '../../../src/abi/xen/event-channel.ts';
import { physdevSetIopl } from '../../../src/abi/xen/physdev.ts';
import { HYPERCALL, MMUEXT, mmuextOp, multicallEntry } from '../../../src/abi/xen/xen.ts';
import { DOMID_SELF } from '../../../src/hypervisor/domain-ids.ts';
import {
  type Assembler,
  addr,
  al,
  ax,
  byte,
  cl,
  cr0,
  cr3,
  cr4,
  cr8,
  dr0,
  ds,
  dword,
  dx,
  eax,
  ecx,
  edx,
  mem,
  qword,
  rax,
  rcx,
  rdi,
  rdx,
  rsp,
} from '../../../src/toolstack/init/assembler/assembler.ts';
import { event, physdev, remap, vcpuOp } from '../calls.ts';
import { FLAT_CS, registerCallback } from '../runtime.ts';
import { returnTo, withUserMode } from '../user-mode.ts';
import {
  all,
  code,
  computed,
  entry,
  entryFor,
  evaluate,
  hypercall,
  machineAddress,
  mfnOf,
  READ_ONLY,
  READ_WRITE,
  read,
  record,
  records,
  store,
  sum,
  tableFor,
  tableVa,
  type Value,
  words,
} from '../value.ts';
import { world } from '../world.ts';

const guest = world();

/** An address in Xen's part, and one that no processor has. */
const XEN = 0xffff830000000000n;
const NOWHERE = 0x0000800000000000n;
const UNMAPPED = 0x40000000;

const setTrap = (vector: number, address: Value, flags = 0) =>
  hypercall('set_trap_table', records(trapInfo, [{ vector, flags, cs: FLAT_CS, address }, {}]));

// ---- descriptors

const CODE = 0x00af9b000000ffffn;
const DATA_DPL0 = 0x00cf93000000ffffn;
const DATA_DPL3 = 0x00cff3000000ffffn;
const CALL_GATE = 0x0000_ec00_0008_0000n;
const INTERRUPT_GATE = 0x0000_ee00_0008_0000n;
const TASK_STATE = 0x0000_8900_0000_0067n;
const LOCAL_TABLE = 0x0000_8200_0000_0fffn;
const TASK_GATE = 0x0000_8500_0000_0000n;

const setGdt = (frame: Value, entries: Value) => hypercall('set_gdt', words(frame), entries);
const updateDescriptor = (address: Value, value: Value) => hypercall('update_descriptor', address, value);

guest('gives Xen bad descriptor tables', g => {
  const page = g.page();
  const own = mfnOf(page);
  g.tries('to use a page that it can write to', setGdt(own, 512)).gets('-EINVAL');
  g.tries(
    "to use another domain's page",
    setGdt(
      g.given(w => w.innocentFrame('secret')),
      512,
    ),
  ).gets('-EINVAL');
  g.tries(
    "to use Xen's page",
    setGdt(
      g.given(w => w.host.hypervisor.addressSpace.idleRoot),
      512,
    ),
  ).gets('-EINVAL');
  g.tries('to use a page table', setGdt(tableFor(page), 512)).gets('-EINVAL');
  g.tries('to use a frame that there is not', setGdt(0xfffffffffffn, 512)).gets('-EINVAL');
  g.tries('to use 2^31 entries', setGdt(own, 0x80000000)).gets('-EINVAL');
  g.tries('to reach into the reserved entries', setGdt(own, 14 * 512 + 1)).gets('-EINVAL');
  g.tries('to have the list read from Xen', hypercall('set_gdt', XEN, 512)).gets('-EFAULT');
  const bad: [string, bigint][] = [
    ['an interrupt gate', INTERRUPT_GATE],
    ['a task state segment', TASK_STATE],
    ['a local descriptor table', LOCAL_TABLE],
    ['a task gate', TASK_GATE],
  ];
  for (const [what, descriptor] of bad) {
    g.does(store(sum(page, 8), descriptor));
    g.prepares('to give up writing', remap(page, entry(own, READ_ONLY)));
    g.tries(`to use a table with ${what}`, setGdt(own, 512)).gets('-EINVAL');
    g.prepares('to write again', remap(page, entry(own, READ_WRITE)));
  }
  for (const [i, descriptor] of [0n, CODE, DATA_DPL0, DATA_DPL3, CALL_GATE].entries())
    g.does(store(sum(page, i * 8), descriptor));
  g.prepares('to give up writing to a good table', remap(page, entry(own, READ_ONLY)));
  g.prepares('to use it', setGdt(own, 512));
  g.tries('to write to it in use', remap(page, entry(own, READ_WRITE))).gets('-EBUSY');
  g.tries('to find its code at privilege 3', read(sum(page, 8))).gets(CODE | (3n << 45n));
  g.tries('to find its data at privilege 3', read(sum(page, 16))).gets(DATA_DPL0 | (3n << 45n));
  g.tries(
    'to load that data',
    code(a => a.mov(eax, 0x13).mov(ds, ax).xor(eax, eax)),
  ).gets(0);
  g.tries(
    'to load a segment beyond the table',
    code(a => a.mov(eax, 0x1003).mov(ds, ax)),
  ).gets('#GP(0x1000)');
  g.tries(
    'to go through its call gate',
    code(a => {
      a.sub(rsp, 16).mov(rax, 0x20_0000_0000n).mov(qword(rsp), rax);
      // A far call by a pointer of 16 and 32 bits.
      a.db(0xff, 0x1c, 0x24);
    }),
  ).gets('#GP(0x20)');
  for (const [what, descriptor] of bad) {
    g.tries(`to replace a descriptor by ${what}`, updateDescriptor(machineAddress(sum(page, 8)), descriptor)).gets(
      '-EINVAL',
    );
  }
  g.tries('to replace half a descriptor', updateDescriptor(machineAddress(sum(page, 12)), 0)).gets('-EINVAL');
  g.tries(
    "to replace a word of another domain's",
    updateDescriptor(
      g.given(w => w.innocentFrame('secret') * 4096),
      0,
    ),
  ).gets('-EINVAL');
  g.tries('to replace a word of its page table', updateDescriptor(entryFor(page), 0)).gets('-EINVAL');
  g.tries('to replace a descriptor by a good one', updateDescriptor(machineAddress(sum(page, 8)), DATA_DPL3)).gets(0);
});

guest('gives Xen bad local descriptor tables', g => {
  const page = g.page();
  const setLdt = (linearAddr: Value, nrEnts: Value) =>
    hypercall(
      'mmuext_op',
      record(mmuextOp, { cmd: MMUEXT.set_ldt, arg1: { linearAddr }, arg2: { nrEnts } }),
      1,
      0,
      DOMID_SELF,
    );
  const load = code(a => a.mov(eax, 0x0f).mov(ds, ax).xor(eax, eax));
  g.tries('to use one that is not on a page boundary', setLdt(sum(page, 8), 16)).gets('-EINVAL');
  g.tries('to use 8193 entries', setLdt(page, 8193)).gets('-EINVAL');
  g.tries('to load from none', load).gets('#GP(0xc)');
  g.does(store(sum(page, 8), DATA_DPL3));
  g.prepares('to name a page that it can write to', setLdt(page, 16));
  g.tries('to load from it', load).gets('#PF(0)');
  g.tries(
    'to load from behind its end',
    code(a => a.mov(eax, 0x1007).mov(ds, ax)),
  ).gets('#GP(0x1004)');
  g.prepares('to give up writing', remap(page, entry(mfnOf(page), READ_ONLY)));
  g.tries('to load from it now', load).gets(0);
  g.tries('to write to it in use', remap(page, entry(mfnOf(page), READ_WRITE))).gets('-EBUSY');
  g.tries("to name Xen's part", setLdt(XEN, 16)).gets('-EINVAL');
  g.prepares('to have none', setLdt(0, 0));
});

// ---- privileged instructions

guest('executes privileged instructions', g => {
  const ops: [string, (a: Assembler) => Assembler][] = [
    ['lgdt', a => a.lgdt(mem('start'))],
    ['lidt', a => a.lidt(mem('start'))],
    ['lldt', a => a.lldt(ax)],
    ['ltr', a => a.ltr(ax)],
    ['lmsw', a => a.lmsw(ax)],
    ['hlt', a => a.hlt()],
    ['invlpg', a => a.invlpg(mem('start'))],
    ['invd', a => a.invd()],
    ['swapgs', a => a.swapgs()],
    ['mov cr8', a => a.mov(cr8, rax)],
    ['mov dr7 with general detection', a => a.mov(eax, 0x2000).db(0x0f, 0x23, 0xf8)],
    ['mov dr0 with an address of Xen', a => a.mov(rax, XEN).mov(dr0, rax)],
    ['in', a => a.in(al, 0x60)],
    ['out', a => a.out(0x60, al)],
    ['cli', a => a.cli()],
    ['sti', a => a.sti()],
    ['rdmsr of one that there is not', a => a.mov(ecx, 0x12345).rdmsr()],
    ['wrmsr of LSTAR', a => a.mov(ecx, 0xc0000082).wrmsr()],
    ['wrmsr of EFER', a => a.mov(ecx, 0xc0000080).xor(edx, edx).mov(eax, 0x1d01).wrmsr()],
    ['wrmsr of FS with an address that there is not', a => a.mov(ecx, 0xc0000100).mov(edx, 0x8000).wrmsr()],
    ['wrmsr of GS', a => a.mov(ecx, 0xc0000101).mov(edx, 0x8000).wrmsr()],
    ['wrmsr of kernel GS', a => a.mov(ecx, 0xc0000102).mov(edx, 0x8000).wrmsr()],
    ['int 0x80 without a handler', a => a.int(0x80)],
    ['int 0x90', a => a.int(0x90)],
  ];
  for (const [what, op] of ops) {
    const outcome = what.startsWith('int 0x80') ? '#GP(0x402)' : what.startsWith('int 0x90') ? '#GP(0x482)' : '#GP(0)';
    g.tries(what, code(op)).gets(outcome);
  }
  g.tries(
    "mov cr3 with another's table",
    all(
      g.given(w => w.innocentRoot * 4096),
      computed(a => a.mov(cr3, rax)),
    ),
  ).gets('#GP(0)');
  g.tries(
    'mov cr3 with a page',
    all(
      machineAddress(addr('start')),
      computed(a => a.mov(cr3, rax)),
    ),
  ).gets('#GP(0)');
  g.tries(
    'mov cr3 with its own table',
    all(
      sum(entryFor(0, 4), 0),
      computed(a => a.mov(cr3, rax).xor(eax, eax)),
    ),
  ).gets(0);
  g.tries(
    'vmcall',
    code(a => a.db(0x0f, 0x01, 0xc1)),
  ).gets('#UD');
  g.tries(
    'vmmcall',
    code(a => a.db(0x0f, 0x01, 0xd9)),
  ).gets('#UD');
  g.tries(
    'mov cr0 without paging',
    code(a => a.mov(eax, 0x11).mov(cr0, rax).mov(rax, cr0)),
  ).gets('#GP(0)');
  g.tries(
    'mov cr4 with everything',
    code(a => a.mov(rax, -1).mov(cr4, rax).mov(rax, cr4).and(eax, 0x3000b0)),
  ).gets(0x20);
  g.tries(
    'sysenter',
    code(a => a.sysenter()),
  ).gets('#UD');
  g.prepares('to have its port accesses emulated', physdev('set_iopl', physdevSetIopl, { iopl: 1 }));
  g.tries(
    'in',
    code(a => a.in(al, 0x60)),
  ).gets(0xff);
  g.tries(
    'out to the reset port',
    code(a => a.mov(eax, 0xfe).out(0x64, al).xor(eax, eax)),
  ).gets(0);
  g.tries(
    'ins from a port to Xen',
    code(a => a.mov(rdi, XEN).mov(edx, 0x80).insb()),
  ).gets(/^#PF/);
  g.tries(
    'to reset by the port cf9',
    code(a => a.mov(edx, 0xcf9).mov(eax, 6).out(dx, al).xor(eax, eax)),
  ).gets(0);
  g.tries('an I/O privilege of 4', physdev('set_iopl', physdevSetIopl, { iopl: 4 })).gets('-EINVAL');
});

guest('sets breakpoints on Xen', g => {
  const set = (register: Value, value: Value) => hypercall('set_debugreg', register, value);
  for (const register of [0, 1, 2, 3]) {
    g.tries(`to watch Xen by ${register}`, set(register, XEN)).gets('-EPERM');
    g.tries(`to watch nowhere by ${register}`, set(register, NOWHERE)).gets('-EPERM');
  }
  g.tries('to guard the registers', set(7, 0x2000)).gets('-EPERM');
  g.tries('to watch a port without debugging extensions', set(7, 0x20001)).gets('-EPERM');
  g.tries('to set upper bits of DR6', set(6, 1n << 32n)).gets('-EINVAL');
  g.tries('to set upper bits of DR7', set(7, 1n << 32n)).gets('-EINVAL');
  g.tries('to set a register that there is not', set(8, 0)).gets('-EINVAL');
  g.tries('to set register -1', set(0xffffffff, 0)).gets('-EINVAL');
  g.tries('to read a register that there is not', hypercall('get_debugreg', 8)).gets('-EINVAL');
  g.tries('to find DR7 as it was', hypercall('get_debugreg', 7)).gets(0x400);
});

// ---- going places

guest('returns to where it must not', g => {
  const inUser = withUserMode(g);
  g.tries(
    'to return to Xen',
    all(
      computed(a => a.mov(rax, XEN)),
      returnTo(null, 'stack_top'),
    ),
  ).gets(/^#PF\(0x1[014]\)$/);
  g.tries('to find that address in the frame', qword('trap_rip')).gets(XEN);
  g.tries(
    'to return to an address that there is not',
    all(
      computed(a => a.mov(rax, NOWHERE)),
      returnTo(null, 'stack_top'),
    ),
  ).gets('#GP(0)');
  g.tries('to find that address in the frame', qword('trap_rip')).gets(NOWHERE);
  g.tries(
    'to do so as SYSRET does',
    all(
      computed(a => a.mov(rax, NOWHERE)),
      returnTo(null, 'stack_top', { flags: 0x100 }),
    ),
  ).gets('#GP(0)');
  g.tries('to return with a code segment that is none', returnTo('finish', 'stack_top', { cs: 0x33 })).gets(
    '#GP(0x30)',
  );
  g.tries("to return with Xen's code segment", returnTo('finish', 'stack_top', { cs: 0xe008 })).gets(/^#GP\(0xe008\)$/);
  g.tries('to return with a data segment as code', returnTo('finish', 'stack_top', { cs: 0xe02b })).gets('#GP(0xe028)');
  g.tries(
    'to jump to Xen',
    code(a => a.mov(rax, XEN).jmp(rax)),
  ).gets(/^#PF\(0x1[014]\)$/);
  g.tries(
    'to jump to an address that there is not',
    code(a => a.mov(rax, NOWHERE).jmp(rax)),
  ).gets('#GP(0)');
  g.tries(
    'to run its user mode',
    inUser(a => a.mov(eax, 42).syscall()),
  ).gets(42);
  g.tries(
    'to read Xen in user mode',
    inUser(a => a.mov(rax, XEN).mov(rax, qword(rax)).syscall()),
  ).gets(/^#PF\(0x[45]\)$/);
  g.tries(
    'to disable interrupts in user mode',
    inUser(a => a.cli()),
  ).gets('#GP(0)');
  g.tries(
    'to load a control register in user mode',
    inUser(a => a.mov(cr3, rax)),
  ).gets('#GP(0)');
  g.tries(
    'to raise int 0x82 in user mode',
    inUser(a => a.int(0x82)),
  ).gets('#GP(0x412)');
  g.tries(
    'to ask for privilege in user mode',
    inUser(a => a.nop(), { rflags: 0x3202 }),
  ).gets(/./);
});

guest('leaves its code at the end of what is mapped', g => {
  g.page(2, 'edge');
  const last = addr('edge', 4096);
  g.prepares('to unmap the second page', remap(last, 0));
  const run = (...bytes: number[]) =>
    code(a => {
      a.lea(rdi, mem('edge', 4096 - bytes.length));
      for (const [i, value] of bytes.entries()) a.mov(byte(rdi, i), value);
      a.jmp(rdi);
    });
  g.tries('to run off the end', run(0x90, 0x90)).gets('#PF(0x10)');
  g.tries(
    'to find the fault there',
    code(a => a.mov(rax, qword('trap_cr2')).lea(rcx, mem('edge', 4096)).sub(rax, rcx)),
  ).gets(0);
  g.tries('to run an instruction that is cut off', run(0x48, 0xb8, 1, 2)).gets('#PF(0x10)');
  g.tries('to run a jump in the last bytes', run(0xeb, 0x00)).gets('#PF(0x10)');
  g.tries('to run a prefix only', run(0xf0)).gets('#PF(0x10)');
  g.prepares('to map it again', remap(last, entry(mfnOf(last), READ_WRITE)));
  g.tries(
    'to run an instruction across both pages',
    code(a => {
      // mov eax, imm32; ret: its constant is rewritten on the second page, five times.
      a.mov(byte('edge', 4094), 0xb8).mov(dword('edge', 4095), 0).mov(byte('edge', 4099), 0xc3);
      a.xor(edx, edx).mov(ecx, 5).lea(rdi, mem('edge', 4094));
      a.label('patch').mov(byte('edge', 4096), cl);
      a.push(rcx).call(rdi).pop(rcx).add(edx, eax).dec(ecx).jne('patch').mov(eax, edx);
    }),
  ).gets(15 * 256);
});

// ---- no way on: these crash alone

const crashes = (
  title: string,
  because: RegExp,
  action: (g: Parameters<Parameters<typeof guest>[1]>[0]) => Value,
): void => guest(title, g => void g.tries('to go on', action(g)).neverReturns(), { ends: 'crash', because });

const at = (stack: Value, then: (a: Assembler) => void) =>
  computed(a => {
    evaluate(a, stack);
    a.mov(rsp, rax);
    then(a);
  });
const ud2 = (a: Assembler): void => void a.ud2();

crashes('has no stack for an exception', /stack at 0x3fffffc8 cannot be written/, () => at(UNMAPPED, ud2));
crashes("has its stack in Xen's part", /stack stands in the hypervisor area/, () => at(XEN, ud2));
crashes('has its stack nowhere', /cannot be written/, () => at(NOWHERE + 0x1000n, ud2));
crashes('has its stack at 0', /cannot be written/, () => at(0, ud2));
crashes('has a page table as its stack', /cannot be written/, () => at(sum(tableVa(addr('start')), 4096), ud2));
crashes('has no handlers', /no handler for exception 6 \(#UD\)/, () => all(hypercall('set_trap_table', 0), code(ud2)));
crashes('has handlers in Xen', /cannot be written/, g => {
  // Frame by frame down to the end of its stack.
  g.page(3, 'small_stack');
  return all(
    remap(addr('small_stack'), 0),
    setTrap(14, XEN),
    setTrap(6, XEN + 8n),
    at(addr('small_stack', 3 * 4096), ud2),
  );
});
crashes('has no event callback', /no handler is registered/, () =>
  all(
    registerCallback('event', 0),
    event('bind_ipi', evtchnBindIpi, {}, 'ipi'),
    code(a => a.mov(byte('shared_info', 1), 0)),
    event('send', evtchnSend, { port: dword('ipi', 4) }),
    code(a => a.label('spin').pause().jmp('spin')),
  ),
);
crashes('returns with no frame', /iret: the frame at 0x40000000 cannot be read/, () =>
  at(UNMAPPED, a => a.mov(eax, HYPERCALL.iret).syscall()),
);
crashes("returns with a frame in Xen's part", /iret: the frame at .* cannot be read/, () =>
  at(XEN, a => a.mov(eax, HYPERCALL.iret).syscall()),
);
crashes('returns to a user mode that it has not', /without a user page table/, () => returnTo('finish', 'stack_top'));
crashes("has no stack for its user mode's system call", /stack at .* cannot be written/, g => {
  const inUser = withUserMode(g);
  return all(
    hypercall('stack_switch', FLAT_CS, UNMAPPED),
    inUser(a => a.syscall()),
  );
});

// ---- loops: the others get their share

const loops = (title: string, action: (a: Assembler) => void, before: Value[] = []): void =>
  guest(
    title,
    g => {
      for (const value of before) g.does(value);
      g.tries('to go on for ever', code(action)).neverReturns();
    },
    { ends: 'never' },
  );

loops('runs in a circle with events masked', a => a.mov(byte('shared_info', 1), 1).label('circle').jmp('circle'));
loops('faults in its handler, again and again', a => a.ud2(), [
  all(
    computed(a => {
      a.jmp('over').label('again').lea(rsp, mem('stack_top')).ud2().label('over');
    }),
    setTrap(6, addr('again')),
  ),
]);
loops('faults on a page, again and again', a => a.mov(rdi, UNMAPPED).label('fault').mov(rax, qword(rdi)).jmp('fault'), [
  all(
    computed(a => {
      a.jmp('over').label('again').lea(rsp, mem('stack_top')).jmp('fault').label('over');
    }),
    setTrap(14, addr('again')),
  ),
]);
loops('makes hypercalls without end', a => {
  a.label('circle');
  evaluate(a, hypercall('xen_version', 0));
  a.jmp('circle');
});
loops('yields without end', a => {
  a.label('circle');
  evaluate(a, hypercall('sched_op', 0, 0));
  a.jmp('circle');
});
guest(
  'makes multicalls of the largest size',
  g => {
    const calls = g.page(513, 'calls');
    g.prepares('to have nothing behind them', remap(addr('calls', 512 * 4096), 0));
    g.does(
      code(a => {
        a.lea(rdi, mem('calls')).mov(ecx, (512 * 4096) / multicallEntry.size(64));
        a.label('fill').mov(qword(rdi), HYPERCALL.xen_version).add(rdi, multicallEntry.size(64)).dec(ecx).jne('fill');
      }),
    );
    g.tries('to make as many as it has filled in', hypercall('multicall', calls, (512 * 4096) / 64)).gets(0);
    g.tries(
      'to find the last result',
      code(a => a.mov(rax, qword('calls', 512 * 4096 - 56))),
    ).gets(0x40011);
    // Behind the last page of its own: a list that went on through its memory would write results all over it.
    g.tries('to make 2^32-1', hypercall('multicall', UNMAPPED, 0xffffffff)).gets('-EFAULT');
    g.tries('to have them in Xen', hypercall('multicall', XEN, 0xffffffff)).gets('-EFAULT');
    g.tries(
      'to make them without end',
      code(a => {
        a.label('circle');
        evaluate(a, hypercall('multicall', calls, (512 * 4096) / 64));
        a.jmp('circle');
      }),
    ).neverReturns();
  },
  { ends: 'never' },
);
loops(
  'single-steps without end',
  a => {
    a.pushfq().or(qword(rsp), 0x100).popfq().label('circle').nop().jmp('circle');
  },
  [
    all(
      computed(a => {
        // The frame as it came, with the trap flag in it still.
        a.jmp('over')
          .label('stepped')
          .pop(rcx)
          .pop(rdx)
          .push(0)
          .push(rcx)
          .push(rdx)
          .push(rax)
          .mov(eax, HYPERCALL.iret)
          .syscall()
          .label('over');
      }),
      setTrap(1, addr('stepped')),
    ),
  ],
);
loops(
  'sends itself events without end',
  a => {
    a.label('circle').mov(byte('shared_info', 1), 0);
    evaluate(a, event('send', evtchnSend, { port: dword('ipi', 4) }));
    a.jmp('circle');
  },
  [event('bind_ipi', evtchnBindIpi, {}, 'ipi')],
);

// ---- a second vCPU

guest(
  'starts another vCPU with wild contexts',
  g => {
    const page = g.page();
    const root = computed(a => {
      evaluate(a, tableFor(0, 4));
      a.shl(rax, 12);
    });
    const good = {
      flags: VGCF.inKernel,
      userRegs: { rip: addr('second'), rsp: addr('second_stack'), rflags: 0x202, cs: FLAT_CS, ss: 0xe02b },
      kernelSs: 0xe02b,
      kernelSp: addr('second_stack'),
    };
    const cr = (value: Value): Value[] => [0, 0, 0, value];
    const initialise = (fields: object, vcpu: Value = 1) =>
      vcpuOp('initialise', vcpu, record(vcpuGuestContext64, { ...good, ctrlreg: cr(root), ...fields } as never));
    g.aside(a =>
      a
        .label('second')
        .mov(rax, XEN)
        .jmp(rax)
        .section('bss')
        .align(16)
        .reserve(4096)
        .label('second_stack')
        .section('text'),
    );
    g.tries('to start one that has no context', vcpuOp('up', 1)).gets('-EINVAL');
    g.tries('to give one that there is not a context', initialise({}, 2)).gets('-ENOENT');
    g.tries('to give vCPU -1 a context', initialise({}, 0xffffffff)).gets('-ENOENT');
    g.tries('to give itself a context', initialise({}, 0)).gets('-EEXIST');
    g.tries('to have the context read from Xen', vcpuOp('initialise', 1, XEN)).gets('-EFAULT');
    g.tries('to have it read from nowhere', vcpuOp('initialise', 1, NOWHERE)).gets('-EFAULT');
    g.tries("to run it on another's page table", initialise({ ctrlreg: cr(g.given(w => w.innocentRoot * 4096)) })).gets(
      '-EINVAL',
    );
    g.tries('to run it on a page', initialise({ ctrlreg: cr(machineAddress(page)) })).gets('-EINVAL');
    g.tries('to run it on nothing', initialise({ ctrlreg: cr(-4096n) })).gets('-EINVAL');
    g.tries(
      "to run its user on another's page table",
      initialise({ ctrlreg: [0, g.given(w => w.innocentRoot * 4096 + 1), 0, root] }),
    ).gets('-EINVAL');
    g.tries('to start it nowhere', initialise({ userRegs: { ...good.userRegs, rip: NOWHERE } })).gets('-EINVAL');
    g.tries('to have its events nowhere', initialise({ eventCallbackEip: NOWHERE })).gets('-EINVAL');
    g.tries('to have its system calls nowhere', initialise({ syscallCallbackEip: NOWHERE })).gets('-EINVAL');
    g.tries('to have its GS nowhere', initialise({ gsBaseKernel: NOWHERE })).gets('-EINVAL');
    g.tries(
      "to use another's page as its GDT",
      initialise({ gdtEnts: 512, gdtFrames: [g.given(w => w.innocentFrame('secret'))] }),
    ).gets('-EINVAL');
    g.tries('to use 2^40 GDT entries', initialise({ gdtEnts: 1n << 40n })).gets('-EINVAL');
    g.tries('to use 2^40 LDT entries', initialise({ ldtEnts: 1n << 40n, ldtBase: page })).gets('-EINVAL');
    g.tries('to have an LDT in mid-page', initialise({ ldtEnts: 16, ldtBase: sum(page, 8) })).gets('-EINVAL');
    g.tries('to start it after all that', vcpuOp('up', 1)).gets('-EINVAL');
    g.prepares('to give it a context', initialise({}));
    g.tries('to give it another', initialise({})).gets('-EEXIST');
    g.does(vcpuOp('up', 1));
    // It has no handlers, so its first fault ends the domain.
    g.tries(
      'to survive that',
      code(a => a.label('wait').pause().jmp('wait')),
    ).neverReturns();
  },
  { vcpus: 2, ends: 'crash', because: /no handler for exception 14 \(#PF\)/ },
);

guest(
  'registers handlers at addresses that there are not',
  g => {
    for (const type of ['event', 'failsafe', 'syscall', 'sysenter', 'syscall32', 'nmi'] as const) {
      g.tries(`a ${type} callback`, registerCallback(type, NOWHERE)).gets('-EINVAL');
    }
    g.tries('an exception handler', setTrap(13, NOWHERE)).gets('-EINVAL');
    g.tries('a trap table in Xen', hypercall('set_trap_table', XEN)).gets('-EFAULT');
    g.tries('a trap table without an end', hypercall('set_trap_table', addr('start'))).gets(/^-E(FAULT|INVAL)$/);
    g.tries('a base of FS', hypercall('set_segment_base', 0, NOWHERE)).gets('-EINVAL');
    g.tries('a base of a register that there is not', hypercall('set_segment_base', 4, 0)).gets('-EINVAL');
    g.tries('a segment for GS that there is not', hypercall('set_segment_base', 3, 0xfff8)).gets(0);
    g.tries('a callback that there is not', hypercall('callback_op', 0, words(99, 0))).gets('-ENOSYS');
    g.tries('to remove its event callback', hypercall('callback_op', 1, words(0, 0))).gets('-EINVAL');
    g.tries(
      'no handler has changed',
      code(a => a.mov(rdx, NOWHERE).mov(rdx, qword(rdx))),
    ).gets('#GP(0)');
  },
  {},
);
