/**
 * Transactions: a private copy of each node touched, with the generation it had, and at the end one comparison. What was
 * read must not have changed meanwhile, else the client gets EAGAIN and starts over. Source: docs/misc/xenstore.txt;
 * conflicts are found as xenstored 4.17 finds them, by the generation counts of all nodes read.
 */
import { NO_GENERATION, type NodePermission, type StoreNode } from './tree.ts';

export interface AccessedNode {
  /** The generation when first read; NO_GENERATION where there was no such node. */
  generation: number;
  /** It was read before it was written, so it takes part in the comparison. */
  check: boolean;
  modified: boolean;
  /** The transaction's own version; null where it was absent or has been deleted. */
  node: StoreNode | null;
  /** The permissions it had before: who could read it then is told of the change. */
  oldPerms: readonly NodePermission[] | null;
  fireWatch: boolean;
  /** Only watches of this very path, not of its ancestors (a node that went with a deleted ancestor). */
  watchExact: boolean;
}

export interface Transaction {
  id: number;
  /** In the order of the first access, in which watch events are sent on commit. */
  accessed: Map<string, AccessedNode>;
  /** Changes to the number of nodes that each domain owns. */
  ownedDelta: Map<number, number>;
  createdNodes: boolean;
  /** Something went wrong on the way: it can no longer be committed. */
  failed: boolean;
}

export function newTransaction(id: number): Transaction {
  return { id, accessed: new Map(), ownedDelta: new Map(), createdNodes: false, failed: false };
}

/** Whether nothing that the transaction read has changed since. */
export function isUndisturbed(transaction: Transaction, nodes: ReadonlyMap<string, StoreNode>): boolean {
  for (const [path, accessed] of transaction.accessed) {
    if (accessed.check && accessed.generation !== (nodes.get(path)?.generation ?? NO_GENERATION)) return false;
  }
  return true;
}
