// struct vcpu_info in guest memory, seen through a byte offset that may move. Source: public/xen.h, arch-x86/xen.h.
import type { Abi } from '../abi/struct.ts';

const UPCALL_PENDING = 0;
const UPCALL_MASK = 1;
const TIME = 32;
/** Size of the struct, which is the same in both ABIs. */
export const VCPU_INFO_SIZE = 64;

export class VcpuInfo {
  private readonly view: DataView;
  private readonly domain: { readonly width: Abi };
  /** Byte offset in the engine memory; 0 = no vcpu_info (a vCPU beyond the 32 that shared_info has room for). */
  at = 0;
  /** The frame that VCPUOP_register_vcpu_info moved it to; -1 = it has not moved. */
  registeredFrame = -1;

  /** @param domain whose vCPU it is: an HVM domain's width shows only as it runs */
  constructor(view: DataView, domain: { readonly width: Abi }) {
    this.view = view;
    this.domain = domain;
  }

  private get abi(): Abi {
    return this.domain.width;
  }

  get exists(): boolean {
    return this.at !== 0;
  }

  get upcallPending(): boolean {
    return this.at !== 0 && this.view.getUint8(this.at + UPCALL_PENDING) !== 0;
  }
  set upcallPending(value: boolean) {
    if (this.at) this.view.setUint8(this.at + UPCALL_PENDING, value ? 1 : 0);
  }

  /** A vCPU without vcpu_info has its events masked. */
  get upcallMask(): boolean {
    return this.at === 0 || this.view.getUint8(this.at + UPCALL_MASK) !== 0;
  }
  set upcallMask(value: boolean) {
    if (this.at) this.view.setUint8(this.at + UPCALL_MASK, value ? 1 : 0);
  }

  /** evtchn_pending_sel: a word of 32 or 64 bits. */
  get pendingSel(): bigint {
    if (!this.at) return 0n;
    return this.abi === 64 ? this.view.getBigUint64(this.at + 8, true) : BigInt(this.view.getUint32(this.at + 4, true));
  }
  set pendingSel(value: bigint) {
    if (!this.at) return;
    if (this.abi === 64) this.view.setBigUint64(this.at + 8, value, true);
    else this.view.setUint32(this.at + 4, Number(value & 0xffffffffn), true);
  }

  /** arch.cr2: where PV guests find the address of a page fault. */
  get cr2(): bigint {
    if (!this.at) return 0n;
    return this.abi === 64
      ? this.view.getBigUint64(this.at + 16, true)
      : BigInt(this.view.getUint32(this.at + 8, true));
  }
  set cr2(value: bigint) {
    if (!this.at) return;
    if (this.abi === 64) this.view.setBigUint64(this.at + 16, value, true);
    else this.view.setUint32(this.at + 8, Number(value & 0xffffffffn), true);
  }

  /** Byte offset in the engine memory of the vcpu_time_info. */
  get timeAt(): number {
    return this.at === 0 ? 0 : this.at + TIME;
  }
}
