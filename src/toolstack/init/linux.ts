// How init calls Linux: the system calls it uses on x86-64 and i386 (arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl)
// and the UAPI headers' constants. Structures made of machine words have the same fields on both.
import { eax, ebp, ebx, ecx, edi, edx, esi, esp, mem, r8, r9, r10, rdi, rdx, rsi } from './assembler/assembler.ts';
import type { SystemInterface } from './language/compile.ts';
import { type Expression, system, type Value } from './language/expressions.ts';

/** Numbers on x86-64 and on i386. Kernels before 4.3 know sockets on i386 only through socketcall(2), whose number comes third. */
const CALLS = {
  read: [0, 3],
  write: [1, 4],
  open: [2, 5],
  close: [3, 6],
  poll: [7, 168],
  lseek: [8, 19],
  mmap: [9, 192], // on i386 mmap2: the offset is in pages
  munmap: [11, 91],
  ioctl: [16, 54],
  dup2: [33, 63],
  pause: [34, 29],
  nanosleep: [35, 162],
  getpid: [39, 20],
  socket: [41, 102, 1],
  connect: [42, 102, 3],
  fork: [57, 2],
  execve: [59, 11],
  exit: [60, 1],
  wait4: [61, 114],
  uname: [63, 122],
  fsync: [74, 118],
  chdir: [80, 12],
  mkdir: [83, 39],
  syslog: [103, 103],
  setsid: [112, 66],
  mknod: [133, 14],
  chroot: [161, 61],
  sync: [162, 36],
  mount: [165, 21],
  reboot: [169, 88],
  init_module: [175, 128],
  getdents64: [217, 220],
  clock_gettime: [228, 265],
  finit_module: [313, 350],
} as const satisfies Record<string, readonly [x64: number, i386: number, socketcall?: number]>;
export type SystemCallName = keyof typeof CALLS;

/** A system call; a negative result is an error number. */
export const sys = (name: SystemCallName, ...args: Value[]): Expression => system(name, ...args);

const ARGUMENTS_64 = [rdi, rsi, rdx, r10, r8, r9];
const ARGUMENTS_32 = [ebx, ecx, edx, esi, edi];

const x64: SystemInterface = {
  enter(a, name, count) {
    for (const register of ARGUMENTS_64.slice(0, count)) a.pop(register);
    a.mov(eax, CALLS[name as SystemCallName][0]).syscall();
  },
};

const i386: SystemInterface = {
  enter(a, name, count) {
    const [, number, socketcall] = CALLS[name as SystemCallName] as readonly [number, number, number?];
    if (socketcall !== undefined) {
      a.mov(ebx, socketcall).mov(ecx, esp).mov(eax, number).int(0x80);
      a.lea(esp, stack(count));
      return;
    }
    for (const register of ARGUMENTS_32.slice(0, count)) a.pop(register);
    a.mov(eax, number);
    // The sixth is in the frame pointer, whose value takes its place on the stack meanwhile.
    if (count === 6) a.xchg(stack(0), ebp).int(0x80).pop(ebp);
    else a.int(0x80);
  },
};

const stack = (words: number) => mem(esp, 4 * words);

export const LINUX: Readonly<Record<32 | 64, SystemInterface>> = { 32: i386, 64: x64 };

export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const EAGAIN = 11;
export const ENOSYS = 38;
export const ENETDOWN = 100;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_NOCTTY = 0o400;
export const O_DIRECTORY = 0o200000;
export const S_IFCHR = 0o020000;
export const SEEK_SET = 0;
export const SEEK_END = 2;
export const PROT_READ = 1;
export const MAP_PRIVATE = 2;
export const TCSBRK = 0x5409;
export const TIOCSCTTY = 0x540e;
export const BLKFLSBUF = 0x1261;
export const SIOCGIFFLAGS = 0x8913;
export const SIOCSIFFLAGS = 0x8914;
export const SIOCSIFADDR = 0x8916;
export const SIOCSIFNETMASK = 0x891c;
export const IFF_UP = 1;
export const IFF_RUNNING = 0x40;
export const AF_INET = 2;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const IPPROTO_ICMP = 1;
export const POLLIN = 1;
export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const SYSLOG_ACTION_READ_ALL = 3;
export const MS_MOVE = 8192;
export const LINUX_REBOOT_MAGIC1 = 0xfee1dead;
export const LINUX_REBOOT_MAGIC2 = 672274793;
export const LINUX_REBOOT_CMD_POWER_OFF = 0x4321fedc;
