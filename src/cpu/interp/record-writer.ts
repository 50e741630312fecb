// Writes decoded instructions as records (see record.ts): operands become addresses in the state block and constants.
import type { Instruction, MemoryOperand } from '../decode/decoder.ts';
import { Vector } from '../exits.ts';
import { FRAME_SIZE, ModeBit, RECORD_SIZE, S, SEG, SEG_FIELD, SEGMENT_SIZE, STATE } from '../layout.ts';
import type { EngineMemory, Mfn } from '../memory.ts';
import { boundOperands, displacementOverflows, type Handlers, registerAddress, variantOf } from './handlers.ts';
import { HANDLER_CHECK_PAGE, HANDLER_CONTINUE, HANDLER_FAULT, Head, LINK_NEVER, Rec } from './record.ts';

const ZERO_ADDRESS = STATE + S.zero;
const RIP_BASE_ADDRESS = STATE + S.ripBase;
const PAGE_SIZE_ADDRESS = STATE + S.pageSize;

export class RecordWriter {
  private readonly u8: Uint8Array;
  private readonly u16: Uint16Array;
  private readonly u32: Uint32Array;
  private readonly u64: BigUint64Array;
  private readonly handlers: Handlers;
  private readonly has: (feature: string) => boolean;

  /** @param has which CPUID features there are: instructions of others are undefined */
  constructor(memory: EngineMemory, handlers: Handlers, has: (feature: string) => boolean) {
    this.u8 = memory.u8;
    this.u16 = memory.u16;
    this.u32 = memory.u32;
    this.u64 = memory.u64;
    this.handlers = handlers;
    this.has = has;
  }

  /**
   * The record of the instruction at an offset of its page, or of the exception that it always raises here: false then.
   * @param at engine-memory address of the record
   */
  write(at: number, i: Instruction, offset: number, mode: number): boolean {
    const { row } = i;
    if (row.feature !== undefined && !this.has(row.feature)) this.writeFault(at, offset, Vector.UD);
    else if (row.cpl0 && mode & ModeBit.user) this.writeFault(at, offset, Vector.GP);
    else {
      this.writeInstruction(at, i, offset, mode);
      return true;
    }
    return false;
  }

  /** A record that raises an exception. */
  writeFault(at: number, offset: number, vector: number): void {
    this.begin(at, HANDLER_FAULT, offset);
    this.u16[(at + Rec.a) >> 1] = vector;
    this.u16[(at + Rec.c) >> 1] = vector === Vector.GP ? 1 : 0;
  }

  /** A record that goes on at an offset of the page. */
  writeContinue(at: number, offset: number, linkable: boolean): void {
    this.begin(at, HANDLER_CONTINUE, offset);
    this.u64[(at + Rec.immediate) >> 3] = BigInt(offset);
    this.u32[(at + Rec.link) >> 2] = linkable && offset < FRAME_SIZE ? 0 : LINK_NEVER;
  }

  /** A record that checks which frame the next page is. It is a header as well: of the one instruction behind it. */
  writeCheckPage(at: number, offset: number, next: Mfn): void {
    this.begin(at, HANDLER_CHECK_PAGE, offset);
    this.u32[(at + Rec.immediate) >> 2] = next;
    this.u32[(at + Head.count) >> 2] = 1;
  }

  private begin(at: number, handler: number, offset: number): void {
    this.u8.fill(0, at, at + RECORD_SIZE);
    this.u16[(at + Rec.handler) >> 1] = handler;
    this.u16[(at + Rec.offset) >> 1] = offset;
  }

  private writeInstruction(at: number, i: Instruction, offset: number, mode: number): void {
    const long64 = (mode & ModeBit.long64) !== 0;
    const stackWidth = long64 ? 64 : mode & ModeBit.stack32 ? 32 : 16;
    this.begin(at, this.handlers.idOf(i.row, variantOf(i, long64, stackWidth)), offset);
    this.u8[at + Rec.length] = i.length;
    this.writeOperands(at, i, offset);
    if (i.memory) this.writeMemory(at, i, i.memory, offset, long64);
  }

  private writeOperands(at: number, i: Instruction, offset: number): void {
    const { u16, u32, u64 } = this;
    const bound = boundOperands(i.row, i.operands.some(isMemoryRm));
    for (let n = 0; n < bound.length; n++) {
      const { spec, immediate, register } = i.operands[n];
      const { kind, field } = bound[n];
      if (spec.source === 'relative') {
        const target = offset + i.length + Number(BigInt.asIntN(64, immediate));
        u64[(at + Rec.immediate) >> 3] = BigInt.asUintN(64, BigInt(target));
        u32[(at + Rec.link) >> 2] = target >= 0 && target < FRAME_SIZE ? 0 : LINK_NEVER;
      } else if (spec.source === 'moffs' || spec.source === 'far') u64[(at + Rec.immediate) >> 3] = immediate;
      else if (kind === 'reg' && field !== null) u16[(at + field) >> 1] = registerAddress(spec, register);
      else if (kind === 'imm' && field === Rec.immediate) u64[(at + Rec.immediate) >> 3] = immediate;
      else if (kind === 'imm' && field === Rec.c) u16[(at + Rec.c) >> 1] = Number(immediate & 0xffffn);
    }
  }

  private writeMemory(at: number, i: Instruction, m: MemoryOperand, offset: number, long64: boolean): void {
    const { u8, u16, u32 } = this;
    let { displacement } = m;
    u16[(at + Rec.base) >> 1] = m.base >= 0 ? STATE + S.gpr + m.base * 8 : ZERO_ADDRESS;
    u16[(at + Rec.index) >> 1] = m.index >= 0 ? STATE + S.gpr + m.index * 8 : ZERO_ADDRESS;
    u8[at + Rec.scale] = m.scale;
    if (m.ripRelative) {
      u16[(at + Rec.base) >> 1] = RIP_BASE_ADDRESS;
      displacement += offset + i.length;
      if (displacementOverflows(i)) {
        // the page's start plus 8192 by an index, so that the displacement fits 32 bits
        u16[(at + Rec.index) >> 1] = PAGE_SIZE_ADDRESS;
        u8[at + Rec.scale] = 1;
        displacement -= 2 * FRAME_SIZE;
      }
    }
    u32[(at + Rec.displacement) >> 2] = displacement;
    u8[at + Rec.segment] = m.segment;
    const hasBase = !long64 || m.segment === SEG.fs || m.segment === SEG.gs;
    const base = STATE + S.segments + m.segment * SEGMENT_SIZE + SEG_FIELD.base;
    u16[(at + Rec.segmentBase) >> 1] = hasBase ? base : ZERO_ADDRESS;
  }
}

const isMemoryRm = (o: Instruction['operands'][number]): boolean => o.kind === 'mem' && o.spec.source === 'rm';
