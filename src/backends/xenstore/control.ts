/** CONTROL, for xenstore-control in Dom0: checking the store, showing and setting quotas. Texts as xenstored 4.17 has them. */
import { atoi } from '../../protocols/c-integers.ts';
import { decodeStrings, encodeStrings, XsError } from '../../protocols/xenstore.ts';
import type { StoreCore } from './core.ts';
import type { Quotas } from './quotas.ts';

type Command = (core: StoreCore, args: string[], log: (text: string) => void) => string;

type QuotaRow = readonly [name: string, key: keyof Quotas, description: string];

const HARD: readonly QuotaRow[] = [
  ['nodes', 'nodes', 'Nodes per domain'],
  ['watches', 'watches', 'Watches per domain'],
  ['transactions', 'transactions', 'Transactions per domain'],
  ['outstanding', 'outstanding', 'Outstanding requests per domain'],
  ['transaction-nodes', 'transactionNodes', 'Max. number of accessed nodes per transaction'],
  ['memory', 'memoryHard', 'Total Xenstore memory per domain (error level)'],
  ['node-size', 'nodeSize', 'Max. size of a node'],
  ['path-max', 'pathMax', 'Max. length of a node path'],
  ['permissions', 'permissions', 'Max. number of permissions per node'],
];
const SOFT: readonly QuotaRow[] = [['memory', 'memorySoft', 'Total Xenstore memory per domain (warning level)']];

function expectArguments(args: string[], count: number): void {
  if (args.length !== count) throw new XsError('EINVAL');
}

function showQuotas(core: StoreCore, rows: readonly QuotaRow[]): string {
  const line = ([name, key, text]: QuotaRow) => `${name.padEnd(17)}: ${String(core.quotas[key]).padStart(8)} ${text}\n`;
  return `Quota settings:\n${rows.map(line).join('')}`;
}

function setQuota(core: StoreCore, args: string[], rows: readonly QuotaRow[]): string {
  expectArguments(args, 2);
  const value = atoi(args[1]!);
  const row = rows.find(([name]) => name === args[0]);
  if (value < 1 || row === undefined) throw new XsError('EINVAL');
  core.quotas[row[1]] = value;
  return 'OK';
}

function showDomain(core: StoreCore, domid: number): string {
  const domain = core.domains.find(domid);
  if (domain === undefined) throw new XsError('ENOENT');
  const connection = core.connections.find(candidate => candidate.domain === domain);
  const rows = {
    nodes: domain.nodes,
    watches: domain.watches,
    transactions: connection?.transactions.size ?? 0,
    outstanding: domain.outstanding,
    memory: domain.memory,
  };
  const lines = Object.entries(rows).map(([name, value]) => `${name.padEnd(16)}: ${String(value).padStart(8)}\n`);
  return `Domain ${domid}:\n${lines.join('')}`;
}

const COMMANDS: Record<string, readonly [parameters: string, run: Command]> = {
  check: [
    '',
    (core, args, log) => {
      expectArguments(args, 0);
      for (const path of core.inconsistencies()) log(`xenstore: inconsistent node ${path}`);
      return 'OK';
    },
  ],
  print: [
    '<string>',
    (_core, args, log) => {
      expectArguments(args, 1);
      log(args[0]!);
      return 'OK';
    },
  ],
  quota: [
    '[set <name> <val>|<domid>]',
    (core, args) => {
      if (args.length === 0) return showQuotas(core, HARD);
      if (args[0] === 'set') return setQuota(core, args.slice(1), HARD);
      expectArguments(args, 1);
      return showDomain(core, atoi(args[0]!) >>> 0);
    },
  ],
  'quota-soft': [
    '[set <name> <val>]',
    (core, args) => {
      if (args.length === 0) return showQuotas(core, SOFT);
      if (args[0] === 'set') return setQuota(core, args.slice(1), SOFT);
      throw new XsError('EINVAL');
    },
  ],
  help: [
    '',
    (_core, args) => {
      expectArguments(args, 0);
      return Object.entries(COMMANDS)
        .map(([name, [parameters]]) => `${name}\t${parameters}\n`)
        .join('');
    },
  ],
};

/** Runs a control command; the caller has been found privileged. Throws EINVAL for an unknown one. */
export function control(core: StoreCore, log: (text: string) => void, payload: Uint8Array): Uint8Array {
  const [name, ...args] = decodeStrings(payload);
  if (name === undefined || !Object.hasOwn(COMMANDS, name)) throw new XsError('EINVAL', 'no such command');
  return encodeStrings(COMMANDS[name]![1](core, args, log));
}
