// Assembles a WebAssembly module: types, imports, functions, one table, exports, code (specification 2.0, 5.5 "Modules").
import { pushName, pushU32 } from './encode.ts';
import { Op, Type, type ValueType } from './opcodes.ts';

export interface Signature {
  params: readonly ValueType[];
  results: readonly ValueType[];
}

/** A function to be defined: its signature, the types of its further locals in order, its body without the final `end`. */
export interface FunctionBody {
  name?: string;
  signature: Signature;
  locals: readonly ValueType[];
  code: readonly number[];
}

interface ImportedFunction {
  module: string;
  name: string;
  type: number;
}

/**
 * A module under construction. All imports must be declared before the first function is defined, since function indices count imports first.
 */
export class ModuleBuilder {
  private readonly types: Signature[] = [];
  private readonly typeKeys = new Map<string, number>();
  private readonly imports: ImportedFunction[] = [];
  private readonly functions: (FunctionBody | null)[] = [];
  private readonly exports: { name: string; index: number }[] = [];
  private memory: { module: string; name: string; pages: number; maximum: number } | null = null;
  private table: { module: string; name: string } | null = null;
  private tableElements: number[] = [];

  /** Index of a signature in the type section. */
  typeIndex(signature: Signature): number {
    const key = `${signature.params.join()}:${signature.results.join()}`;
    let index = this.typeKeys.get(key);
    if (index === undefined) {
      index = this.types.push(signature) - 1;
      this.typeKeys.set(key, index);
    }
    return index;
  }

  /** Declares an imported function; returns its index. */
  importFunction(module: string, name: string, signature: Signature): number {
    if (this.functions.length > 0) throw new Error('imports come before functions');
    return this.imports.push({ module, name, type: this.typeIndex(signature) }) - 1;
  }

  importMemory(module: string, name: string, pages: number, maximum: number): void {
    this.memory = { module, name, pages, maximum };
  }

  /** The module's one table, imported. */
  importTable(module: string, name: string): void {
    this.table = { module, name };
  }

  /** Reserves an index for a function that is defined later (for calls in cycles). */
  declare(): number {
    return this.imports.length + this.functions.push(null) - 1;
  }

  /** Defines a function; returns its index. */
  define(body: FunctionBody, reserved?: number): number {
    this.typeIndex(body.signature);
    if (reserved === undefined) return this.imports.length + this.functions.push(body) - 1;
    this.functions[reserved - this.imports.length] = body;
    return reserved;
  }

  export(name: string, index: number): void {
    this.exports.push({ name, index });
  }

  /** The module's one function table, filled from element 0. */
  setTable(functionIndices: number[]): void {
    this.tableElements = functionIndices;
  }

  /** The module's bytes. */
  build(): Uint8Array<ArrayBuffer> {
    const out: number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
    section(out, 1, this.types, (s, t) => {
      s.push(0x60);
      pushU32(s, t.params.length);
      s.push(...t.params);
      pushU32(s, t.results.length);
      s.push(...t.results);
    });
    const importEntries: ((s: number[]) => void)[] = this.imports.map(i => s => {
      pushName(s, i.module);
      pushName(s, i.name);
      s.push(0x00);
      pushU32(s, i.type);
    });
    const memory = this.memory;
    if (memory) {
      importEntries.push(s => {
        pushName(s, memory.module);
        pushName(s, memory.name);
        s.push(0x02, 0x01);
        pushU32(s, memory.pages);
        pushU32(s, memory.maximum);
      });
    }
    const table = this.table;
    if (table) {
      importEntries.push(s => {
        pushName(s, table.module);
        pushName(s, table.name);
        s.push(0x01, 0x70, 0x00, 0x00);
      });
    }
    section(out, 2, importEntries, (s, write) => write(s));
    const bodies = this.functions.map((f, i) => {
      if (!f) throw new Error(`function ${i + this.imports.length} was declared but not defined`);
      return f;
    });
    section(out, 3, bodies, (s, f) => pushU32(s, this.typeIndex(f.signature)));
    if (this.tableElements.length > 0) {
      section(out, 4, [this.tableElements.length], (s, n) => {
        s.push(0x70, 0x01);
        pushU32(s, n);
        pushU32(s, n);
      });
    }
    section(out, 7, this.exports, (s, e) => {
      pushName(s, e.name);
      s.push(0x00);
      pushU32(s, e.index);
    });
    if (this.tableElements.length > 0) {
      section(out, 9, [this.tableElements], (s, elements) => {
        s.push(0x00, Op.i32Const, 0, Op.end);
        pushU32(s, elements.length);
        for (const e of elements) pushU32(s, e);
      });
    }
    return concat(concat(Uint8Array.from(out), codeSection(bodies)), this.nameSection(bodies));
  }

  /** The custom section that profilers and stack traces take function names from (specification 2.0, appendix "Custom Sections"). */
  private nameSection(bodies: readonly FunctionBody[]): Uint8Array {
    const named = bodies
      .map((f, i) => ({ name: f.name, index: i + this.imports.length }))
      .filter(f => f.name !== undefined);
    if (named.length === 0) return new Uint8Array(0);
    const names: number[] = [];
    pushU32(names, named.length);
    for (const { name, index } of named) {
      pushU32(names, index);
      pushName(names, name!);
    }
    const content: number[] = [];
    pushName(content, 'name');
    content.push(1);
    pushU32(content, names.length);
    content.push(...names);
    const out: number[] = [0];
    pushU32(out, content.length);
    return Uint8Array.from([...out, ...content]);
  }
}

function section<T>(out: number[], id: number, items: readonly T[], write: (s: number[], item: T) => void): void {
  if (items.length === 0) return;
  const body: number[] = [];
  pushU32(body, items.length);
  for (const item of items) write(body, item);
  out.push(id);
  pushU32(out, body.length);
  for (const b of body) out.push(b);
}

/** Locals are written as runs of one type. */
function encodeLocals(locals: readonly ValueType[]): number[] {
  const runs: { type: ValueType; count: number }[] = [];
  for (const type of locals) {
    const last = runs[runs.length - 1];
    if (last && last.type === type) last.count++;
    else runs.push({ type, count: 1 });
  }
  const out: number[] = [];
  pushU32(out, runs.length);
  for (const run of runs) {
    pushU32(out, run.count);
    out.push(run.type);
  }
  return out;
}

function codeSection(bodies: readonly FunctionBody[]): Uint8Array<ArrayBuffer> {
  const heads = bodies.map(f => {
    const locals = encodeLocals(f.locals);
    const head: number[] = [];
    pushU32(head, locals.length + f.code.length + 1);
    head.push(...locals);
    return head;
  });
  const count: number[] = [];
  pushU32(count, bodies.length);
  let size = count.length;
  bodies.forEach((f, i) => {
    size += heads[i].length + f.code.length + 1;
  });
  const prefix: number[] = [10];
  pushU32(prefix, size);
  const out = new Uint8Array(prefix.length + size);
  out.set(prefix, 0);
  out.set(count, prefix.length);
  let at = prefix.length + count.length;
  bodies.forEach((f, i) => {
    out.set(heads[i], at);
    at += heads[i].length;
    out.set(f.code, at);
    at += f.code.length;
    out[at++] = Op.end;
  });
  return out;
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}

/** Signatures are written often: `signature([Type.i32], [Type.i64])`. */
export function signature(params: readonly ValueType[], results: readonly ValueType[]): Signature {
  return { params, results };
}

export { Type };
