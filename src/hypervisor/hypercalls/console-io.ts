// console_io (18): the hypervisor's own console, which only the control domain may use. xen/include/public/xen.h, CONSOLEIO_*.
import { XenError } from '../errors.ts';
import { type Handler, i32Arg, u32Arg } from './copy.ts';
import { requirePrivileged } from './permissions.ts';

const CONSOLEIO = { write: 0, read: 1 } as const;
/** Bytes that are copied at a time. */
const CHUNK = 4096;
/** The most that one call writes; the result of a longer one says that nothing is wrong, as a preempted one would in the end. */
const MAX_WRITE = 1 << 20;

export const consoleIo: Handler = ({ domain, guest }, args) => {
  requirePrivileged(domain);
  switch (u32Arg(args[0])) {
    case CONSOLEIO.write: {
      const count = Math.min(u32Arg(args[1]), MAX_WRITE);
      for (let done = 0; done < count; done += CHUNK) {
        domain.hypervisor.onConsoleOutput?.(domain, guest.read(args[2] + BigInt(done), Math.min(CHUNK, count - done)));
      }
      return 0;
    }
    case CONSOLEIO.read:
      if (i32Arg(args[1]) < 0) throw new XenError('E2BIG');
      return 0; // nobody types on this console
    default:
      throw new XenError('ENOSYS');
  }
};
consoleIo.operationOf = args => (u32Arg(args[0]) === CONSOLEIO.write ? 'write' : 'read');
