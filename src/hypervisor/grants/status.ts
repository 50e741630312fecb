// The result of one grant operation: GNTST_*. Operations of a batch fail one by one, so it is not the hypercall's errno.
import { GNTST } from '../../abi/xen/grant-table.ts';

export type GrantStatusName = keyof typeof GNTST;

/** Ends one grant operation. Guests cause it, so it carries no stack. */
export class GrantError extends Error {
  readonly status: number;

  constructor(name: GrantStatusName) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    super(`GNTST_${name}`);
    Error.stackTraceLimit = limit;
    this.status = GNTST[name];
  }
}

/** Runs one operation: its GNTST_* status. */
export function grantStatus(operation: () => void): number {
  try {
    operation();
    return GNTST.okay;
  } catch (error) {
    if (error instanceof GrantError) return error.status;
    throw error;
  }
}
