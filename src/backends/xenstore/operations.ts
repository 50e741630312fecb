/**
 * What a client can ask of the tree: typed functions that the wire requests and the host's own code both come down to.
 * Each throws XsError. Source: docs/misc/xenstore.txt, behaviour of xenstored 4.17.
 */
import { XsError, type XsPermission } from '../../protocols/xenstore.ts';
import type { Connection } from './connection.ts';
import { type Caller, isUnprivileged, type SpecialPath, type StoreCore } from './core.ts';
import { childPath, leafOf, parentOf } from './paths.ts';
import { MAY_READ, MAY_WRITE, OWNS } from './permissions.ts';
import { newTransaction, type Transaction } from './transaction.ts';
import { EMPTY, ownerOf, type StoreNode } from './tree.ts';
import { fireWatches } from './watches.ts';

/** A client's path made absolute. */
export function canonical(connection: Connection, path: string): string {
  return path[0] === '/' || path[0] === '@' ? path : `${connection.basePath}/${path}`;
}

export function read(core: StoreCore, caller: Caller, path: string): StoreNode {
  return core.getNode(caller, path, MAY_READ);
}

/** The node where the caller may write it; undefined where it is still to be made. */
function writable(core: StoreCore, caller: Caller, path: string): StoreNode | undefined {
  try {
    return core.getNode(caller, path, MAY_WRITE);
  } catch (error) {
    if (error instanceof XsError && error.errno === 'ENOENT') return undefined;
    throw error;
  }
}

export function write(core: StoreCore, caller: Caller, path: string, value: Uint8Array): void {
  const old = writable(core, caller, path);
  const node = old ? core.writeNode(caller, path, { ...old, value }, true) : create(core, caller, path, value);
  fireWatches(core, caller, { path, node, exact: false });
}

export function mkdir(core: StoreCore, caller: Caller, path: string): void {
  if (writable(core, caller, path) !== undefined) return;
  const node = create(core, caller, path, EMPTY);
  fireWatches(core, caller, { path, node, exact: false });
}

/** Makes a node and whatever is missing above it. Permissions come from the parent; a domain owns what it makes. */
function create(core: StoreCore, caller: Caller, path: string, value: Uint8Array): StoreNode {
  const missing: string[] = [];
  let parentPath = path;
  let parent: StoreNode | undefined;
  while (parent === undefined) {
    missing.push(parentPath);
    parentPath = parentOf(parentPath);
    parent = core.readNode(caller, parentPath);
    if (parent === undefined && parentPath === '/') throw new XsError('EIO', 'no root');
  }
  const perms = isUnprivileged(caller)
    ? [{ ...parent.perms[0]!, domid: caller.connection!.domid, ignored: false }, ...parent.perms.slice(1)]
    : parent.perms;
  if (caller.transaction !== null) caller.transaction.createdNodes = true;

  // From the leaf up, so that a failure leaves nothing that anyone can reach; then the existing parent learns of it.
  const made: { path: string; node: StoreNode }[] = [];
  try {
    for (const [i, name] of missing.entries()) {
      if (core.countedNodes(caller) >= core.quotas.nodes) throw new XsError('ENOSPC', 'too many nodes');
      const children = i === 0 ? [] : [leafOf(missing[i - 1]!)];
      const node = core.writeNode(caller, name, { perms, value: i === 0 ? value : EMPTY, children }, true);
      try {
        core.countNode(caller, ownerOf(node));
      } catch (error) {
        core.deleteNode(caller, name, node);
        throw error;
      }
      made.push({ path: name, node });
    }
    const top = leafOf(missing[missing.length - 1]!);
    core.writeNode(caller, parentPath, { ...parent, children: [...parent.children, top] }, true);
  } catch (error) {
    for (const { path: name, node } of made) {
      core.deleteNode(caller, name, node);
      core.discountNode(caller, ownerOf(node));
    }
    if (caller.transaction !== null) caller.transaction.failed = true;
    throw error;
  }
  return made[0]!.node;
}

/** Removes a node with all below it. A missing node is no error as long as its parent exists. */
export function rm(core: StoreCore, caller: Caller, path: string): void {
  if (writable(core, caller, path) === undefined) {
    if (core.readNode(caller, parentOf(path)) === undefined) throw new XsError('ENOENT', path);
    return;
  }
  if (path === '/') throw new XsError('EINVAL', 'the root stays');
  removeTree(core, caller, path);
}

/** The removal itself, without asking for permission. */
export function removeTree(core: StoreCore, caller: Caller, path: string): void {
  const parentPath = parentOf(path);
  const parent = core.readNode(caller, parentPath);
  if (parent === undefined) throw new XsError('EINVAL', path);
  try {
    removeBelow(core, caller, path, path);
  } catch (error) {
    if (error instanceof XsError) throw new XsError('EIO', error.message);
    throw error;
  }
  const leaf = leafOf(path);
  core.writeNode(caller, parentPath, { ...parent, children: parent.children.filter(name => name !== leaf) }, false);
}

/** Children first; watches below the removed root hear only of the very node that they watch. */
function removeBelow(core: StoreCore, caller: Caller, path: string, root: string): void {
  const node = core.readNode(caller, path);
  if (node === undefined) return;
  for (const leaf of node.children) removeBelow(core, caller, childPath(path, leaf), root);
  core.deleteNode(caller, path, node);
  fireWatches(core, caller, { path, node, exact: path !== root });
  core.discountNode(caller, ownerOf(node));
}

export function setPermissions(core: StoreCore, caller: Caller, path: string, list: readonly XsPermission[]): void {
  if (list.length === 0) throw new XsError('EINVAL', 'no owner given');
  const perms = core.referDomains(list.map(entry => ({ ...entry, ignored: false })));
  if (perms[0]!.ignored) throw new XsError('ENOENT', `no domain ${perms[0]!.domid}`);

  if (path[0] === '@') {
    const current = core.specialPermissions(path);
    if (current === undefined) throw new XsError('EINVAL', path);
    if (!core.ownsSpecial(caller, current)) throw new XsError('EACCES', path);
    core.special[path as SpecialPath] = perms;
    return;
  }

  const old = core.getNode(caller, path, MAY_WRITE | OWNS);
  if (isUnprivileged(caller) && ownerOf(old) !== perms[0]!.domid) throw new XsError('EPERM', path);
  const node = core.writeNode(caller, path, { ...old, perms }, true);
  core.discountNode(caller, ownerOf(old));
  core.countNode(caller, ownerOf(node));
  fireWatches(core, caller, { path, node, exact: false, oldPerms: old.perms });
}

export function startTransaction(core: StoreCore, caller: Caller): Transaction {
  const connection = caller.connection!;
  if (caller.transaction !== null) throw new XsError('EBUSY', 'transactions do not nest');
  if (isUnprivileged(caller) && connection.transactions.size > core.quotas.transactions) throw new XsError('ENOSPC');
  core.generation++;
  // 0 means "no transaction" on the wire, so it is never an id.
  while (connection.nextTransactionId === 0 || connection.transactions.has(connection.nextTransactionId)) {
    connection.nextTransactionId = (connection.nextTransactionId + 1) >>> 0;
  }
  const transaction = newTransaction(connection.nextTransactionId);
  connection.nextTransactionId = (connection.nextTransactionId + 1) >>> 0;
  connection.transactions.set(transaction.id, transaction);
  return transaction;
}

/** Commits or discards; either way the transaction is over. Throws EAGAIN on a conflict, ENOMEM, ENOSPC. */
export function endTransaction(core: StoreCore, caller: Caller, commit: boolean): void {
  const { connection, transaction } = caller;
  if (connection === null || transaction === null) throw new XsError('ENOENT', 'no such transaction');
  const outside: Caller = { connection, transaction: null };
  try {
    if (!commit) return;
    core.commit(outside, transaction, (path, { watchExact, oldPerms }) =>
      fireWatches(core, outside, { path, exact: watchExact, oldPerms }),
    );
  } finally {
    core.dropTransaction(connection, transaction);
  }
}
