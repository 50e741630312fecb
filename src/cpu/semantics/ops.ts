// The abstract builder over which every instruction is written once.
//
// Staging: widths, register numbers given as TypeScript numbers and operand kinds are static; a Value, Bool or Vector is dynamic and opaque,
// so that no TypeScript condition can look into it (a check of the sources sees to `if`, `&&` and `?:`). Conditions on dynamic values are
// o.if and o.select. Order within an instruction: read, compute, write, flags; a fault must leave no trace, so a back end refuses a
// faultable access that comes after a write.

export type Width = 8 | 16 | 32 | 64;

declare const brand: unique symbol;
/** A 64-bit integer known at run time. A value read at width w is zero-extended. */
export interface Value {
  readonly [brand]: 'value';
}
/** A truth value known at run time. */
export interface Bool {
  readonly [brand]: 'bool';
}
/** 128 bits known at run time. */
export interface Vector {
  readonly [brand]: 'vector';
}

/** An operand as the encoding table binds it. Its kind is static, so semantics may branch on it. */
export interface Operand {
  readonly kind: 'reg' | 'mem' | 'imm';
  /** Register file of a register operand; 'gpr' for memory and immediates. */
  readonly file: 'gpr' | 'xmm' | 'mmx' | 'seg' | 'cr' | 'dr' | 'x87';
}

/** Two-operand integer operations of 64 bits, as WebAssembly names them. Shift counts are taken modulo 64. */
export type BinaryOp =
  | 'add'
  | 'sub'
  | 'mul'
  | 'and'
  | 'or'
  | 'xor'
  | 'shl'
  | 'shr_u'
  | 'shr_s'
  | 'rotl'
  | 'rotr'
  | 'div_u'
  | 'rem_u'
  | 'div_s'
  | 'rem_s';
export type CompareOp = 'eq' | 'ne' | 'lt_u' | 'lt_s' | 'le_u' | 'le_s' | 'gt_u' | 'gt_s' | 'ge_u' | 'ge_s';
export type UnaryOp = 'clz' | 'ctz' | 'popcnt';

/** SIMD operations, as WebAssembly names them (`i8x16.add`, `v128.and`, …): see vector-ops.ts. */
export type VectorOp = string;

/** The six arithmetic flags as one write: see flags.ts for the lazy form. */
export interface FlagUpdate {
  /** Result, sign-extended from its width: gives ZF, SF, PF. */
  result: Value;
  /** ccAux: CF at bit 63, CF^OF at bit 62, AF at bit 3. */
  aux: Value;
  /** Where the flags are those of x - y at a width (both zero-extended), a back end may compare instead of looking at borrows. */
  difference?: { w: Width; x: Value; y: Value };
}

export interface Ops {
  // ---- constants and pure operations
  const(value: number | bigint): Value;
  bin(op: BinaryOp, a: Value, b: Value): Value;
  un(op: UnaryOp, a: Value): Value;
  cmp(op: CompareOp, a: Value, b: Value): Bool;
  not(a: Bool): Bool;
  and(a: Bool, b: Bool): Bool;
  or(a: Bool, b: Bool): Bool;
  xor(a: Bool, b: Bool): Bool;
  select(c: Bool, a: Value, b: Value): Value;
  /** 0 or 1. */
  fromBool(a: Bool): Value;
  /** Low w bits, zero-extended / sign-extended to 64. */
  zext(w: Width, a: Value): Value;
  sext(w: Width, a: Value): Value;
  /** Names a value, so that using it twice computes it once. Every use of a value after a write to what it was read from needs this. */
  let(a: Value): Value;
  letBool(a: Bool): Bool;
  /** A variable that o.assign may change within o.if or o.while. */
  variable(initial: Value): Value;
  assign(variable: Value, value: Value): void;

  // ---- control within an instruction
  if(condition: Bool, then: () => void, otherwise?: () => void): void;
  while(condition: () => Bool, body: () => void): void;

  // ---- operands
  /** The operand's value at width w, zero-extended (immediates: truncated to w). */
  read(operand: Operand, w: Width): Value;
  /** As read, but a memory operand is checked for writing: for operands that are written afterwards. */
  update(operand: Operand, w: Width): Value;
  /** Writes width w. 32-bit writes of general registers clear the upper half; 8 and 16 bits merge. */
  write(operand: Operand, w: Width, value: Value): void;
  /** The offset of a memory operand within its segment (LEA), at the address size. */
  offset(operand: Operand): Value;
  /** The linear address of a memory operand (segment base added; outside 64-bit mode checked against the segment for `size` bytes). */
  linear(operand: Operand, size: number, write: boolean): Value;
  /** The base of a memory operand's segment, unchecked; 0 in 64-bit mode but for FS and GS. */
  segmentBase(operand: Operand): Value;
  /** As linear, for another offset in the memory operand's segment (bit strings, POP). */
  bitAddress(operand: Operand, offset: Value, size: number, write: boolean): Value;

  // ---- registers and state
  /** General register n at width w (low byte for 8). */
  reg(n: number, w: Width): Value;
  setReg(n: number, w: Width, value: Value): void;
  /** A field of the state block (offset in layout.ts S). */
  state(offset: number, w: Width): Value;
  setState(offset: number, w: Width, value: Value): void;
  /** A field of an array of the state block: at its offset and so many bytes (the caller keeps to the array). */
  stateAt(offset: number, bytes: Value, w: Width): Value;
  setStateAt(offset: number, bytes: Value, w: Width, value: Value): void;

  /** Number of a register operand, for helpers that take numbers. */
  registerNumber(operand: Operand): Value;

  // ---- memory at linear addresses
  load(linear: Value, w: Width): Value;
  store(linear: Value, w: Width, value: Value): void;
  /** As load, checked for writing first. */
  loadForUpdate(linear: Value, w: Width): Value;
  /** A linear address from a segment (SEG index) and an offset, with the checks of the mode. */
  segmentAddress(segment: number, offset: Value, size: number, write: boolean): Value;

  /**
   * REP MOVS / REP STOS: moves at most `most` elements, as many as page-wise steps allow, and advances rSI, rDI and rCX; may do nothing.
   * The element loop that follows does the rest and raises the faults.
   */
  bulkMove(w: Width, source: Operand, step: Value, most: Value): void;
  bulkFill(w: Width, v: Value, step: Value, most: Value): void;

  // ---- flags
  setFlags(update: FlagUpdate): void;
  cf(): Bool;
  zf(): Bool;
  sf(): Bool;
  of(): Bool;
  pf(): Bool;
  af(): Bool;

  // ---- vectors
  readVector(operand: Operand, bits: 128 | 64 | 32 | 16): Vector;
  /** Writes a whole 128-bit register (or 16 bytes of memory). `bits` < 128 writes the low part and leaves the rest of a register. */
  writeVector(operand: Operand, bits: 128 | 64 | 32, value: Vector): void;
  vec(op: VectorOp, args: readonly (Vector | Value)[], immediates?: readonly number[]): Vector;
  vecToValue(op: VectorOp, args: readonly Vector[], lane?: number): Value;
  letVector(a: Vector): Vector;
  vectorFrom(low: Value, high: Value): Vector;
  vectorLow(a: Vector): Value;
  vectorHigh(a: Vector): Value;
  constVector(low: bigint, high: bigint): Vector;
  selectVector(c: Bool, a: Vector, b: Vector): Vector;
  /** Raises #GP(0) where a 16-byte memory operand is not aligned (nothing for registers). Comes before the read. */
  checkAligned(operand: Operand, bytes: number): void;

  // ---- leaving the instruction
  /** The instruction's length is behind it: RIP of the next instruction. */
  nextRip(): Value;
  /** RIP of this instruction. */
  rip(): Value;
  /** Goes to a new RIP (canonical check done by the caller where the SDM has one). Ends the block. */
  jump(target: Value): void;
  /** A relative jump whose displacement is the instruction's J operand. `condition` null = always. Ends the block when taken. */
  jumpRelative(operand: Operand, w: Width, condition: Bool | null): void;
  /** Where the condition holds, the instruction is executed once more (and costs once more): repetition in steps. */
  again(condition: Bool): void;
  /** Target of a J operand, truncated to w. */
  relativeTarget(operand: Operand, w: Width): Value;
  /** Raises an exception now. */
  fault(vector: number, code?: number): void;
  faultIf(condition: Bool, vector: number, code?: number): void;
  /** Ends the block after this instruction: something that decoding depends on may have changed. RIP is nextRip. */
  endBlock(): void;
  /** Calls a TypeScript helper of the processor by name (see helpers.ts); it may fault. A helper that moves RIP needs transfer() after it. */
  call(helper: string, ...args: readonly Value[]): void;
  callValue(helper: string, ...args: readonly Value[]): Value;
  /** Ends the block; execution goes on at the RIP in the state block, or run() ends where a helper asked for an exit. */
  transfer(): void;

  // ---- static facts of this variant
  /** Address size of the instruction. */
  readonly addressWidth: 16 | 32 | 64;
  /** Stack width of the mode: 64, 32 or 16 (SS.B). */
  readonly stackWidth: 16 | 32 | 64;
  readonly long64: boolean;
  /** F3 or F2 prefix where the row takes it as a repeat prefix. */
  readonly repeat: 'none' | 'rep' | 'repne';
}
