// Routines of init that watch the kernel for a while and search its log.

import { CONTENT_ROOM, readFile } from './files.ts';
import { add, any, byte, eq, le, lt, ne, or, room, sub, word, words } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { endLine, putKey, putNumber, putPadded, putString, reportStatus, reportValue } from './lines.ts';
import { CLOCK_MONOTONIC, CLOCK_REALTIME, EINTR, SYSLOG_ACTION_READ_ALL, sys } from './linux.ts';
import { contains, eachLine, lineLength, sameBytes, startsWith } from './strings.ts';

const LOG_ROOM = 512 << 10;
const LINE_LIMIT = 20;
const NANOSECONDS = 1_000_000_000;

/** What in a line of the kernel's log tells of trouble with the kernel, or between it and its machine. */
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
  // ACPICA's words (drivers/acpi/acpica/utxferror.c, utprint): its warnings are not here, since real machines have them too.
  'ACPI Error',
  'ACPI BIOS Error',
  'ACPI Exception',
];

/** What tells of firmware that is not as it should be, with which the kernel can live (include/linux/printk.h, FW_BUG and others). */
const FIRMWARE = ['[Firmware Bug]', '[Firmware Warn]', 'ACPI Warning', 'ACPI BIOS Warning'];

/** What the kernel takes its machine for (arch/x86/kernel/cpu/hypervisor.c, paravirt.c). */
const PLATFORM = ['Hypervisor detected: ', 'Booting paravirtualized kernel on '];

const interruptsBefore = room('interrupts_before', CONTENT_ROOM + 1);
const interruptsAfter = room('interrupts_after', CONTENT_ROOM + 1);
const statBefore = room('stat_before', CONTENT_ROOM + 1);
const statAfter = room('stat_after', CONTENT_ROOM + 1);
const log = room('log', LOG_ROOM + 1);
// struct timespec: two machine words.
const sleepTime = room('sleep_time', 16);
const timeBefore = room('time_before', 16);
const timeAfter = room('time_after', 16);

/** Sleeps, signals or not; gives 0 or an error. */
export const sleep = routine('sleep', (r, seconds, nanoseconds) => {
  r.store('word', sleepTime, seconds);
  r.store('word', add(sleepTime, words(1)), nanoseconds);
  const result = r.local(0);
  r.loop(() => {
    r.set(result, sys('nanosleep', sleepTime, sleepTime));
    r.if(ne(result, -EINTR), () => r.return(result));
  });
});

/** Sleeps for a second, and reports what the kernel did meanwhile. */
export const reportIdle = routine('report_idle', r => {
  r.do(readFile('/proc/interrupts', interruptsBefore, CONTENT_ROOM));
  const stat = r.local(readFile('/proc/stat', statBefore, CONTENT_ROOM));
  r.do(sys('clock_gettime', CLOCK_MONOTONIC, timeBefore));
  const slept = r.local(sleep(1, 0));
  r.do(sys('clock_gettime', CLOCK_MONOTONIC, timeAfter));
  r.do(readFile('/proc/stat', statAfter, CONTENT_ROOM), readFile('/proc/interrupts', interruptsAfter, CONTENT_ROOM));

  const key = 'idle/seconds';
  const seconds = r.local(sub(word(timeAfter), word(timeBefore)));
  const nanoseconds = r.local(sub(word(timeAfter, 1), word(timeBefore, 1)));
  r.if(lt(nanoseconds, 0), () => {
    r.set(seconds, sub(seconds, 1));
    r.set(nanoseconds, add(nanoseconds, NANOSECONDS));
  });
  r.if(
    lt(slept, 0),
    () => r.do(reportStatus(key, slept)),
    () => r.do(putKey(key), putString(' = '), putNumber(seconds), putString('.'), putPadded(nanoseconds, 9), endLine()),
  );
  r.if(
    lt(stat, 0),
    () => r.do(reportStatus('idle/stat-before', stat)),
    () => r.do(reportStat('idle/stat-before', statBefore), reportStat('idle/stat-after', statAfter)),
  );
  r.do(reportChanges(interruptsBefore, interruptsAfter));
});

/** The sums over all CPUs in the content of /proc/stat. */
export const reportStat = routine('report_stat', (r, key, stat) => {
  eachLine(r, stat, (line, length) => {
    r.if(any(startsWith(line, 'cpu '), startsWith(line, 'ctxt ')), () => r.do(reportValue(key, line, length)));
    // The total comes first, then a number for each interrupt there can be.
    const end = r.local(startsWith(line, 'intr '));
    r.if(end, () => {
      r.while(lt(0x20, byte(end)), () => r.set(end, add(end, 1)));
      r.do(reportValue(key, line, sub(end, line)));
    });
  });
});

/** The lines in which two readings of /proc/interrupts differ, compared line by line. */
export const reportChanges = routine('report_changes', (r, before, after) => {
  r.while(or(byte(before), byte(after)), () => {
    const [was, is] = [r.local(lineLength(before)), r.local(lineLength(after))];
    r.if(any(ne(was, is), eq(sameBytes(before, after, was), 0)), () => {
      r.if(was, () => r.do(reportValue('idle/interrupts-before', before, was)));
      r.if(is, () => r.do(reportValue('idle/interrupts-after', after, is)));
    });
    // Past the newline, but not past the zero at the end.
    r.set(before, add(before, was));
    r.set(after, add(after, is));
    r.if(byte(before), () => r.set(before, add(before, 1)));
    r.if(byte(after), () => r.set(after, add(after, 1)));
  });
});

/** Lines of the kernel's log: those that tell of trouble and of firmware, with their number, and what it takes its machine for. */
export const reportLog = routine('report_log', r => {
  const length = r.local(sys('syslog', SYSLOG_ACTION_READ_ALL, log, LOG_ROOM));
  r.if(lt(length, 0), () => r.return(reportStatus('log/alarms', length)));
  r.store(1, add(log, length), 0);
  for (const [key, words] of [
    ['log/alarm', ALARMS],
    ['log/firmware-complaint', FIRMWARE],
    ['log/platform', PLATFORM],
  ] as const) {
    const count = r.local(0);
    eachLine(r, log, (line, size) => {
      r.if(any(...words.map(w => contains(line, size, w))), () => {
        r.set(count, add(count, 1));
        r.if(le(count, LINE_LIMIT), () => r.do(reportValue(key, line, size)));
      });
    });
    r.do(reportStatus(`${key}s`, count));
  }
});

/** The wall clock. */
export const reportTime = routine('report_time', r => {
  const result = r.local(sys('clock_gettime', CLOCK_REALTIME, timeAfter));
  r.if(eq(result, 0), () => r.set(result, word(timeAfter)));
  r.do(reportStatus('time/realtime', result));
});
