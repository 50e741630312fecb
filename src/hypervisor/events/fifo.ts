// The FIFO event ABI: a word an event in pages that the guest gives, linked into 16 queues a vCPU whose heads stand in a control block.
// Source: xen/include/public/event_channel.h (evtchn_fifo_control_block, event_word_t) and Xen's design paper of the ABI.
import type { Mfn } from '../../cpu/memory.ts';
import type { Domain } from '../domain.ts';
import { XenError } from '../errors.ts';
import { type Channel, type Delivery, type Port, Priority } from './channel.ts';
import { claimWritableFrame, releaseWritableFrame } from './guest-frames.ts';
import { markEventsPending, wakePollers } from './wake.ts';

/** Bits of an event word. */
export const WORD = { pending: 1 << 31, masked: 1 << 30, linked: 1 << 29, busy: 1 << 28, link: 0x1ffff } as const;
export const LINK_BITS = 17;
/** EVTCHN_FIFO_NR_CHANNELS. */
export const FIFO_PORTS = 1 << LINK_BITS;
export const CONTROL_BLOCK_SIZE = 72;

const QUEUES = Priority.min + 1;
const WORDS_PER_PAGE = 1024;
const MAX_PAGES = FIFO_PORTS / WORDS_PER_PAGE;
/** Byte offsets in the control block. */
const READY = 0;
const HEADS = 8;

/** What the hypervisor keeps of a vCPU's control block. */
interface Control {
  /** Frame of the control block; -1 until the guest gives one. */
  mfn: Mfn;
  /** Byte offset in the frame. */
  offset: number;
  /** Last port of each queue, 0 = the queue is empty. Private: what the guest writes is never trusted for it. */
  tails: Uint32Array;
}

export class Fifo implements Delivery {
  readonly maxPorts = FIFO_PORTS;
  readonly hasPriorities = true;
  private readonly domain: Domain;
  private readonly u32: Uint32Array;
  private readonly controls: Control[];
  /** Frames of the event array. */
  private readonly pages: Mfn[] = [];

  constructor(domain: Domain) {
    this.domain = domain;
    this.u32 = domain.hypervisor.memory.u32;
    this.controls = domain.vcpus.map(() => ({ mfn: -1, offset: 0, tails: new Uint32Array(QUEUES) }));
  }

  /**
   * EVTCHNOP_init_control's part for one vCPU.
   * @throws EINVAL when the vCPU has one already or the frame is none that the domain may write
   */
  mapControlBlock(vcpu: number, gfn: bigint, offset: number): void {
    const control = this.controls[vcpu];
    if (control.mfn !== -1) throw new XenError('EINVAL');
    control.mfn = claimWritableFrame(this.domain, gfn);
    control.offset = offset;
  }

  /**
   * EVTCHNOP_expand_array. `channelAt` gives the domain's channels, so that events which waited for this page are raised now.
   * @throws ENOSPC after 128 pages, EINVAL for a frame that the domain may not write
   */
  addPage(gfn: bigint, channelAt: (port: Port) => Channel | undefined): void {
    if (this.pages.length >= MAX_PAGES) throw new XenError('ENOSPC');
    const first = this.pages.length * WORDS_PER_PAGE;
    this.pages.push(claimWritableFrame(this.domain, gfn));
    for (let port = first; port < first + WORDS_PER_PAGE; port++) {
      const channel = channelAt(port);
      if (!channel) return;
      if (channel.pendingLater) this.setPending(channel.vcpu, channel);
    }
  }

  /** Gives all frames back. */
  release(): void {
    for (const control of this.controls) {
      if (control.mfn !== -1) releaseWritableFrame(this.domain, control.mfn);
      control.mfn = -1;
    }
    for (const mfn of this.pages) releaseWritableFrame(this.domain, mfn);
    this.pages.length = 0;
  }

  init(channel: Channel): void {
    channel.priority = Priority.default;
  }

  setPending(vcpuId: number, channel: Channel): void {
    const { port } = channel;
    const at = this.wordAt(port);
    if (at === -1) {
      channel.pendingLater = true;
      return;
    }
    const control = this.controls[vcpuId];
    // A guest may not unmask an event before it has registered the control block, so the event can be dropped.
    if (control.mfn === -1) return;

    const { u32 } = this;
    const wasPending = (u32[at] & WORD.pending) !== 0;
    u32[at] |= WORD.pending;
    if ((u32[at] & (WORD.masked | WORD.linked)) === 0) {
      u32[at] |= WORD.linked;
      this.enqueue(vcpuId, control, channel);
    }
    if (!wasPending) wakePollers(this.domain, port);
  }

  clearPending(channel: Channel): void {
    // The word stays linked: the guest unlinks it and ignores what is not pending.
    const at = this.wordAt(channel.port);
    if (at !== -1) this.u32[at] &= ~WORD.pending;
  }

  unmask(channel: Channel): void {
    const at = this.wordAt(channel.port);
    if (at === -1) return;
    this.u32[at] &= ~WORD.masked;
    if (this.u32[at] & WORD.pending) this.setPending(channel.vcpu, channel);
  }

  isPending(channel: Channel): boolean {
    return this.has(channel.port, WORD.pending);
  }

  isMasked(channel: Channel): boolean {
    return this.wordAt(channel.port) === -1 || this.has(channel.port, WORD.masked);
  }

  isBusy(channel: Channel): boolean {
    return this.has(channel.port, WORD.linked);
  }

  /** Puts a word that has just become LINKED at the end of the vCPU's queue of the channel's priority. */
  private enqueue(vcpuId: number, control: Control, channel: Channel): void {
    const { u32 } = this;
    const { port, priority } = channel;
    // Were it the tail of a queue, that queue is empty now (the guest has unlinked it); its tail must not be appended to again.
    const last = this.controls[channel.lastVcpu];
    if (last && last.tails[channel.lastPriority] === port) last.tails[channel.lastPriority] = 0;
    channel.lastVcpu = vcpuId;
    channel.lastPriority = priority;

    const block = this.blockAt(control);
    const tail = control.tails[priority];
    const tailAt = tail === 0 ? -1 : this.wordAt(tail);
    // The tail is linked to us only if it is still in the queue: otherwise the guest has emptied the queue, and we are its head.
    const linked = tailAt !== -1 && (u32[tailAt] & WORD.linked) !== 0;
    if (linked) u32[tailAt] = (u32[tailAt] & ~(WORD.busy | WORD.link)) | port;
    else u32[block + (HEADS >> 2) + priority] = port;
    control.tails[priority] = port;

    if (linked) return;
    const ready = block + (READY >> 2);
    const bit = 1 << priority;
    if (u32[ready] & bit) return;
    u32[ready] |= bit;
    markEventsPending(this.domain.vcpus[vcpuId]);
  }

  private has(port: Port, bits: number): boolean {
    const at = this.wordAt(port);
    return at !== -1 && (this.u32[at] & bits) !== 0;
  }

  /** Index of the port's word in the engine memory's 32-bit words; -1 while there is no page for it. */
  private wordAt(port: Port): number {
    const page = Math.floor(port / WORDS_PER_PAGE);
    if (page >= this.pages.length) return -1;
    return this.frameWord(this.pages[page]) + (port % WORDS_PER_PAGE);
  }

  private blockAt(control: Control): number {
    return this.frameWord(control.mfn) + (control.offset >>> 2);
  }

  private frameWord(mfn: Mfn): number {
    return this.domain.hypervisor.memory.frameOffset(mfn) / 4;
  }
}
