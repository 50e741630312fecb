// A processor for tests of the hypervisor: no instructions, but real page walks over an engine memory and a TLB that forgets only what
// it is told to forget, so that a flush which the hypervisor owes shows.
import { GuestFault, Vector } from '../../src/cpu/exits.ts';
import type { EngineMemory } from '../../src/cpu/memory.ts';
import { CPU_MODELS } from '../../src/cpu/models/index.ts';
import type { PhysicalMap } from '../../src/cpu/physical-map.ts';
import { CpuState } from '../../src/cpu/state.ts';
import type { Access, Bus, Processor, ProtectedStore, Registers } from '../../src/cpu/types.ts';

const PRESENT = 1n;
const RW = 2n;
const USER = 4n;
const ACCESSED = 0x20n;
const DIRTY = 0x40n;
const ADDRESS = 0x000ffffffffff000n;

interface Translation {
  root: bigint;
  page: bigint;
  mfn: number;
  write: boolean;
  user: boolean;
}

const READ: Access = { write: false, user: true };

export class FakeProcessor implements Processor {
  readonly memory: EngineMemory;
  readonly model = CPU_MODELS[0];
  readonly live = new CpuState();
  readonly registers: Registers = {
    rdmsr: () => 0n,
    wrmsr: () => {},
    cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }),
  };
  readonly bus: Bus = { read: () => ~0n, write: () => {}, portRead: () => -1, portWrite: () => {} };
  cycles = (): bigint => 0n;
  onProtectedStore: ProtectedStore | null = null;
  interruptPending = false;
  nmiPending = false;
  onSystemCall: (() => boolean) | null = null;
  onTaskPriority = null;
  onTscMove = null;
  root = 0n;
  /** An HVM guest without paging: addresses are physical ones. */
  physical: PhysicalMap | null = null;
  readonly tlb = new Map<string, Translation>();
  /** How often everything was flushed. */
  fullFlushes = 0;

  constructor(memory: EngineMemory) {
    this.memory = memory;
  }

  load(from: CpuState): void {
    this.live.bytes.set(from.bytes);
  }
  store(to: CpuState): void {
    to.bytes.set(this.live.bytes);
  }
  modeChanged(): void {}
  flagsChanged(): void {}
  run(): never {
    throw new Error('a fake processor runs nothing');
  }

  stop(): void {}
  selectPhysicalMap(): void {}
  deliver(): boolean {
    throw new Error('not used');
  }
  readOwnMsr(): bigint | null {
    return null;
  }
  writeOwnMsr(): boolean {
    return false;
  }
  selectAddressSpace(root: bigint): void {
    this.root = root;
  }
  private forget(which: (t: Translation) => boolean): void {
    for (const [key, translation] of this.tlb) if (which(translation)) this.tlb.delete(key);
  }
  flushAddressSpace(root: bigint): void {
    this.forget(t => t.root === root);
  }
  mappingChanged(): void {}
  flushChanged(): void {
    this.flushAll();
  }
  flushAll(): void {
    this.fullFlushes++;
    this.tlb.clear();
  }
  invalidatePage(linear: bigint): void {
    this.forget(t => t.page === linear >> 12n);
  }
  dropWriteAccess(mfn: number): void {
    for (const t of this.tlb.values()) if (t.mfn === mfn) t.write = false;
  }
  dropFrame(mfn: number): void {
    this.forget(t => t.mfn === mfn);
  }
  wroteFrame(): void {}

  /** Nothing is at hand: everything goes the long way. */
  cachedAddress(): number {
    return 0;
  }

  translate(linear: bigint, access: Access): number {
    if (this.physical) {
      const mfn = this.physical.get(Number(linear >> 12n));
      if (mfn < 0) return -1;
      return this.memory.frameOffset(mfn) + Number(linear & 0xfffn);
    }
    const key = `${this.root}/${linear >> 12n}`;
    let t = this.tlb.get(key);
    if (!t || (access.write && !t.write) || (access.user && !t.user)) {
      t = this.walk(linear, access);
      this.tlb.set(key, t);
    }
    if (t.mfn >= this.memory.frames) return -1;
    return this.memory.frameOffset(t.mfn) + Number(linear & 0xfffn);
  }

  private walk(linear: bigint, access: Access): Translation {
    const canonical = BigInt.asUintN(64, BigInt.asIntN(48, linear)) === linear;
    if (!canonical) throw new GuestFault(Vector.GP, 0);
    const code = (access.write ? 2 : 0) | (access.user ? 4 : 0);
    let table = Number(this.root >> 12n);
    let write = true;
    let user = true;
    for (let level = 4; level >= 1; level--) {
      const slot = Number((linear >> BigInt(12 + 9 * (level - 1))) & 511n);
      const at = this.memory.frameOffset(table) + slot * 8;
      const entry = this.memory.view.getBigUint64(at, true);
      if (!(entry & PRESENT)) throw new GuestFault(Vector.PF, code, linear);
      write &&= (entry & RW) !== 0n;
      user &&= (entry & USER) !== 0n;
      table = Number((entry & ADDRESS) >> 12n);
      if (level > 1) {
        this.memory.view.setBigUint64(at, entry | ACCESSED, true);
        continue;
      }
      if ((access.user && !user) || (access.write && !write)) throw new GuestFault(Vector.PF, code | 1, linear);
      this.memory.view.setBigUint64(at, entry | ACCESSED | (access.write ? DIRTY : 0n), true);
    }
    return { root: this.root, page: linear >> 12n, mfn: table, write, user };
  }

  private copy(linear: bigint, length: number, access: Access, each: (at: number, from: number, n: number) => void) {
    for (let done = 0; done < length; ) {
      const address = linear + BigInt(done);
      const n = Math.min(length - done, 4096 - Number(address & 0xfffn));
      const at = this.translate(address, access);
      if (at < 0) throw new GuestFault(Vector.PF, 0, address);
      each(at, done, n);
      done += n;
    }
  }
  readLinear(linear: bigint, into: Uint8Array, access: Access = READ): void {
    this.copy(linear, into.length, access, (at, from, n) => into.set(this.memory.u8.subarray(at, at + n), from));
  }
  writeLinear(linear: bigint, from: Uint8Array, access: Access = { write: true, user: true }): void {
    this.copy(linear, from.length, access, (at, start, n) => this.memory.u8.set(from.subarray(start, start + n), at));
  }

  /** A guest instruction stores 8 bytes (or fewer): what a real processor does with a read-only page. Throws the guest's fault. */
  guestStore(linear: bigint, value: bigint, size: 1 | 2 | 4 | 8 = 8): void {
    const raw = new Uint8Array(8);
    new DataView(raw.buffer).setBigUint64(0, value, true);
    try {
      this.writeLinear(linear, raw.subarray(0, size));
    } catch (error) {
      const mayBeTable = error instanceof GuestFault && error.vector === Vector.PF && (error.code ?? 0) & 1;
      if (!mayBeTable || !this.onProtectedStore?.(linear, size, value)) throw error;
    }
  }
  guestLoad(linear: bigint): bigint {
    const raw = new Uint8Array(8);
    this.readLinear(linear, raw);
    return new DataView(raw.buffer).getBigUint64(0, true);
  }

  loadSegment(): void {}
  fetch(linear: bigint, max: number): Uint8Array {
    const bytes = new Uint8Array(max);
    this.readLinear(linear, bytes);
    return bytes;
  }
}
