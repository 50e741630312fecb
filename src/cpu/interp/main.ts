// The interpreter's core module: run(), a loop with one br_table over predecoded records, and the slow memory functions.
import { ModuleBuilder, signature } from '../../wasm/module.ts';
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import type { Row } from '../decode/row.ts';
import { JUMP_CACHE, JUMP_CACHE_ENTRIES, S, STATE } from '../layout.ts';
import type { Width } from '../semantics/ops.ts';
import { Emitter } from './emitter.ts';
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
import type { Frame, FunctionIndex, Variant } from './wasm-ops.ts';

/** Results of the core's run(). */
export const RunResult = {
  /** S.pending is set: S.record is the instruction, S.block its block. */
  left: 0,
  /** The next block costs more fuel than is left: S.rip is its start. */
  fuel: 1,
} as const;

/** Functions that the processor gives the core; addresses are split in 32-bit halves where that spares BigInts. */
export interface CoreImports {
  /** Fills the TLB for an access within one page; gives its engine-memory address, or 0 for everything special. */
  fill(lo: number, hi: number, bytes: number, kind: number): number;
  loadSpecial(linear: bigint, bytes: number, hint: number): bigint;
  /** As loadSpecial, but checks that the bytes may be written. */
  updateSpecial(linear: bigint, bytes: number, hint: number): bigint;
  storeSpecial(linear: bigint, value: bigint, bytes: number, hint: number): void;
  store128(linear: bigint, low: bigint, high: bigint, hint: number): void;
  /** Finds or decodes the block at S.rip; 0 and S.pending where that faults. */
  lookup(): number;
  /** Resolves the link of the branch record. */
  link(record: number): void;
  /** A HANDLER_CHECK_PAGE record: 1 if the next page is still the frame it was decoded from. */
  checkPage(record: number): number;
}

const LOADS: Record<Width, number> = { 8: Op.i64Load8U, 16: Op.i64Load16U, 32: Op.i64Load32U, 64: Op.i64Load };
const STORES: Record<Width, number> = { 8: Op.i64Store8, 16: Op.i64Store16, 32: Op.i64Store32, 64: Op.i64Store };
const WIDTHS: Width[] = [8, 16, 32, 64];
const { i32, i64 } = Type;

/** Locals of run(): parameters fuel and pc first. */
const FUEL = 0;
const PC = 1;
const BLOCK = 2;
const NEXT = 3;
const RIP = 4;
const FIXED_LOCALS: ValueType[] = [i32, i32, i64];

/** Exports of an instantiated core. */
export interface Core {
  /** Runs from S.rip with an i32 of fuel; gives a RunResult; what is left of the fuel stands in S.fuel. */
  run(fuel: number): number;
  functions: Record<string, CallableFunction>;
}

/**
 * Builds and instantiates the core.
 * @param inline the variants that become cases of the loop
 * @param helper resolves helpers that inline variants call
 */
export function instantiateCore(
  memory: WebAssembly.Memory,
  table: WebAssembly.Table,
  inline: readonly { row: Row; variant: Variant }[],
  imports: CoreImports,
  helper: (name: string) => CallableFunction,
): Core {
  const m = new ModuleBuilder();
  const environment: Record<string, WebAssembly.ImportValue> = { memory, table };
  const known = new Map<string, number>();
  const declare = (name: string, params: ValueType[], results: ValueType[], f: unknown): void => {
    known.set(name, m.importFunction('e', name, signature(params, results)));
    environment[name] = f as WebAssembly.ImportValue;
  };
  declare('fill', [i32, i32, i32, i32], [i32], imports.fill);
  declare('loadSpecial', [i64, i32, i32], [i64], imports.loadSpecial);
  declare('updateSpecial', [i64, i32, i32], [i64], imports.updateSpecial);
  declare('storeSpecial', [i64, i64, i32, i32], [], imports.storeSpecial);
  declare('store128', [i64, i64, i64, i32], [], imports.store128);
  declare('lookup', [], [i32], imports.lookup);
  declare('link', [i32], [], imports.link);
  declare('checkPage', [i32], [i32], imports.checkPage);

  // a dry pass finds the helpers that inline variants import, since imports come first
  const helpers = new Map<string, { params: ValueType[]; results: ValueType[] }>();
  const collect: FunctionIndex = (name, params, results) => {
    if (name.startsWith('helper:') || name === 'segment') helpers.set(name, { params, results });
    return 0;
  };
  emitRun(inline, collect, 0);
  for (const [name, { params, results }] of helpers) declare(name, params, results, helper(name));
  const pages = memory.buffer.byteLength >>> 16;
  m.importMemory('e', 'memory', pages, pages);
  m.importTable('e', 'table');

  const functions: string[] = [];
  for (const w of WIDTHS) {
    for (const kind of ['load', 'update', 'store'] as const) {
      const name = `${kind}${w}`;
      known.set(name, m.define(slowAccess(kind, w, known)));
      m.export(name, known.get(name)!);
      functions.push(name);
    }
  }
  const resolve: FunctionIndex = name => {
    const index = known.get(name);
    if (index === undefined) throw new Error(`the core has no function ${name}`);
    return index;
  };
  const handlerType = m.typeIndex(signature([i32], [i32]));
  const body = emitRun(inline, resolve, handlerType);
  m.export('run', m.define({ name: 'run', signature: signature([i32], [i32]), locals: body.locals, code: body.code }));
  const instance = new WebAssembly.Instance(new WebAssembly.Module(m.build()), { e: environment });
  const exported: Record<string, CallableFunction> = {};
  for (const name of functions) exported[name] = instance.exports[name] as CallableFunction;
  exported.store128 = imports.store128;
  return { run: instance.exports.run as Core['run'], functions: exported };
}

/** load/update (va, hint) -> value; store (va, value, hint): the TLB is filled and the access done, or a special function does it. */
function slowAccess(kind: 'load' | 'update' | 'store', w: Width, known: Map<string, number>) {
  const store = kind === 'store';
  const hint = store ? 2 : 1;
  const host = store ? 3 : 2;
  const e = new Emitter(host);
  const bytes = w / 8;
  if (kind !== 'update') {
    e.get(0);
    e.op(Op.i32WrapI64);
    e.get(0);
    e.op(Op.i64Const, 32, Op.i64ShrU, Op.i32WrapI64);
    e.i32(bytes);
    e.i32(store ? 1 : 0);
    e.call(known.get('fill')!);
    e.local(i32);
    e.tee(host);
    e.open(Op.if);
    e.get(host);
    if (store) e.get(1);
    e.memory(store ? STORES[w] : LOADS[w], 0);
    e.op(Op.return);
    e.end();
  }
  e.get(0);
  if (store) e.get(1);
  e.i32(bytes);
  e.get(hint);
  e.call(known.get(`${kind}Special`)!);
  return {
    name: `${kind}${w}`,
    signature: signature(store ? [i64, i64, i32] : [i64, i32], store ? [] : [i64]),
    locals: e.locals,
    code: e.code,
  };
}

/** The body of run(fuel): see the head of this file. */
function emitRun(inline: readonly { row: Row; variant: Variant }[], fn: FunctionIndex, handlerType: number): Emitter {
  const e = new Emitter(1);
  for (const t of [i32, ...FIXED_LOCALS]) e.local(t);
  const firstFree = e.locals.length;

  e.open(Op.block);
  const leave = e.depth;
  e.open(Op.loop);
  const jumpLoop = e.depth; // again: look up S.rip
  e.open(Op.block);
  const jump = e.depth;
  emitJump(e, fn, leave);
  e.open(Op.loop);
  const next = e.depth;

  const cases = FIRST_HANDLER + inline.length;
  for (let i = 0; i <= cases; i++) e.open(Op.block);
  e.get(PC);
  e.memory(Op.i32Load16U, Rec.handler);
  e.code.push(Op.brTable);
  pushTargets(e.code, cases);

  const advance = (): void => {
    e.get(PC);
    e.i32(32);
    e.op(Op.i32Add);
    e.set(PC);
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
      x.open(Op.if);
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
        e.get(PC);
        e.i32(32);
        e.op(Op.i32Add);
        e.set(PC);
        e.end();
        e.get(link);
        e.op(Op.i32Eqz);
        e.open(Op.if);
        frame.link!(e);
        e.end();
      }
      // S.rip = ripBase + the record's offset; neither is an instruction: the refund below leaves them out
      e.i32(0);
      e.i32(0);
      e.memory(Op.i64Load, STATE + S.ripBase);
      e.get(PC);
      e.memory(Op.i64Load16U, Rec.offset);
      e.op(Op.i64Add);
      e.memory(Op.i64Store, STATE + S.rip);
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
      e.i32(0);
      e.i32(0);
      e.memory(Op.i64Load, STATE + S.ripBase);
      e.get(PC);
      e.memory(Op.i64Load16U, Rec.offset);
      e.op(Op.i64Add);
      e.memory(Op.i64Store, STATE + S.rip);
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
  e.i32(0);
  return e;
}

/** Finds the block at S.rip (jump cache, else lookup), pays for it and enters it. */
function emitJump(e: Emitter, fn: FunctionIndex, leave: number): void {
  e.i32(0);
  e.memory(Op.i64Load, STATE + S.rip);
  e.tee(RIP);
  // index: low bits of RIP, folded; entries are {tag i64, header u32, salt u32}
  e.get(RIP);
  e.op(Op.i64Const, 12, Op.i64ShrU, Op.i64Xor, Op.i32WrapI64);
  e.i32(4);
  e.op(Op.i32Shl);
  e.i32((JUMP_CACHE_ENTRIES - 1) << 4);
  e.op(Op.i32And);
  e.tee(NEXT);
  e.memory(Op.i64Load, JUMP_CACHE);
  e.get(RIP);
  e.op(Op.i64Eq);
  e.get(NEXT);
  e.memory(Op.i32Load, JUMP_CACHE + 12);
  e.i32(0);
  e.memory(Op.i32Load, STATE + S.jumpSalt);
  e.op(Op.i32Eq, Op.i32And);
  e.open(Op.if);
  e.get(NEXT);
  e.memory(Op.i32Load, JUMP_CACHE + 8);
  e.set(BLOCK);
  e.else();
  // with no fuel left a fault of the fetch is the next run's
  e.get(FUEL);
  e.op(Op.i32Eqz);
  e.open(Op.if);
  storeFuel(e);
  e.i32(1);
  e.op(Op.return);
  e.end();
  e.call(fn('lookup', [], [i32]));
  e.tee(BLOCK);
  e.op(Op.i32Eqz);
  e.open(Op.if);
  // no block: the fault is at the target, nothing of it is executed
  storeFuel(e);
  e.i32(0);
  e.i32(0);
  e.memory(Op.i32Store, STATE + S.block);
  e.i32(0);
  e.op(Op.return);
  e.end();
  e.end();
  e.get(FUEL);
  e.get(BLOCK);
  e.memory(Op.i32Load, Head.count);
  e.op(Op.i32LtS);
  e.open(Op.if);
  storeFuel(e);
  e.i32(1);
  e.op(Op.return);
  e.end();
  e.get(FUEL);
  e.get(BLOCK);
  e.memory(Op.i32Load, Head.count);
  e.op(Op.i32Sub);
  e.set(FUEL);
  e.i32(0);
  // RIP of the page's start: CS need not begin at one
  e.get(RIP);
  e.get(BLOCK);
  e.memory(Op.i64Load32U, Head.offset);
  e.op(Op.i64Sub);
  e.memory(Op.i64Store, STATE + S.ripBase);
  e.get(BLOCK);
  e.i32(HEAD_SIZE);
  e.op(Op.i32Add);
  e.set(PC);
  void leave;
}

/** The current record is no instruction: it does not count as executed. */
function stepBack(e: Emitter): void {
  e.get(PC);
  e.i32(32);
  e.op(Op.i32Sub);
  e.set(PC);
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
  e.i32(5);
  e.op(Op.i32ShrU, Op.i32Sub);
  e.set(FUEL);
}

function storeFuel(e: Emitter): void {
  e.i32(0);
  e.get(FUEL);
  e.op(Op.i64ExtendI32S);
  e.memory(Op.i64Store, STATE + S.fuel);
}

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
  put(S.exit, () => e.i32(1));
  put(S.faultVector, field(Rec.a));
  put(S.faultHasCode, field(Rec.c));
  put(S.faultCode, field(Rec.b));
}

/** br_table targets 0..count-1 and the default `count`. */
function pushTargets(code: number[], count: number): void {
  const leb = (v: number): void => {
    let x = v;
    while (x > 0x7f) {
      code.push((x & 0x7f) | 0x80);
      x >>>= 7;
    }
    code.push(x);
  };
  leb(count);
  for (let i = 0; i <= count; i++) leb(i);
}
