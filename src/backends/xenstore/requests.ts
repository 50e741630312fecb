/**
 * From a request on the wire to its answer: one row an operation, arguments taken apart as xenstored does, failures turned
 * into an ERROR reply in one place. Source: docs/misc/xenstore.txt, xs_wire.h.
 */
import { atoi } from '../../protocols/c-integers.ts';
import {
  bytesToText,
  decodeOneString,
  decodeStrings,
  encodeStrings,
  formatPermission,
  parsePermission,
  XS,
  XS_PAYLOAD_MAX,
  XsError,
  type XsMessage,
  type XsPermission,
} from '../../protocols/xenstore.ts';
import { concatBytes } from '../../util/bytes.ts';
import type { Connection } from './connection.ts';
import { control } from './control.ts';
import type { Caller, StoreCore } from './core.ts';
import { DOMID_SELF } from './domains.ts';
import * as operations from './operations.ts';
import { domainPath } from './paths.ts';
import { addWatch, fireFirst, removeWatch } from './watches.ts';

/** Domain management, which is more than a matter of the tree. Each throws XsError. */
export interface DomainManagement {
  introduce(domid: number, gfn: number, port: number): void;
  release(domid: number): void;
  resume(domid: number): void;
  setTarget(domid: number, target: number): void;
  resetClient(connection: Connection): void;
  /** For `CONTROL print`. */
  log(text: string): void;
}

export interface RequestContext {
  core: StoreCore;
  management: DomainManagement;
  /** Whether WATCH takes a depth. */
  watchDepth: boolean;
}

interface Request extends Caller {
  connection: Connection;
  payload: Uint8Array;
  /** Sends the answer already, where something has to follow it. */
  answer(payload: Uint8Array): void;
}

type Handler = (context: RequestContext, request: Request) => Uint8Array | undefined;

interface Operation {
  handle: Handler;
  /** The transaction id is not looked at. */
  outsideTransactions?: boolean;
  privileged?: boolean;
}

const OK = encodeStrings('OK');
const NUL = new Uint8Array(1);

/** The only argument. */
function oneArgument({ payload }: Request): string {
  const text = decodeOneString(payload);
  if (text === undefined) throw new XsError('EINVAL', 'one string expected');
  return text;
}

/** The only argument, as an absolute path. */
function pathArgument(request: Request): string {
  return operations.canonical(request.connection, oneArgument(request));
}

/** A domain other than Dom0. */
function guestArgument(request: Request): number {
  const domid = atoi(oneArgument(request)) >>> 0;
  if (domid === 0) throw new XsError('EINVAL', 'not for domain 0');
  return domid;
}

const directoryPart: Handler = ({ core }, request) => {
  const strings = decodeStrings(request.payload);
  if (strings.length !== 2) throw new XsError('EINVAL');
  const node = operations.read(core, request, operations.canonical(request.connection, strings[0]!));
  const offset = atoi(strings[1]!) >>> 0;
  const head = encodeStrings(String(node.generation));
  const list = encodeStrings(...node.children);
  if (offset >= list.length) return concatBytes([head, NUL]);
  // Whole names only, and an empty one after the last.
  let end = offset;
  for (;;) {
    const next = list.indexOf(0, end) + 1;
    if (next - offset > XS_PAYLOAD_MAX - head.length - 1) break;
    end = next;
    if (end === list.length) break;
  }
  const part = list.subarray(offset, end);
  return end === list.length ? concatBytes([head, part, NUL]) : concatBytes([head, part]);
};

const write: Handler = ({ core }, request) => {
  const { payload, connection } = request;
  const end = payload.indexOf(0);
  if (end < 0) throw new XsError('EINVAL', 'no path');
  const path = operations.canonical(connection, bytesToText(payload.subarray(0, end)));
  operations.write(core, request, path, payload.slice(end + 1));
  return OK;
};

const setPermissions: Handler = ({ core }, request) => {
  const strings = decodeStrings(request.payload);
  if (strings.length < 2) throw new XsError('EINVAL');
  const limit = request.connection.privileged ? Number.POSITIVE_INFINITY : core.quotas.permissions;
  if (strings.length - 1 > limit) throw new XsError('ENOSPC', 'too many permissions');
  const perms: XsPermission[] = [];
  for (const text of strings.slice(1)) {
    const entry = parsePermission(text);
    if (entry === undefined) throw new XsError('EINVAL', text);
    perms.push(entry);
  }
  operations.setPermissions(core, request, operations.canonical(request.connection, strings[0]!), perms);
  return OK;
};

const watch: Handler = ({ core, watchDepth }, request) => {
  const strings = decodeStrings(request.payload);
  if (strings.length !== 2 && !(watchDepth && strings.length === 3)) throw new XsError('EINVAL');
  let depth: number | null = null;
  if (strings.length === 3) {
    depth = atoi(strings[2]!);
    if (depth < 0) throw new XsError('EINVAL', 'negative depth');
  }
  const made = addWatch(core, request.connection, strings[0]!, strings[1]!, depth);
  request.answer(OK);
  fireFirst(request.connection, made);
  return undefined;
};

const unwatch: Handler = (_context, request) => {
  const strings = decodeStrings(request.payload);
  if (strings.length !== 2) throw new XsError('EINVAL');
  removeWatch(request.connection, operations.canonical(request.connection, strings[0]!), strings[1]!);
  return OK;
};

const transactionEnd: Handler = ({ core }, request) => {
  const how = decodeOneString(request.payload);
  if (how !== 'T' && how !== 'F') throw new XsError('EINVAL', 'T or F expected');
  operations.endTransaction(core, request, how === 'T');
  return OK;
};

const isIntroduced: Handler = ({ core }, request) => {
  const domid = atoi(oneArgument(request)) >>> 0;
  const known = domid === DOMID_SELF || core.domains.findIntroduced(domid) !== undefined;
  return encodeStrings(known ? 'T' : 'F');
};

const introduce: Handler = ({ management }, request) => {
  const strings = decodeStrings(request.payload);
  if (strings.length < 3) throw new XsError('EINVAL');
  const port = atoi(strings[2]!) >>> 0;
  if (port === 0) throw new XsError('EINVAL', 'no port');
  management.introduce(atoi(strings[0]!) >>> 0, atoi(strings[1]!) >>> 0, port);
  return OK;
};

const setTarget: Handler = ({ management }, { payload }) => {
  const strings = decodeStrings(payload);
  if (strings.length < 2) throw new XsError('EINVAL');
  management.setTarget(atoi(strings[0]!) >>> 0, atoi(strings[1]!) >>> 0);
  return OK;
};

/** Wraps what always ends with OK. */
function acknowledged(handle: (context: RequestContext, request: Request) => void): Handler {
  return (context, request) => {
    handle(context, request);
    return OK;
  };
}

/** What xenstored 4.17 has; GET/SET_FEATURE and GET/SET_QUOTA came later and answer ENOSYS, as they may. */
const OPERATIONS = new Map<number, Operation>([
  [XS.CONTROL, { handle: ({ core, management }, r) => control(core, management.log, r.payload), privileged: true }],
  [XS.DIRECTORY, { handle: ({ core }, r) => encodeStrings(...operations.read(core, r, pathArgument(r)).children) }],
  [XS.READ, { handle: ({ core }, r) => operations.read(core, r, pathArgument(r)).value }],
  [
    XS.GET_PERMS,
    {
      handle: ({ core }, r) => encodeStrings(...operations.read(core, r, pathArgument(r)).perms.map(formatPermission)),
    },
  ],
  [XS.WATCH, { handle: watch, outsideTransactions: true }],
  [XS.UNWATCH, { handle: unwatch, outsideTransactions: true }],
  [XS.TRANSACTION_START, { handle: ({ core }, r) => encodeStrings(String(operations.startTransaction(core, r).id)) }],
  [XS.TRANSACTION_END, { handle: transactionEnd }],
  [XS.INTRODUCE, { handle: introduce, privileged: true }],
  [XS.RELEASE, { handle: acknowledged(({ management }, r) => management.release(guestArgument(r))), privileged: true }],
  [XS.GET_DOMAIN_PATH, { handle: (_context, r) => encodeStrings(domainPath(atoi(oneArgument(r)))) }],
  [XS.WRITE, { handle: write }],
  [XS.MKDIR, { handle: acknowledged(({ core }, r) => operations.mkdir(core, r, pathArgument(r))) }],
  [XS.RM, { handle: acknowledged(({ core }, r) => operations.rm(core, r, pathArgument(r))) }],
  [XS.SET_PERMS, { handle: setPermissions }],
  [XS.IS_DOMAIN_INTRODUCED, { handle: isIntroduced, privileged: true }],
  [XS.RESUME, { handle: acknowledged(({ management }, r) => management.resume(guestArgument(r))), privileged: true }],
  [XS.SET_TARGET, { handle: setTarget, privileged: true }],
  [XS.RESET_WATCHES, { handle: acknowledged(({ management }, r) => management.resetClient(r.connection)) }],
  [XS.DIRECTORY_PART, { handle: directoryPart }],
]);

/** Serves one request of a client; the answer and any events are queued on the connections. Never throws XsError. */
export function serve(context: RequestContext, connection: Connection, message: XsMessage): void {
  let answered = false;
  const answer = (payload: Uint8Array): void => {
    if (payload.length > XS_PAYLOAD_MAX) throw new XsError('E2BIG');
    if (!connection.reply({ ...message, payload })) throw new XsError('ENOMEM');
    answered = true;
  };
  try {
    const operation = OPERATIONS.get(message.type);
    if (operation === undefined) throw new XsError('ENOSYS', `operation ${message.type}`);
    if (operation.privileged && !connection.privileged) throw new XsError('EACCES');
    const txId = operation.outsideTransactions ? 0 : message.txId;
    const transaction = txId === 0 ? null : connection.transactions.get(txId);
    if (transaction === undefined) throw new XsError('ENOENT', `transaction ${txId}`);
    const payload = operation.handle(context, { connection, transaction, payload: message.payload, answer });
    if (!answered) answer(payload ?? OK);
  } catch (error) {
    if (!(error instanceof XsError)) throw error;
    if (!answered) connection.reply({ ...message, type: XS.ERROR, payload: encodeStrings(error.errno) });
  }
}
