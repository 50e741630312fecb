// A region as one WebAssembly function: (fuel i32) -> i32. Results: the record at which the interpreter takes over, 1 = go on at S.rip,
// 0 = S.pending is set. Registers are loaded on entry, live in locals, and are stored on the one way out.

import { signature } from '../../wasm/module.ts';
import { Op, Type, type ValueType } from '../../wasm/opcodes.ts';
import type { Instruction } from '../decode/decoder.ts';
import { RegionResult } from '../interp/enter.ts';
import { boundOperands } from '../interp/handlers.ts';
import { HEAD_SIZE } from '../interp/record.ts';
import { FRAME_SIZE, RECORD_SIZE, S, STATE, TLB_EXEC_ENTRIES, TLB_EXEC_OFFSET, UnitTrap } from '../layout.ts';
import type { EngineMemory } from '../memory.ts';
import * as x from './expressions.ts';
import { Code, type Expr, type Leaf, Local, Operation } from './expressions.ts';
import { type Effects, type Ending, JitOps, OutOfLine, type PendingFlags, type Surroundings } from './jit-ops.ts';
import { flagsLiveInto } from './liveness.ts';
import { type Means, pageOf, type Region, type RegionBlock, type Step } from './region.ts';
import { FLAG_WORDS, REGISTERS, RegisterFile, type Touched } from './registers.ts';
import { type Structure, structure } from './structure.ts';

const { i32, i64 } = Type;
/** Locals: the parameter, then those that every region has. */
const FUEL = 0;
const RESULT = 1;
const TLB = 2;
const SALT = 3;
/** Fuel below which a loop is left: V8 compiles better only what is entered again. */
const LIMIT = 4;
const RIP_BASE = 5;
const FIRST_REGISTER = 6;
const FIXED: readonly ValueType[] = [i32, i32, i32, i32, i64];
/** Instructions that a region may run for. */
const TURN = 100_000;

/** Function indices that a region's code calls. */
export interface Callees {
  /** The core's enter(). */
  enter: number;
  /** The out-of-line handler with this number, or null where there is none. */
  handler(id: number): number | null;
}

export interface Translated {
  locals: readonly ValueType[];
  code: readonly number[];
  /** Where each instruction's code begins, for dumps. */
  marks: readonly { at: number; step: Step }[];
}

/** What an instruction does when it is translated. */
export interface Plan {
  means: Means;
  effects: Effects;
  ending: Ending | null;
  touched: Touched;
}

const UNKNOWN: Effects = { readsFlags: true, setsFlags: false, mayLeave: true };
const UNTOUCHED: Touched = { used: 0, modified: 0 };
const MOST_PLANS = 20_000;

/** Plans by all that they depend on: instructions repeat. */
const plans = new Map<string, Plan>();

/** Finds out what an instruction does when it is translated, by translating it for nothing. */
export function plan(instruction: Instruction, position: number): Plan {
  const key = keyOf(instruction);
  const known = plans.get(key);
  const jumps = instruction.operands.some(o => o.spec.source === 'relative');
  if (known && !jumps) return known;
  const made = makePlan(instruction, position);
  if (plans.size >= MOST_PLANS) plans.clear();
  if (!jumps) plans.set(key, made);
  return made;
}

function keyOf({ row, width, addressWidth, repeat, operands, memory }: Instruction): string {
  let key = `${row.id} ${width} ${addressWidth} ${repeat}`;
  for (const { kind, register, immediate } of operands)
    key += kind === 'imm' ? ` i${immediate & 0xffn}` : ` ${register}`;
  if (memory) key += ` ${memory.base} ${memory.index} ${memory.segment} ${memory.ripRelative}`;
  return key;
}

function makePlan(instruction: Instruction, position: number): Plan {
  const code = new Code(0);
  const registers = new RegisterFile(code, NO_HOMES);
  const s: Surroundings = { code, registers, ripBase: 0, tlb: 0, pending: null, leave: () => {} };
  const o = new JitOps(s, instruction, position);
  const { ends } = instruction.row;
  try {
    emitInstruction(o, instruction, code);
  } catch (error) {
    if (!(error instanceof OutOfLine)) throw error;
    return { means: ends ? 'leave' : 'call', effects: UNKNOWN, ending: null, touched: UNTOUCHED };
  }
  if (ends && !o.ending) return { means: 'leave', effects: UNKNOWN, ending: null, touched: UNTOUCHED };
  const { touched } = registers;
  if (o.effects.setsFlags) touched.modified |= FLAG_WORDS;
  return { means: 'inline', effects: o.effects, ending: o.ending, touched };
}

const NO_HOMES: readonly number[] = Array(REGISTERS).fill(0);

function emitInstruction(o: JitOps, { row, width, memory }: Instruction, code: Code): void {
  if (row.restartable) throw new OutOfLine('faults after a write');
  if (row.unit) {
    const traps = code.local(i32);
    code.i32(0);
    code.memory(Op.i32Load, STATE + S.unitTrap);
    code.set(traps);
    const mask = new x.Constant(BigInt(UnitTrap[row.unit]), i32);
    o.leaveIf(new Operation([Op.i32And], [new Local(traps, i32), mask], i32));
  }
  const hasMemory = memory !== null && !row.operands.some(s => s.source === 'moffs');
  row.semantic(o, width, ...boundOperands(row, hasMemory));
}

/** The block ends with a call of what is not in the region. */
const isCallOut = (block: RegionBlock): boolean =>
  block.ending !== 'branch' && block.ending !== null && block.next !== null;

/** @param touched the registers that the region's instructions read or write */
export function translate(
  region: Region,
  memory: EngineMemory,
  touched: Touched,
  callees: Callees,
  minFuel: number,
): Translated {
  return new Translation(region, memory, touched, callees, minFuel).run();
}

class Translation implements Surroundings {
  readonly code = new Code(1);
  readonly registers: RegisterFile;
  readonly ripBase = RIP_BASE;
  readonly tlb = TLB;
  pending: PendingFlags | null = null;

  private readonly region: Region;
  private readonly memory: EngineMemory;
  private readonly callees: Callees;
  private readonly shape: Structure;
  private readonly liveInto: ReadonlySet<RegionBlock>;
  private readonly labels = new Map<RegionBlock, number>();
  private readonly used: number;
  private readonly modified: number;
  private readonly firstFree: number;
  private readonly minFuel: number;
  private readonly marks: { at: number; step: Step }[] = [];
  private exit = 0;
  /** It calls handlers or other regions. */
  private readonly calls: boolean;
  private block: RegionBlock;
  private index = 0;

  constructor(region: Region, memory: EngineMemory, touched: Touched, callees: Callees, minFuel: number) {
    this.minFuel = minFuel;
    const { code } = this;
    this.region = region;
    this.memory = memory;
    this.callees = callees;
    this.block = region.entry;
    this.shape = structure(region);
    this.calls = region.blocks.some(b => isCallOut(b) || b.steps.some(s => s.means === 'call'));
    this.liveInto = flagsLiveInto(this.shape.order);
    for (const type of FIXED) code.local(type);
    this.used = touched.used | touched.modified;
    this.modified = touched.modified;
    const homes: number[] = [];
    for (let n = 0; n < REGISTERS; n++) homes.push((this.used >> n) & 1 ? code.local(i64) : FIRST_REGISTER - 1);
    this.firstFree = code.locals.length;
    this.registers = new RegisterFile(code, homes);
  }

  run(): Translated {
    const { code, region } = this;
    this.emitEntry();
    code.open(Op.block);
    this.exit = code.depth;
    this.emitTree(region.entry);
    code.op(Op.unreachable);
    code.end();
    this.registers.storeAll(this.modified);
    this.storeFuel(() => code.get(FUEL));
    code.get(RESULT);
    if (this.registers.touched.modified & ~this.modified || this.registers.touched.used & ~this.used) {
      throw new Error('a region touches registers that its plan does not know');
    }
    return { locals: code.locals, code: code.code, marks: this.marks };
  }

  private emitEntry(): void {
    const { code, region } = this;
    const load = (op: number, offset: number, local: number): void => {
      code.i32(0);
      code.memory(op, STATE + offset);
      code.set(local);
    };
    load(Op.i64Load, S.ripBase, RIP_BASE);
    if (this.shape.isLoop.size > 0) this.emitLimit();
    load(Op.i32Load, S.tlb, TLB);
    if (this.calls) load(Op.i32Load, S.jumpSalt, SALT);
    for (const [page, mfn] of region.pages) if (page !== 0) this.emitPageCheck(page, mfn);
    this.registers.loadAll(this.used);
  }

  /** LIMIT = max(FUEL - TURN, this.minFuel) */
  private emitLimit(): void {
    const { code } = this;
    code.get(FUEL);
    code.i32(TURN);
    code.op(Op.i32Sub);
    code.tee(LIMIT);
    code.i32(this.minFuel);
    code.get(LIMIT);
    code.i32(this.minFuel);
    code.op(Op.i32GtS, Op.select);
    code.set(LIMIT);
  }

  /** The linear page so many pages from the entry's must be the frame that code was compiled from. */
  private emitPageCheck(page: number, mfn: number): void {
    const { code } = this;
    code.scoped(() => {
      const linear = new x.Let(x.binary('add', new Local(RIP_BASE), x.constant(page * FRAME_SIZE)));
      const entry = code.local(i32);
      x.wrap(x.binary('shr_u', linear, x.constant(8))).emit(code);
      code.i32((TLB_EXEC_ENTRIES - 1) << 4);
      code.op(Op.i32And);
      code.get(TLB);
      code.op(Op.i32Add);
      code.tee(entry);
      code.memory(Op.i64Load, TLB_EXEC_OFFSET);
      linear.emit(code);
      code.op(Op.i64Ne);
      code.get(entry);
      code.memory(Op.i32Load, TLB_EXEC_OFFSET + 8);
      x.wrap(linear).emit(code);
      code.op(Op.i32Add);
      code.i32(this.memory.frameOffset(mfn) | 0);
      code.op(Op.i32Ne, Op.i32Or);
      code.open(Op.if);
      // the interpreter goes its way from the entry's first record
      const { header } = this.region.entry;
      this.storeFuel(() => code.get(FUEL));
      this.storeConstant(S.block, header);
      code.i32(header + HEAD_SIZE);
      code.op(Op.return);
      code.end();
    });
  }

  private storeConstant(offset: number, value: number): void {
    this.code.i32(0);
    this.code.i32(value);
    this.code.memory(Op.i32Store, STATE + offset);
  }

  private storeFuel(push: () => void): void {
    this.code.i32(0);
    push();
    this.code.op(Op.i64ExtendI32S);
    this.code.memory(Op.i64Store, STATE + S.fuel);
  }

  // ---- control

  /** A block and what it dominates. */
  private emitTree(block: RegionBlock): void {
    const { code, shape } = this;
    const loops = shape.isLoop.has(block);
    if (loops) {
      code.open(Op.loop);
      this.labels.set(block, code.depth);
    }
    const merges = shape.merges.get(block) ?? [];
    for (const merge of merges) {
      code.open(Op.block);
      // a loop's own label is set when its code begins
      this.labels.set(merge, code.depth);
    }
    this.emitBlock(block);
    for (let i = merges.length - 1; i >= 0; i--) {
      code.end();
      this.emitTree(merges[i]);
    }
    if (loops) {
      code.op(Op.unreachable);
      code.end();
    }
  }

  private emitBlock(block: RegionBlock): void {
    const { code, registers } = this;
    registers.forget();
    code.releaseAll(this.firstFree);
    this.pending = null;
    this.block = block;
    const { steps } = block;
    code.get(FUEL);
    code.i32(steps.length);
    code.op(Op.i32Sub);
    code.set(FUEL);
    let ending: Ending | null = null;
    for (let i = 0; i < steps.length; i++) {
      this.block = block;
      this.index = i;
      const step = steps[i];
      this.marks.push({ at: code.code.length, step });
      if (step.means === 'leave') {
        this.leave();
        return;
      }
      if (step.means === 'call') this.emitCall(step);
      else {
        const o = new JitOps(this, step.instruction!, step.position);
        emitInstruction(o, step.instruction!, code);
        ending = o.ending;
      }
      if (!ending) this.release();
    }
    this.index = steps.length;
    if (!ending) this.goTo(block, block.next, block.nextOffset);
    else if (ending.kind !== 'branch' && isCallOut(block))
      this.callOut(block, ending.kind === 'indirect' ? ending.target : this.fromBase(block.targetOffset));
    else if (ending.kind === 'jump') this.goTo(block, block.target, block.targetOffset);
    else if (ending.kind === 'branch') {
      ending.condition.emit(code);
      this.fork(
        () => this.goTo(block, block.target, block.targetOffset),
        () => this.goTo(block, block.next, block.nextOffset),
      );
    } else {
      const target = ending.target instanceof x.Leaf ? new x.Let(ending.target) : ending.target;
      if (block.target) {
        target.emit(code);
        this.fromBase(block.targetOffset).emit(code);
        code.op(Op.i64Eq);
        this.fork(
          () => this.goTo(block, block.target, block.targetOffset),
          () => this.leaveTo(target),
        );
      } else this.leaveTo(target);
    }
  }

  /** The condition is on the stack; both ways end elsewhere. */
  private fork(taken: () => void, otherwise: () => void): void {
    const { code, pending, block } = this;
    code.open(Op.if);
    code.scoped(taken);
    code.end();
    this.pending = pending;
    this.block = block;
    this.release();
    otherwise();
  }

  /** Locals and leaves but those that the flags may still want. */
  private release(): void {
    if (!this.pending) {
      this.registers.keep([]);
      this.code.releaseAll(this.firstFree);
      return;
    }
    const locals = new Set<number>();
    const leaves: Leaf[] = [];
    const visitor = {
      local: (index: number) => locals.add(index),
      leaf: (leaf: Leaf) => leaves.push(leaf),
    };
    const { pending } = this;
    if (pending) {
      pending.result.visit(visitor);
      pending.aux.visit(visitor);
      pending.difference?.x.visit(visitor);
      pending.difference?.y.visit(visitor);
    }
    this.registers.keep(leaves);
    this.code.releaseAll(this.firstFree, locals);
  }

  /** Goes on in a block of the region, or leaves it where there is none. */
  private goTo(from: RegionBlock, to: RegionBlock | null, offset: number): void {
    const { code, shape } = this;
    if (!to) {
      this.leaveTo(this.fromBase(offset));
      return;
    }
    const back = shape.position.get(to)! <= shape.position.get(from)!;
    if (back) {
      code.get(FUEL);
      code.get(LIMIT);
      code.op(Op.i32LtS);
      code.open(Op.if);
      code.scoped(() => this.leaveTo(this.fromBase(offset)));
      code.end();
    }
    if (this.liveInto.has(to)) this.spillFlags();
    if (back || shape.isMerge.has(to)) code.br(this.labels.get(to)!);
    else this.emitTree(to);
  }

  private fromBase(offset: number): Expr {
    return x.binary('add', new Local(RIP_BASE), x.constant(offset));
  }

  private spillFlags(): void {
    if (this.pending) this.registers.spillFlags(this.pending.result, this.pending.aux);
  }

  /** Calls what is compiled elsewhere, and goes on behind it where that came back and nothing changed meanwhile. */
  private callOut(block: RegionBlock, target: Expr): void {
    const { code } = this;
    const back = this.fromBase(block.nextOffset);
    code.i32(0);
    target.emit(code);
    code.memory(Op.i64Store, STATE + S.rip);
    if (this.pending) this.registers.writeFlags(this.pending.result, this.pending.aux);
    this.pending = null;
    this.registers.storeAll(this.modified);
    this.storeFuel(() => code.get(FUEL));
    code.get(FUEL);
    back.emit(code);
    code.call(this.callees.enter);
    code.tee(RESULT);
    code.i32(RegionResult.jump);
    code.op(Op.i32Ne);
    code.i32(0);
    code.memory(Op.i64Load, STATE + S.rip);
    back.emit(code);
    code.op(Op.i64Ne, Op.i32Or);
    code.get(SALT);
    code.i32(0);
    code.memory(Op.i32Load, STATE + S.jumpSalt);
    code.op(Op.i32Ne, Op.i32Or);
    code.i32(0);
    code.memory(Op.i32Load, STATE + S.fuel);
    code.tee(FUEL);
    if (this.shape.isLoop.size > 0) code.get(LIMIT);
    else code.i32(this.minFuel);
    code.op(Op.i32LtS, Op.i32Or);
    code.open(Op.if);
    // all is stored already
    code.get(RESULT);
    code.op(Op.return);
    code.end();
    this.registers.forget();
    this.registers.loadAll(this.used);
    this.goTo(block, block.next, block.nextOffset);
  }

  // ---- leaving

  /** Leaves with RIP at a target, everything before it being done. */
  private leaveTo(rip: Expr): void {
    const { code } = this;
    code.i32(0);
    rip.emit(code);
    code.memory(Op.i64Store, STATE + S.rip);
    this.spillFlags();
    code.i32(RegionResult.jump);
    code.set(RESULT);
    code.br(this.exit);
  }

  /** Leaves for the interpreter at the current instruction's record. */
  leave(): void {
    const { code, block, index } = this;
    const { header, record } = block.steps[index];
    this.spillFlags();
    this.refund(block.steps.length - index);
    this.storeRipBase(block);
    this.storeConstant(S.block, header);
    code.i32(record);
    code.set(RESULT);
    code.br(this.exit);
  }

  private refund(instructions: number): void {
    if (instructions === 0) return;
    this.code.get(FUEL);
    this.code.i32(instructions);
    this.code.op(Op.i32Add);
    this.code.set(FUEL);
  }

  /** S.ripBase as the interpreter has it in this block, where it may be another. */
  private storeRipBase(block: RegionBlock): void {
    if (this.region.pages.size === 1 && !this.calls) return;
    this.code.i32(0);
    this.fromBase(pageOf(block.offset) * FRAME_SIZE).emit(this.code);
    this.code.memory(Op.i64Store, STATE + S.ripBase);
  }

  /** Calls the instruction's handler, as the interpreter would. */
  private emitCall(step: Step): void {
    const { code, block, index } = this;
    const handler = this.callees.handler(this.memory.u16[step.record >> 1]);
    if (handler === null) throw new Error('a handler is missing');
    if (this.pending) this.registers.writeFlags(this.pending.result, this.pending.aux);
    this.pending = null;
    this.registers.storeAll(this.modified);
    this.storeRipBase(block);
    this.storeConstant(S.block, step.header);
    // the interpreter would have paid for its whole block
    this.storeFuel(() => {
      code.get(FUEL);
      code.i32(block.steps.length - block.count);
      code.op(Op.i32Add);
    });
    code.i32(step.record);
    code.call(handler);
    code.set(RESULT);
    this.registers.forget();
    this.registers.loadAll(this.used);
    code.get(RESULT);
    code.i32(step.record + RECORD_SIZE);
    code.op(Op.i32Ne);
    code.open(Op.if);
    this.refund(block.steps.length - index - 1);
    code.br(this.exit);
    code.end();
    // translations or code may have changed: the interpreter looks before it goes on
    code.get(SALT);
    code.i32(0);
    code.memory(Op.i32Load, STATE + S.jumpSalt);
    code.op(Op.i32Ne);
    code.open(Op.if);
    this.refund(block.steps.length - index - 1);
    code.scoped(() => this.leaveTo(this.fromBase(step.position + step.instruction!.length)));
    code.end();
  }
}

export const REGION_SIGNATURE = signature([i32], [i32]);
