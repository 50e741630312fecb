// mmu_update and update_va_mapping: page-table entries, machine-to-physical entries. Source: public/xen.h, xen/arch/x86/mm.c.
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { updateL1, updateUpper } from '../memory/entries.ts';
import { flushByFlags } from '../memory/flush.ts';
import { PageFlag, PageType } from '../memory/frame-table.ts';
import { type PageOwner, pageOwner } from '../memory/page-owner.ts';
import { findL1Entry, frameOfWord } from '../memory/walk.ts';
import type { Vcpu } from '../vcpu.ts';
import { continueWith } from './continuation.ts';
import { type Args, u32Arg } from './copy.ts';

/** Low bits of mmu_update.ptr. */
const Command = { normal: 0, machphys: 1, preserveAd: 2, noTranslate: 3 } as const;
/** Bit 31 of a count: the call goes on from where it was cut. */
export const PREEMPTED = 0x80000000;
/** What one call may do before others get their turn: requests, and entries that validation looks at. */
export const MAX_REQUESTS = 16384;
export const MAX_WORK = 1 << 21;
/** What a request counts as in Hypervisor.work, beside what it validates. */
export const REQUEST_WORK = 8;

const REQUEST_BYTES = 16;
const EPERM = -1;
const EINVAL = -22;
const ENOSYS = -38;

/** A guest's array of requests, read one by one with a page's translation kept between them. */
class RequestReader {
  low = 0;
  high = 0;
  valueLow = 0;
  valueHigh = 0;
  private readonly vcpu: Vcpu;
  private address: bigint;
  private offset = 0;
  private left = 0;

  constructor(vcpu: Vcpu, address: bigint) {
    this.vcpu = vcpu;
    this.address = address;
  }

  /** Reads the next request; throws EFAULT. */
  next(): void {
    const { view } = this.vcpu.domain.hypervisor.memory;
    if (this.left < REQUEST_BYTES) {
      const inPage = 4096 - Number(this.address & 0xfffn);
      if (inPage < REQUEST_BYTES) {
        this.straddling();
        return;
      }
      this.offset = this.vcpu.guest.translate(this.address);
      this.left = inPage;
    }
    this.low = view.getUint32(this.offset, true);
    this.high = view.getUint32(this.offset + 4, true);
    this.valueLow = view.getUint32(this.offset + 8, true);
    this.valueHigh = view.getUint32(this.offset + 12, true);
    this.offset += REQUEST_BYTES;
    this.left -= REQUEST_BYTES;
    this.address += 16n;
  }

  private straddling(): void {
    const raw = this.vcpu.guest.read(this.address, REQUEST_BYTES);
    const view = new DataView(raw.buffer);
    this.low = view.getUint32(0, true);
    this.high = view.getUint32(4, true);
    this.valueLow = view.getUint32(8, true);
    this.valueHigh = view.getUint32(12, true);
    this.address += 16n;
    this.left = 0;
  }
}

/** The count of requests that were done before, for a call that was cut. */
export function doneBefore(vcpu: Vcpu, count: number, pointer: bigint): number {
  if (!(count & PREEMPTED) || pointer === 0n) return 0;
  try {
    return new DataView(vcpu.guest.read(pointer, 4).buffer).getUint32(0, true);
  } catch (error) {
    if (error instanceof XenError) return 0;
    throw error;
  }
}

/** Writes the count of requests done where the guest wants to know it; a bad pointer changes nothing. */
export function reportDone(vcpu: Vcpu, pointer: bigint, done: number): void {
  if (pointer === 0n) return;
  try {
    const raw = new Uint8Array(4);
    new DataView(raw.buffer).setUint32(0, done, true);
    vcpu.guest.write(pointer, raw);
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
  }
}

/** mmu_update(reqs, count, done, foreigndom): stops at the first request that fails and returns its error. */
export function mmuUpdate(vcpu: Vcpu, args: Args): number | bigint {
  const [requests, , pdone] = args;
  const asked = u32Arg(args[1]);
  const foreign = u32Arg(args[3]);
  const count = asked & ~PREEMPTED;
  const { domain } = vcpu;
  const { hypervisor } = domain;
  const before = doneBefore(vcpu, asked, pdone);
  vcpu.guest.checkArray(requests, REQUEST_BYTES, count);

  const tableOwner = foreign >>> 16 ? hypervisor.domains.get((foreign >>> 16) - 1) : domain;
  if (!tableOwner) return -3;
  const reader = new RequestReader(vcpu, requests);
  const workBefore = hypervisor.work;
  let done = 0;
  let result = 0;
  try {
    const owner = pageOwner(domain, foreign & 0xffff);
    while (done < count) {
      if (done === MAX_REQUESTS || hypervisor.work - workBefore > MAX_WORK) break;
      reader.next();
      result = oneUpdate(domain, tableOwner, owner, reader);
      if (result !== 0) break;
      done++;
    }
  } catch (error) {
    if (!(error instanceof XenError)) throw error;
    result = -error.number;
  } finally {
    hypervisor.frames.flushChangedTables();
  }
  hypervisor.work += done * REQUEST_WORK;
  reportDone(vcpu, pdone, before + done);
  if (result === 0 && done < count) {
    const next = [requests + BigInt(done * REQUEST_BYTES), BigInt(((count - done) | PREEMPTED) >>> 0), pdone, args[3]];
    return continueWith(vcpu, next);
  }
  return result;
}

function oneUpdate(domain: Domain, tableOwner: Domain, owner: PageOwner, request: RequestReader): number {
  const { frames, m2p } = domain.hypervisor;
  const command = request.low & 7;
  const mfn = (request.low >>> 12) + request.high * 0x100000;
  switch (command) {
    case Command.normal:
    case Command.preserveAd:
    case Command.noTranslate: {
      if (!owner.permitted || (tableOwner !== domain && !domain.isPrivileged)) return EPERM;
      if (!tableOwner.isPv || !frames.getPage(mfn, tableOwner.id)) return EINVAL;
      const rc = updateInFrame(tableOwner, owner, mfn, request, command === Command.preserveAd);
      frames.putPage(mfn);
      return rc;
    }
    case Command.machphys: {
      if (tableOwner !== domain || !owner.permitted) return EPERM;
      if (!owner.domain?.isPv || !frames.getPage(mfn, owner.id)) return EINVAL;
      m2p.set(mfn, BigInt(request.valueLow) | (BigInt(request.valueHigh) << 32n));
      frames.putPage(mfn);
      return 0;
    }
    default:
      return ENOSYS;
  }
}

/** Writes one entry of a frame: as what the frame's type makes of it. */
function updateInFrame(
  tableOwner: Domain,
  owner: PageOwner,
  mfn: Mfn,
  request: RequestReader,
  preserveAd: boolean,
): number {
  const { frames, memory } = tableOwner.hypervisor;
  const offset = request.low & 0xff8;
  const at = frames.words(mfn) + (offset >> 2);
  const type = frames.type[mfn];
  const inUse = frames.typeCount[mfn] > 0 && (frames.flags[mfn] & PageFlag.validated) !== 0;
  if (inUse && type >= PageType.l1 && type <= PageType.l4) {
    const update = {
      at,
      table: mfn,
      low: request.valueLow,
      high: request.valueHigh,
      preserveAd,
      domain: tableOwner,
      pageOwner: owner.id,
    };
    if (type === PageType.l1) return updateL1(frames, update);
    return owner.domain === tableOwner ? updateUpper(frames, type, update) : EINVAL;
  }
  // An ordinary page of the guest: 8 bytes written, no more. A type that is in use and not writable refuses.
  if (frames.getPageType(mfn, PageType.writable) !== 0) return EINVAL;
  memory.u32[at] = request.valueLow;
  memory.u32[at + 1] = request.valueHigh;
  frames.wrote(mfn, offset, 8);
  frames.putPageType(mfn);
  return 0;
}

function updateVa(vcpu: Vcpu, linear: bigint, value: bigint, flags: bigint, ownerId: number): number {
  const { domain } = vcpu;
  const { hypervisor } = domain;
  const { frames } = hypervisor;
  const owner = pageOwner(domain, ownerId);
  if (!owner.permitted) return EPERM;
  const at = findL1Entry(hypervisor, vcpu.pv.guestTable, linear);
  if (at < 0) return EINVAL;
  const table = frameOfWord(hypervisor, at);
  if (frames.owner[table] !== domain.id || frames.type[table] !== PageType.l1 || frames.typeCount[table] === 0) {
    return EINVAL;
  }
  const rc = updateL1(frames, {
    at,
    table,
    low: Number(value & 0xffffffffn),
    high: Number((value >> 32n) & 0xffffffffn),
    preserveAd: false,
    domain,
    pageOwner: owner.id,
  });
  if (rc === 0) flushByFlags(vcpu, linear, flags);
  return rc;
}

/** A 64-bit value and what follows it: one argument for 64-bit guests, two for 32-bit ones. */
function splitArgs(vcpu: Vcpu, args: Args): { value: bigint; rest: Args } {
  return vcpu.abiWidth === 64
    ? { value: args[1], rest: args.slice(2) }
    : { value: (args[2] << 32n) | args[1], rest: args.slice(3) };
}

/** update_va_mapping(va, pte, flags): the L1 entry that maps va in the current kernel tables. */
export function updateVaMapping(vcpu: Vcpu, args: Args): number {
  const { value, rest } = splitArgs(vcpu, args);
  return updateVa(vcpu, args[0], value, rest[0], vcpu.domain.id);
}

/** update_va_mapping_otherdomain(va, pte, flags, domid): the same with another domain's frame. */
export function updateVaMappingOtherdomain(vcpu: Vcpu, args: Args): number {
  const { value, rest } = splitArgs(vcpu, args);
  return updateVa(vcpu, args[0], value, rest[0], u32Arg(rest[1]) & 0xffff);
}
