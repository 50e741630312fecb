// multicall (13): several hypercalls in one. Source: xen/common/multicall.c, public/xen.h (struct multicall_entry).
import { ulong } from '../../abi/struct.ts';
import { multicallEntry } from '../../abi/xen/xen.ts';
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { type Handler, u32Arg } from './copy.ts';
import { invoke } from './dispatch.ts';

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
  const { guest } = vcpu;
  const resultOffset = BigInt(multicallEntry.offset('result', vcpu.abiWidth));
  for (let i = 0; i < count; i++) {
    const at = guest.elementAddress(list, multicallEntry, i);
    if (i === CALLS_AT_ONCE) return continueWith(vcpu, [at, BigInt(count - i)]);
    const call = guest.readStruct(at, multicallEntry);
    const result = invoke(vcpu, Number(call.op), call.args);
    // An iret has ended the batch: where its result would go is the guest's business no more.
    if (vcpu.contextReplaced || vcpu.domain.shutdown) return 0n;
    const { continuation } = vcpu;
    if (continuation) {
      vcpu.continuation = null;
      return resume(vcpu, at, call, continuation, count - i);
    }
    guest.writeStruct(at + resultOffset, ulong, result);
  }
  return 0n;
}

/** An entry was cut short: its arguments are replaced by what is left of it, and the batch runs again from there. */
function resume(vcpu: Vcpu, at: bigint, call: { args: bigint[] }, left: bigint[], count: number): bigint {
  const args = call.args.map((value, i) => left[i] ?? value);
  vcpu.guest.updateStruct(at, multicallEntry, { args });
  return continueWith(vcpu, [at, BigInt(count)]);
}
