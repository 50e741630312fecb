/**
 * The states that a PV device's two ends show each other in XenStore, and what a back end does about its front end's. Sources:
 * xen/include/public/io/xenbus.h; conduct as that of Linux's blkback and netback, which front ends are written against.
 */

export const XENBUS_STATE = {
  /** No such node, or nothing that is a state. */
  unknown: 0,
  initialising: 1,
  /** The back end's features are there; it waits for the front end. */
  initWait: 2,
  /** The front end's rings are there; it waits for the back end (disks; networks go to `connected` at once). */
  initialised: 3,
  connected: 4,
  closing: 5,
  closed: 6,
  reconfiguring: 7,
  reconfigured: 8,
} as const;
export type XenbusState = (typeof XENBUS_STATE)[keyof typeof XENBUS_STATE];

/** A state node's text. Guests write what they like: what is no state is `unknown`. */
export function xenbusState(text: string | undefined): XenbusState {
  return text !== undefined && /^[1-8]$/.test(text) ? (Number(text) as XenbusState) : XENBUS_STATE.unknown;
}

/** What a back end has to do now: offer its features, connect, disconnect and then show the state, or nothing. */
export type BackendStep =
  | { do: 'offer' }
  | { do: 'connect' }
  | { do: 'disconnect'; state: typeof XENBUS_STATE.closing | typeof XENBUS_STATE.closed }
  | { do: 'nothing' };

const NOTHING: BackendStep = { do: 'nothing' };

/**
 * The step of a back end in state `own` whose front end shows `front`. Whatever sequence of states a front end shows, steps
 * alternate: it is connected only from `initWait`, and only `disconnect` leads out of `connected`.
 */
export function backendStep(own: XenbusState, front: XenbusState): BackendStep {
  const { initialising, initWait, initialised, connected, closing, closed } = XENBUS_STATE;
  switch (front) {
    case initialising:
      // A front end that starts anew, after a kexec or a crash, without having closed.
      if (own === connected || own === closing) return { do: 'disconnect', state: closed };
      return own === initialising || own === closed ? { do: 'offer' } : NOTHING;
    case initialised:
    case connected:
      return own === initWait ? { do: 'connect' } : NOTHING;
    case closing:
      return own === closing || own === closed ? NOTHING : { do: 'disconnect', state: closing };
    case closed:
      return own === closed ? NOTHING : { do: 'disconnect', state: closed };
    case XENBUS_STATE.unknown:
      // Its nodes are gone. Before it has ever been there the same can be seen: then nothing is to be undone.
      return own === connected || own === closing ? { do: 'disconnect', state: closed } : NOTHING;
    default:
      return NOTHING;
  }
}
