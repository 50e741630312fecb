// The engine's one memory: where the running vCPU's state, the TLB banks, the caches and machine memory stand.
// Every address below is a constant in generated code; a vCPU switch copies the state block, it never moves it.

/** Byte offset of the running vCPU's state block in the engine memory. */
export const STATE = 0x1000;
/** Size of a state block in bytes; what a vCPU switch, a snapshot or a lockstep comparison copies. */
export const STATE_SIZE = 0x1000;

/** Offsets within the state block. Registers are 64 bits wide unless said otherwise. */
export const S = {
  gpr: 0x000, // 16 general registers: rax rcx rdx rbx rsp rbp rsi rdi r8..r15
  zero: 0x080, // always 0: stands for an absent base, index or segment base
  pageSize: 0x3f8, // always 4096: an index register for displacements that overflow 32 bits
  rip: 0x088,
  ccResult: 0x090, // lazy flags: see semantics/flags.ts
  ccAux: 0x098,
  rflags: 0x0a0, // all bits of RFLAGS but CF PF AF ZF SF OF, which live in ccResult and ccAux
  ripBase: 0x0a8, // RIP of the first byte of the page that the current block stands in
  tlb: 0x0b0, // u32: address of the current TLB bank
  jumpSalt: 0x0b4, // u32: salt of the jump cache tags for the current bank
  fuel: 0x0b8, // i64: instructions left before run() returns
  retired: 0x0c0, // u64: instructions retired by this vCPU's run() calls, up to the last exit
  // what stopped run(): see Exit in exits.ts
  exit: 0x0c8, // u32
  faultVector: 0x0cc, // u32
  faultCode: 0x0d0, // u32: error code, or 0
  faultHasCode: 0x0d4, // u32
  faultAddress: 0x0d8, // u64: linear address of a page fault, DR6 bits of a #DB
  exitInfo: 0x0e0, // u64: vector of INT n, port of IN/OUT, ...
  nextRip: 0x0e8, // RIP after the instruction that caused the exit
  cpl: 0x0f0, // u32
  mode: 0x0f4, // u32: ModeBit set; part of every decoded block's key
  shadow: 0x0f8, // u32: the last instruction of a run() was one that holds off interrupts (1: STI) or traps too (2: MOV SS)
  pv: 0x0fc, // u32: 1 = everything that is delivered or privileged leaves run() for the hypervisor
  segments: 0x100, // es cs ss ds fs gs ldtr tr gdtr idtr: 10 of SEGMENT_SIZE
  cr0: 0x240,
  cr2: 0x248,
  cr3: 0x250,
  cr4: 0x258,
  cr8: 0x260,
  efer: 0x268,
  xcr0: 0x270,
  dr: 0x278, // dr0 dr1 dr2 dr3 (dr4 dr5 unused) dr6 dr7
  star: 0x2b8,
  lstar: 0x2c0,
  cstar: 0x2c8,
  sfmask: 0x2d0,
  kernelGsBase: 0x2d8,
  tscAux: 0x2e0,
  sysenterCs: 0x2e8,
  sysenterEsp: 0x2f0,
  sysenterEip: 0x2f8,
  pat: 0x300,
  tscOffset: 0x308, // added to the clock's cycles to give the guest's TSC
  xss: 0x310,
  monitorAddress: 0x318, // u64: engine-memory address of the line that MONITOR watches, or 0: see monitor.ts
  monitorLine: 0x380, // what stood in its 64 bytes
  pending: 0x320, // u32: an exception or exit is recorded; the instruction must be left
  record: 0x324, // u32: the record that is executing, set before calls into TypeScript
  unitTrap: 0x32c, // u32: UnitTrap set, from CR0.EM/MP/TS and CR4.OSFXSR: which units' instructions fault
  nmiBlocked: 0x330, // u32: 1 = an NMI is being served, further ones wait for IRET
  alone: 0x334, // u32: one instruction runs by itself: a repetition stops after every element
  tscAdjust: 0x338, // IA32_TSC_ADJUST: what writes have added to the TSC, a part of tscOffset
  pdptes: 0x340, // 4 of u64: the top entries of PAE paging, loaded with CR3
  regionCalls: 0x360, // u32: compiled regions that wait for others to return
  block: 0x328, // u32: header of the block that is executing, at exits
  // x87: 8 physical registers of 16 bytes (64-bit significand, 16-bit sign and exponent); MMX aliases the significands
  fpr: 0x400,
  fcw: 0x480, // u16
  fsw: 0x482, // u16, TOP in bits 11-13
  ftw: 0x484, // u8, abridged: bit n = physical register n is not empty
  fop: 0x486, // u16
  fip: 0x488,
  fdp: 0x490,
  fcs: 0x498, // u16
  fds: 0x49a, // u16
  mxcsr: 0x49c, // u32
  xmm: 0x500, // 16 of 32 bytes: XMM in the low half, the YMM half above
  scratch: 0x800, // operands and results of out-of-line operations; not architectural
} as const;

/** Indices of the general registers in S.gpr. */
export const R = {
  rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7,
  r8: 8, r9: 9, r10: 10, r11: 11, r12: 12, r13: 13, r14: 14, r15: 15,
} as const; // biome-ignore format: a register file reads better in rows

export const SEGMENT_SIZE = 32;
/** Fields of a segment register in S.segments. */
export const SEG_FIELD = {
  base: 0, // u64
  limit: 8, // u32, in bytes
  attributes: 12, // u32: descriptor bits 40-47 in 0-7 (type, S, DPL, P), bits 52-55 in 12-15 (AVL, L, D/B, G)
  selector: 16, // u16; for gdtr and idtr unused
  /** u64 copy of base that effective addresses add: 0 for ES, CS, SS, DS in 64-bit mode. */
  effectiveBase: 24,
} as const;
export const SEG = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7, gdtr: 8, idtr: 9 } as const;

/** S.mode: what changes how bytes decode or how addresses form; a part of the key of decoded blocks. */
export const ModeBit = {
  long64: 1, // CS.L in long mode
  default32: 2, // CS.D (operand and address size 32) outside 64-bit mode
  protected: 4, // CR0.PE
  longActive: 8, // EFER.LMA
  paging: 16,
  v86: 32,
  flat: 64, // outside 64-bit mode: all of CS SS DS ES have base 0 and limit 4 GiB, writable data
  user: 128, // CPL 3: checks of privileged instructions are made when decoding
  singleStep: 256, // RFLAGS.TF or breakpoints armed: one instruction a block
  stack32: 512, // SS.B outside 64-bit mode: width of the stack pointer
} as const;

/** TLB banks: see mmu/tlb.ts. */
export const TLB_BANKS = 0x10000;
export const TLB_BANK_COUNT = 16;
export const TLB_READ_ENTRIES = 1024;
export const TLB_WRITE_ENTRIES = 1024;
export const TLB_EXEC_ENTRIES = 256;
export const TLB_ENTRY_SIZE = 16; // {tag i64, addend i32, flags i32}
export const TLB_WRITE_OFFSET = TLB_READ_ENTRIES * TLB_ENTRY_SIZE;
export const TLB_EXEC_OFFSET = TLB_WRITE_OFFSET + TLB_WRITE_ENTRIES * TLB_ENTRY_SIZE;
export const TLB_BANK_SIZE = TLB_EXEC_OFFSET + TLB_EXEC_ENTRIES * TLB_ENTRY_SIZE;

/** The jump cache: linear address to decoded block, across pages. */
export const JUMP_CACHE = 0x100000;
export const JUMP_CACHE_ENTRIES = 16384;
export const JUMP_ENTRY_SIZE = 16; // {tag i64, record u32, salt u32}

/** Decoded records. */
export const RECORDS = 0x200000;
export const RECORDS_SIZE = 32 << 20;
export const RECORD_SIZE = 32;

/** One byte a machine frame: FrameFlag set. */
export const FRAME_FLAGS = RECORDS + RECORDS_SIZE;
export const FrameFlag = {
  code: 1, // decoded blocks stand on it: no write entry may exist
  writeCached: 2, // some TLB bank holds a write entry for it
  cached: 4, // some TLB bank holds an entry for it
} as const;

export const FRAME_SIZE = 4096;

/** S.unitTrap: the units whose instructions raise #NM or #UD now (SDM Vol. 3A, table 2-2 and 13-1). */
export const UnitTrap = { x87: 1, wait: 2, mmx: 4, sse: 8 } as const;
