/**
 * The XenStore side of one back end: it offers features, follows the front end's state through its watch, and calls the driver to connect
 * and disconnect. Sources: xen/include/public/io/xenbus.h, drivers/xen/xenbus/xenbus_client.c (xenbus_dev_fatal) in Linux.
 *
 * The front end's nodes are the guest's: values are checked here once, and a driver that finds them wrong throws FrontendError, which is
 * reported where Linux's backends report it (the "error" nodes) and closes the device. Nothing that a guest writes goes further.
 */
import { backendStep, XENBUS_STATE, type XenbusState, xenbusState } from '../../protocols/xenbus.ts';
import type { HostClient } from '../xenstore/host-client.ts';

/** The front end does not keep to the protocol: its device is closed, with this sentence in XenStore. */
export class FrontendError extends Error {
  override name = 'FrontendError';
}

/** A front end's nodes, read when it connects. */
export interface FrontendNodes {
  /** A node's text; undefined where there is none. */
  text(name: string): string | undefined;
  /** A decimal number from 0 to `max`. Where there is no node: `absent`, or FrontendError without that. */
  number(name: string, max: number, absent?: number): number;
  /** A feature-… node: there and not 0. */
  flag(name: string): boolean;
}

export interface BackendDriver {
  /** Nodes that say what the back end can do, written before it shows InitWait. */
  features(): Record<string, string>;
  /**
   * Maps rings, binds event channels, starts to serve. Returns nodes to write before Connected is shown.
   * @throws FrontendError where the front end's nodes or grants are wrong; what it had taken by then, disconnect() gives back
   */
  connect(front: FrontendNodes): Record<string, string>;
  /** Gives everything back. Called after every connect(), failed ones too, and never before one. */
  disconnect(): void;
}

export interface BackendDeviceOptions {
  store: HostClient;
  /** /local/domain/0/backend/vif/1/0 */
  backendPath: string;
  /** /local/domain/1/device/vif/0 */
  frontendPath: string;
  driver: BackendDriver;
}

export class BackendDevice {
  readonly #store: HostClient;
  readonly #backendPath: string;
  readonly #frontendPath: string;
  readonly #driver: BackendDriver;
  readonly #endWatches: (() => void)[] = [];
  #state: XenbusState = XENBUS_STATE.initialising;
  #connected = false;
  #stopped = false;
  #onClosed: (() => void) | null = null;

  /** The toolstack has written both directories by now. Features are offered at once. */
  constructor({ store, backendPath, frontendPath, driver }: BackendDeviceOptions) {
    this.#store = store;
    this.#backendPath = backendPath;
    this.#frontendPath = frontendPath;
    this.#driver = driver;
    this.#offer();
    this.#endWatches.push(store.watch(`${frontendPath}/state`, () => this.#follow()));
  }

  get state(): XenbusState {
    return this.#state;
  }

  /** Asks the front end to let go, as `xl network-detach` does; `done` is called once it has, if ever. */
  close(done: () => void): void {
    this.#onClosed = done;
    this.#store.write(`${this.#backendPath}/online`, '0');
    if (this.#state === XENBUS_STATE.closed || !this.#frontendHasDevice()) this.#disconnect(XENBUS_STATE.closed);
    else this.#show(XENBUS_STATE.closing);
  }

  /** Writes nodes while it serves, and the state once more, at which the front end looks again: a disk's new size. */
  announce(nodes: Record<string, string>): void {
    if (this.#stopped) return;
    this.#writeAll(nodes);
    if (this.#state === XENBUS_STATE.connected) this.#store.write(`${this.#backendPath}/state`, String(this.#state));
  }

  /** Gives everything back at once, whatever the front end does: its domain goes away. Writes nothing any more. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    for (const end of this.#endWatches.splice(0)) end();
    this.#release();
  }

  #frontendHasDevice(): boolean {
    const front = this.#frontendState();
    return front !== XENBUS_STATE.unknown && front !== XENBUS_STATE.closed;
  }

  #frontendState(): XenbusState {
    return xenbusState(this.#store.read(`${this.#frontendPath}/state`));
  }

  /** Does what the front end's state asks for. Two steps at most follow one change: disconnect, then offer. */
  #follow(): void {
    for (let turn = 0; turn < 2 && !this.#stopped; turn++) {
      const step = backendStep(this.#state, this.#frontendState());
      if (step.do === 'nothing') return;
      if (step.do === 'offer') this.#offer();
      else if (step.do === 'connect') this.#connect();
      else this.#disconnect(step.state);
    }
  }

  /** Nothing is offered any more once the toolstack wants the device gone. */
  #offer(): void {
    if (this.#onClosed !== null) return;
    this.#writeAll(this.#driver.features());
    this.#show(XENBUS_STATE.initWait);
  }

  #connect(): void {
    this.#connected = true;
    try {
      this.#writeAll(this.#driver.connect(this.#nodes()));
    } catch (error) {
      if (!(error instanceof FrontendError)) throw error;
      this.fail(error.message);
      return;
    }
    this.#show(XENBUS_STATE.connected);
  }

  /** The front end was found to break the protocol: says why and closes. */
  fail(reason: string): void {
    if (this.#stopped) return;
    const [, domain, node] = /^(\/local\/domain\/\d+)\/(.*)$/.exec(this.#backendPath) ?? ['', '', this.#backendPath];
    this.#store.write(`${domain}/error/${node}/error`, `-22 ${reason}`);
    this.#disconnect(XENBUS_STATE.closing);
  }

  #disconnect(state: XenbusState): void {
    this.#release();
    this.#show(state);
    if (state !== XENBUS_STATE.closed || this.#onClosed === null) return;
    const done = this.#onClosed;
    this.#onClosed = null;
    this.stop();
    done();
  }

  #release(): void {
    if (!this.#connected) return;
    this.#connected = false;
    this.#driver.disconnect();
  }

  #show(state: XenbusState): void {
    if (this.#stopped || this.#state === state) return;
    this.#state = state;
    this.#store.write(`${this.#backendPath}/state`, String(state));
  }

  #writeAll(nodes: Record<string, string>): void {
    for (const [name, value] of Object.entries(nodes)) this.#store.write(`${this.#backendPath}/${name}`, value);
  }

  #nodes(): FrontendNodes {
    const text = (name: string): string | undefined => this.#store.read(`${this.#frontendPath}/${name}`);
    return {
      text,
      number: (name, max, absent) => {
        const value = text(name);
        if (value === undefined && absent !== undefined) return absent;
        if (value === undefined) throw new FrontendError(`reading ${name}: there is no such node`);
        if (!/^\d{1,10}$/.test(value) || Number(value) > max) {
          throw new FrontendError(`reading ${name}: not a number from 0 to ${max}`);
        }
        return Number(value);
      },
      flag: name => /^0*[1-9]\d*$/.test(text(name) ?? ''),
    };
  }
}
