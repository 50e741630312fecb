// The program that the built-in initramfs starts: reports what the kernel says about itself (PROTOCOL.md) and powers
// the machine off; or runs one command in between. Linux on x86-64 only (a 32-bit kernel cannot start it): raw system
// calls, no library, a static executable of a few pages. It expects nothing to be there: what is missing is reported.
import {
  type Assembler,
  addr,
  al,
  asm,
  byte,
  dword,
  eax,
  ebx,
  ecx,
  edx,
  esi,
  mem,
  qword,
  r12,
  r14d,
  rax,
  rbp,
  rbx,
  rcx,
  rdi,
  rdx,
  rsi,
} from './assembler/assembler.ts';
import { CONTENT_ROOM, directory, fileList, fileRoutines } from './files.ts';
import { line, lineRoutines, text } from './lines.ts';
import { observeRoutines } from './observe.ts';
import { PROTOCOL_VERSION } from './protocol.ts';
import {
  CLOCK_REALTIME,
  EINTR,
  ENOENT,
  LINUX_REBOOT_CMD_POWER_OFF,
  LINUX_REBOOT_MAGIC1,
  LINUX_REBOOT_MAGIC2,
  O_NOCTTY,
  O_RDWR,
  O_WRONLY,
  S_IFCHR,
  sys,
  TCSBRK,
  TIOCSCTTY,
} from './syscalls.ts';

/** Where the command's argument list is, each argument ended by a zero byte. */
export const COMMAND_FILE = '/domzero/command';

const FILES: ReadonlyArray<readonly [key: string, path: string]> = [
  ['cmdline', '/proc/cmdline'],
  ...['online', 'possible', 'present'].map(n => [`cpus/${n}`, `/sys/devices/system/cpu/${n}`] as const),
  ['clocksource/current', '/sys/devices/system/clocksource/clocksource0/current_clocksource'],
  ['clocksource/available', '/sys/devices/system/clocksource/clocksource0/available_clocksource'],
  ['clockevent', '/sys/devices/system/clockevents/clockevent0/current_device'],
  ...[
    'type',
    'guest_type',
    'uuid',
    'version/major',
    'version/minor',
    'version/extra',
    'compilation/compiler',
    'compilation/compiled_by',
    'compilation/compile_date',
    'properties/capabilities',
    'properties/changeset',
    'properties/features',
    'properties/pagesize',
    'properties/virtual_start',
  ].map(n => [`hypervisor/${n}`, `/sys/hypervisor/${n}`] as const),
  ['xen/capabilities', '/proc/xen/capabilities'],
];

/** Last, so that they tell of everything that came before. */
const FINAL_FILES = [
  ['tainted', '/proc/sys/kernel/tainted'],
  ['uptime', '/proc/uptime'],
] as const;

const MOUNTS = [
  ['proc', '/proc'],
  ['sysfs', '/sys'],
  ['devtmpfs', '/dev'],
  ['xenfs', '/proc/xen'],
] as const;

const UNAME_FIELDS = ['sysname', 'nodename', 'release', 'version', 'machine'];
/** struct new_utsname: 65 bytes a field (include/uapi/linux/utsname.h). */
const UNAME_FIELD = 65;

const SEARCH = ['/bin/', '/sbin/', '/usr/bin/', '/usr/sbin/'];
const ENVIRONMENT = ['PATH=/bin:/sbin:/usr/bin:/usr/sbin', 'HOME=/', 'TERM=linux'];
const ARGUMENT_LIMIT = 255;

const NOT_FIRST = 'domzero init runs as the first process of a guest only\n';

let built: Uint8Array | undefined;

/** The executable. */
export function initProgram(): Uint8Array {
  built ??= asm(writeInit).elf({ entry: 'start' });
  return built.slice();
}

function writeInit(a: Assembler) {
  main(a);
  prepare(a);
  reportUname(a);
  reportMachine(a);
  commandRoutine(a);
  powerOff(a);
  lineRoutines(a);
  fileRoutines(a);
  observeRoutines(a);
}

const literal = (a: Assembler, string: string) => mem(a.literal(string));

function main(a: Assembler) {
  // As anything but the first process it would mount over, and switch off, the machine of whoever started it.
  a.label('start');
  sys(a, 'getpid');
  a.cmp(eax, 1).je('.first').lea(rdi, literal(a, NOT_FIRST)).mov(esi, NOT_FIRST.length).call('write_all');
  sys(a, 'exit', 1);
  a.label('.first').xor(r14d, r14d).call('prepare');
  line(a, () => text(a, `protocol ${PROTOCOL_VERSION}`));
  for (const [type] of MOUNTS)
    a.lea(rdi, literal(a, `mount/${type}`))
      .mov(rsi, qword(`mount_${type}`))
      .call('report_status');
  a.call('report_uname');
  a.lea(rdi, literal(a, COMMAND_FILE)).lea(rsi, mem('arguments')).mov(edx, CONTENT_ROOM).call('read_file');
  a.test(rax, rax).jle('.report').mov(rdi, rax).call('run_command').jmp('.done');
  a.label('.report').call('report_machine');
  a.label('.done');
  line(a, () => text(a, 'done'));
  a.jmp('power_off');
}

/** prepare(): mounts what there is to mount, and makes the console standard input, output and error. */
function prepare(a: Assembler) {
  a.label('prepare');
  for (const [type, path] of MOUNTS) {
    // A kernel without Xen support has no directory /proc/xen; one that fails to make it says so by the mount.
    sys(a, 'mkdir', literal(a, path), 0o755);
    sys(a, 'mount', literal(a, type), literal(a, path), literal(a, type), 0, 0);
    a.mov(qword(`mount_${type}`), rax);
  }
  const open = (path: string, flags: number) =>
    sys(a, 'open', literal(a, path), flags, 0).test(rax, rax).jns('.opened');
  open('/dev/console', O_RDWR | O_NOCTTY);
  sys(a, 'mknod', literal(a, '/dev/console'), S_IFCHR | 0o600, (5 << 8) | 1);
  open('/dev/console', O_RDWR | O_NOCTTY);
  // No console driver: the kernel's log is better than nothing.
  open('/dev/kmsg', O_WRONLY);
  a.ret();
  a.label('.opened').mov(ebx, eax);
  for (const fd of [0, 1, 2]) sys(a, 'dup2', ebx, fd);
  a.cmp(ebx, 2).jbe('.end');
  sys(a, 'close', ebx);
  a.label('.end').ret();
  a.section('bss').align(8);
  for (const [type] of MOUNTS) a.label(`mount_${type}`).reserve(8);
  a.section('text');
}

export function reportUname(a: Assembler) {
  a.label('report_uname');
  sys(a, 'uname', mem('utsname'));
  UNAME_FIELDS.forEach((field, i) => {
    a.lea(rdi, mem('utsname', i * UNAME_FIELD))
      .call('string_length')
      .mov(rdx, rax)
      .mov(rsi, rdi);
    a.lea(rdi, literal(a, `uname/${field}`)).call('report_value');
  });
  a.ret();
  a.section('bss')
    .label('utsname')
    .reserve(UNAME_FIELDS.length * UNAME_FIELD + UNAME_FIELD)
    .section('text');
}

function reportMachine(a: Assembler) {
  const field = (key: string, path: string, name: string) =>
    a.lea(rdi, literal(a, key)).lea(rsi, literal(a, path)).lea(rdx, literal(a, name)).call('report_field');
  const directories = [
    ['device/xen', '/sys/bus/xen/devices', ['nodename', 'devtype', 'state']],
    ['device/xen-backend', '/sys/bus/xen-backend/devices', ['nodename', 'devtype', 'state']],
    ['device/block', '/sys/block', ['size']],
    ['device/net', '/sys/class/net', ['address', 'operstate']],
  ] as const;

  a.label('report_machine');
  a.lea(rdi, mem('files')).call('report_files');
  field('cpu/vendor', '/proc/cpuinfo', 'vendor_id');
  field('cpu/model', '/proc/cpuinfo', 'model name');
  field('memory/total', '/proc/meminfo', 'MemTotal');
  for (const [key] of directories) a.lea(rdi, mem(key)).call('report_directory');
  a.call('report_idle').call('report_alarms');
  sys(a, 'clockGettime', CLOCK_REALTIME, mem('time_after'));
  a.mov(rsi, rax).test(rax, rax).js('.time').mov(rsi, qword('time_after'));
  a.label('.time').lea(rdi, literal(a, 'time/realtime')).call('report_status');
  a.lea(rdi, mem('final_files')).call('report_files').ret();

  fileList(a, 'files', FILES);
  fileList(a, 'final_files', FINAL_FILES);
  for (const [key, path, files] of directories) directory(a, key, key, path, files);
}

/** run_command(length of `arguments`): runs it with the console as its terminal, and reports how it ended. */
export function commandRoutine(a: Assembler) {
  a.label('run_command').push(rbx).push(rbp).push(r12);
  // argv: a pointer to each argument.
  a.lea(rbx, mem('arguments')).lea(rbp, mem(rbx, rdi)).xor(ecx, ecx).lea(rdx, mem('argv'));
  a.label('.argument').cmp(rbx, rbp).jae('.fork').cmp(ecx, ARGUMENT_LIMIT).jae('.fork');
  a.mov(qword(rdx), rbx).add(rdx, 8).inc(ecx).mov(rdi, rbx).call('string_length');
  a.lea(rbx, mem({ base: rbx, index: rax, displacement: 1 })).jmp('.argument');

  a.label('.fork').mov(qword(rdx), 0);
  sys(a, 'fork');
  a.test(rax, rax).je('.child').js('.failed').mov(r12, rax);
  // Orphans end up with init too, so wait for all, until it is the command.
  a.label('.wait');
  sys(a, 'wait4', -1, mem('status'), 0, 0);
  a.cmp(rax, r12).je('.ended').test(rax, rax).jns('.wait').cmp(eax, -EINTR).je('.wait');
  a.label('.failed').lea(rdi, literal(a, 'command/exit')).mov(rsi, rax).jmp('.report');
  a.label('.ended').mov(eax, dword('status')).mov(ecx, eax).and(ecx, 0x7f).jne('.signal');
  a.movzx(eax, byte('status', 1)).lea(rdi, literal(a, 'command/exit')).mov(rsi, rax).jmp('.report');
  a.label('.signal').lea(rdi, literal(a, 'command/signal')).mov(rsi, rcx);
  a.label('.report').pop(r12).pop(rbp).pop(rbx).jmp('report_status');

  a.label('.child');
  sys(a, 'setsid');
  sys(a, 'ioctl', 0, TIOCSCTTY, 1);
  a.lea(rdi, mem('arguments'));
  a.label('.slash').mov(al, byte(rdi)).inc(rdi).cmp(al, 0x2f).je('.direct').test(al, al).jne('.slash');
  for (const prefix of SEARCH) {
    a.lea(rdi, mem('path')).lea(rsi, literal(a, prefix)).call('copy_string');
    a.mov(rdi, rax).lea(rsi, mem('arguments')).call('copy_string');
    sys(a, 'execve', mem('path'), mem('argv'), mem('environment'));
    a.cmp(eax, -ENOENT).jne('.refused');
  }
  a.jmp('.refused').label('.direct');
  sys(a, 'execve', mem('arguments'), mem('argv'), mem('environment'));
  // As shells have it: 127 not found, 126 found but not to be executed.
  a.label('.refused').mov(ebx, 127).cmp(eax, -ENOENT).je('.exit').dec(ebx);
  a.label('.exit');
  sys(a, 'exit', ebx);

  a.section('bss')
    .align(8)
    .label('status')
    .reserve(8)
    .label('argv')
    .reserve(8 * (ARGUMENT_LIMIT + 1));
  a.label('arguments').reserve(CONTENT_ROOM + 1);
  a.section('data').align(8).label('environment');
  for (const variable of ENVIRONMENT) a.dq(addr(a.literal(variable)));
  a.dq(0).section('text');
}

/** Waits until the console has shown everything, then switches the machine off. */
function powerOff(a: Assembler) {
  a.label('power_off');
  sys(a, 'ioctl', 1, TCSBRK, 1);
  sys(a, 'sync');
  sys(a, 'reboot', LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0);
  // Not allowed to, or nothing can switch it off. The kernel panics when its init ends, so wait instead.
  a.label('.for_ever');
  sys(a, 'pause');
  a.jmp('.for_ever');
}
