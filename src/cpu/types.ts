// The processor as its users (hypervisor, machine, tests) see it. processor.ts implements it.
import type { EventSource } from './helpers/interrupts.ts';
import type { EngineMemory, Mfn } from './memory.ts';
import type { CpuModel } from './models/model.ts';
import type { PhysicalMap } from './physical-map.ts';
import type { CpuState } from './state.ts';

/** What kind of access a linear address is translated for. */
export interface Access {
  write: boolean;
  /** CPL 3 rules (U bit). A PV guest, kernel and user, always accesses as user. */
  user: boolean;
  execute?: boolean;
  /** The bytes are the memory operand of the instruction that runs: its segment decides between #GP and #SS. */
  operand?: boolean;
}

/** Why a PV guest's store through a read-only mapping was let through or not: see Processor.onProtectedStore. */
export type ProtectedStore = (linear: bigint, size: 1 | 2 | 4 | 8, value: bigint) => boolean;

/** Device space: the guest's physical addresses that are not RAM. Sizes 1, 2, 4, 8; values unsigned. */
export interface Bus {
  read(address: bigint, size: number): bigint;
  write(address: bigint, size: number, value: bigint): void;
  portRead(port: number, size: number): number;
  portWrite(port: number, size: number, value: number): void;
}

/**
 * Model-specific registers that are not the processor's own (helpers/msrs.ts has those), and CPUID, as this vCPU sees them. The registers
 * throw GuestFault (#GP) where there is none; cpuid() has no effects.
 */
export interface Registers {
  rdmsr(index: number): bigint;
  wrmsr(index: number, value: bigint): void;
  /** RDPMC by a counter's number; where it is left out there are none. */
  rdpmc?(counter: number): bigint;
  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number };
}

/** One x86-64 processor, which runs one vCPU at a time on an engine memory. */
export interface Processor {
  readonly memory: EngineMemory;
  readonly model: CpuModel;
  /** The registers of the vCPU that runs now; S.* fields beyond the architectural ones (exit, fault…) are read here after run(). */
  readonly live: CpuState;

  /**
   * Hypervisor or machine sets these before run(). Bus and registers are called for one instruction at a time, which runs by itself: time
   * (cycles, S.retired) is that instruction's, and stop() or interruptPending count from the next one on.
   */
  registers: Registers;
  bus: Bus;
  /** Cycles since the start of the machine, from which RDTSC derives (adds S.tscOffset). */
  cycles: () => bigint;
  /**
   * PV: a user-mode store of `size` bytes (within one page) hit a present, read-only, user page. True: the hypervisor has applied it,
   * the instruction goes on. False: #PF is raised. Stores that cross a page are never offered.
   */
  onProtectedStore: ProtectedStore | null;
  /**
   * PV: SYSCALL, with S.nextRip behind it, before run() is left for it. True: the hypervisor has done all that comes of it, and the vCPU
   * goes on where it stands now, within the same run(). False: Exit.syscall, and nothing has changed. stop() ends the run().
   */
  onSystemCall: (() => boolean) | null;
  /**
   * Not PV: an external interrupt waits. run() returns Exit.interruptWindow where it can be delivered (RFLAGS.IF, no shadow of STI or
   * MOV SS); deliver() does so. May be set at any time, also from bus and registers in the middle of run().
   */
  interruptPending: boolean;
  /** Not PV: an NMI waits. run() delivers it, and clears this, as soon as no other NMI is being served (S.nmiBlocked). As interruptPending. */
  nmiPending: boolean;
  /** MOV to CR8 has set the task priority (0-15, also in S.cr8): whoever has the local APIC hears of it. Called as bus and registers are. */
  onTaskPriority: ((priority: number) => void) | null;
  /** A write of an MSR has moved the TSC: timers that wait for a value of it come at another time. Called as bus and registers are. */
  onTscMove: (() => void) | null;

  /** Copies a stored vCPU into the live block (and back). Mode and CPL dependent state is recomputed by load(). */
  load(from: CpuState): void;
  store(to: CpuState): void;
  /** To be called after CS, SS, CR0, CR4, EFER or RFLAGS of the live block were changed from outside (base, L/D bits, CPL, TF). */
  modeChanged(): void;
  /** Instead, where nothing but flags of RFLAGS was (not VM, nor AC of a guest that is not PV). */
  flagsChanged(): void;

  /**
   * Runs at most `fuel` instructions and returns the Exit that ended it; S.retired has advanced by what was really executed.
   * Never throws for anything that a guest does.
   */
  run(fuel: number): number;

  /**
   * From within run(), by way of bus or registers: run() returns Exit.stopped before the next instruction. Elsewhere it does nothing.
   */
  stop(): void;

  /**
   * Chooses the physical memory that addresses are translated into: a guest's map, or null where they are machine addresses (PV).
   * It counts from the next load(), modeChanged() or selectAddressSpace() on. After an entry of a map that was RAM has changed, dropFrame() of the machine frame that stood
   * there ends what is kept of it.
   */
  selectPhysicalMap(map: PhysicalMap | null): void;
  /**
   * Chooses the address space: CR3's page-table root (machine address) and, for PV, whether the guest is in its user mode. Cheap where
   * the same (root, user) ran lately: its TLB bank is still there.
   */
  selectAddressSpace(root: bigint, user: boolean): void;
  /** Drops every translation, global or not, of the guest's tables at this root (a CR3 reload or flush hypercall). */
  flushAddressSpace(root: bigint): void;
  /** Drops all translations of all banks. */
  flushAll(): void;
  /** INVLPG: drops the page's translation in all banks. */
  invalidatePage(linear: bigint): void;
  /**
   * PV: a present entry of an L1 table that maps this frame was changed or removed. Translations through it end with the next
   * flushChanged() at the latest. `executable`: the entry allowed fetching.
   */
  mappingChanged(mfn: Mfn, executable: boolean): void;
  /** PV: all cached translations agree with the tables again: what any flush amounts to where every change is reported as above. */
  flushChanged(): void;
  /** A frame may be written no more (it becomes a page table, or read-only): drops its write entries everywhere. Cheap if there are none. */
  dropWriteAccess(mfn: Mfn): void;
  /** A frame leaves its owner: drops all its entries and decoded code everywhere. */
  dropFrame(mfn: Mfn): void;
  /** The host or a device wrote to a frame: drops decoded code that stands on these bytes. Cheap if there is none. */
  wroteFrame(mfn: Mfn, offset: number, length: number): void;

  /**
   * Linear to engine-memory byte offset, by the live address space, setting accessed and dirty bits. Throws GuestFault (#PF, #GP) as the
   * access would. Valid to the end of the page. Frames that are not RAM give -1.
   */
  translate(linear: bigint, access: Access): number;
  /**
   * Engine-memory address of a linear address in 32-bit halves, valid to the end of the page; 0 where an access would fault or is special:
   * for what is read and written again and again. write: bytes there may be written without further ado.
   */
  cachedAddress(lo: number, hi: number, write: boolean): number;
  /** Copies between linear memory and a buffer, page by page. Throws GuestFault; nothing is promised about a partial copy. */
  readLinear(linear: bigint, into: Uint8Array, access?: Access): void;
  writeLinear(linear: bigint, from: Uint8Array, access?: Access): void;

  /** Loads a segment register from a descriptor table with all checks (as MOV Sreg does at the live CPL). Throws GuestFault. */
  loadSegment(index: number, selector: number): void;
  /**
   * Not PV: delivers an event through the IDT, with the double faults that come of it, as if it came before the instruction at RIP.
   * False: the processor shuts down (triple fault).
   */
  deliver(vector: number, event: { source: EventSource; code?: number | null; address?: bigint }): boolean;
  /** A register of the processor's own (system calls, bases, EFER, PAT, TSC): what RDMSR and WRMSR look for first. Null: not one. Throws GuestFault (#GP) for a value that it does not take. */
  readOwnMsr(index: number): bigint | null;
  /** False: not one. */
  writeOwnMsr(index: number, value: bigint): boolean;

  /** Decodes the instruction at RIP for an emulator of privileged operations. Throws GuestFault where it cannot be fetched. */
  fetch(linear: bigint, max: number): Uint8Array;
}
