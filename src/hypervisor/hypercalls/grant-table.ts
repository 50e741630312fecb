// grant_table_op (20): xen/include/public/grant_table.h. (cmd, array of operations, count); each operation has its own status.
import { type Of, type Struct, type Type, u64, ulong } from '../../abi/struct.ts';
import * as abi from '../../abi/xen/grant-table.ts';
import { GNTTAB_CACHE, GNTTABOP } from '../../abi/xen/grant-table.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { copyGrant } from '../grants/copy.ts';
import { mapGrant, unmapGrant } from '../grants/mapping.ts';
import { GrantError, grantStatus } from '../grants/status.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { type Handler, i32Arg, type Nothing, u32Arg } from './copy.ts';
import { requireTarget, resolveTarget } from './permissions.ts';

const PAGE_SIZE = 4096;
/** Bits of the command; above them a preempted cache_flush says where it goes on, which never happens here. */
const COMMAND_MASK = 0xfff;

/** Operations of a batch that are done at once; the rest when the guest makes the hypercall again, as it does by itself. */
const OPERATIONS_AT_ONCE = 512;

type Operation = (vcpu: Vcpu, pointer: bigint, count: number, command: number) => bigint | Nothing;
type AnyStruct = Struct<Record<string, Type<unknown>>>;

/** An array of operations, one after the other; `act` returns the fields to write back. A failing one does not stop the batch. */
function batch<S extends Type<unknown>>(struct: S, act: (vcpu: Vcpu, argument: Of<S>) => Partial<Of<S>>): Operation {
  const type = struct as unknown as AnyStruct;
  return (vcpu, pointer, count, command) => {
    vcpu.guest.checkArray(pointer, type.size(vcpu.abiWidth), count);
    for (let i = 0; i < count; i++) {
      if (i === OPERATIONS_AT_ONCE) return goOn(vcpu, command, vcpu.guest.elementAddress(pointer, type, i), count - i);
      const result = act(vcpu, vcpu.guest.readElement(pointer, type, i) as Of<S>);
      vcpu.guest.updateStruct(vcpu.guest.elementAddress(pointer, type, i), type, result as Record<string, unknown>);
    }
  };
}

function goOn(vcpu: Vcpu, command: number, pointer: bigint, count: number): bigint {
  return continueWith(vcpu, [BigInt(command), pointer, BigInt(count)]);
}

/** One operation, of which no array may be given. */
function single<S extends Type<unknown>>(struct: S, act: (vcpu: Vcpu, argument: Of<S>) => Partial<Of<S>>): Operation {
  const one = batch(struct, act);
  return (vcpu, pointer, count, command) => {
    if (count !== 1) throw new XenError('EINVAL');
    one(vcpu, pointer, 1, command);
  };
}

/** The domain that an operation is about: statuses instead of errors. */
function targetOf(caller: Domain, id: number): Domain {
  let target: Domain;
  try {
    target = caller.hypervisor.resolve(caller, id);
  } catch {
    throw new GrantError('bad_domain');
  }
  try {
    requireTarget(caller, target);
  } catch {
    throw new GrantError('permission_denied');
  }
  return target;
}

/** Writes the numbers of frames to the guest's list: bad_virt_addr where it cannot be written. */
function listFrames(vcpu: Vcpu, list: bigint, element: Type<bigint>, frames: readonly bigint[]): void {
  try {
    vcpu.guest.writeArray(list, element, frames);
  } catch (error) {
    if (error instanceof XenError) throw new GrantError('bad_virt_addr');
    throw error;
  }
}

/** The table's frames by the numbers that the domain knows them by: an HVM domain's are where it has mapped them, if it has. */
function setUpTable(target: Domain, count: number): bigint[] {
  const { m2p } = target.hypervisor;
  return target.grants.setup(count).map(mfn => (target.hvm ? m2p.get(mfn) : BigInt(mfn)));
}

/** Operations that HVM guests have. */
const FOR_HVM = new Set<number>([
  GNTTABOP.query_size, GNTTABOP.setup_table, GNTTABOP.set_version, GNTTABOP.get_version, GNTTABOP.copy, GNTTABOP.map_grant_ref,
  GNTTABOP.unmap_grant_ref, GNTTABOP.swap_grant_ref,
]); // biome-ignore format: a list

const operations: { [K in keyof typeof GNTTABOP]?: Operation } = {
  map_grant_ref: batch(abi.gnttabMapGrantRef, (vcpu, a) => {
    let mapped: { handle: number; devBusAddr: bigint } | undefined;
    const status = grantStatus(() => {
      mapped = mapGrant(vcpu, a);
    });
    return { status, ...mapped };
  }),
  unmap_grant_ref: batch(abi.gnttabUnmapGrantRef, (vcpu, a) => ({
    status: grantStatus(() => unmapGrant(vcpu, { ...a, newAddr: 0n })),
  })),
  unmap_and_replace: batch(abi.gnttabUnmapAndReplace, (vcpu, a) => ({
    status: grantStatus(() => unmapGrant(vcpu, { ...a, devBusAddr: 0n })),
  })),
  copy: batch(abi.gnttabCopy, ({ domain }, a) => ({ status: grantStatus(() => copyGrant(domain, a)) })),
  swap_grant_ref: batch(abi.gnttabSwapGrantRef, ({ domain }, a) => ({
    status: grantStatus(() => domain.grants.swap(a.refA, a.refB)),
  })),
  /** Giving pages away for good, which nothing has done since 2.6.37: as a Xen started with gnttab=no-transfer. */
  transfer: () => {
    throw new XenError('EOPNOTSUPP');
  },
  setup_table: single(abi.gnttabSetupTable, (vcpu, a) => {
    vcpu.guest.checkArray(a.frameList, ulong.size(vcpu.abiWidth), a.nrFrames);
    const status = grantStatus(() =>
      listFrames(vcpu, a.frameList, ulong, setUpTable(targetOf(vcpu.domain, a.dom), a.nrFrames)),
    );
    return { status };
  }),
  get_status_frames: single(abi.gnttabGetStatusFrames, (vcpu, a) => {
    vcpu.guest.checkArray(a.frameList, u64.size(vcpu.abiWidth), a.nrFrames);
    const status = grantStatus(() =>
      listFrames(vcpu, a.frameList, u64, targetOf(vcpu.domain, a.dom).grants.statusFrames(a.nrFrames).map(BigInt)),
    );
    return { status };
  }),
  query_size: single(abi.gnttabQuerySize, ({ domain }, a) => {
    let size: { nrFrames: number; maxNrFrames: number } | undefined;
    const status = grantStatus(() => {
      const { grants } = targetOf(domain, a.dom);
      size = { nrFrames: grants.entries.frames.length, maxNrFrames: grants.maxFrames };
    });
    return { status, ...size };
  }),
  // These two take one operation whatever the count says.
  set_version: (vcpu, pointer) => {
    const { grants } = vcpu.domain;
    const { version } = vcpu.guest.readStruct(pointer, abi.gnttabSetVersion);
    try {
      grants.setVersion(version);
    } finally {
      vcpu.guest.writeStruct(pointer, abi.gnttabSetVersion, { version: grants.version });
    }
  },
  get_version: (vcpu, pointer) => {
    const { dom } = vcpu.guest.readStruct(pointer, abi.gnttabGetVersion);
    const { version } = resolveTarget(vcpu.domain, dom).grants;
    vcpu.guest.updateStruct(pointer, abi.gnttabGetVersion as unknown as AnyStruct, { version });
  },
  cache_flush: (vcpu, pointer, count, command) => {
    for (let i = 0; i < count; i++) {
      const at = vcpu.guest.elementAddress(pointer, abi.gnttabCacheFlush, i);
      if (i === OPERATIONS_AT_ONCE) return goOn(vcpu, command, at, count - i);
      cacheFlush(vcpu.domain, vcpu.guest.readStruct(at, abi.gnttabCacheFlush));
    }
  },
};

const byNumber = new Map<number, Operation>();
for (const [name, number] of Object.entries(GNTTABOP)) {
  const operation = operations[name as keyof typeof GNTTABOP];
  if (operation) byNumber.set(number, operation);
}

export const grantTableOp: Handler = (vcpu, args) => {
  const count = i32Arg(args[2]);
  const command = u32Arg(args[0]);
  if (!vcpu.domain.isPv && !FOR_HVM.has(command)) throw new XenError('ENOSYS');
  if (count < 0) throw new XenError('EINVAL');
  const number = command & COMMAND_MASK;
  if (number !== GNTTABOP.cache_flush && number !== command) throw new XenError('EINVAL');
  const operation = byNumber.get(number);
  if (!operation) throw new XenError('ENOSYS');
  return operation(vcpu, args[1], count, command);
};

/** Caches need no cleaning here; what may be asked for is checked as if they did. */
function cacheFlush(domain: Domain, { a, offset, length, op }: Of<typeof abi.gnttabCacheFlush>): void {
  const flags = op >>> 0;
  const known = GNTTAB_CACHE.clean | GNTTAB_CACHE.inval;
  if (offset >= PAGE_SIZE || length > PAGE_SIZE || offset + length > PAGE_SIZE || flags & ~known) {
    throw new XenError('EINVAL');
  }
  if (length === 0 || flags === 0) return;
  const { frames, domains } = domain.hypervisor;
  const frame = a >> 12n;
  if (frame >= BigInt(frames.count)) throw new XenError('EINVAL');
  const mfn = Number(frame);
  const owner = domains.get(frames.owner[mfn]);
  // Frames of nobody and of Xen have no grant table (XSA-232).
  if (!owner || frames.refCount[mfn] === 0) throw new XenError('EPERM');
  if (owner !== domain && !owner.grants.isFrameGrantedTo(domain.id, mfn)) throw new XenError('EINVAL');
}
