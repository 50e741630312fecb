// The part that every test guest has: its start, handlers for all exceptions, a walk of its page tables, printing, its end.
// Frames and registers at handlers: public/arch-x86/xen-x86_64.h.
import { trapInfo } from '../../src/abi/xen/arch-x86.ts';
import { CALLBACKOP, CALLBACKTYPE, callbackRegister } from '../../src/abi/xen/callback.ts';
import { EVTCHNOP, evtchnSend } from '../../src/abi/xen/event-channel.ts';
import { SCHEDOP, schedShutdown } from '../../src/abi/xen/sched.ts';
import { HYPERCALL, sharedInfo, startInfo, UVMF } from '../../src/abi/xen/xen.ts';
import { ShutdownReason } from '../../src/hypervisor/domain.ts';
import {
  type Assembler,
  addr,
  al,
  byte,
  cl,
  dword,
  eax,
  ecx,
  edx,
  mem,
  qword,
  r8,
  r9,
  r10,
  r11,
  rax,
  rcx,
  rdi,
  rdx,
  rsi,
  rsp,
} from '../../src/toolstack/init/assembler/assembler.ts';
import { computed, entry, evaluate, hypercall, PTE, record, type Value } from './value.ts';

/** Address of the first byte of a guest: also its place in guest-physical memory, as all of that memory is mapped one to one. */
export const GUEST_BASE = 0x100000;
export const FLAT_CS = 0xe033;
export const M2P_BASE = 0xffff800000000000n;
const STACK_BYTES = 16 * 1024;
const EXCEPTIONS = 32;
/** Exceptions that push an error code: SDM Vol. 3A, 6.13. */
const WITH_CODE: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17, 21]);

/** A step's value where it ended in an exception: the vector in bits 32-39, bit 40 = has an error code, which is bits 0-31. */
export const TRAPPED = 1n << 63n;
const HAS_CODE = 1 << 8;

/** Stops the domain. */
export const shutdown = (reason: keyof typeof ShutdownReason | number): Value =>
  hypercall(
    'sched_op',
    SCHEDOP.shutdown,
    record(schedShutdown, { reason: typeof reason === 'number' ? reason : ShutdownReason[reason] }),
  );

/** Registers a callback of the vCPU that calls this. */
export const registerCallback = (type: keyof typeof CALLBACKTYPE, address: Value, flags = 0): Value =>
  hypercall('callback_op', CALLBACKOP.register, record(callbackRegister, { type: CALLBACKTYPE[type], flags, address }));

/** What comes before the guest's own part. */
export function writeStart(a: Assembler): void {
  a.label('start').cld();
  a.mov(qword('start_info'), rsi);
  a.lea(rsp, mem('stack_top'));
  a.mov(rax, qword(rsi, startInfo.offset('mfnList', 64))).mov(qword('p2m'), rax);
  a.mov(rax, qword(rsi, startInfo.offset('ptBase', 64))).mov(qword('pt_base'), rax);
  evaluate(a, hypercall('set_trap_table', addr('trap_table')));
  const sharedFrame = computed(b => {
    b.mov(rax, qword('start_info'))
      .mov(rax, qword(rax, startInfo.offset('sharedInfo', 64)))
      .shr(rax, 12);
  });
  evaluate(
    a,
    hypercall(
      'update_va_mapping',
      addr('shared_info'),
      entry(sharedFrame, PTE.p | PTE.rw | PTE.a | PTE.d),
      UVMF.invlpg,
    ),
  );
  evaluate(a, registerCallback('event', addr('event_entry')));
  evaluate(a, registerCallback('failsafe', addr('failsafe_entry')));
}

/** What comes after it. */
export function writeRuntime(a: Assembler): void {
  a.label('finish');
  evaluate(a, shutdown('poweroff'));
  a.ud2();
  writeTraps(a);
  writeEvents(a);
  writeFindEntry(a);
  writePrint(a);
  a.section('bss').align(4096).label('shared_info').reserve(4096);
  a.reserve(STACK_BYTES).label('stack_top').reserve(4096);
  a.section('text');
}

function writeTraps(a: Assembler): void {
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    const hasCode = WITH_CODE.has(vector);
    a.label(`trap_${vector}`);
    a.mov(qword('trap_vector'), vector | (hasCode ? HAS_CODE : 0));
    a.jmp(hasCode ? 'trap_with_code' : 'trap');
  }
  // Stack: rcx, r11, [error code,] rip, cs, rflags, rsp, ss.
  a.label('trap_with_code').mov(rax, qword(rsp, 16)).mov(qword('trap_code'), rax);
  a.add(rsp, 8).jmp('trap_common');
  a.label('trap').mov(qword('trap_code'), 0);
  a.label('trap_common').cld();
  a.inc(qword('traps'));
  for (const [i, name] of ['rip', 'cs', 'rflags', 'rsp', 'ss'].entries()) {
    a.mov(rax, qword(rsp, 16 + i * 8)).mov(qword(`trap_${name}`), rax);
  }
  a.mov(rax, qword('shared_info', 16)).mov(qword('trap_cr2'), rax);
  a.mov(rcx, qword('resume')).test(rcx, rcx).je('lost');
  a.mov(eax, dword('trap_vector')).bts(rax, 31).shl(rax, 32);
  a.mov(edx, dword('trap_code')).or(rax, rdx);
  a.mov(rsp, qword('resume_rsp')).jmp(rcx);

  // An exception that no step expects: the domain reports it as a crash of its own.
  a.label('failsafe_entry').mov(qword('trap_vector'), 0xfa11);
  a.label('lost');
  evaluate(a, shutdown('crash'));
  a.ud2();

  a.section('data').align(8).label('trap_table');
  for (let vector = 0; vector < EXCEPTIONS; vector++) {
    // The kernel may raise them by INT n as well.
    a.db(vector, 3)
      .dw(FLAT_CS)
      .dd(0)
      .dq(addr(`trap_${vector}`));
  }
  if (trapInfo.size(64) !== 16) throw new Error('struct trap_info');
  a.dq(0, 0).align(8);
  for (const name of [
    ...['trap_vector', 'trap_code', 'trap_rip', 'trap_cs', 'trap_rflags', 'trap_rsp', 'trap_ss', 'trap_cr2', 'traps'],
    ...['resume', 'resume_rsp', 'start_info', 'p2m', 'pt_base', 'steps', 'events', 'event_port'],
  ]) {
    a.label(name).dq(0);
  }
  a.section('text');
}

const SAVED = [rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11];
const PENDING_SEL = 8;

/** Pops what a frame has below RIP, saves registers and runs a handler for vCPU 0's events; then returns by the iret hypercall. */
function writeEvents(a: Assembler): void {
  const pendingWords = sharedInfo.offset('evtchnPending', 64);
  a.label('event_entry').pop(rcx).pop(r11);
  for (const register of SAVED) a.push(register);
  a.inc(qword('events'));
  a.mov(byte('shared_info'), 0);
  // Each pending word of the selector, each bit of it: cleared and noted, highest last.
  a.xor(eax, eax).xchg(rax, qword('shared_info', PENDING_SEL));
  a.label('event_words').bsf(rcx, rax).je('event_done').btr(rax, rcx);
  a.lea(rsi, mem('shared_info', pendingWords))
    .xor(edx, edx)
    .xchg(rdx, qword(rsi, rcx, 8));
  a.shl(ecx, 6);
  a.label('event_bits').bsf(r8, rdx).je('event_words').btr(rdx, r8).add(r8, rcx).mov(qword('event_port'), r8);
  a.jmp('event_bits');
  a.label('event_done');
  for (const register of [...SAVED].reverse()) a.pop(register);
  writeIret(a);
}

/** Returns to the rip, cs, rflags, rsp, ss at the stack's top with RAX, RCX and R11 as they are. */
export function writeIret(a: Assembler): void {
  a.push(0).push(rcx).push(r11).push(rax).mov(eax, HYPERCALL.iret).syscall();
}

/** RDI address, RSI level: RAX machine address of its page-table entry, RDX where the guest sees it. */
function writeFindEntry(a: Assembler): void {
  a.label('find_entry').mov(rdx, qword('pt_base'));
  a.mov(r10, rdx)
    .shr(r10, 12)
    .mov(rcx, qword('p2m'))
    .mov(r10, qword(rcx, r10, 8)); // table's frame
  a.mov(r8, 4);
  a.label('find_level');
  a.lea(rcx, mem(r8, r8, 8)).add(ecx, 3); // 9 * level + 3: the shift of its index
  a.mov(rax, rdi).shr(rax, cl);
  a.and(eax, 511).lea(rdx, mem(rdx, rax, 8));
  a.mov(rcx, r10)
    .shl(rcx, 12)
    .lea(rax, mem(rcx, rax, 8));
  a.cmp(r8, rsi).je('find_done');
  a.mov(r10, qword(rdx)).shl(r10, 12).shr(r10, 24); // frame of the next table
  a.mov(rcx, M2P_BASE)
    .mov(rdx, qword(rcx, r10, 8))
    .shl(rdx, 12);
  a.dec(r8).jmp('find_level');
  a.label('find_done').ret();
}

const CONSOLE_OUT = 1024;
const CONSOLE_OUT_MASK = 2047;
const CONSOLE_OUT_PROD = 3072 + 12;

/** RDI zero-terminated text, shorter than the ring: to the console. */
function writePrint(a: Assembler): void {
  const consoleAt = startInfo.offset('console', 64);
  a.label('print').mov(rcx, qword('start_info')).mov(rax, qword(rcx, consoleAt));
  a.mov(rcx, M2P_BASE)
    .mov(r8, qword(rcx, rax, 8))
    .shl(r8, 12);
  a.mov(ecx, dword(r8, CONSOLE_OUT_PROD));
  a.label('print_byte').mov(al, byte(rdi)).test(al, al).je('print_done');
  a.mov(edx, ecx)
    .and(edx, CONSOLE_OUT_MASK)
    .mov(byte(r8, rdx, 1, CONSOLE_OUT), al);
  a.inc(ecx).inc(rdi).jmp('print_byte');
  a.label('print_done').mov(dword(r8, CONSOLE_OUT_PROD), ecx);
  const port = computed(b => b.mov(rax, qword('start_info')).mov(eax, dword(rax, consoleAt + 8)));
  evaluate(a, hypercall('event_channel_op', EVTCHNOP.send, record(evtchnSend, { port })));
  a.ret();
}
