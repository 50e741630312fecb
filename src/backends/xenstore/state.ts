/** The store as plain data, for snapshots and migration: structured-clonable, no functions, no shared identity needed. */
import type { XsMessage } from '../../protocols/xenstore.ts';
import type { Connection, Watch } from './connection.ts';
import type { SpecialPath, StoreCore } from './core.ts';
import type { DomainRecord } from './domains.ts';
import type { Quotas } from './quotas.ts';
import type { AccessedNode } from './transaction.ts';
import type { NodePermission, StoreNode } from './tree.ts';

export interface TransactionState {
  id: number;
  accessed: [path: string, AccessedNode][];
  ownedDelta: [domid: number, delta: number][];
  createdNodes: boolean;
  failed: boolean;
}

export interface ConnectionState {
  domid: number;
  target: number | null;
  watches: Watch[];
  transactions: TransactionState[];
  nextTransactionId: number;
  ignored: boolean;
  queue: XsMessage[];
}

export interface XenStoreState {
  generation: number;
  quotas: Quotas;
  nodes: [path: string, StoreNode][];
  domains: DomainRecord[];
  special: Record<SpecialPath, readonly NodePermission[]>;
  connections: ConnectionState[];
}

export function saveState(core: StoreCore): XenStoreState {
  const state: XenStoreState = {
    generation: core.generation,
    quotas: core.quotas,
    nodes: [...core.nodes],
    domains: [...core.domains.values()],
    special: core.special,
    connections: core.connections
      .filter(connection => connection.domain !== null)
      .map(connection => ({
        domid: connection.domid,
        target: connection.target?.domid ?? null,
        watches: connection.watches,
        transactions: [...connection.transactions.values()].map(transaction => ({
          ...transaction,
          accessed: [...transaction.accessed],
          ownedDelta: [...transaction.ownedDelta],
        })),
        nextTransactionId: connection.nextTransactionId,
        ignored: connection.ignored,
        queue: [...connection.queued()],
      })),
  };
  return structuredClone(state);
}

/** Replaces everything but the host's own connections; returns the domains' new ones. */
export function loadState(
  core: StoreCore,
  saved: XenStoreState,
  connect: (domain: DomainRecord) => Connection,
): Connection[] {
  const state = structuredClone(saved);
  core.generation = state.generation;
  Object.assign(core.quotas, state.quotas);
  Object.assign(core.special, state.special);
  core.nodes.clear();
  for (const [path, node] of state.nodes) core.nodes.set(path, node);
  core.domains.clear();
  for (const domain of state.domains) core.domains.restore(domain);
  const gone = core.connections.filter(connection => connection.domain !== null);
  for (const connection of gone) core.connections.splice(core.connections.indexOf(connection), 1);

  const made = state.connections.map(from => {
    const connection = connect(core.domains.find(from.domid)!);
    connection.watches.push(...from.watches);
    connection.nextTransactionId = from.nextTransactionId;
    connection.ignored = from.ignored;
    for (const { accessed, ownedDelta, ...rest } of from.transactions) {
      const transaction = { ...rest, accessed: new Map(accessed), ownedDelta: new Map(ownedDelta) };
      connection.transactions.set(transaction.id, transaction);
    }
    connection.restoreQueue(from.queue);
    return connection;
  });
  for (const [i, from] of state.connections.entries()) {
    made[i]!.target = made.find(connection => connection.domid === from.target) ?? null;
  }
  return made;
}
