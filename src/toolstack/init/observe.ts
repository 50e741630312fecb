// Routines of init that watch the kernel for a while and search its log. Conventions: lines.ts.
import {
  type Assembler,
  addr,
  al,
  byte,
  eax,
  ebx,
  ecx,
  edx,
  mem,
  qword,
  r8,
  r9,
  r12,
  r13,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from './assembler/assembler.ts';
import { CONTENT_ROOM } from './files.ts';
import { CLOCK_MONOTONIC, EINTR, SYSLOG_ACTION_READ_ALL, sys } from './syscalls.ts';

const LOG_ROOM = 256 << 10;
const ALARM_LIMIT = 20;

/** What in a line of the kernel's log tells of trouble. */
const ALARMS = [
  'Call Trace:',
  'BUG: ',
  // At the beginning of a message, after its level and time: elsewhere it is advice on a processor's mitigations.
  '] WARNING: ',
  '>WARNING: ',
  'Oops: ',
  'blocked for more than',
  'self-detected stall',
  'unchecked MSR access',
  'general protection fault',
];

const literal = (a: Assembler, text: string) => mem(a.literal(text));

export function observeRoutines(a: Assembler) {
  reportIdle(a);
  reportStat(a);
  reportChanges(a);
  reportAlarms(a);
  contains(a);
  a.section('bss').align(8);
  for (const label of ['sleep_time', 'time_before', 'time_after']) a.label(label).reserve(16);
  for (const label of ['stat_before', 'stat_after', 'interrupts_before', 'interrupts_after'])
    a.label(label).reserve(CONTENT_ROOM + 1);
  a.label('log').reserve(LOG_ROOM + 1);
  a.section('data').align(8).label('alarms');
  for (const alarm of ALARMS) a.dq(addr(a.literal(alarm)));
  a.dq(0).section('text');
}

/** report_idle(): sleeps for a second, and reports what the kernel did meanwhile. */
function reportIdle(a: Assembler) {
  const read = (path: string, buffer: string) =>
    a.lea(rdi, literal(a, path)).lea(rsi, mem(buffer)).mov(edx, CONTENT_ROOM).call('read_file');
  a.label('report_idle').push(rbx).push(rbp);
  read('/proc/interrupts', 'interrupts_before');
  read('/proc/stat', 'stat_before').mov(rbx, rax);
  sys(a, 'clockGettime', CLOCK_MONOTONIC, mem('time_before'));
  a.mov(qword('sleep_time'), 1).mov(qword('sleep_time', 8), 0);
  a.label('.sleep');
  sys(a, 'nanosleep', mem('sleep_time'), mem('sleep_time'));
  a.cmp(rax, -EINTR).je('.sleep').mov(rbp, rax);
  sys(a, 'clockGettime', CLOCK_MONOTONIC, mem('time_after'));
  read('/proc/stat', 'stat_after');
  read('/proc/interrupts', 'interrupts_after');

  a.mov(rsi, rbp).test(rbp, rbp).js('.slept');
  a.mov(rsi, qword('time_after')).sub(rsi, qword('time_before')).imul(rsi, rsi, 1_000_000_000);
  a.add(rsi, qword('time_after', 8)).sub(rsi, qword('time_before', 8));
  a.label('.slept').lea(rdi, literal(a, 'idle/nanoseconds')).call('report_status');

  a.lea(rdi, literal(a, 'idle/stat-before')).mov(rsi, rbx).test(rbx, rbx).jns('.stat').call('report_status');
  a.jmp('.interrupts').label('.stat').lea(rsi, mem('stat_before')).call('report_stat');
  a.lea(rdi, literal(a, 'idle/stat-after')).lea(rsi, mem('stat_after')).call('report_stat');
  a.label('.interrupts').call('report_changes').pop(rbp).pop(rbx).ret();
}

/** report_stat(key, content of /proc/stat): the sums over all CPUs. */
function reportStat(a: Assembler) {
  a.label('report_stat').push(rbx).push(rbp).push(r12).mov(rbx, rdi).mov(rbp, rsi);
  a.label('.line').mov(rdi, rbp).call('line_length').mov(r12, rax);
  for (const name of ['cpu ', 'ctxt '])
    a.mov(rdi, rbp).lea(rsi, literal(a, name)).call('starts_with').test(rax, rax).jne('.whole');
  a.mov(rdi, rbp).lea(rsi, literal(a, 'intr ')).call('starts_with').test(rax, rax).je('.next');
  // The total comes first, then a number for each interrupt there can be.
  a.label('.number').cmp(byte(rax), 0x20).jbe('.cut').inc(rax).jmp('.number');
  a.label('.cut').mov(rdx, rax).sub(rdx, rbp).jmp('.report');
  a.label('.whole').mov(rdx, r12);
  a.label('.report').mov(rdi, rbx).mov(rsi, rbp).call('report_value');
  a.label('.next').add(rbp, r12).cmp(byte(rbp), 0).je('.end').inc(rbp).jmp('.line');
  a.label('.end').pop(r12).pop(rbp).pop(rbx).ret();
}

/** report_changes(): the lines in which interrupts_before and interrupts_after differ, compared line by line. */
function reportChanges(a: Assembler) {
  a.label('report_changes').push(rbx).push(rbp).push(r12).push(r13);
  a.lea(rbx, mem('interrupts_before')).lea(rbp, mem('interrupts_after'));
  a.label('.line').mov(al, byte(rbx)).or(al, byte(rbp)).je('.end');
  a.mov(rdi, rbx).call('line_length').mov(r12, rax).mov(rdi, rbp).call('line_length').mov(r13, rax);
  a.cmp(r12, r13).jne('.differ').mov(rsi, rbx).mov(rdi, rbp).mov(rcx, r12).cmp(rcx, rcx).repe().cmpsb().je('.next');
  a.label('.differ');
  a.mov(rsi, rbx).mov(rdx, r12).lea(rdi, literal(a, 'idle/interrupts-before')).test(rdx, rdx).je('.after');
  a.call('report_value');
  a.label('.after');
  a.mov(rsi, rbp).mov(rdx, r13).lea(rdi, literal(a, 'idle/interrupts-after')).test(rdx, rdx).je('.next');
  a.call('report_value');
  a.label('.next').add(rbx, r12).add(rbp, r13);
  a.cmp(byte(rbx), 1).sbb(rbx, -1); // past the newline, but not past the zero at the end
  a.cmp(byte(rbp), 1).sbb(rbp, -1);
  a.jmp('.line');
  a.label('.end').pop(r13).pop(r12).pop(rbp).pop(rbx).ret();
}

/** report_alarms(): lines of the kernel's log that hold one of ALARMS, and their number. */
function reportAlarms(a: Assembler) {
  a.label('report_alarms').push(rbx).push(rbp).push(r12).push(r13);
  sys(a, 'syslog', SYSLOG_ACTION_READ_ALL, mem('log'), LOG_ROOM);
  a.mov(rbx, rax).test(rax, rax).js('.end').xor(ebx, ebx).lea(rbp, mem('log')).mov(byte(rbp, rax), 0);
  a.label('.line').mov(rdi, rbp).call('line_length').mov(r12, rax).lea(r13, mem('alarms'));
  a.label('.alarm').mov(rdx, qword(r13)).test(rdx, rdx).je('.next').add(r13, 8);
  a.mov(rdi, rbp).mov(rsi, r12).call('contains').test(eax, eax).je('.alarm');
  a.inc(rbx).cmp(rbx, ALARM_LIMIT).ja('.next');
  a.lea(rdi, literal(a, 'log/alarm')).mov(rsi, rbp).mov(rdx, r12).call('report_value');
  a.label('.next').add(rbp, r12).cmp(byte(rbp), 0).je('.end').inc(rbp).jmp('.line');
  a.label('.end').mov(rsi, rbx).lea(rdi, literal(a, 'log/alarms')).pop(r13).pop(r12).pop(rbp).pop(rbx);
  a.jmp('report_status');
}

/** contains(text, length, words): 1 if the words stand in the text. */
function contains(a: Assembler) {
  a.label('contains').lea(r8, mem(rdi, rsi));
  a.label('.at').cmp(rdi, r8).jae('.no').mov(al, byte(rdx)).cmp(byte(rdi), al).jne('.skip').xor(ecx, ecx);
  a.label('.compare').inc(rcx).mov(al, byte(rdx, rcx)).test(al, al).je('.yes');
  a.lea(r9, mem(rdi, rcx)).cmp(r9, r8).jae('.skip').cmp(byte(r9), al).je('.compare');
  a.label('.skip').inc(rdi).jmp('.at');
  a.label('.yes').mov(eax, 1).ret();
  a.label('.no').xor(eax, eax).ret();
}
