// The predecoded form of instructions that the interpreter runs: 32-byte records in blocks, each block behind a 32-byte header.
import { RECORD_SIZE } from '../layout.ts';

/** Fields of a record. Register fields are absolute addresses in the state block; S.zero stands for none. */
export const Rec = {
  handler: 0, // u16: case of the interpreter's br_table, or element of the table of out-of-line handlers
  offset: 2, // u16: RIP - S.ripBase
  a: 4, // u16: first register operand
  b: 6, // u16: second register operand
  base: 8, // u16
  index: 10, // u16
  segmentBase: 12, // u16: the segment's base, or S.zero where it adds nothing
  scale: 14, // u8: shift
  length: 15, // u8
  displacement: 16, // i32
  link: 16, // u32, branches: 0 unresolved, LINK_NEVER, or the target block's header
  c: 20, // u16: third register operand, or a second immediate
  segment: 22, // u8: SEG index of the memory operand
  immediate: 24, // i64: immediate, absolute offset, or branch target - S.ripBase
} as const;

/** Which segment a linear address belongs to, for the slow memory functions: #SS or #GP. HINT_RECORD: Rec.segment has it. */
export const HINT_RECORD = 0;
export const HINT_STACK = 1;
export const HINT_GENERAL = 2;

/** Rec.link of a branch that leaves its page. */
export const LINK_NEVER = 1;

/** Fields of a block header. */
export const Head = {
  heat: 0, // u32: entries until the JIT is told of the block; 0 = it was told, see `compiled`
  count: 28, // u32: instructions in the block, all of which are paid for on entry (HANDLER_CHECK_PAGE records have it too)
  offset: 4, // u32: RIP of the first instruction - S.ripBase
  page: 8, // u32: machine frame of the first byte
  mode: 12, // u32
  nextInPage: 16, // u32: next block of the frame, or 0
  bytes: 20, // u32: length of the header and the records in bytes
  compiled: 24, // u32: element of the function table that has the compiled region which begins here, or 0
} as const;

export const HEAD_SIZE = RECORD_SIZE;

/** Handler 0: the block was dropped (its code was written to); look the RIP up again. */
export const HANDLER_STALE = 0;
/** Handler 1: the block ends here without a branch; goes on at the record's RIP. */
export const HANDLER_CONTINUE = 1;
/** Handler 2: raises the exception in the record (vector in a, error code in b, c = 1 if there is one). */
export const HANDLER_FAULT = 2;
/** Handler 3: first record of a block whose first instruction crosses into the next page: checks that page's frame (in immediate). */
export const HANDLER_CHECK_PAGE = 3;
export const FIRST_HANDLER = 4;
