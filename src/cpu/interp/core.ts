// The interpreter's core module: run() and the slow memory functions, linked to the processor's functions in TypeScript.
import { ModuleBuilder, signature } from '../../wasm/module.ts';
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import type { Row } from '../decode/row.ts';
import type { Width } from '../semantics/ops.ts';
import { Emitter } from './emitter.ts';
import { emitEnter } from './enter.ts';
import { emitRun } from './main.ts';
import type { FunctionIndex, Variant } from './variant.ts';

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
  /** A block has been entered as often as its heat said. */
  hot(header: number): void;
}

const LOADS: Record<Width, number> = { 8: Op.i64Load8U, 16: Op.i64Load16U, 32: Op.i64Load32U, 64: Op.i64Load };
const STORES: Record<Width, number> = { 8: Op.i64Store8, 16: Op.i64Store16, 32: Op.i64Store32, 64: Op.i64Store };
const WIDTHS: Width[] = [8, 16, 32, 64];
const { i32, i64 } = Type;

/** See emitEnter. */
export const ENTER_SIGNATURE = signature([i32, i64], [i32]);

/** Exports of an instantiated core. */
export interface Core {
  /** Runs from S.rip with an i32 of fuel; gives a RunResult; what is left of the fuel stands in S.fuel. */
  run(fuel: number): number;
  /** What generated code calls beside helpers: loadN, updateN, storeN, store128, host, enter. */
  functions: Readonly<Record<string, CallableFunction | undefined>>;
}

/**
 * Builds and instantiates the core.
 * @param inline the variants that become cases of the loop
 * @param helper resolves helpers that inline variants call
 * @param minFuel see emitRun
 */
export function instantiateCore(
  memory: WebAssembly.Memory,
  table: WebAssembly.Table,
  inline: readonly { row: Row; variant: Variant }[],
  imports: CoreImports,
  helper: (name: string) => CallableFunction,
  minFuel: number,
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
  declare('hot', [i32], [], imports.hot);

  // a dry pass finds the helpers that inline variants import, since imports come first
  const helpers = new Map<string, { params: ValueType[]; results: ValueType[] }>();
  const collect: FunctionIndex = (name, params, results) => {
    if (name.startsWith('helper:') || name === 'segment') helpers.set(name, { params, results });
    return 0;
  };
  emitRun(inline, collect, 0, minFuel);
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
  m.export('host', m.define(hostOf(known)));
  functions.push('host');
  const handlerType = m.typeIndex(signature([i32], [i32]));
  const enter = emitEnter(handlerType, minFuel);
  m.export('enter', m.define({ name: 'enter', signature: ENTER_SIGNATURE, locals: enter.locals, code: enter.code }));
  functions.push('enter');
  const body = emitRun(inline, resolve, handlerType, minFuel);
  m.export('run', m.define({ name: 'run', signature: signature([i32], [i32]), locals: body.locals, code: body.code }));
  const instance = new WebAssembly.Instance(new WebAssembly.Module(m.build()), { e: environment });
  const exported: Record<string, CallableFunction> = {};
  for (const name of functions) exported[name] = instance.exports[name] as CallableFunction;
  exported.store128 = imports.store128;
  return { run: instance.exports.run as Core['run'], functions: exported };
}

/** host (va, bytes, kind): fills the TLB for an access; its engine-memory address, or 0 for everything special. */
function hostOf(known: Map<string, number>) {
  const e = new Emitter(3);
  e.get(0);
  e.op(Op.i32WrapI64);
  e.get(0);
  e.op(Op.i64Const, 32, Op.i64ShrU, Op.i32WrapI64);
  e.get(1);
  e.get(2);
  e.call(known.get('fill')!);
  return { name: 'host', signature: signature([i64, i32, i32], [i32]), locals: e.locals, code: e.code };
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
