// Xen's error numbers and the one exception that a hypercall handler throws. Source: xen/include/public/errno.h.

export const ERRNO = {
  EPERM: 1, ENOENT: 2, ESRCH: 3, EINTR: 4, EIO: 5, ENXIO: 6, E2BIG: 7, ENOEXEC: 8, EBADF: 9, ECHILD: 10, EAGAIN: 11,
  ENOMEM: 12, EACCES: 13, EFAULT: 14, EBUSY: 16, EEXIST: 17, EXDEV: 18, ENODEV: 19, ENOTDIR: 20, EISDIR: 21, EINVAL: 22,
  ENFILE: 23, EMFILE: 24, ENOSPC: 28, EROFS: 30, EMLINK: 31, EDOM: 33, ERANGE: 34, EDEADLK: 35, ENAMETOOLONG: 36, ENOLCK: 37,
  ENOSYS: 38, ENOTEMPTY: 39, ENODATA: 61, ETIME: 62, EBADMSG: 74, EOVERFLOW: 75, EILSEQ: 84, ERESTART: 85, ENOTSOCK: 88,
  EMSGSIZE: 90, EOPNOTSUPP: 95, EADDRINUSE: 98, EADDRNOTAVAIL: 99, ENOBUFS: 105, EISCONN: 106, ENOTCONN: 107, ETIMEDOUT: 110,
  ECONNREFUSED: 111,
} as const; // biome-ignore format: a table

export type ErrnoName = keyof typeof ERRNO;

const NAMES = new Map<number, ErrnoName>(Object.entries(ERRNO).map(([name, n]) => [n, name as ErrnoName]));

/** `-22` gives `-EINVAL`; what is no error number stays a number. */
export function errnoName(result: number): string {
  const name = NAMES.get(-result);
  return name ? `-${name}` : String(result);
}

/** The result of a hypercall that fails: becomes -errno where hypercalls are dispatched. Guests cause it, so it carries no stack. */
export class XenError extends Error {
  readonly errno: ErrnoName;
  /** The positive error number. */
  readonly number: number;

  constructor(errno: ErrnoName, why = '') {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0; // these are thrown by the thousand on hot paths
    super(why ? `${errno}: ${why}` : errno);
    Error.stackTraceLimit = limit;
    this.errno = errno;
    this.number = ERRNO[errno];
  }
}
