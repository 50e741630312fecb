/**
 * The store's data and the access to single nodes: reading and writing inside and outside of transactions, permissions,
 * accounting. Every function here works on behalf of a caller; operations.ts composes them into what clients ask for.
 * The order of the steps follows xenstored 4.17, since it shows in generation counts, errors and events.
 */
import { XsError } from '../../protocols/xenstore.ts';
import type { Connection } from './connection.ts';
import { DomainTable, PRIVILEGED_DOMID } from './domains.ts';
import { childPath, isValidNodeName, parentOf } from './paths.ts';
import { accessBits, OWNS } from './permissions.ts';
import { DEFAULT_QUOTAS, type Quotas } from './quotas.ts';
import { type AccessedNode, isUndisturbed, type Transaction } from './transaction.ts';
import { EMPTY, NO_GENERATION, type NodePermission, nodeSize, ownerOf, type StoreNode } from './tree.ts';

/** On whose behalf something is done: a client, perhaps within a transaction; no connection is the store itself. */
export interface Caller {
  connection: Connection | null;
  transaction: Transaction | null;
}

export const STORE_ITSELF: Caller = { connection: null, transaction: null };

/** The special paths that can be watched, and given permissions, without being nodes. */
export type SpecialPath = '@introduceDomain' | '@releaseDomain';

const PRIVATE: readonly NodePermission[] = [{ domid: PRIVILEGED_DOMID, access: 'n', ignored: false }];

export function isUnprivileged(caller: Caller): boolean {
  return caller.connection !== null && !caller.connection.privileged;
}

export class StoreCore {
  readonly nodes = new Map<string, StoreNode>();
  readonly domains: DomainTable;
  readonly quotas: Quotas;
  /** In the order in which they were made, in which they are told of events. */
  readonly connections: Connection[] = [];
  readonly special: Record<SpecialPath, readonly NodePermission[]> = {
    '@introduceDomain': PRIVATE,
    '@releaseDomain': PRIVATE,
  };
  /** Counts every change; each node carries the count of its last one. */
  generation = 0;

  constructor(domainExists: (domid: number) => boolean, quotas: Partial<Quotas>) {
    this.domains = new DomainTable(domainExists);
    this.quotas = { ...DEFAULT_QUOTAS, ...quotas };
    this.#plantTree();
  }

  /** The nodes that xenstored begins with, and Dom0, which is there before anyone introduces it. */
  #plantTree(): void {
    const dom0 = this.domains.add(PRIVILEGED_DOMID, 0);
    dom0.introduced = true;
    const paths = ['/', '/tool', '/tool/xenstored'];
    for (const [i, path] of paths.entries()) {
      const children = i + 1 < paths.length ? [paths[i + 1]!.slice(paths[i + 1]!.lastIndexOf('/') + 1)] : [];
      const node = { generation: ++this.generation, perms: PRIVATE, value: EMPTY, children };
      this.#storeGlobal(path, node, false);
      dom0.nodes++;
    }
  }

  /** A node as the caller sees it, its permissions brought up to date; undefined where there is none. */
  readNode(caller: Caller, path: string): StoreNode | undefined {
    const { transaction } = caller;
    const accessed = transaction?.accessed.get(path);
    const stored = accessed === undefined ? this.nodes.get(path) : (accessed.node ?? undefined);
    const node = stored && this.#adjustPermissions(stored);
    if (transaction !== null && accessed === undefined) this.#firstAccess(caller, transaction, path, node, true);
    return node;
  }

  /** The same where `wanted` bits of permission are needed. Throws EINVAL, EACCES or ENOENT, telling no more than due. */
  getNode(caller: Caller, path: string, wanted: number): StoreNode {
    if (!isValidNodeName(path, this.quotas.pathMax)) throw new XsError('EINVAL', path);
    const node = this.readNode(caller, path);
    if (node !== undefined && (accessBits(caller.connection, node.perms) & wanted) === wanted) return node;
    // Whether a node exists is told only to those who may look at the nearest node above that does.
    const above = this.#nearestAbove(caller, path);
    const known = (accessBits(caller.connection, above.perms) & wanted) !== 0;
    throw new XsError(node === undefined && known ? 'ENOENT' : 'EACCES', path);
  }

  #nearestAbove(caller: Caller, path: string): StoreNode {
    for (let above = parentOf(path); ; above = parentOf(above)) {
      const node = this.readNode(caller, above);
      if (node !== undefined) return node;
      if (above === '/') throw new Error('XenStore has lost its root');
    }
  }

  /** Replaces a node or makes it; does not touch its parent. Throws ENOSPC or ENOMEM for an unprivileged caller. */
  writeNode(caller: Caller, path: string, content: Omit<StoreNode, 'generation'>, checked: boolean): StoreNode {
    const node = this.#adjustPermissions({ ...content, generation: ++this.generation });
    const { transaction } = caller;
    const accessed = transaction && this.#modify(caller, transaction, path, node);
    try {
      if (checked && isUnprivileged(caller) && nodeSize(node) >= this.quotas.nodeSize)
        throw new XsError('ENOSPC', path);
      if (accessed) this.#storePrivate(caller, accessed, path, node, checked);
      else this.#storeGlobal(path, node, checked && isUnprivileged(caller));
    } catch (error) {
      if (transaction !== null) transaction.failed = true;
      throw error;
    }
    return node;
  }

  /** Removes a node; does not touch its parent. */
  deleteNode(caller: Caller, path: string, node: StoreNode): void {
    this.generation++;
    const { transaction } = caller;
    if (transaction !== null) {
      const accessed = this.#modify(caller, transaction, path, node);
      this.#storePrivate(caller, accessed, path, null, false);
    } else {
      this.#storeGlobal(path, null, false);
    }
  }

  #modify(caller: Caller, transaction: Transaction, path: string, node: StoreNode): AccessedNode {
    const known = transaction.accessed.get(path);
    const accessed = known ?? this.#firstAccess(caller, transaction, path, node, false);
    accessed.modified = true;
    return accessed;
  }

  #firstAccess(
    caller: Caller,
    transaction: Transaction,
    path: string,
    node: StoreNode | undefined,
    reading: boolean,
  ): AccessedNode {
    if (transaction.accessed.size >= this.quotas.transactionNodes && isUnprivileged(caller)) {
      transaction.failed = true;
      throw new XsError('ENOSPC', path);
    }
    const accessed: AccessedNode = {
      generation: node?.generation ?? NO_GENERATION,
      check: reading,
      modified: false,
      node: null,
      oldPerms: node?.perms ?? null,
      fireWatch: false,
      watchExact: false,
    };
    transaction.accessed.set(path, accessed);
    if (reading && node !== undefined) this.#storePrivate(caller, accessed, path, node, false);
    return accessed;
  }

  /** Marks permissions of domains that are gone, so that a later domain with the same number does not inherit them. */
  #adjustPermissions(node: StoreNode): StoreNode {
    const stale = (entry: NodePermission, i: number) =>
      i > 0 && !entry.ignored && !this.domains.existedAt(entry.domid, node.generation);
    if (!node.perms.some(stale)) return node;
    return { ...node, perms: node.perms.map((entry, i) => (stale(entry, i) ? { ...entry, ignored: true } : entry)) };
  }

  /** A transaction's own copy counts against the domain whose transaction it is. */
  #storePrivate(caller: Caller, accessed: AccessedNode, path: string, node: StoreNode | null, checked: boolean): void {
    const before = accessed.node === null ? 0 : nodeSize(accessed.node) + path.length;
    const after = node === null ? 0 : nodeSize(node) + path.length;
    if (!(caller.connection?.addMemory(after - before, checked) ?? true)) throw new XsError('ENOMEM', path);
    accessed.node = node;
  }

  /** Not `limited` for the privileged: a guest must not make the host's own writes fail by using up its memory. */
  #storeGlobal(path: string, node: StoreNode | null, limited: boolean): void {
    const old = this.nodes.get(path);
    if (old !== undefined) this.#account(ownerOf(old), -nodeSize(old) - path.length);
    if (node === null) {
      this.nodes.delete(path);
      return;
    }
    const owner = this.domains.find(ownerOf(node));
    const size = nodeSize(node) + path.length;
    if (
      limited &&
      owner !== undefined &&
      owner.domid !== PRIVILEGED_DOMID &&
      owner.memory + size >= this.quotas.memoryHard
    ) {
      if (old !== undefined) this.#account(ownerOf(old), nodeSize(old) + path.length);
      throw new XsError('ENOMEM', path);
    }
    this.#account(ownerOf(node), size);
    this.nodes.set(path, node);
  }

  #account(domid: number, bytes: number): void {
    const domain = this.domains.find(domid);
    if (domain !== undefined) domain.memory += bytes;
  }

  /** Counts a node for its owner. Throws ENOMEM where the owner is no domain that exists. */
  countNode(caller: Caller, owner: number): void {
    if (caller.transaction !== null) {
      addTo(caller.transaction.ownedDelta, owner, 1);
      return;
    }
    const domain = this.domains.findOrMake(owner, this.generation);
    if (domain === undefined) throw new XsError('ENOMEM', `no domain ${owner}`);
    domain.nodes++;
  }

  discountNode(caller: Caller, owner: number): void {
    if (caller.transaction !== null) {
      addTo(caller.transaction.ownedDelta, owner, -1);
      return;
    }
    const domain = this.domains.find(owner);
    if (domain !== undefined) domain.nodes--;
  }

  /** How many nodes count against the caller's quota: those that it owned when its transaction, if any, began. */
  countedNodes(caller: Caller): number {
    return isUnprivileged(caller) ? caller.connection!.domain!.nodes : 0;
  }

  /**
   * Makes the transaction's nodes everyone's. Throws ENOMEM where it failed on the way, ENOSPC where a domain would own
   * too many nodes, EAGAIN where something that it read has changed. `fire` is told of each changed path, in order.
   */
  commit(caller: Caller, transaction: Transaction, fire: (path: string, accessed: AccessedNode) => void): void {
    if (transaction.failed) throw new XsError('ENOMEM', 'an operation of the transaction failed');
    const limited = transaction.createdNodes && isUnprivileged(caller);
    for (const [domid, delta] of transaction.ownedDelta) {
      const domain = this.domains.findOrMake(domid, this.generation);
      if (domain === undefined) throw new XsError('ENOMEM', `no domain ${domid}`);
      const counted = domid === PRIVILEGED_DOMID ? 0 : Math.max(0, domain.nodes + delta);
      if (limited && counted >= this.quotas.nodes) throw new XsError('ENOSPC', 'too many nodes');
    }
    if (!isUndisturbed(transaction, this.nodes)) throw new XsError('EAGAIN');
    for (const [path, accessed] of transaction.accessed) {
      if (!accessed.modified) continue;
      const { node } = accessed;
      if (node !== null) this.#storeGlobal(path, { ...node, generation: ++this.generation }, false);
      else if (this.nodes.has(path)) this.#storeGlobal(path, null, false);
      if (accessed.fireWatch) fire(path, accessed);
    }
    for (const [domid, delta] of transaction.ownedDelta) this.domains.find(domid)!.nodes += delta;
  }

  /** Forgets a transaction, whether it has been committed or not. */
  dropTransaction(connection: Connection, transaction: Transaction): void {
    for (const [path, { node }] of transaction.accessed) {
      if (node !== null) connection.addMemory(-nodeSize(node) - path.length, false);
    }
    transaction.accessed.clear();
    connection.transactions.delete(transaction.id);
  }

  dropTransactions(connection: Connection): void {
    for (const transaction of [...connection.transactions.values()]) this.dropTransaction(connection, transaction);
  }

  /** Gives a permission list its domains' records and marks entries of domains that do not exist. */
  referDomains(perms: readonly NodePermission[]): NodePermission[] {
    return perms.map(entry => {
      const known = this.domains.findOrMake(entry.domid, this.generation) !== undefined;
      return { ...entry, ignored: !known };
    });
  }

  specialPermissions(path: string): readonly NodePermission[] | undefined {
    return path === '@introduceDomain' || path === '@releaseDomain' ? this.special[path] : undefined;
  }

  /** Whether the caller may change a special path's permissions. */
  ownsSpecial(caller: Caller, perms: readonly NodePermission[]): boolean {
    return (accessBits(caller.connection, perms) & OWNS) !== 0;
  }

  /** Paths whose parent does not list them, or that a parent lists in vain: none in a sound store. */
  inconsistencies(): string[] {
    const seen = new Set<string>();
    const bad: string[] = [];
    const pending = ['/'];
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      const node = this.nodes.get(path);
      if (node === undefined || seen.has(path)) bad.push(path);
      else for (const leaf of node.children) pending.push(childPath(path, leaf));
      seen.add(path);
    }
    for (const path of this.nodes.keys()) if (!seen.has(path)) bad.push(path);
    return bad;
  }
}

function addTo(map: Map<number, number>, key: number, delta: number): void {
  map.set(key, (map.get(key) ?? 0) + delta);
}
