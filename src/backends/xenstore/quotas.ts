/** What one unprivileged domain may take of XenStore. Names and defaults are xenstored 4.17's; `CONTROL quota` shows them. */

export interface Quotas {
  /** Nodes that a domain may own. */
  nodes: number;
  /** Watches; as in xenstored one more than this can be set. */
  watches: number;
  /** Open transactions; as in xenstored one more than this can be open. */
  transactions: number;
  /** Replies that the domain has not taken yet; beyond that its requests wait. */
  outstanding: number;
  /** Nodes that one transaction may touch. */
  transactionNodes: number;
  /** Bytes of nodes, watches and queued messages. Soft is a mere warning level. */
  memoryHard: number;
  memorySoft: number;
  /** Bytes of one node: header, permissions, value and the names of its children; must stay below. */
  nodeSize: number;
  /** Characters of a path, not counting /local/domain/N/. */
  pathMax: number;
  /** Entries in a node's permission list. */
  permissions: number;
}

export const DEFAULT_QUOTAS: Readonly<Quotas> = {
  nodes: 1000,
  watches: 128,
  transactions: 10,
  outstanding: 20,
  transactionNodes: 1024,
  memoryHard: 2 * 1024 * 1024 + 512 * 1024,
  memorySoft: 2 * 1024 * 1024,
  nodeSize: 2048,
  pathMax: 2048,
  permissions: 5,
};
