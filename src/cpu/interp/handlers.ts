// Handlers: one per instruction variant. Hot ones are cases of the interpreter's main function, the rest are functions behind a table,
// each generated as a module of its own when the variant is first decoded (a boot needs some hundreds, of nearly as many rows and widths).
import { ModuleBuilder, type Signature, signature } from '../../wasm/module.ts';
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import type { Instruction } from '../decode/decoder.ts';
import type { OperandSpec, Row } from '../decode/row.ts';
import { FRAME_SIZE, RECORD_SIZE, S, STATE, UnitTrap } from '../layout.ts';
import type { Width } from '../semantics/ops.ts';
import { Emitter } from './emitter.ts';
import { FIRST_HANDLER, Rec } from './record.ts';
import {
  type BoundOperand,
  type Frame,
  type FunctionIndex,
  type MemoryForm,
  REGISTER_FILES,
  type Variant,
} from './variant.ts';
import { WasmOps } from './wasm-ops.ts';

const HANDLER_SIGNATURE: Signature = signature([Type.i32], [Type.i32]);
const REGISTER_FIELDS = [Rec.a, Rec.b, Rec.c];
const FIRST_HIGH_BYTE = 16;

/** Address of register `n` of a file in the state block; 16-19 are AH CH DH BH. */
export function registerAddress(spec: OperandSpec, n: number): number {
  const [base, shift] = REGISTER_FILES[spec.file];
  if (spec.file === 'gpr' && n >= FIRST_HIGH_BYTE) return base + ((n - FIRST_HIGH_BYTE) << shift) + 1;
  return base + (n << shift);
}

const bindings = new WeakMap<Row, [withRegister: BoundOperand[] | null, withMemory: BoundOperand[] | null]>();

/** Binds a row's operands to record fields; computed once for a row and a form. */
export function boundOperands(row: Row, memory: boolean): BoundOperand[] {
  let both = bindings.get(row);
  if (!both) bindings.set(row, (both = [null, null]));
  return (both[memory ? 1 : 0] ??= bindOperands(row, memory));
}

/** Binds a row's operands to record fields: registers to a, b, c in order; one immediate of 64 bits, a second of 16 in c. */
function bindOperands(row: Row, memory: boolean): BoundOperand[] {
  let registers = 0;
  let immediates = 0;
  return row.operands.map(spec => {
    const isMemory =
      (spec.source === 'rm' && spec.form !== 'reg' && memory) || spec.source === 'moffs' || spec.source === 'string';
    const immediate = ['imm', 'one', 'relative', 'far'].includes(spec.source);
    const kind = isMemory ? 'mem' : immediate ? 'imm' : 'reg';
    let field: number | null = null;
    let address = 0;
    if (spec.source === 'fixed') address = registerAddress(spec, spec.fixed);
    else if (kind === 'reg') field = REGISTER_FIELDS[registers++];
    else if (spec.source === 'imm') field = immediates++ === 0 ? Rec.immediate : Rec.c;
    return { kind, file: spec.file, spec, field, address };
  });
}

/** The variant that an instruction needs in a mode. */
export function variantOf(i: Instruction, long64: boolean, stackWidth: 16 | 32 | 64): Variant {
  return {
    width: i.width,
    memory: memoryForm(i, long64),
    addressWidth: i.addressWidth,
    stackWidth,
    long64,
    repeat: i.repeat,
  };
}

function memoryForm(i: Instruction, long64: boolean): MemoryForm {
  const m = i.memory;
  if (!m) return 'none';
  const source = i.row.operands.length === 0 ? null : impliedSource(i.row);
  if (source === 'moffs') return 'moffs';
  if (!long64 || i.addressWidth !== 64) return 'full';
  const overridden = m.segment === 4 || m.segment === 5;
  return m.index < 0 && !overridden && source !== 'string' && !displacementOverflows(i) ? 'simple' : 'indexed';
}

function impliedSource(row: Row): 'moffs' | 'string' | null {
  for (const o of row.operands) if (o.source === 'moffs' || o.source === 'string') return o.source;
  return null;
}

/** RIP-relative displacements count from the page's start in records; near 2^31 they need an index (see record-writer.ts). */
export function displacementOverflows(i: Instruction): boolean {
  const m = i.memory;
  return m?.ripRelative === true && m.displacement > 0x7fffffff - 2 * FRAME_SIZE;
}

const FORMS: MemoryForm[] = ['none', 'simple', 'indexed', 'full', 'moffs'];
const REPEATS = ['none', 'rep', 'repne'] as const;

const widthIndex = (w: Width): number => (w === 64 ? 3 : w >> 4); // 0 1 2 3

function keyOf(row: Row, v: Variant): number {
  const address = v.addressWidth >> 5; // 0 1 2
  const stack = v.stackWidth >> 5;
  const small =
    widthIndex(v.width) + 4 * (FORMS.indexOf(v.memory) + 5 * (address + 3 * (stack + 3 * (v.long64 ? 1 : 0))));
  return (row.id * 3 + REPEATS.indexOf(v.repeat)) * 512 + small;
}

/** Emits the code of one variant into a function; the frame says how it leaves. Returns false where control cannot fall out at the end. */
export function emitHandler(e: Emitter, row: Row, variant: Variant, frame: Frame, fn: FunctionIndex): boolean {
  const o = new WasmOps(e, variant, frame, fn, row);
  if (row.unit) {
    e.i32(0);
    e.memory(Op.i32Load, STATE + S.unitTrap);
    e.i32(UnitTrap[row.unit]);
    e.op(Op.i32And);
    e.open(Op.if);
    o.call('unitTrap', o.const(UnitTrap[row.unit]));
    e.end();
  }
  row.semantic(o, variant.width, ...boundOperands(row, !['none', 'moffs'].includes(variant.memory)));
  return !o.left;
}

/** Functions that out-of-line handlers may call: helpers and slow memory functions. */
export type HandlerImports = (name: string) => CallableFunction;

/** Handlers by variant. */
export class Handlers {
  private readonly ids = new Map<number, number>();
  private readonly names: string[] = [];
  private nextId: number;
  private readonly table: WebAssembly.Table;
  private readonly memory: WebAssembly.Memory;
  private readonly imports: HandlerImports;
  private readonly room: number;

  /**
   * @param inline variants that the main function handles itself, in the order of their cases
   * @param imports resolves the functions that handlers import
   * @param room elements of the table that are the handlers'
   */
  constructor(
    memory: WebAssembly.Memory,
    table: WebAssembly.Table,
    inline: readonly { row: Row; variant: Variant }[],
    imports: HandlerImports,
    room: number,
  ) {
    this.memory = memory;
    this.room = room;
    this.table = table;
    this.imports = imports;
    inline.forEach(({ row, variant }, i) => {
      this.ids.set(keyOf(row, variant), FIRST_HANDLER + i);
      this.names[FIRST_HANDLER + i] = describe(row, variant);
    });
    this.nextId = FIRST_HANDLER + inline.length;
  }

  /** Name of a handler for profiles and dumps. */
  nameOf(id: number): string {
    return this.names[id] ?? `handler ${id}`;
  }

  /** The handler's number, making the handler where it is new. */
  idOf(row: Row, variant: Variant): number {
    const key = keyOf(row, variant);
    let id = this.ids.get(key);
    if (id === undefined) {
      id = this.make(row, variant);
      this.ids.set(key, id);
    }
    return id;
  }

  private make(row: Row, variant: Variant): number {
    const id = this.nextId++;
    const handler = compileHandler(this.memory, row, variant, this.imports);
    if (id >= this.room) throw new Error('the function table has no room for another handler');
    this.table.set(id, handler);
    this.names[id] = describe(row, variant);
    return id;
  }
}

function describe(row: Row, v: Variant): string {
  return `${row.pattern} w${v.width} ${v.memory}${v.repeat === 'none' ? '' : ` ${v.repeat}`}`;
}

/** One out-of-line handler: takes the record's address; gives the next record, 1 to go on at S.rip, or 0 to leave run(). */
function compileHandler(
  memory: WebAssembly.Memory,
  row: Row,
  variant: Variant,
  imports: HandlerImports,
): CallableFunction {
  const e = new Emitter(1);
  const names: { name: string; params: ValueType[]; results: ValueType[] }[] = [];
  const fn: FunctionIndex = (name, params, results) => {
    const known = names.findIndex(n => n.name === name);
    return known >= 0 ? known : names.push({ name, params, results }) - 1;
  };
  const frame: Frame = {
    pc: 0,
    leave: x => {
      x.i32(0);
      x.op(Op.return);
    },
    transfer: x => {
      x.i32(1);
      x.op(Op.return);
    },
    follow: null,
    link: null,
  };
  const fallsThrough = emitHandler(e, row, variant, frame, fn);
  if (fallsThrough) {
    e.get(0);
    e.i32(RECORD_SIZE);
    e.op(Op.i32Add);
  } else e.op(Op.unreachable);
  const m = new ModuleBuilder();
  for (const n of names) m.importFunction('e', n.name, signature(n.params, n.results));
  const pages = memory.buffer.byteLength >>> 16;
  m.importMemory('e', 'memory', pages, pages);
  m.export(
    'h',
    m.define({ name: describe(row, variant), signature: HANDLER_SIGNATURE, locals: e.locals, code: e.code }),
  );
  const environment: Record<string, WebAssembly.ImportValue> = { memory };
  for (const n of names) environment[n.name] = imports(n.name) as WebAssembly.ImportValue;
  const instance = new WebAssembly.Instance(new WebAssembly.Module(m.build()), { e: environment });
  return instance.exports.h as CallableFunction;
}
