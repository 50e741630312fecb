// What only a whole guest shows of the virtual processor: modes, events, timers, several vCPUs, writable page tables, its end.
import { expect, test } from 'vitest';
import { TI, trapInfo, VGCF, vcpuGuestContext64 } from '../../src/abi/xen/arch-x86.ts';
import { SEGBASE } from '../../src/abi/xen/callback.ts';
import * as ev from '../../src/abi/xen/event-channel.ts';
import { schedPoll } from '../../src/abi/xen/sched.ts';
import { vcpuSetPeriodicTimer } from '../../src/abi/xen/vcpu.ts';
import { MMUEXT, mmuextOp, sharedInfo, VIRQ, VMASST_CMD } from '../../src/abi/xen/xen.ts';
import { VmAssist } from '../../src/hypervisor/domain.ts';
import { DOMID_SELF } from '../../src/hypervisor/domain-ids.ts';
import { Host, ramForGuests } from '../../src/index.ts';
import {
  addr,
  byte,
  cr0,
  dword,
  eax,
  ecx,
  gs,
  mem,
  qword,
  r12,
  rax,
  rcx,
  rdi,
  rdx,
  rsp,
  within,
} from '../../src/toolstack/init/assembler/assembler.ts';
import { event, remap, reservation, sched, vcpuOp } from './calls.ts';
import { PvGuest } from './pv-guest.ts';
import { FLAT_CS, M2P_BASE, shutdown } from './runtime.ts';
import { returnTo, withUserMode } from './user-mode.ts';
import {
  all,
  type Computed,
  code,
  computed,
  entry,
  entryVa,
  evaluate,
  hypercall,
  mfnOf,
  READ_ONLY,
  READ_WRITE,
  read,
  record,
  records,
  store,
  sum,
  type Value,
  words,
} from './value.ts';
import { Running, sleepFor, systemTime, type World, world } from './world.ts';

const guest = world();
type Guest = PvGuest<World>;

const mask = (on: 0 | 1): Value => code(a => a.mov(byte('shared_info', 1), on));
const anyHypercall = hypercall('xen_version', 0);
const bindIpi = (label: string, vcpu: Value = 0): Value => event('bind_ipi', ev.evtchnBindIpi, { vcpu }, label);
const port = (label: string) => dword(label, ev.evtchnBindIpi.offset('port', 64));
const send = (label: string): Value => event('send', ev.evtchnSend, { port: port(label) });
const pendingAt = sharedInfo.offset('evtchnPending', 64);
const maskAt = sharedInfo.offset('evtchnMask', 64);
const setBit = (at: number, label: string, on: boolean): Value =>
  code(a => {
    a.mov(ecx, port(label)).lock();
    if (on) a.bts(qword('shared_info', at), rcx);
    else a.btr(qword('shared_info', at), rcx);
    a.xor(eax, eax);
  });
const poll = (label: string, timeout: Value = 0): Value =>
  sched('poll', record(schedPoll, { ports: portAddress(label), nrPorts: 1, timeout }));
const portAddress = (label: string): Value => addr(label, ev.evtchnBindIpi.offset('port', 64));

// ---- modes

guest('goes to its user mode and back', g => {
  const inUser = withUserMode(g);
  g.tries(
    'to come back by a system call',
    inUser(a => a.mov(eax, 42).syscall()),
  ).gets(42);
  g.tries(
    'to come back by an exception',
    inUser(a => a.ud2()),
  ).gets('#UD');
  g.tries('to find user mode in the frame', qword('trap_cs')).gets(0xe033);
  g.tries(
    'to be told that it was the user that faulted',
    inUser(a => a.mov(rax, qword(0x40000000))),
  ).gets('#PF(0x4)');
  g.tries(
    'to fault by itself',
    code(a => a.mov(rax, qword(0x40000000))),
  ).gets('#PF(0)');
  g.tries('to find kernel mode in the frame', qword('trap_cs')).gets(0xe030);
  g.tries('to find the address', qword('trap_cr2')).gets(0x40000000);
  g.tries(
    'to read the time stamp counter in user mode',
    inUser(a => a.rdtsc().mov(eax, 1).syscall()),
  ).gets(1);
  g.tries(
    'to have its return address in RCX, as SYSRET leaves it',
    inUser(a => a.label('sysret').lea(rdi, mem('sysret')).sub(rcx, rdi).mov(rax, rcx).syscall(), { flags: 0x100 }),
  ).gets(0);
  g.tries(
    'to run 32-bit code',
    inUser(
      a => {
        // inc eax is one byte there, and a prefix in 64-bit code.
        a.bits(32).mov(eax, 6).db(0x40).int(0x80).bits(64);
      },
      { cs: 0xe023 },
    ),
  ).gets('#GP(0x402)');
});

guest('has two bases of GS', g => {
  g.page(1, 'kernel_gs');
  g.page(1, 'user_gs');
  const inUser = withUserMode(g);
  g.does(store(addr('kernel_gs'), 111));
  g.does(store(addr('user_gs'), 222));
  g.prepares("to set the kernel's", hypercall('set_segment_base', SEGBASE.gsKernel, addr('kernel_gs')));
  g.prepares("to set the user's", hypercall('set_segment_base', SEGBASE.gsUser, addr('user_gs')));
  const load = (a: Parameters<Parameters<typeof code>[0]>[0]) => a.mov(rax, within(gs, qword(0)));
  g.tries("to use the kernel's", code(load)).gets(111);
  g.tries(
    "to use the user's",
    inUser(a => load(a).syscall()),
  ).gets(222);
  g.tries("to use the kernel's again", code(load)).gets(111);
  g.tries(
    'to use it after an exception of the user',
    all(
      inUser(a => a.ud2()),
      code(load),
    ),
  ).gets('#UD');
  g.tries('to use it then', code(load)).gets(111);
});

guest('uses the floating-point unit', g => {
  g.prepares('to say that it switches tasks', hypercall('fpu_taskswitch', 1));
  g.tries(
    'to find the flag',
    code(a => a.mov(rax, cr0).and(eax, 8)),
  ).gets(8);
  g.tries(
    'to use it',
    code(a => a.fninit()),
  ).gets('#NM');
  g.tries(
    'to use it after that',
    code(a => a.fninit()),
  ).gets(0);
  g.tries(
    'to find the flag gone',
    code(a => a.mov(rax, cr0).and(eax, 8)),
  ).gets(0);
  g.tries(
    'to set the flag by CR0',
    code(a => a.mov(rax, cr0).or(rax, 8).mov(cr0, rax).xor(eax, eax)),
  ).gets(0);
  g.tries(
    'to clear it by CLTS',
    code(a => a.clts()),
  ).gets(0);
  g.tries(
    'to use it without an exception',
    code(a => a.fninit()),
  ).gets(0);
});

guest('steps through its code', g => {
  g.tries(
    'one step',
    code(a => a.pushfq().or(qword(rsp), 0x100).popfq().nop()),
  ).gets('#DB');
  g.tries('to find out why', hypercall('get_debugreg', 6)).gets(0xffff4ff0n);
  g.tries(
    'INT3',
    code(a => a.int3()),
  ).gets('#BP');
  g.tries(
    'INT 32, which has no handler',
    code(a => a.int(32)),
  ).gets('#GP(0x102)');
  g.aside(a => a.label('at_32').mov(eax, 5).mov(rsp, qword('resume_rsp')).jmp(qword('resume')));
  const handler = (flags: number): Value =>
    hypercall('set_trap_table', records(trapInfo, [{ vector: 32, flags, cs: FLAT_CS, address: addr('at_32') }, {}]));
  g.prepares('to have a handler that only Xen may enter', handler(0));
  g.tries(
    'INT 32',
    code(a => a.int(32)),
  ).gets('#GP(0x102)');
  g.prepares('to have one that a kernel may enter, and masks events', handler(1 | TI.maskEvents));
  g.does(mask(0));
  g.tries(
    'INT 32 with that',
    code(a => a.int(32)),
  ).gets(5);
  g.tries(
    'to find events masked',
    code(a => a.movzx(eax, byte('shared_info', 1))),
  ).gets(1);
});

// ---- events

guest('is told of events', g => {
  const events = qword('events');
  g.prepares('to bind an IPI', bindIpi('ipi'));
  g.prepares('to send it while events are masked', send('ipi'));
  g.tries('to hear nothing', events).gets(0);
  g.tries(
    'to find it pending',
    code(a => a.movzx(eax, byte('shared_info'))),
  ).gets(1);
  g.prepares('to unmask', mask(0));
  g.does(anyHypercall);
  g.tries('to hear of it', events).gets(1);
  g.tries('to hear which it was', sum(qword('event_port'), 0)).gets(3);
  g.prepares('to send it again', send('ipi'));
  g.tries('to hear of it at once', events).gets(2);
  g.does(setBit(maskAt, 'ipi', true));
  g.prepares('to send it with its own mask set', send('ipi'));
  g.tries('to hear nothing of that', events).gets(2);
  g.prepares('to have Xen unmask it', event('unmask', ev.evtchnUnmask, { port: port('ipi') }));
  g.tries('to hear of it then', events).gets(3);
  g.tries(
    'to fault with events on',
    code(a => a.ud2()),
  ).gets('#UD');
  g.tries(
    'to find interrupts on in the frame',
    code(a => a.mov(rax, qword('trap_rflags')).and(eax, 0x200)),
  ).gets(0x200);
  g.does(mask(1));
  g.tries(
    'to fault with events masked',
    code(a => a.ud2()),
  ).gets('#UD');
  g.tries(
    'to find interrupts off',
    code(a => a.mov(rax, qword('trap_rflags')).and(eax, 0x200)),
  ).gets(0);
  g.prepares('to send it masked', send('ipi'));
  g.aside(a => a.label('returned').mov(rsp, qword('resume_rsp')).xor(eax, eax).jmp(qword('resume')));
  g.prepares(
    'to return with interrupts on',
    all(
      computed(a => a.lea(rsp, mem('stack_top', -2048))),
      returnTo('returned', 'stack_top', { cs: 0xe030 }),
    ),
  );
  g.tries('to hear of it by that', events).gets(4);
});

guest('is told of non-maskable interrupts, one at a time', g => {
  g.tries('to send itself one', vcpuOp('send_nmi', 0)).gets('#NMI');
  g.tries('to send another before it has returned', vcpuOp('send_nmi', 0)).gets(0);
  g.tries('to return', returnTo('finish', 'stack_top', { cs: 0xe030 })).gets('#NMI');
});

guest('has events in queues', g => {
  const control = g.page(1, 'control');
  const array = g.page(1, 'array');
  for (const name of ['a', 'b', 'c']) g.prepares(`to bind ${name}`, bindIpi(name));
  g.prepares('to use queues', event('init_control', ev.evtchnInitControl, { controlGfn: mfnOf(control) }, 'init'));
  g.tries(
    'to hear how wide links are',
    code(a => a.movzx(eax, byte('init', ev.evtchnInitControl.offset('linkBits', 64)))),
  ).gets(17);
  g.prepares('to give an array', event('expand_array', ev.evtchnExpandArray, { arrayGfn: mfnOf(array) }));
  g.prepares('to make c urgent', event('set_priority', ev.evtchnSetPriority, { port: port('c'), priority: 2 }));
  for (const name of ['a', 'b', 'c']) g.prepares(`to send ${name}`, send(name));
  const head = (priority: number) => dword('control', 8 + priority * 4);
  const word = (name: string): Computed =>
    code(a =>
      a
        .mov(ecx, port(name))
        .lea(rdx, mem('array'))
        .mov(eax, dword(rdx, rcx, 4)),
    );
  g.tries('to find both queues ready', dword('control')).gets((1 << 7) | (1 << 2));
  g.tries('to find a first in the usual one', head(7)).gets(3);
  g.tries('to find b behind it', word('a')).gets(0xa0000004);
  g.tries('to find nothing behind b', word('b')).gets(0xa0000000);
  g.tries('to find c in its own', head(2)).gets(5);
  g.prepares('to send a again', send('a'));
  g.tries('to find it there once', word('a')).gets(0xa0000004);
  g.tries(
    'to find an upcall pending',
    code(a => a.movzx(eax, byte('shared_info'))),
  ).gets(1);
});

// ---- time

guest('waits', g => {
  const noted = g.variable('noted');
  const note: Value = store(addr('noted'), systemTime);
  const passed: Computed = computed(a => {
    evaluate(a, systemTime);
    a.sub(rax, noted);
  });
  /** 1 where between `from` and `to` ns have passed since the note. */
  const passedBetween = (from: number, to: number): Computed =>
    computed(a => {
      evaluate(a, passed);
      a.sub(rax, from)
        .cmp(rax, to - from)
        .setbe(byte(rsp, -8))
        .movzx(eax, byte(rsp, -8));
    });
  g.prepares('to bind its timer', event('bind_virq', ev.evtchnBindVirq, { virq: VIRQ.timer }, 'virq'));
  g.does(note);
  g.does(sleepFor(500_000));
  g.tries('to sleep for half a millisecond', passedBetween(500_000, 520_000)).gets(1);
  g.does(mask(1));
  g.prepares('to bind an IPI', bindIpi('ipi'));
  g.does(note);
  g.prepares('to wait for it for 300 microseconds', poll('ipi', sum(systemTime, 300_000)));
  g.tries('to have waited for so long', passedBetween(300_000, 320_000)).gets(1);
  g.does(note);
  g.prepares('to send it', send('ipi'));
  g.prepares('to wait for it', poll('ipi', sum(systemTime, 300_000)));
  g.tries('not to have waited', passedBetween(0, 20_000)).gets(1);
  g.does(setBit(pendingAt, 'ipi', false));
  // The upcall that still waits for it would end the block.
  g.does(all(mask(0), anyHypercall, mask(1)));
  g.does(note);
  g.prepares('to set the timer by the old hypercall', hypercall('set_timer_op', sum(systemTime, 200_000)));
  g.prepares('to block', sched('block'));
  g.tries('to have slept until then', passedBetween(200_000, 220_000)).gets(1);
});

guest('is ticked while it runs', g => {
  g.prepares('to bind its timer', event('bind_virq', ev.evtchnBindVirq, { virq: VIRQ.timer }));
  g.prepares(
    'to have a tick every millisecond',
    vcpuOp('set_periodic_timer', 0, record(vcpuSetPeriodicTimer, { periodNs: 1_000_000 })),
  );
  g.does(all(store(addr('events'), 0), mask(0)));
  g.tries(
    'to wait for four ticks',
    code(a => a.label('spin').cmp(qword('events'), 4).jb('spin').xor(eax, eax)),
  ).gets(0);
  g.prepares('to stop them', vcpuOp('stop_periodic_timer', 0));
});

// ---- several vCPUs

/** A context for a vCPU that starts at a label with a stack of its own. */
const start = (g: Guest, vcpu: number, label: string): Value => {
  g.aside(a => void a.section('bss').align(16).reserve(4096).label(`${label}_stack`).section('text'));
  const root = computed(a => {
    evaluate(a, entryVa(0, 4));
    a.shr(rax, 12)
      .mov(rcx, qword('p2m'))
      .mov(rax, qword(rcx, rax, 8))
      .shl(rax, 12);
  });
  return vcpuOp(
    'initialise',
    vcpu,
    record(vcpuGuestContext64, {
      flags: VGCF.inKernel,
      userRegs: { rip: addr(label), rsp: addr(`${label}_stack`), rflags: 0x202, cs: FLAT_CS, ss: 0xe02b, r12: vcpu },
      kernelSs: 0xe02b,
      kernelSp: addr(`${label}_stack`),
      ctrlreg: [0, 0, 0, root],
    }),
  );
};

guest(
  'passes a ball between two vCPUs',
  g => {
    const ROUNDS = 10;
    g.variable('caught');
    g.aside(a => {
      a.label('second').inc(qword('caught'));
      // It waits for 'there', and sends 'back'.
      a.label('play');
      evaluate(a, poll('there'));
      evaluate(a, setBit(pendingAt, 'there', false));
      a.add(qword('caught'), r12);
      evaluate(a, send('back'));
      a.jmp('play');
    });
    g.prepares('to bind the way there', bindIpi('there', 1));
    g.prepares('to bind the way back', bindIpi('back', 0));
    g.tries('to ask whether the other is up', vcpuOp('is_up', 1)).gets(0);
    g.prepares('to start it', start(g, 1, 'second'));
    g.prepares('to let it run', vcpuOp('up', 1));
    g.tries('to ask again', vcpuOp('is_up', 1)).gets(1);
    g.tries('to ask for a third', vcpuOp('is_up', 2)).gets('-ENOENT');
    for (let i = 0; i < ROUNDS; i++) {
      g.prepares('to throw', send('there'));
      g.prepares('to catch', poll('back'));
      g.does(setBit(pendingAt, 'back', false));
    }
    g.tries('to count how often the other caught it', qword('caught')).gets(ROUNDS + 1);
    g.prepares('to take the other down', vcpuOp('down', 1));
    g.tries('to ask whether it is up', vcpuOp('is_up', 1)).gets(0);
  },
  { vcpus: 2 },
);

guest(
  'shares its time between four vCPUs',
  g => {
    g.page(1, 'counters');
    g.aside(a => {
      a.label('worker')
        .lea(rdi, mem('counters'))
        .label('count')
        .inc(qword(rdi, r12, 8))
        .jmp('count');
    });
    for (const vcpu of [1, 2, 3]) {
      g.aside(a => void a.label(`worker_${vcpu}`).jmp('worker'));
      g.prepares(`to start vCPU ${vcpu}`, all(start(g, vcpu, `worker_${vcpu}`), vcpuOp('up', vcpu)));
    }
    g.tries(
      'to wait until each has counted to 100000',
      code(a => {
        a.label('wait');
        for (const vcpu of [1, 2, 3]) a.cmp(qword('counters', vcpu * 8), 100_000).jb('wait');
        a.xor(eax, eax);
      }),
    ).gets(0);
  },
  { vcpus: 4 },
);

// ---- memory

guest('writes to live page tables', g => {
  const page = g.page(1, 'page');
  const invalidate = hypercall(
    'mmuext_op',
    record(mmuextOp, { cmd: MMUEXT.invlpg_local, arg1: { linearAddr: page } }),
    1,
    0,
    DOMID_SELF,
  );
  const old = g.variable('old');
  /** Code with the address of the page's L1 entry in RDI. */
  const onEntry = (emit: Parameters<typeof code>[0]): Computed =>
    computed(a => {
      evaluate(a, entryVa(page));
      a.mov(rdi, rax).xor(eax, eax);
      emit(a);
    });
  g.does(store(page, 77));
  g.tries(
    'to write without assistance',
    onEntry(a => a.mov(qword(rdi), rax)),
  ).gets('#PF(0x3)');
  g.prepares('to be assisted', hypercall('vm_assist', VMASST_CMD.enable, VmAssist.writablePagetables));
  g.does(
    all(
      onEntry(a => a.xchg(qword(rdi), rax)),
      computed(a => a.mov(old, rax)),
      invalidate,
    ),
  );
  g.tries('to read a page whose entry was exchanged for nothing', read(page)).gets('#PF(0)');
  g.prepares(
    'to put the entry back',
    onEntry(a => a.mov(rcx, old).mov(qword(rdi), rcx)),
  );
  g.tries('to read it', read(page)).gets(77);
  g.does(
    all(
      onEntry(a => a.lock().btr(qword(rdi), 1)),
      invalidate,
    ),
  );
  g.tries('to write after its bit was cleared', store(page, 1)).gets('#PF(0x3)');
  g.does(onEntry(a => a.or(dword(rdi), 2)));
  g.tries('to write after it was set', all(store(page, 78), read(page))).gets(78);
  const compare = (expected: Value): Computed =>
    computed(a => {
      evaluate(a, entryVa(page));
      a.push(rax);
      evaluate(a, expected);
      a.pop(rdi).xor(ecx, ecx).lock().cmpxchg(qword(rdi), rcx).sete(byte(rsp, -8)).movzx(eax, byte(rsp, -8));
    });
  g.tries('to compare with what it is not, and exchange', compare(0x123)).gets(0);
  g.tries('to compare with what it is, and exchange', compare(read(entryVa(page)))).gets(1);
  g.does(invalidate);
  g.tries('to read after that', read(page)).gets('#PF(0)');
  g.prepares('to map it by hypercall again', remap(page, entry(mfnOf(page), READ_WRITE)));
  g.tries('to find what was in it', read(page)).gets(78);
});

guest('gives memory back and takes other', g => {
  const page = g.page(1, 'page');
  g.does(store(page, 77));
  const frame = g.variable('frame');
  g.does(store(addr('frame'), mfnOf(page)));
  g.prepares('to unmap a page', remap(page, 0));
  g.tries('to give it back', reservation('decrease_reservation', words(frame), 1)).gets(1);
  g.tries(
    'to find it gone from the M2P',
    computed(a =>
      a
        .mov(rcx, M2P_BASE)
        .mov(rdx, frame)
        .mov(rax, qword(rcx, rdx, 8))
        .inc(rax),
    ),
  ).gets(0);
  const pfn = code(a => a.lea(rax, mem('page')).shr(rax, 12));
  g.tries(
    'to take another in its place',
    all(store(addr('frame'), pfn), reservation('populate_physmap', addr('frame'), 1)),
  ).gets(1);
  g.tries(
    'to find that in the M2P',
    computed(a =>
      a
        .mov(rcx, M2P_BASE)
        .mov(rdx, frame)
        .mov(rax, qword(rcx, rdx, 8))
        .lea(rcx, mem('page'))
        .shr(rcx, 12)
        .sub(rax, rcx),
    ),
  ).gets(0);
  g.prepares('to map it', remap(page, entry(frame, READ_WRITE)));
  g.tries('to find nothing in it', read(page)).gets(0);
  g.prepares('to map it for reading', remap(page, entry(frame, READ_ONLY)));
  g.tries('to write to it', store(page, 1)).gets('#PF(0x3)');
});

// ---- the end

guest('reboots', g => g.tries('to reboot', shutdown('reboot')).neverReturns(), { ends: 'reboot' });
guest('reports a crash of its own', g => g.tries('to say so', shutdown('crash')).neverReturns(), {
  ends: 'crash',
  afterwards: (_, { guest: { crash } }) => {
    expect(crash?.reason).toBeNull();
    expect(crash?.hypercalls.at(-1)?.name).not.toBeUndefined();
  },
});
guest('takes its only vCPU down', g => g.tries('to do so', vcpuOp('down', 0)).neverReturns());

test('two runs of one guest are the same run', async () => {
  const run = async () => {
    const program = new PvGuest<World>('same');
    program.prepares('to bind its timer', event('bind_virq', ev.evtchnBindVirq, { virq: VIRQ.timer }));
    for (let i = 0; i < 5; i++) program.does(sleepFor(100_000 + i));
    program.tries('to tell the time', systemTime).gets(/./);
    const host = await Host.create({ ramBytes: ramForGuests(8) });
    const { image, symbols } = await program.build();
    const running = new Running(host.createPvDomain({ image, memoryMiB: 5 }), program, symbols);
    await host.run({ until: () => running.guest.shutdown !== null });
    return { instructions: host.instructions, time: host.timeNs, steps: running.steps().actual };
  };
  expect(await run()).toEqual(await run());
});
