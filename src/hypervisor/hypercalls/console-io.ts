// console_io (18): the hypervisor's own console, which only the control domain may use. xen/include/public/xen.h, CONSOLEIO_*.
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { type Handler, i32Arg, u32Arg } from './copy.ts';
import { requirePrivileged } from './permissions.ts';

const CONSOLEIO = { write: 0, read: 1 } as const;
/** Bytes that are copied at a time. */
const CHUNK = 4096;
/** Bytes that are written before others get their turn. */
const AT_ONCE = 16 * CHUNK;

export const consoleIo: Handler = (vcpu, args) => {
  const { domain, guest } = vcpu;
  requirePrivileged(domain);
  switch (u32Arg(args[0])) {
    case CONSOLEIO.write: {
      // The count is 32 bits without a sign, however a guest means it.
      const count = u32Arg(args[1]);
      for (let done = 0; done < count; done += CHUNK) {
        const at = args[2] + BigInt(done);
        if (done >= AT_ONCE) return continueWith(vcpu, [args[0], BigInt(count - done), at]);
        domain.hypervisor.onConsoleOutput?.(domain, guest.read(at, Math.min(CHUNK, count - done)));
      }
      return 0;
    }
    case CONSOLEIO.read:
      if (i32Arg(args[1]) < 0) throw new XenError('E2BIG');
      return readTyped(vcpu, i32Arg(args[1]), args[2]);
    default:
      throw new XenError('ENOSYS');
  }
};
/** Gives what was typed on the console, as much as there is room for. */
function readTyped({ domain, guest }: Vcpu, room: number, buffer: bigint): number {
  const { typed } = domain.hypervisor.console;
  const bytes = typed.subarray(0, room);
  if (bytes.length > 0) guest.write(buffer, bytes);
  domain.hypervisor.console.typed = typed.slice(bytes.length);
  return bytes.length;
}
