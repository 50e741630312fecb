// The program that the built-in initramfs starts: does what its script says (script.ts), reports what the kernel says about
// itself (PROTOCOL.md) or runs one command, and powers the machine off. Linux on x86-64 and i386: raw system calls, no library, a
// static executable of a few pages. It expects nothing to be there: what is missing is reported.

import { commandWords, runCommand } from './command.ts';
import { CONTENT_ROOM, readFile } from './files.ts';
import { compile, ENTRY } from './language/compile.ts';
import { add, ge, gt, lt, ne, room } from './language/expressions.ts';
import { routine } from './language/routine.ts';
import { beginLine, endLine, putString, reportStatus, reportText, writeAll } from './lines.ts';
import {
  LINUX,
  LINUX_REBOOT_CMD_POWER_OFF,
  LINUX_REBOOT_MAGIC1,
  LINUX_REBOOT_MAGIC2,
  O_NOCTTY,
  O_RDWR,
  O_WRONLY,
  S_IFCHR,
  sys,
  TCSBRK,
} from './linux.ts';
import { reportMachine } from './machine.ts';
import { PROTOCOL_VERSION } from './protocol.ts';
import { runScript } from './script.ts';

/** Where the command's argument list is, each argument ended by a zero byte. */
export const COMMAND_FILE = '/domzero/command';

const MOUNTS = [
  ['proc', '/proc'],
  ['sysfs', '/sys'],
  ['devtmpfs', '/dev'],
  ['xenfs', '/proc/xen'],
] as const;

const UNAME_FIELDS = ['sysname', 'nodename', 'release', 'version', 'machine'];
/** struct new_utsname: 65 bytes a field (include/uapi/linux/utsname.h). */
const UNAME_FIELD = 65;
const utsname = room('utsname', (UNAME_FIELDS.length + 1) * UNAME_FIELD);

const NOT_FIRST = 'domzero init runs as the first process of a guest only\n';

const built = new Map<32 | 64, Uint8Array>();

/** The executable for a kernel of this width. */
export function initProgram(bits: 32 | 64): Uint8Array {
  let program = built.get(bits);
  if (program === undefined) {
    program = compile(main.routine, bits, LINUX[bits]).elf({ entry: ENTRY });
    built.set(bits, program);
  }
  return program.slice();
}

const main = routine('main', r => {
  // As anything but the first process it would mount over, and switch off, the machine of whoever started it.
  r.if(ne(sys('getpid'), 1), () => r.do(writeAll(NOT_FIRST, NOT_FIRST.length), sys('exit', 1)));
  const mounts = MOUNTS.map(([type, path]) => {
    // A kernel without Xen support has no directory /proc/xen; one that fails to make it says so by the mount.
    r.do(sys('mkdir', path, 0o755));
    return r.local(sys('mount', type, path, type, 0, 0));
  });
  r.do(openConsole());
  r.do(beginLine(), putString(`protocol ${PROTOCOL_VERSION}`), endLine());
  MOUNTS.forEach(([type], i) => {
    r.do(reportStatus(`mount/${type}`, mounts[i]));
  });
  r.do(reportUname(), runScript());
  const command = r.local(readFile(COMMAND_FILE, commandWords, CONTENT_ROOM));
  r.if(
    gt(command, 0),
    () => r.do(runCommand(command)),
    () => r.do(reportMachine()),
  );
  r.do(beginLine(), putString('done'), endLine(), powerOff());
});

/** Makes the console standard input, output and error. */
const openConsole = routine('open_console', r => {
  const file = r.local(sys('open', '/dev/console', O_RDWR | O_NOCTTY, 0));
  r.if(lt(file, 0), () => {
    r.do(sys('mknod', '/dev/console', S_IFCHR | 0o600, (5 << 8) | 1));
    r.set(file, sys('open', '/dev/console', O_RDWR | O_NOCTTY, 0));
  });
  // No console driver: the kernel's log is better than nothing.
  r.if(lt(file, 0), () => r.set(file, sys('open', '/dev/kmsg', O_WRONLY, 0)));
  r.if(ge(file, 0), () => {
    for (const standard of [0, 1, 2]) r.do(sys('dup2', file, standard));
    r.if(gt(file, 2), () => r.do(sys('close', file)));
  });
});

export const reportUname = routine('report_uname', r => {
  r.do(sys('uname', utsname));
  UNAME_FIELDS.forEach((field, i) => {
    r.do(reportText(`uname/${field}`, add(utsname, i * UNAME_FIELD)));
  });
});

/** Waits until the console has shown everything, then switches the machine off. */
const powerOff = routine('power_off', r => {
  r.do(sys('ioctl', 1, TCSBRK, 1), sys('sync'));
  r.do(sys('reboot', LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, 0));
  // Not allowed to, or nothing can switch it off. The kernel panics when its init ends, so wait instead.
  r.loop(() => r.do(sys('pause')));
});
