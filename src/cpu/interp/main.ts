// The interpreter's main function, run(): a loop with one br_table over predecoded records, a case an instruction variant that is hot.
import { pushU32 } from '../../wasm/encode.ts';
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import type { Row } from '../decode/row.ts';
import { Exit } from '../exits.ts';
import { JUMP_CACHE, RECORD_SIZE, S, STATE } from '../layout.ts';
import { Emitter } from './emitter.ts';
import { emitProbe, emitRipBase, RegionResult } from './enter.ts';
import { emitHandler } from './handlers.ts';
import {
  FIRST_HANDLER,
  HANDLER_CHECK_PAGE,
  HANDLER_CONTINUE,
  HANDLER_FAULT,
  HANDLER_STALE,
  HEAD_SIZE,
  Head,
  LINK_NEVER,
  Rec,
} from './record.ts';
import type { Frame, FunctionIndex, Variant } from './variant.ts';

const { i32, i64 } = Type;
const RECORD_SHIFT = Math.log2(RECORD_SIZE);

/** Results of the core's run(). */
export const RunResult = {
  /** S.pending is set: S.record is the instruction, S.block its block. */
  left: 0,
  /** The next block costs more fuel than is left: S.rip is its start. */
  fuel: 1,
} as const;

/** Locals of run(): parameters fuel and pc first. */
const FUEL = 0;
const PC = 1;
const BLOCK = 2;
const NEXT = 3;
const RIP = 4;
const FIXED_LOCALS: ValueType[] = [i32, i32, i64];

/**
 * The body of run(fuel). `fn` resolves the functions it calls, handlerType is the index of out-of-line handlers' signature.
 * @param minFuel what a compiled region wants: no path in it is longer without a check of the fuel
 */
export function emitRun(
  inline: readonly { row: Row; variant: Variant }[],
  fn: FunctionIndex,
  handlerType: number,
  minFuel: number,
): Emitter {
  const e = new Emitter(1);
  for (const t of [i32, ...FIXED_LOCALS]) e.local(t);
  const firstFree = e.locals.length;

  e.i32(0);
  e.i32(0);
  e.memory(Op.i32Store, STATE + S.regionCalls);
  e.open(Op.block);
  const leave = e.depth;
  e.open(Op.loop);
  const jumpLoop = e.depth; // again: look up S.rip
  e.open(Op.block);
  const jump = e.depth;
  emitJump(e, fn, jumpLoop, handlerType, minFuel);
  e.open(Op.loop);
  const next = e.depth;

  const cases = FIRST_HANDLER + inline.length;
  for (let i = 0; i <= cases; i++) e.open(Op.block);
  e.get(PC);
  e.memory(Op.i32Load16U, Rec.handler);
  e.code.push(Op.brTable);
  pushTargets(e.code, cases);

  const advance = (): void => {
    movePc(e, RECORD_SIZE);
    e.br(next);
  };
  const frame: Frame = {
    pc: PC,
    leave: x => x.br(leave),
    transfer: x => x.br(jump),
    follow: (x, link) => {
      x.get(FUEL);
      x.get(link);
      x.memory(Op.i32Load, Head.count);
      x.op(Op.i32Sub);
      x.i32(0);
      x.op(Op.i32GeS);
      // what is compiled is entered by the jump cache
      x.get(link);
      x.memory(Op.i32Load, Head.heat);
      x.i32(0);
      x.op(Op.i32Ne, Op.i32And);
      x.open(Op.if);
      emitCool(x, link);
      emitRefund(x);
      x.get(FUEL);
      x.get(link);
      x.memory(Op.i32Load, Head.count);
      x.op(Op.i32Sub);
      x.set(FUEL);
      x.get(link);
      x.tee(BLOCK);
      x.i32(HEAD_SIZE);
      x.op(Op.i32Add);
      x.set(PC);
      x.br(next);
      x.end();
    },
    link: x => {
      x.get(PC);
      x.call(fn('link', [i32], []));
    },
  };
  for (let i = 0; i < cases; i++) {
    e.end();
    e.releaseAll(firstFree);
    if (i === HANDLER_STALE || i === HANDLER_CONTINUE) {
      if (i === HANDLER_CONTINUE) {
        const link = e.local(i32);
        e.get(PC);
        e.memory(Op.i32Load, Rec.link);
        e.tee(link);
        e.i32(LINK_NEVER);
        e.op(Op.i32GtU);
        e.open(Op.if);
        stepBack(e);
        frame.follow!(e, link);
        movePc(e, RECORD_SIZE);
        e.end();
        e.get(link);
        e.op(Op.i32Eqz);
        e.open(Op.if);
        frame.link!(e);
        e.end();
      }
      // neither is an instruction: the refund below leaves them out
      setRipFromRecord(e);
      stepBack(e);
      e.br(jump);
    } else if (i === HANDLER_FAULT) {
      emitRecordedFault(e);
      e.br(leave);
    } else if (i === HANDLER_CHECK_PAGE) {
      e.get(PC);
      e.call(fn('checkPage', [i32], [i32]));
      e.open(Op.if);
      // this record is the header of the one instruction behind it, so that it is counted once
      e.get(PC);
      e.set(BLOCK);
      advance();
      e.end();
      // decode afresh: S.rip is the next record's
      setRipFromRecord(e);
      stepBack(e);
      e.br(jump);
    } else {
      const { row, variant } = inline[i - FIRST_HANDLER];
      if (emitHandler(e, row, variant, frame, fn)) advance();
    }
  }
  // out of line; where the run stands is left for helpers that ask for the time
  e.end();
  e.releaseAll(firstFree);
  storeFuel(e);
  e.i32(0);
  e.get(BLOCK);
  e.memory(Op.i32Store, STATE + S.block);
  e.get(PC);
  e.get(PC);
  e.memory(Op.i32Load16U, Rec.handler);
  e.code.push(Op.callIndirect, handlerType, 0);
  e.tee(NEXT);
  e.i32(1);
  e.op(Op.i32GtU);
  e.open(Op.if);
  e.get(NEXT);
  e.set(PC);
  e.br(next);
  e.end();
  e.get(NEXT);
  e.br(jump, Op.brIf);
  e.br(leave);
  e.end(); // loop next
  e.end(); // block jump
  // the block is left early or at its end: fuel of what was not executed comes back
  emitRefund(e);
  e.br(jumpLoop);
  e.end(); // loop jumpLoop
  e.end(); // block leave
  emitRefund(e);
  e.i32(0);
  e.get(BLOCK);
  e.memory(Op.i32Store, STATE + S.block);
  e.i32(0);
  e.get(PC);
  e.memory(Op.i32Store, STATE + S.record);
  storeFuel(e);
  e.i32(RunResult.left);
  return e;
}

/** Finds the block at S.rip (jump cache, else lookup), pays for it and enters it: its compiled region, or its first record. */
function emitJump(e: Emitter, fn: FunctionIndex, jumpLoop: number, regionType: number, minFuel: number): void {
  e.i32(0);
  e.memory(Op.i64Load, STATE + S.rip);
  e.set(RIP);
  emitProbe(e, RIP, NEXT);
  e.open(Op.if);
  e.get(NEXT);
  e.memory(Op.i32Load, JUMP_CACHE + 8);
  e.set(BLOCK);
  e.else();
  // with no fuel left a fault of the fetch is the next run's
  e.get(FUEL);
  e.op(Op.i32Eqz);
  e.open(Op.if);
  returnFromRun(e, RunResult.fuel);
  e.end();
  e.call(fn('lookup', [], [i32]));
  e.tee(BLOCK);
  e.op(Op.i32Eqz);
  e.open(Op.if);
  // no block: the fault is at the target, nothing of it is executed
  e.i32(0);
  e.i32(0);
  e.memory(Op.i32Store, STATE + S.block);
  returnFromRun(e, RunResult.left);
  e.end();
  e.end();
  e.get(FUEL);
  e.get(BLOCK);
  e.memory(Op.i32Load, Head.count);
  e.op(Op.i32LtS);
  e.open(Op.if);
  returnFromRun(e, RunResult.fuel);
  e.end();
  emitRipBase(e, RIP, BLOCK);
  e.open(Op.block);
  const entered = e.depth;
  e.get(BLOCK);
  e.memory(Op.i32Load, Head.heat);
  e.open(Op.if);
  emitCool(e, BLOCK);
  e.else();
  emitRegion(e, fn, entered, jumpLoop, regionType, minFuel);
  e.end();
  e.get(BLOCK);
  e.i32(HEAD_SIZE);
  e.op(Op.i32Add);
  e.set(PC);
  e.get(FUEL);
  e.get(BLOCK);
  e.memory(Op.i32Load, Head.count);
  e.op(Op.i32Sub);
  e.set(FUEL);
  e.end();
}

/** One more entry of the block whose header is in a local. */
function emitCool(e: Emitter, header: number): void {
  e.get(header);
  e.get(header);
  e.memory(Op.i32Load, Head.heat);
  e.i32(1);
  e.op(Op.i32Sub);
  e.memory(Op.i32Store, Head.heat);
}

/** Runs the compiled region of the block, where there is one and fuel enough; it may have ended within another block. */
function emitRegion(
  e: Emitter,
  fn: FunctionIndex,
  entered: number,
  jumpLoop: number,
  regionType: number,
  minFuel: number,
): void {
  e.get(FUEL);
  e.i32(minFuel);
  e.op(Op.i32GeS);
  e.open(Op.if);
  e.get(BLOCK);
  e.memory(Op.i32Load, Head.compiled);
  e.tee(NEXT);
  e.open(Op.if);
  e.get(FUEL);
  e.get(NEXT);
  e.code.push(Op.callIndirect);
  pushU32(e.code, regionType);
  e.code.push(0);
  e.set(NEXT);
  e.i32(0);
  e.memory(Op.i32Load, STATE + S.fuel);
  e.set(FUEL);
  e.get(NEXT);
  e.i32(RegionResult.jump);
  e.op(Op.i32Eq);
  e.br(jumpLoop, Op.brIf);
  e.get(NEXT);
  e.op(Op.i32Eqz);
  e.open(Op.if);
  returnFromRun(e, RunResult.left);
  e.end();
  // the interpreter takes over at a record, and pays for what is left of its block
  e.get(NEXT);
  e.set(PC);
  e.i32(0);
  e.memory(Op.i32Load, STATE + S.block);
  e.tee(BLOCK);
  e.memory(Op.i32Load, Head.count);
  e.get(PC);
  e.get(BLOCK);
  e.op(Op.i32Sub);
  e.i32(RECORD_SHIFT);
  e.op(Op.i32ShrU, Op.i32Sub);
  e.i32(1);
  e.op(Op.i32Add);
  e.tee(NEXT);
  e.get(FUEL);
  e.op(Op.i32GtS);
  e.open(Op.if);
  setRipFromRecord(e);
  e.br(jumpLoop);
  e.end();
  e.get(FUEL);
  e.get(NEXT);
  e.op(Op.i32Sub);
  e.set(FUEL);
  e.br(entered);
  e.else();
  // told of it, the JIT compiles it or sets its heat
  e.get(BLOCK);
  e.call(fn('hot', [i32], []));
  e.br(jumpLoop);
  e.end();
  e.end();
}

function movePc(e: Emitter, bytes: number): void {
  e.get(PC);
  e.i32(bytes);
  e.op(Op.i32Add);
  e.set(PC);
}

/** The current record is no instruction: it does not count as executed. */
const stepBack = (e: Emitter): void => movePc(e, -RECORD_SIZE);

/** S.rip = RIP of the current record. */
function setRipFromRecord(e: Emitter): void {
  e.i32(0);
  e.i32(0);
  e.memory(Op.i64Load, STATE + S.ripBase);
  e.get(PC);
  e.memory(Op.i64Load16U, Rec.offset);
  e.op(Op.i64Add);
  e.memory(Op.i64Store, STATE + S.rip);
}

/** fuel += count(block) - executed, the current record counting as executed. */
function emitRefund(e: Emitter): void {
  e.get(FUEL);
  e.get(BLOCK);
  e.memory(Op.i32Load, Head.count);
  e.op(Op.i32Add);
  e.get(PC);
  e.get(BLOCK);
  e.op(Op.i32Sub);
  e.i32(RECORD_SHIFT);
  e.op(Op.i32ShrU, Op.i32Sub);
  e.set(FUEL);
}

function returnFromRun(e: Emitter, result: number): void {
  storeFuel(e);
  e.i32(result);
  e.op(Op.return);
}

function storeFuel(e: Emitter): void {
  e.i32(0);
  e.get(FUEL);
  e.op(Op.i64ExtendI32S);
  e.memory(Op.i64Store, STATE + S.fuel);
}

/** HANDLER_FAULT: the exception in the record. */
function emitRecordedFault(e: Emitter): void {
  const put = (offset: number, push: () => void): void => {
    e.i32(0);
    push();
    e.memory(Op.i32Store, STATE + offset);
  };
  const field = (f: number) => () => {
    e.get(PC);
    e.memory(Op.i32Load16U, f);
  };
  put(S.pending, () => e.i32(1));
  put(S.exit, () => e.i32(Exit.exception));
  put(S.faultVector, field(Rec.a));
  put(S.faultHasCode, field(Rec.c));
  put(S.faultCode, field(Rec.b));
}

/** br_table targets 0..count-1 and the default `count`. */
function pushTargets(code: number[], count: number): void {
  pushU32(code, count);
  for (let i = 0; i <= count; i++) pushU32(code, i);
}
