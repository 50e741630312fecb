// What a hypercall reads and writes through guest pointers: bytes, structs, arrays. Everything that fails is -EFAULT.
// Xen's access_ok(): a PV guest's pointer into the hypervisor's area is refused before any page table is looked at.
import { type Abi, type Struct, type Type, ulong } from '../../abi/struct.ts';
import { GuestFault } from '../../cpu/exits.ts';
import { FRAME_SIZE } from '../../cpu/layout.ts';
import type { Access, Processor } from '../../cpu/types.ts';
import { XenError } from '../errors.ts';
import type { Vcpu } from '../vcpu.ts';

/** The 64-bit guest's addresses that are not its own: the non-canonical gap and Xen's slots above it. */
const HOLE_START = 1n << 47n;
const HYPERVISOR_END = 0xffff_8800_0000_0000n;
/** First address that a 32-bit PV guest cannot use (its read-only M2P stands there). */
const COMPAT_HYPERVISOR_START = 0xf580_0000n;
const TOP_32 = 1n << 32n;
const TOP_64 = 1n << 64n;

/** The most bytes that one call may move: a hypercall's work is bounded, and so is the host's memory that it takes. */
const MAX_BYTES = 1 << 20;

const USER_READ: Access = { write: false, user: true };
const USER_WRITE: Access = { write: true, user: true };
const KERNEL_READ: Access = { write: false, user: false };
const KERNEL_WRITE: Access = { write: true, user: false };

// Structs are decoded at once, so one buffer does for all.
let scratch = new Uint8Array(8192);
function room(length: number): Uint8Array {
  if (length > scratch.length) scratch = new Uint8Array(length);
  return scratch.subarray(0, length);
}

/** A vCPU's memory as hypercalls see it. The vCPU must be the one that the processor has loaded. */
export class GuestMemory {
  private readonly vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
  }

  private get processor(): Processor {
    return this.vcpu.domain.hypervisor.processor;
  }

  private get abi(): Abi {
    return this.vcpu.abiWidth;
  }

  /** Throws EFAULT where [address, address + length) is not the guest's to point at. */
  check(address: bigint, length: number): void {
    if (length < 0 || length > MAX_BYTES) throw new XenError('EFAULT', 'guest buffer too large');
    this.checkArray(address, 1, length);
  }

  /** The same for an array that is read element by element, so that its size needs no bound. */
  checkArray(base: bigint, elementBytes: number, count: number): void {
    const end = base + BigInt(elementBytes) * BigInt(count);
    const { abi } = this.vcpu.domain;
    if (abi === 'pv64') {
      if (end <= HOLE_START || (base >= HYPERVISOR_END && end <= TOP_64)) return;
    } else if (end <= (abi === 'pv32' ? COMPAT_HYPERVISOR_START : this.abi === 32 ? TOP_32 : TOP_64)) return;
    throw new XenError('EFAULT', `bad guest pointer 0x${base.toString(16)}`);
  }

  private access(write: boolean): Access {
    return this.vcpu.domain.isPv ? (write ? USER_WRITE : USER_READ) : write ? KERNEL_WRITE : KERNEL_READ;
  }

  /** Engine-memory offset of a byte that may be read (or written), valid to the end of its page; EFAULT. */
  translate(address: bigint, write = false): number {
    let offset: number;
    try {
      offset = this.processor.translate(address, this.access(write));
    } catch (error) {
      throw asEfault(error);
    }
    if (offset < 0) throw new XenError('EFAULT');
    return offset;
  }

  /** Fills a buffer from guest memory. */
  readInto(address: bigint, into: Uint8Array): void {
    this.check(address, into.length);
    if (into.length === 0) return;
    try {
      this.processor.readLinear(address, into, this.access(false));
    } catch (error) {
      throw asEfault(error);
    }
  }

  read(address: bigint, length: number): Uint8Array {
    this.check(address, length);
    const into = new Uint8Array(length);
    this.readInto(address, into);
    return into;
  }

  write(address: bigint, from: Uint8Array): void {
    this.check(address, from.length);
    if (from.length === 0) return;
    try {
      this.processor.writeLinear(address, from, this.access(true));
    } catch (error) {
      throw asEfault(error);
    }
  }

  /** An `unsigned long` of the guest. */
  writeLong(address: bigint, value: bigint): void {
    if (this.abi === 32 || (address & 0xfffn) > 0xff8n) {
      this.writeStruct(address, ulong, value);
      return;
    }
    this.checkArray(address, 8, 1);
    const at = this.translate(address, true);
    const { memory, frames } = this.vcpu.domain.hypervisor;
    memory.view.setBigUint64(at, value, true);
    frames.wrote(Math.floor((at - memory.ramBase) / FRAME_SIZE), at & (FRAME_SIZE - 1), 8);
  }

  /** One value of a declared type. */
  readStruct<T>(address: bigint, type: Type<T>): T {
    const raw = room(type.size(this.abi));
    this.readInto(address, raw);
    return type.read(viewOf(raw), 0, this.abi);
  }

  /** Writes a whole value; padding becomes zero. `abi`: another layout than that of the guest's present mode. */
  writeStruct<T>(address: bigint, type: Type<T>, value: T, abi: Abi = this.abi): void {
    const raw = room(type.size(abi));
    raw.fill(0);
    type.write(viewOf(raw), 0, value, abi);
    this.write(address, raw);
  }

  /** Writes only the given fields, each at its place. */
  updateStruct(address: bigint, type: Struct<Record<string, Type<unknown>>>, values: Record<string, unknown>): void {
    for (const [field, value] of Object.entries(values)) {
      const fieldType = type.fields[field];
      if (fieldType === undefined || value === undefined) continue;
      const at = address + BigInt(type.offset(field, this.abi));
      const raw = room(fieldType.size(this.abi));
      this.readInto(at, raw); // a union or a nested struct may be given in part
      fieldType.write(viewOf(raw), 0, value, this.abi);
      this.write(at, raw);
    }
  }

  /** Element `index` of an array that a handle points at. */
  readElement<T>(base: bigint, type: Type<T>, index: number): T {
    return this.readStruct(this.elementAddress(base, type, index), type);
  }

  writeElement<T>(base: bigint, type: Type<T>, index: number, value: T): void {
    this.writeStruct(this.elementAddress(base, type, index), type, value);
  }

  readArray<T>(base: bigint, type: Type<T>, count: number): T[] {
    const step = type.size(this.abi);
    const raw = this.read(base, step * count);
    const view = viewOf(raw);
    return Array.from({ length: count }, (_, i) => type.read(view, i * step, this.abi));
  }

  writeArray<T>(base: bigint, type: Type<T>, values: readonly T[]): void {
    const step = type.size(this.abi);
    this.check(base, step * values.length);
    const raw = new Uint8Array(step * values.length);
    const view = viewOf(raw);
    values.forEach((value, i) => {
      type.write(view, i * step, value, this.abi);
    });
    this.write(base, raw);
  }

  /** Address of an array's element; wraps as C pointers do, so that check() sees what Xen would. */
  elementAddress(base: bigint, type: Type<unknown>, index: number): bigint {
    return BigInt.asUintN(this.abi, base + BigInt(index) * BigInt(type.size(this.abi)));
  }
}

function viewOf(raw: Uint8Array): DataView {
  return new DataView(raw.buffer, raw.byteOffset, raw.length);
}

function asEfault(error: unknown): unknown {
  return error instanceof GuestFault ? new XenError('EFAULT') : error;
}
