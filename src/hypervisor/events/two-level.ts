// The 2-level event ABI: pending and mask bits in shared_info, a selector word in vcpu_info.
// Source: xen/include/public/xen.h (struct shared_info), event_channel.h.
import type { Domain } from '../domain.ts';
import type { Channel, Delivery, Port } from './channel.ts';
import { markEventsPending, wakePollers } from './wake.ts';

/** Byte offsets in shared_info and vcpu_info, and bits in a word, by ABI. */
const LAYOUT = {
  32: { wordBits: 32, pending: 2048, mask: 2176, selector: 4 },
  64: { wordBits: 64, pending: 2048, mask: 2560, selector: 8 },
} as const;

/** Ports that the 2-level ABI has room for. */
export function twoLevelPorts(width: 32 | 64): number {
  return LAYOUT[width].wordBits * LAYOUT[width].wordBits;
}

export class TwoLevel implements Delivery {
  readonly hasPriorities = false;
  private readonly domain: Domain;
  private readonly u8: Uint8Array;

  constructor(domain: Domain) {
    this.domain = domain;
    this.u8 = domain.hypervisor.memory.u8;
  }

  get maxPorts(): number {
    return twoLevelPorts(this.domain.width);
  }

  private get layout(): (typeof LAYOUT)[32 | 64] {
    return LAYOUT[this.domain.width];
  }

  init(): void {}

  setPending(vcpu: number, channel: Channel): void {
    const { port } = channel;
    if (!this.inRange(port) || this.testAndSet(this.pendingAt(port), port)) return;
    if (!this.test(this.maskAt(port), port)) this.raise(vcpu, port);
    wakePollers(this.domain, port);
  }

  clearPending({ port }: Channel): void {
    if (this.inRange(port)) this.u8[this.pendingAt(port)] &= ~(1 << (port & 7));
  }

  unmask({ port, vcpu }: Channel): void {
    if (!this.inRange(port) || !this.test(this.maskAt(port), port)) return;
    this.u8[this.maskAt(port)] &= ~(1 << (port & 7));
    if (this.test(this.pendingAt(port), port)) this.raise(vcpu, port);
  }

  isPending({ port }: Channel): boolean {
    return this.isPendingPort(port);
  }

  isMasked({ port }: Channel): boolean {
    return !this.inRange(port) || this.test(this.maskAt(port), port);
  }

  isBusy(): boolean {
    return false;
  }

  isPendingPort(port: Port): boolean {
    return this.inRange(port) && this.test(this.pendingAt(port), port);
  }

  /** Sets the selector bit; only its change from 0 to 1 tells the vCPU. */
  private raise(vcpuId: number, port: Port): void {
    const vcpu = this.domain.vcpus[vcpuId];
    const word = Math.floor(port / this.layout.wordBits);
    if (vcpu.info.exists && this.testAndSet(vcpu.info.at + this.layout.selector + (word >> 3), word)) return;
    markEventsPending(vcpu);
  }

  private inRange(port: Port): boolean {
    return port < this.maxPorts && this.domain.sharedInfoMfn !== 0;
  }

  private pendingAt(port: Port): number {
    return this.domain.hypervisor.memory.frameOffset(this.domain.sharedInfoMfn) + this.layout.pending + (port >> 3);
  }

  private maskAt(port: Port): number {
    return this.domain.hypervisor.memory.frameOffset(this.domain.sharedInfoMfn) + this.layout.mask + (port >> 3);
  }

  private test(at: number, bit: number): boolean {
    return (this.u8[at] & (1 << (bit & 7))) !== 0;
  }

  private testAndSet(at: number, bit: number): boolean {
    const mask = 1 << (bit & 7);
    const old = this.u8[at];
    this.u8[at] = old | mask;
    return (old & mask) !== 0;
  }
}
