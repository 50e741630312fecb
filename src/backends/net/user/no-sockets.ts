// Sockets of a host that has no network, or gives none: everything outside is out of reach.
import type { HostSockets } from './host-sockets.ts';

/** Sockets tell what becomes of them after the call. */
const later = (event: () => void) => void Promise.resolve().then(event);
const nothing = () => {};

export const NO_SOCKETS: HostSockets = {
  connectTcp: (_address, _port, events) => {
    later(() => events.failed('unreachable'));
    return { write: nothing, end: nothing, pause: nothing, resume: nothing, close: nothing, reset: nothing };
  },
  listenTcp: (_address, _port, events) => {
    later(() => events.failed('this machine has no network'));
    return { close: nothing };
  },
  openUdp: (_events, bind) => {
    later(() => bind?.failed('this machine has no network'));
    return { send: nothing, close: nothing };
  },
  resolve: (_name, _type, done) => later(() => done({ status: 'failed', values: [] })),
};
