// XENMEM_exchange: frames for others of another size or place, as device drivers need for DMA. Source: xen/common/memory.c.
import { type Of, ulong } from '../../abi/struct.ts';
import { XENMEMF, xenMemoryExchange } from '../../abi/xen/memory.ts';
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { PageFlag } from '../memory/frame-table.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { maxOrder, mayAskForNode } from './memory-reservation.ts';
import { resolveTarget } from './permissions.ts';

type Exchange = Of<typeof xenMemoryExchange>;
const EXCHANGE = 11n;
/** Frames that one call handles before others get their turn. */
const FRAMES_AT_ONCE = 8192;
const LONG_LIMIT = 1n << 64n;
const ANY_WIDTH = 64;

/** Exchanges chunk by chunk, a chunk being the larger of the two extents. nr_exchanged tells how far it came. */
export function memoryExchange(vcpu: Vcpu, pointer: bigint): number | bigint {
  const { guest, domain } = vcpu;
  const exchange = guest.readStruct(pointer, xenMemoryExchange);
  const { in: from, out: to } = exchange;
  const largest = Math.max(from.extentOrder, to.extentOrder);
  const finish = (chunk: number): void => {
    const nrExchanged = BigInt(chunk) << BigInt(largest - from.extentOrder);
    guest.updateStruct(pointer, xenMemoryExchange, { nrExchanged });
  };
  if (largest > maxOrder(domain)) throw new XenError('EPERM');
  const framesIn = from.nrExtents << BigInt(from.extentOrder);
  if (
    exchange.nrExchanged > from.nrExtents ||
    from.domid !== to.domid ||
    framesIn >= LONG_LIMIT ||
    framesIn !== to.nrExtents << BigInt(to.extentOrder)
  ) {
    throw new XenError('EINVAL');
  }
  if (exchange.nrExchanged === from.nrExtents) return 0;
  // Both lists are checked whole before anything is written (XSA-212).
  if (from.nrExtents > 0xffffffffn || to.nrExtents > 0xffffffffn) throw new XenError('EFAULT');
  const long = ulong.size(vcpu.abiWidth);
  guest.checkArray(from.extentStart, long, Number(from.nrExtents));
  guest.checkArray(to.extentStart, long, Number(to.nrExtents));
  if (!mayAskForNode(domain, to.memFlags)) throw new XenError('EINVAL');
  // A width that is too small for any frame is no error in itself: there is no memory of that kind.
  const addressBits = to.memFlags & XENMEMF.addressBitsMask || ANY_WIDTH;
  const target = resolveTarget(domain, from.domid);
  if (!target.isPv) throw new XenError('EOPNOTSUPP');

  const chunks = Number(framesIn >> BigInt(largest));
  const first = Number(exchange.nrExchanged >> BigInt(largest - from.extentOrder));
  for (let chunk = first; chunk < chunks; chunk++) {
    if ((chunk - first) * 2 ** largest >= FRAMES_AT_ONCE) {
      finish(chunk);
      return continueWith(vcpu, [EXCHANGE, pointer]);
    }
    try {
      exchangeChunk(vcpu, target, exchange, chunk, addressBits);
    } catch (error) {
      finish(chunk);
      throw error;
    }
  }
  finish(chunks);
  return 0;
}

function exchangeChunk(
  vcpu: Vcpu,
  target: Domain,
  { in: from, out: to }: Exchange,
  chunk: number,
  addressBits: number,
): void {
  const { guest } = vcpu;
  const { frames, m2p } = target.hypervisor;
  const largest = Math.max(from.extentOrder, to.extentOrder);
  const extentsIn = 2 ** (largest - from.extentOrder);
  const extentsOut = 2 ** (largest - to.extentOrder);

  const given = new Set<Mfn>();
  for (let j = 0; j < extentsIn; j++) {
    const mfn = guest.readElement(from.extentStart, ulong, chunk * extentsIn + j);
    for (let k = 0; k < 2 ** from.extentOrder; k++) given.add(unusedFrame(target, mfn + BigInt(k)));
  }
  if (given.size !== 2 ** largest) throw new XenError('EINVAL', 'a frame is named twice');
  const pfns = Array.from({ length: extentsOut }, (_, j) =>
    guest.readElement(to.extentStart, ulong, chunk * extentsOut + j),
  );

  const taken: Mfn[] = [];
  try {
    for (let j = 0; j < extentsOut; j++)
      taken.push(frames.allocateExtra(target, { addressBits, order: to.extentOrder }));
  } catch (error) {
    for (const mfn of taken) for (let n = 0; n < 2 ** to.extentOrder; n++) frames.putAllocation(mfn + n);
    throw error;
  }
  for (const mfn of given) frames.putAllocation(mfn);
  taken.forEach((mfn, j) => {
    for (let n = 0; n < 2 ** to.extentOrder; n++) m2p.set(mfn + n, BigInt.asUintN(64, pfns[j] + BigInt(n)));
    guest.writeElement(to.extentStart, ulong, chunk * extentsOut + j, BigInt(mfn));
  });
}

/** A frame of the domain's that nothing refers to: not mapped, not typed, not granted. Throws EINVAL. */
function unusedFrame(domain: Domain, number: bigint): Mfn {
  const { frames } = domain.hypervisor;
  const mfn = number < BigInt(frames.count) ? Number(number) : -1;
  const fine =
    frames.isRam(mfn) &&
    frames.owner[mfn] === domain.id &&
    frames.refCount[mfn] === 1 &&
    frames.typeCount[mfn] === 0 &&
    (frames.flags[mfn] & (PageFlag.allocated | PageFlag.xenHeap)) === PageFlag.allocated;
  if (!fine) throw new XenError('EINVAL');
  return mfn;
}
