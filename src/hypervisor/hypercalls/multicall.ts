// multicall (13): several hypercalls in one. Source: xen/common/multicall.c, public/xen.h (struct multicall_entry).
import { multicallEntry } from '../../abi/xen/xen.ts';
import { FRAME_SIZE } from '../../cpu/layout.ts';
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { type Handler, u32Arg } from './copy.ts';
import { invoke } from './dispatch.ts';
import { MAX_WORK } from './mmu.ts';

/** Calls done before the guest's events get a turn; the rest is done when the hypercall runs again. */
const CALLS_AT_ONCE = 512;

export const multicall: Handler = (vcpu, [list, rawCount]) => {
  if (vcpu.inMulticall) throw new XenError('EINVAL', 'multicall within multicall');
  vcpu.inMulticall = true;
  try {
    return run(vcpu, list, u32Arg(rawCount));
  } finally {
    vcpu.inMulticall = false;
  }
};

function run(vcpu: Vcpu, list: bigint, count: number): bigint {
  const { guest, domain, abiWidth } = vcpu;
  const bytes = multicallEntry.size(abiWidth);
  const resultOffset = BigInt(multicallEntry.offset('result', abiWidth));
  guest.checkArray(list, bytes, count);
  const workBefore = domain.hypervisor.work;
  for (let i = 0; i < count; i++) {
    const at = list + BigInt(i * bytes);
    if (i === CALLS_AT_ONCE || domain.hypervisor.work - workBefore > MAX_WORK) {
      return continueWith(vcpu, [at, BigInt(count - i)]);
    }
    const call = readEntry(vcpu, at, bytes);
    const result = invoke(vcpu, Number(call.op), call.args);
    // An iret has ended the batch: where its result would go is the guest's business no more.
    if (vcpu.contextReplaced || domain.shutdown) return 0n;
    const { continuation } = vcpu;
    if (continuation) {
      vcpu.continuation = null;
      return resume(vcpu, at, call, continuation, count - i);
    }
    guest.writeLong(at + resultOffset, result);
  }
  return 0n;
}

/** An entry was cut short: its arguments are replaced by what is left of it, and the batch runs again from there. */
function resume(vcpu: Vcpu, at: bigint, call: { args: bigint[] }, left: bigint[], count: number): bigint {
  const args = call.args.map((value, i) => left[i] ?? value);
  vcpu.guest.updateStruct(at, multicallEntry, { args });
  return continueWith(vcpu, [at, BigInt(count)]);
}

/** An entry's call. Multicalls are a kernel's most frequent hypercall, so those that stand in one page are read in place. */
function readEntry(vcpu: Vcpu, at: bigint, bytes: number): { op: bigint; args: bigint[] } {
  const { guest, abiWidth } = vcpu;
  if (abiWidth === 32 || Number(at & 0xfffn) + bytes > FRAME_SIZE) return guest.readStruct(at, multicallEntry);
  const { view } = vcpu.domain.hypervisor.memory;
  const offset = guest.translate(at);
  const args = offset + multicallEntry.offset('args', 64);
  return {
    op: view.getBigUint64(offset, true),
    args: [0, 8, 16, 24, 32, 40].map(n => view.getBigUint64(args + n, true)),
  };
}
