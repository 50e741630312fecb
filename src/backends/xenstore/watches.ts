/** Which watch is told of which change, and registering watches. Source: docs/misc/xenstore.txt, "Watches". */
import { XS_REL_PATH_MAX, XsError } from '../../protocols/xenstore.ts';
import { type Connection, type Watch, watchCost } from './connection.ts';
import { type Caller, STORE_ITSELF, type StoreCore } from './core.ts';
import { isAtOrBelow, isValidNodeName, levelsBelow, parentOf } from './paths.ts';
import { accessBits, MAY_READ } from './permissions.ts';
import type { NodePermission, StoreNode } from './tree.ts';

export interface Change {
  path: string;
  /** The node after the change, or as it was before its deletion; undefined to look it up. */
  node?: StoreNode | undefined;
  /** Only watches of this very path. */
  exact: boolean;
  /** The permissions before the change: whoever could read it then is told as well. */
  oldPerms?: readonly NodePermission[] | null;
}

/** The path as the watch's owner wrote it: relative where it was. */
function pathFor(connection: Connection, watch: Watch, path: string): string {
  if (!watch.relative) return path;
  const rest = path.slice(connection.basePath.length);
  return rest[0] === '/' ? rest.slice(1) : rest;
}

/** A change may be told to those who can read the node, could before, or can read its parent. */
function mayHear(core: StoreCore, connection: Connection, change: Change): boolean {
  const readable = (perms: readonly NodePermission[]) => (accessBits(connection, perms) & MAY_READ) !== 0;
  if (change.path[0] === '@') {
    const perms = core.specialPermissions(change.path);
    return perms !== undefined && readable(perms);
  }
  if (change.oldPerms && readable(change.oldPerms)) return true;
  const node = change.node ?? core.readNode(STORE_ITSELF, change.path);
  if (node === undefined) return false;
  if (readable(node.perms)) return true;
  const parent = core.readNode(STORE_ITSELF, parentOf(change.path));
  return parent !== undefined && readable(parent.perms);
}

function matches(watch: Watch, { path, exact }: Change): boolean {
  if (exact) return watch.path === path;
  if (!isAtOrBelow(path, watch.path)) return false;
  return watch.depth === null || levelsBelow(path, watch.path) <= watch.depth;
}

/** Tells all watches of a change, or notes it for the end of the caller's transaction. */
export function fireWatches(core: StoreCore, caller: Caller, change: Change): void {
  if (caller.transaction !== null) {
    const accessed = caller.transaction.accessed.get(change.path);
    if (accessed === undefined) {
      caller.transaction.failed = true;
      return;
    }
    accessed.watchExact = change.exact && (!accessed.fireWatch || accessed.watchExact);
    accessed.fireWatch = true;
    return;
  }
  for (const connection of core.connections) {
    const told = connection.watches.filter(watch => matches(watch, change));
    if (told.length === 0 || !mayHear(core, connection, change)) continue;
    for (const watch of told) connection.event(pathFor(connection, watch, change.path), watch.token);
  }
}

/** Makes a watch of what the client wrote. Throws EINVAL, EEXIST, E2BIG (too many) or ENOMEM. */
export function addWatch(
  core: StoreCore,
  connection: Connection,
  path: string,
  token: string,
  depth: number | null,
): Watch {
  const special = path[0] === '@';
  const relative = !special && path[0] !== '/';
  const absolute = relative ? `${connection.basePath}/${path}` : path;
  const valid = special ? path.length <= XS_REL_PATH_MAX : isValidNodeName(absolute, core.quotas.pathMax);
  if (!valid) throw new XsError('EINVAL', path);
  if (connection.watches.some(watch => watch.path === absolute && watch.token === token)) throw new XsError('EEXIST');
  if (!connection.privileged && connection.domain!.watches > core.quotas.watches) throw new XsError('E2BIG');
  const watch: Watch = { path: absolute, token, relative, depth };
  if (!connection.addMemory(watchCost(watch), true)) throw new XsError('ENOMEM');
  connection.watches.push(watch);
  if (connection.domain !== null) connection.domain.watches++;
  return watch;
}

/** The event that every watch begins with. */
export function fireFirst(connection: Connection, watch: Watch): void {
  connection.event(pathFor(connection, watch, watch.path), watch.token);
}

/** Throws ENOENT where there is no such watch. */
export function removeWatch(connection: Connection, path: string, token: string): void {
  const at = connection.watches.findIndex(watch => watch.path === path && watch.token === token);
  if (at < 0) throw new XsError('ENOENT');
  connection.addMemory(-watchCost(connection.watches[at]!), false);
  connection.watches.splice(at, 1);
  if (connection.domain !== null) connection.domain.watches--;
}
