// What of the hypervisor a back end gets: one domain's grants and event channels, with the guest's mistakes as FrontendError.
import { FrontendError } from '../../backends/xenbus/backend-device.ts';
import type { FrontendDomain } from '../../backends/xenbus/frontend-domain.ts';
import type { Domain } from '../../hypervisor/domain.ts';
import { XenError } from '../../hypervisor/errors.ts';
import { mapForHost } from '../../hypervisor/grants/host-access.ts';
import { GrantError } from '../../hypervisor/grants/status.ts';

const PAGE = 4096;

export function frontendDomain(domain: Domain): FrontendDomain {
  const { memory } = domain.hypervisor;
  return {
    id: domain.id,
    map: (ref, readonly) => {
      const mapping = asFrontends(`mapping grant ${ref}`, () => mapForHost(domain, ref, readonly));
      const { offset } = mapping;
      return {
        bytes: () => memory.u8.subarray(offset, offset + PAGE),
        wrote: (at, length) => mapping.wrote(at, length),
        release: () => mapping.release(),
      };
    },
    bind: (port, onEvent) => {
      let isOpen = true;
      // An event may be waiting for its turn when the end is closed, or its domain destroyed.
      const handler = (): void => {
        if (isOpen && !domain.isDying) onEvent();
      };
      const end = asFrontends(`binding event channel ${port}`, () => domain.events.bindHost(port, handler));
      return {
        domain: end.domain,
        port: end.port,
        get isConnected() {
          return isOpen && end.isConnected;
        },
        notify: () => end.notify(),
        close: () => {
          isOpen = false;
          end.close();
        },
      };
    },
  };
}

/** The guest's own mistakes are its back end's business; anything else is ours. */
function asFrontends<T>(what: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof GrantError || error instanceof XenError) throw new FrontendError(`${what}: ${error.message}`);
    throw error;
  }
}
