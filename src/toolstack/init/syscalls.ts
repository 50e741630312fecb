// Linux system calls for programs written with the assembler: arch/x86/entry/syscalls/syscall_64.tbl and the UAPI
// headers' constants, as far as init uses them.
import {
  type Assembler,
  eax,
  edi,
  edx,
  esi,
  type Memory,
  type Register,
  r8,
  r8d,
  r10,
  r10d,
  rdi,
  rdx,
  rsi,
} from './assembler/assembler.ts';

export const SYS = {
  read: 0,
  write: 1,
  open: 2,
  close: 3,
  ioctl: 16,
  dup2: 33,
  pause: 34,
  nanosleep: 35,
  getpid: 39,
  fork: 57,
  execve: 59,
  exit: 60,
  wait4: 61,
  uname: 63,
  mkdir: 83,
  syslog: 103,
  setsid: 112,
  mknod: 133,
  sync: 162,
  mount: 165,
  reboot: 169,
  getdents64: 217,
  clockGettime: 228,
} as const;

export const EINTR = 4;
export const EAGAIN = 11;
export const ENOENT = 2;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_NOCTTY = 0o400;
export const O_DIRECTORY = 0o200000;
export const S_IFCHR = 0o020000;
export const TCSBRK = 0x5409;
export const TIOCSCTTY = 0x540e;
export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const SYSLOG_ACTION_READ_ALL = 3;
export const LINUX_REBOOT_MAGIC1 = 0xfee1dead;
export const LINUX_REBOOT_MAGIC2 = 672274793;
export const LINUX_REBOOT_CMD_POWER_OFF = 0x4321fedc;

const WIDE = [rdi, rsi, rdx, r10, r8];
const NARROW = [edi, esi, edx, r10d, r8d];

/**
 * A system call; the result (or a negative errno) is in RAX, and RCX and R11 are lost. Arguments are loaded in order:
 * numbers (to 32 bits), registers, or memory, of which the address is passed; `undefined` leaves what stands there.
 */
export function sys(
  a: Assembler,
  name: keyof typeof SYS,
  ...args: Array<number | Register | Memory | undefined>
): Assembler {
  args.forEach((arg, i) => {
    if (arg === undefined) return;
    if (arg === 0) a.xor(NARROW[i], NARROW[i]);
    else if (typeof arg === 'number') a.mov(NARROW[i], arg);
    else if (arg.kind === 'memory') a.lea(WIDE[i], arg);
    else if (arg.name !== (arg.size === 4 ? NARROW : WIDE)[i].name) a.mov(arg.size === 4 ? NARROW[i] : WIDE[i], arg);
  });
  return a.mov(eax, SYS[name]).syscall();
}
