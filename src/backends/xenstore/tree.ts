/** A node of the store: an immutable record, replaced as a whole, so that transactions and snapshots may share it. */
import type { XsPermission } from '../../protocols/xenstore.ts';

/**
 * A permission entry. `ignored` marks one whose domain no longer exists, or is a younger one that merely got the same
 * number: it must not inherit what its predecessor could see.
 */
export interface NodePermission extends XsPermission {
  ignored: boolean;
}

export interface StoreNode {
  /** The store's count of changes when this one was made. */
  generation: number;
  /** At least one entry; the first is the owner's. */
  perms: readonly NodePermission[];
  value: Uint8Array;
  /** Names of the children in the order of their creation, which is what DIRECTORY answers with. */
  children: readonly string[];
}

/** The generation of a node that does not exist. */
export const NO_GENERATION = -1;

export const EMPTY = new Uint8Array(0);

/** Bytes of DIRECTORY's answer: every name with its NUL. */
export function childrenSize(node: StoreNode): number {
  let size = 0;
  for (const name of node.children) size += name.length + 1;
  return size;
}

/** The size that quotas count: xenstored's database record, a 24-byte header and 8 bytes a permission entry. */
export function nodeSize(node: StoreNode): number {
  return 24 + 8 * node.perms.length + node.value.length + childrenSize(node);
}

export function ownerOf(node: StoreNode): number {
  return node.perms[0]!.domid;
}
