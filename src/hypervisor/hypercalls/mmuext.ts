// mmuext_op: pinning, base pointers, TLB flushes, LDT, page copies. Source: public/xen.h, xen/arch/x86/mm.c do_mmuext_op().
import { MMUEXT, mmuextOp as mmuextStruct } from '../../abi/xen/xen.ts';
import { FRAME_SIZE } from '../../cpu/layout.ts';
import { XenError } from '../errors.ts';
import { setKernelBase, setUserBase } from '../memory/base-pointers.ts';
import { MAX_LDT_ENTRIES, setLdt } from '../memory/descriptor-tables.ts';
import { mayChooseCaching } from '../memory/entries.ts';
import { flushDomain, flushVcpu, invalidate, vcpusOfMask } from '../memory/flush.ts';
import { PageFlag, PageType } from '../memory/frame-table.ts';
import { type PageOwner, pageOwner } from '../memory/page-owner.ts';
import { isGuestAddress } from '../memory/walk.ts';
import { loadLdtr } from '../pv/context.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { type Args, type Handler, u32Arg } from './copy.ts';
import { doneBefore, MAX_REQUESTS, MAX_WORK, PREEMPTED, REQUEST_WORK, reportDone } from './mmu.ts';

const EPERM = -1;
const EACCES = -13;
const EINVAL = -22;
const ENOSYS = -38;
const EOPNOTSUPP = -95;
const EXACT_FRAME_NUMBERS = 1n << 40n;

interface Operation {
  cmd: number;
  /** arg1: a frame number or a linear address. */
  arg1: bigint;
  /** arg2.nr_ents; the whole of arg2 as a pointer or frame number. */
  entries: number;
  arg2: bigint;
}

type Run = (vcpu: Vcpu, operation: Operation, owner: PageOwner) => number;

/** Operations on the caller's own state: -EPERM for another owner. */
function own(run: (vcpu: Vcpu, operation: Operation) => number): Run {
  return (vcpu, operation, owner) => (owner.domain === vcpu.domain ? run(vcpu, operation) : EPERM);
}

/** A guest's frame number; what no frame can have becomes one that none has. */
function frameNumber(value: bigint): number {
  return value < EXACT_FRAME_NUMBERS ? Number(value) : -1;
}

function pin(level: number): Run {
  return (vcpu, { arg1 }, owner) => {
    const { frames } = vcpu.domain.hypervisor;
    if (level === PageType.l4 && owner.domain?.abi === 'pv32') return 0;
    const mfn = frameNumber(arg1);
    const rc = frames.getPageAndType(mfn, owner.id, level);
    if (rc !== 0) return rc;
    if (frames.flags[mfn] & PageFlag.pinned) {
      frames.putPageAndType(mfn);
      return EINVAL;
    }
    frames.flags[mfn] |= PageFlag.pinned;
    return 0;
  };
}

const unpin: Run = (vcpu, { arg1 }, owner) => {
  const { frames } = vcpu.domain.hypervisor;
  const mfn = frameNumber(arg1);
  if (!frames.getPage(mfn, owner.id)) return EINVAL;
  const pinned = (frames.flags[mfn] & PageFlag.pinned) !== 0;
  if (pinned) {
    frames.flags[mfn] &= ~PageFlag.pinned;
    frames.putPageAndType(mfn);
  }
  frames.putPage(mfn);
  return pinned ? 0 : EINVAL;
};

const flushCache = own(vcpu => (mayChooseCaching(vcpu.domain) ? 0 : EACCES)); // caches are coherent here

function flushMask(vcpu: Vcpu, operation: Operation, flush: (vcpus: Vcpu[]) => void): number {
  try {
    flush(vcpusOfMask(vcpu, operation.arg2));
    return 0;
  } catch (error) {
    if (error instanceof XenError) return EINVAL;
    throw error;
  }
}

const setLdtOperation = own((vcpu, { arg1, entries }) => {
  if (entries > MAX_LDT_ENTRIES) return EINVAL;
  if (entries && ((arg1 & 0xfffn) !== 0n || !isGuestAddress(arg1))) return EINVAL;
  const base = entries ? arg1 : 0n;
  if (vcpu.pv.ldtEntries !== entries || vcpu.pv.ldtBase !== base) {
    setLdt(vcpu, base, entries);
    loadLdtr(vcpu);
  }
  return 0;
});

/** Takes a frame of the owner's for writing while `write` runs. */
function withWritable(vcpu: Vcpu, owner: PageOwner, mfn: number, write: () => void): number {
  const { frames } = vcpu.domain.hypervisor;
  const rc = frames.getPageAndType(mfn, owner.id, PageType.writable);
  if (rc !== 0) return EINVAL;
  write();
  frames.wrote(mfn, 0, FRAME_SIZE);
  frames.putPageAndType(mfn);
  return 0;
}

const clearPage: Run = (vcpu, { arg1 }, owner) => {
  const mfn = frameNumber(arg1);
  return withWritable(vcpu, owner, mfn, () => vcpu.domain.hypervisor.memory.frame(mfn).fill(0));
};

const copyPage: Run = (vcpu, { arg1, arg2 }, owner) => {
  const { frames, memory } = vcpu.domain.hypervisor;
  const from = frameNumber(arg2);
  const to = frameNumber(arg1);
  if (!frames.getPage(from, owner.id)) return EINVAL;
  const rc = withWritable(vcpu, owner, to, () => memory.frame(to).set(memory.frame(from)));
  frames.putPage(from);
  return rc;
};

const OPERATIONS = new Map<number, Run>([
  [MMUEXT.pin_l1_table, pin(PageType.l1)],
  [MMUEXT.pin_l2_table, pin(PageType.l2)],
  [MMUEXT.pin_l3_table, pin(PageType.l3)],
  [MMUEXT.pin_l4_table, pin(PageType.l4)],
  [MMUEXT.unpin_table, unpin],
  [MMUEXT.new_baseptr, own((vcpu, { arg1 }) => setKernelBase(vcpu, frameNumber(arg1)))],
  [MMUEXT.new_user_baseptr, own((vcpu, { arg1 }) => setUserBase(vcpu, frameNumber(arg1)))],
  [
    MMUEXT.tlb_flush_local,
    own(vcpu => {
      flushVcpu(vcpu);
      return 0;
    }),
  ],
  [
    MMUEXT.tlb_flush_all,
    own(vcpu => {
      flushDomain(vcpu.domain);
      return 0;
    }),
  ],
  [MMUEXT.tlb_flush_multi, own((vcpu, operation) => flushMask(vcpu, operation, vcpus => vcpus.forEach(flushVcpu)))],
  [
    MMUEXT.invlpg_local,
    own((vcpu, { arg1 }) => {
      invalidate(vcpu, arg1);
      return 0;
    }),
  ],
  [
    MMUEXT.invlpg_all,
    own((vcpu, { arg1 }) => {
      invalidate(vcpu, arg1);
      return 0;
    }),
  ],
  [
    MMUEXT.invlpg_multi,
    own((vcpu, operation) => flushMask(vcpu, operation, vcpus => vcpus.length > 0 && invalidate(vcpu, operation.arg1))),
  ],
  [MMUEXT.flush_cache, flushCache],
  [MMUEXT.flush_cache_global, flushCache],
  [MMUEXT.set_ldt, setLdtOperation],
  [MMUEXT.clear_page, clearPage],
  [MMUEXT.copy_page, copyPage],
  [MMUEXT.mark_super, () => EOPNOTSUPP],
  [MMUEXT.unmark_super, () => EOPNOTSUPP],
]);

/** What HVM domains (toolstacks) may do: pin their targets' tables. */
const FOR_HVM = new Set<number>([0, 1, 2, 3, 4]);

/** mmuext_op(ops, count, done, foreigndom): stops at the first operation that fails and returns its error. */
export const mmuextOp: Handler = (vcpu: Vcpu, args: Args) => {
  const [pointer, , pdone] = args;
  const asked = u32Arg(args[1]);
  const count = asked & ~PREEMPTED;
  const { domain, guest } = vcpu;
  const { hypervisor } = domain;
  const before = doneBefore(vcpu, asked, pdone);
  const bytes = mmuextStruct.size(vcpu.abiWidth);
  guest.checkArray(pointer, bytes, count);
  const owner = pageOwner(domain, u32Arg(args[3]) & 0xffff);
  if (owner.domain && !owner.domain.isPv) return EINVAL;
  if (!owner.permitted) return EPERM;
  const workBefore = hypervisor.work;
  let done = 0;
  let result = 0;
  while (done < count && done < MAX_REQUESTS && hypervisor.work - workBefore <= MAX_WORK) {
    result = one(vcpu, pointer, done, owner);
    if (result !== 0) break;
    done++;
  }
  hypervisor.work += done * REQUEST_WORK;
  reportDone(vcpu, pdone, before + done);
  if (result === 0 && done < count) {
    const next = [pointer + BigInt(done * bytes), BigInt(((count - done) | PREEMPTED) >>> 0), pdone, args[3]];
    return continueWith(vcpu, next);
  }
  return result;
};

function one(vcpu: Vcpu, pointer: bigint, index: number, owner: PageOwner): number {
  let op: ReturnType<typeof mmuextStruct.read>;
  try {
    op = vcpu.guest.readElement(pointer, mmuextStruct, index);
  } catch (error) {
    if (error instanceof XenError) return -error.number;
    throw error;
  }
  if (!vcpu.domain.isPv && !FOR_HVM.has(op.cmd)) return EOPNOTSUPP;
  const run = OPERATIONS.get(op.cmd);
  if (!run) return ENOSYS;
  const operation = { cmd: op.cmd, arg1: op.arg1.mfn, entries: op.arg2.nrEnts, arg2: op.arg2.srcMfn };
  return run(vcpu, operation, owner);
}
