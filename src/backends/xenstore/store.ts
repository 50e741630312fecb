/**
 * XenStore: the tree of small values that a host and its guests configure devices with, as a daemon without a process.
 * It is plain state; clients are connections (see domain-connection.ts for a guest's ring, host-client.ts for our own
 * backends and toolstack). Behaviour and errors are those of xenstored 4.17.
 *
 * Not modelled: xenstored's write-rate credits and its 20 s timeout for events, both of which only share time fairly among
 * guests that run beside each other; here each ring is served when its guest notifies, and memory is bounded by quota.
 */
import { XsError, type XsMessage } from '../../protocols/xenstore.ts';
import { XENSTORE_SERVER_FEATURE } from '../../protocols/xenstore-ring.ts';
import { Connection } from './connection.ts';
import { STORE_ITSELF, StoreCore } from './core.ts';
import { type DomainRecord, PRIVILEGED_DOMID } from './domains.ts';
import { HostClient } from './host-client.ts';
import { removeTree } from './operations.ts';
import { childPath } from './paths.ts';
import type { Quotas } from './quotas.ts';
import { type RequestContext, serve } from './requests.ts';
import { loadState, saveState, type XenStoreState } from './state.ts';
import { ownerOf } from './tree.ts';
import { fireWatches } from './watches.ts';

export interface XenStoreOptions {
  /** Whether the hypervisor has such a domain: permissions for others are not kept. */
  domainExists: (domid: number) => boolean;
  /**
   * Carries a newly introduced domain's connection: maps its ring and binds its port. Called for introduce() and for
   * INTRODUCE on the wire. Throws XsError where that cannot be done.
   */
  attach?: (connection: Connection, gfn: number, port: number) => void;
  quotas?: Partial<Quotas>;
  /** XENSTORE_SERVER_FEATURE bits; the default is what oxenstored and xenstored 4.17 do between them. */
  features?: number;
  log?: (text: string) => void;
  /** Told of every message of a domain, and of every one that is queued for it. */
  trace?: StoreTrace | undefined;
}

/** A request that a domain makes; a reply or an event that it is to get. */
export type StoreTrace = (domid: number, direction: 'from' | 'to', message: XsMessage) => void;

export class XenStore {
  readonly core: StoreCore;
  readonly features: number;
  /** The host's own access: Dom0's rights, no quotas. */
  readonly host: HostClient;
  readonly #options: XenStoreOptions;
  readonly #context: RequestContext;
  #depth = 0;
  #delivering = false;

  constructor(options: XenStoreOptions) {
    this.#options = options;
    this.features = options.features ?? XENSTORE_SERVER_FEATURE.RECONNECTION | XENSTORE_SERVER_FEATURE.ERROR;
    this.core = new StoreCore(options.domainExists, options.quotas ?? {});
    this.#context = {
      core: this.core,
      watchDepth: (this.features & XENSTORE_SERVER_FEATURE.WATCHDEPTH) !== 0,
      management: {
        introduce: (domid, gfn, port) => void this.#introduce(domid, gfn, port),
        release: domid => this.#releaseConnected(domid),
        resume: domid => void (this.#connected(domid).domain!.shutdown = false),
        setTarget: (domid, target) => void (this.#connected(domid).target = this.#connected(target)),
        resetClient: connection => this.resetClient(connection),
        log: text => options.log?.(text),
      },
    };
    this.host = this.client();
  }

  /** Another connection with the host's rights, e.g. one a backend. */
  client(): HostClient {
    const connection = this.#connect(null);
    return new HostClient(this.core, connection, body => this.atomically(body));
  }

  /** Serves one request of a connection; the answer waits in its queue when this returns. */
  request(connection: Connection, message: XsMessage): void {
    if (connection.ignored) return;
    this.#options.trace?.(connection.domid, 'from', message);
    this.atomically(() => serve(this.#context, connection, message));
  }

  /**
   * Starts serving a domain, or starts its connection afresh where it is served already. Tells @introduceDomain.
   * Throws XsError where the ring cannot be attached.
   */
  introduce(domid: number, gfn = 0, port = 0): Connection {
    return this.atomically(() => this.#introduce(domid, gfn, port));
  }

  /** Stops serving a domain, removes the nodes that it owns and tells @releaseDomain. No such domain: nothing. */
  release(domid: number): void {
    this.atomically(() => this.#forget(domid));
  }

  /** The hypervisor has seen the domain shut down or crash: tells @releaseDomain, once. */
  domainShutdown(domid: number): void {
    this.atomically(() => {
      const domain = this.core.domains.findIntroduced(domid);
      if (domain === undefined || domain.shutdown) return;
      domain.shutdown = true;
      this.#tell('@releaseDomain');
    });
  }

  /** The domain is gone for good. */
  domainDestroyed(domid: number): void {
    this.release(domid);
  }

  connectionOf(domid: number): Connection | undefined {
    const domain = this.core.domains.find(domid);
    return domain && this.core.connections.find(connection => connection.domain === domain);
  }

  /** Drops a connection's watches and transactions (RESET_WATCHES). */
  resetClient(connection: Connection): void {
    connection.dropWatches();
    this.core.dropTransactions(connection);
  }

  /** The same and all queued messages as well: a client that reconnects finds nothing left. */
  reconnect(connection: Connection): void {
    this.resetClient(connection);
    connection.dropQueue();
  }

  /** Ends a connection that broke the protocol; the domain stays introduced until it dies. */
  ignore(connection: Connection): void {
    connection.ignored = true;
    this.reconnect(connection);
  }

  /** Runs something as one step: whoever has messages waiting hears of them when the outermost step is done. */
  atomically<T>(body: () => T): T {
    this.#depth++;
    try {
      return body();
    } finally {
      this.#depth--;
      if (this.#depth === 0) this.#deliver();
    }
  }

  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    try {
      for (let next = this.#nextFresh(); next !== undefined; next = this.#nextFresh()) {
        next.fresh = false;
        next.onOutput?.();
      }
    } finally {
      this.#delivering = false;
    }
  }

  #nextFresh(): Connection | undefined {
    return this.core.connections.find(connection => connection.fresh);
  }

  #connect(domain: DomainRecord | null): Connection {
    const connection = new Connection(domain, () => this.core.quotas.memoryHard);
    const { trace } = this.#options;
    if (trace && domain) connection.onQueued = message => trace(domain.domid, 'to', message);
    this.core.connections.push(connection);
    return connection;
  }

  #introduce(domid: number, gfn: number, port: number): Connection {
    const { core } = this;
    const known = this.connectionOf(domid);
    if (known !== undefined) {
      known.domain!.port = port;
      this.reconnect(known);
      known.onReset?.();
      return known;
    }
    const domain = core.domains.find(domid) ?? core.domains.findOrMake(domid, core.generation);
    if (domain === undefined) throw new XsError('ENOENT', `no domain ${domid}`);
    const connection = this.#connect(domain);
    try {
      this.#options.attach?.(connection, gfn, port);
    } catch (error) {
      core.connections.splice(core.connections.indexOf(connection), 1);
      throw error;
    }
    domain.introduced = true;
    domain.shutdown = false;
    domain.port = port;
    if (domid !== PRIVILEGED_DOMID) this.#tell('@introduceDomain');
    return connection;
  }

  /** Throws ENOENT where the domain has not been introduced, EINVAL where nobody carries its connection. */
  #connected(domid: number): Connection {
    if (this.core.domains.findIntroduced(domid) === undefined) throw new XsError('ENOENT', `domain ${domid}`);
    const connection = this.connectionOf(domid);
    if (connection === undefined) throw new XsError('EINVAL', `domain ${domid}`);
    return connection;
  }

  #releaseConnected(domid: number): void {
    this.#connected(domid);
    this.#forget(domid);
  }

  #forget(domid: number): void {
    const { core } = this;
    const domain = core.domains.find(domid);
    if (domain === undefined || domid === PRIVILEGED_DOMID) return;
    const connection = this.connectionOf(domid);
    if (connection !== undefined) {
      this.ignore(connection);
      core.connections.splice(core.connections.indexOf(connection), 1);
      for (const other of core.connections) if (other.target === connection) other.target = null;
    }
    this.#removeOwned('/', domid);
    for (const path of ['@introduceDomain', '@releaseDomain'] as const) {
      const [owner, ...others] = core.special[path];
      const heir = owner!.domid === domid ? { ...owner!, domid: PRIVILEGED_DOMID } : owner!;
      core.special[path] = [heir, ...others.filter(entry => entry.domid !== domid)];
    }
    core.domains.remove(domid);
    // So that even the last permission written for this domain is older than a successor with the same number.
    core.generation++;
    if (domain.introduced) this.#tell('@releaseDomain');
    connection?.onClose?.();
  }

  #removeOwned(path: string, domid: number): void {
    const node = this.core.nodes.get(path);
    if (node === undefined) return;
    if (ownerOf(node) === domid && path !== '/') removeTree(this.core, STORE_ITSELF, path);
    else for (const leaf of node.children) this.#removeOwned(childPath(path, leaf), domid);
  }

  #tell(path: '@introduceDomain' | '@releaseDomain'): void {
    fireWatches(this.core, STORE_ITSELF, { path, exact: true });
  }

  /** Everything but the host's own watches, whose callbacks are no data: backends set theirs again. */
  save(): XenStoreState {
    return saveState(this.core);
  }

  /**
   * Puts a saved store in place of this one. `attach` is called for each domain's connection; it must not touch the ring's
   * contents. Host clients keep their watches.
   */
  load(state: XenStoreState): void {
    const connections = loadState(this.core, state, domain => this.#connect(domain));
    for (const connection of connections) {
      if (!connection.ignored) this.#options.attach?.(connection, 0, connection.domain!.port);
    }
  }

  /** The tree as `xenstore-ls -f -p` prints it. */
  dump(): string {
    return this.host.list('/');
  }
}
