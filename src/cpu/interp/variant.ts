// What a handler is made for: an instruction variant with its operands bound to record fields, and the function it is emitted into.
import type { ValueType } from '../../wasm/opcodes.ts';
import type { OperandSpec, RegisterFile } from '../decode/row.ts';
import { S, SEG_FIELD, STATE } from '../layout.ts';
import type { Operand, Width } from '../semantics/ops.ts';
import type { Emitter } from './emitter.ts';

/** How a variant's memory operand is addressed. simple: base + displacement; indexed: also index and segment base; full: every rule. */
export type MemoryForm = 'none' | 'simple' | 'indexed' | 'full' | 'moffs';

/** What a handler is specialised for. */
export interface Variant {
  width: Width;
  memory: MemoryForm;
  addressWidth: 16 | 32 | 64;
  stackWidth: 16 | 32 | 64;
  long64: boolean;
  repeat: 'none' | 'rep' | 'repne';
}

/** An operand bound to where its record field is. */
export interface BoundOperand extends Operand {
  spec: OperandSpec;
  /** Record field that holds the register's address; null for fixed registers and other kinds. */
  field: number | null;
  /** Address of a fixed register in the state block. */
  address: number;
}

/** How a handler leaves: differs between the interpreter's main function and out-of-line functions. */
export interface Frame {
  /** Local that holds the record's address. */
  readonly pc: number;
  /** Leaves with S.pending set: emits a branch or return. */
  leave(e: Emitter): void;
  /** Goes on at S.rip. */
  transfer(e: Emitter): void;
  /** Follows a block link held in an i32 local (main function only). */
  follow: ((e: Emitter, link: number) => void) | null;
  /** Resolves the link of the current record. */
  link: ((e: Emitter) => void) | null;
}

/** Functions that handlers call, by name; resolves to an index in the module under construction. */
export type FunctionIndex = (name: string, params: ValueType[], results: ValueType[]) => number;

/** Where each register file starts in the engine memory, and log2 of a register's room. */
export const REGISTER_FILES: Record<RegisterFile, readonly [base: number, shift: number]> = {
  gpr: [STATE + S.gpr, 3],
  xmm: [STATE + S.xmm, 5],
  mmx: [STATE + S.fpr, 4],
  x87: [STATE + S.fpr, 4],
  // selectors stand in 32-byte segment registers; control and debug registers are moved by helpers, which want only the number
  seg: [STATE + S.segments + SEG_FIELD.selector, 5],
  cr: [0, 3],
  dr: [0, 3],
};
