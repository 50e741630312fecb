// From routines to code for x86-64 or i386. Nothing lives in a register from one statement to the next, so the code is the same
// for both but for the registers' width and how the kernel is called: an expression's value is left in the accumulator,
// arguments are on the stack (the first one pushed first, taken off by the callee), the frame pointer holds the frame.

import {
  type Assembler,
  asm,
  cl,
  cx,
  eax,
  ebp,
  ecx,
  edx,
  esp,
  type Memory,
  mem,
  byte as memory8,
  word as memory16,
  dword as memory32,
  qword as memory64,
  type Program,
  type Register,
  rax,
  rbp,
  rcx,
  rdx,
  rsp,
} from '../assembler/assembler.ts';
import type { Comparison, Expression, Local, Routine, Statement, Static, Width } from './expressions.ts';

/** How the kernel is called. */
export interface SystemInterface {
  /** Writes the call; its arguments are on the stack, the first one on top. They must be gone after it, and the result in the accumulator. */
  enter(a: Assembler, name: string, count: number): void;
}

interface Registers {
  readonly ax: Register;
  readonly cx: Register;
  readonly dx: Register;
  readonly bp: Register;
  readonly sp: Register;
}
const REGISTERS: Readonly<Record<32 | 64, Registers>> = {
  32: { ax: eax, cx: ecx, dx: edx, bp: ebp, sp: esp },
  64: { ax: rax, cx: rcx, dx: rdx, bp: rbp, sp: rsp },
};

const JUMPS = { eq: 'je', ne: 'jne', lt: 'jl', le: 'jle', gt: 'jg', ge: 'jge', below: 'jb' } as const;
const OPPOSITE_JUMPS = { eq: 'jne', ne: 'je', lt: 'jge', le: 'jg', gt: 'jle', ge: 'jl', below: 'jae' } as const;

/** The label at which a compiled program starts. */
export const ENTRY = 'start';

/** A program that starts with `main`, which must not return. Routines and memory that it does not reach are left out. */
export function compile(main: Routine, bits: 32 | 64, systems: SystemInterface): Program {
  return asm(a => {
    a.label(ENTRY).call(main.name);
    const compiler = new Compiler(a, bits, systems);
    compiler.reach(main);
    compiler.finish();
  }, bits);
}

class Compiler {
  private readonly a: Assembler;
  private readonly wordBytes: number;
  private readonly r: Registers;
  private readonly systems: SystemInterface;
  private readonly waiting: Routine[] = [];
  private readonly reached = new Map<string, Routine>();
  private readonly statics = new Map<string, Static>();
  private parameters = 0;
  private loopEnds: string[] = [];

  constructor(a: Assembler, bits: 32 | 64, systems: SystemInterface) {
    this.a = a;
    this.wordBytes = bits / 8;
    this.r = REGISTERS[bits];
    this.systems = systems;
  }

  reach(routine: Routine): void {
    const known = this.reached.get(routine.name);
    if (known === undefined) {
      this.reached.set(routine.name, routine);
      this.waiting.push(routine);
    } else if (known !== routine) throw new Error(`two routines are called ${routine.name}`);
  }

  finish(): void {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) this.routine(next);
    this.a.section('bss');
    for (const { name, bytes } of this.statics.values()) this.a.align(8).label(name).reserve(bytes);
    this.a.section('text');
  }

  private routine({ name, parameters, body }: Routine): void {
    const { a, r, wordBytes } = this;
    const { statements, locals } = body();
    this.parameters = parameters;
    a.label(name).push(r.bp).mov(r.bp, r.sp);
    if (locals > 0) a.sub(r.sp, locals * wordBytes);
    this.block(statements);
    a.xor(eax, eax).label('.return').mov(r.sp, r.bp).pop(r.bp);
    if (parameters > 0) a.ret(parameters * wordBytes);
    else a.ret();
  }

  private block(statements: readonly Statement[]): void {
    for (const statement of statements) this.statement(statement);
  }

  private statement(statement: Statement): void {
    const { a, r } = this;
    switch (statement.kind) {
      case 'evaluate':
        this.evaluate(statement.expression);
        break;
      case 'set':
        this.evaluate(statement.value);
        a.mov(this.place(statement.local), r.ax);
        break;
      case 'store':
        this.operands(statement.address, statement.value);
        this.store(statement.width);
        break;
      case 'if': {
        const [otherwise, end] = [this.unique('else'), this.unique('end')];
        this.branchUnless(statement.condition, otherwise);
        this.block(statement.body);
        if (statement.otherwise.length > 0) a.jmp(end);
        a.label(otherwise);
        this.block(statement.otherwise);
        a.label(end);
        break;
      }
      case 'while': {
        const [again, end] = [this.unique('again'), this.unique('end')];
        a.label(again);
        this.branchUnless(statement.condition, end);
        this.loopEnds.push(end);
        this.block(statement.body);
        this.loopEnds.pop();
        a.jmp(again).label(end);
        break;
      }
      case 'break': {
        const end = this.loopEnds.at(-1);
        if (end === undefined) throw new Error('a break outside of any loop');
        a.jmp(end);
        break;
      }
      case 'return':
        this.evaluate(statement.value);
        a.jmp('.return');
        break;
    }
  }

  /** Into the accumulator. */
  private evaluate(e: Expression): void {
    const { a, r, wordBytes } = this;
    switch (e.kind) {
      case 'number':
        if (e.value === 0) a.xor(eax, eax);
        else a.mov(r.ax, e.value);
        break;
      case 'words':
        a.mov(eax, e.count * wordBytes);
        break;
      case 'text':
        a.lea(r.ax, mem(a.literal(e.text)));
        break;
      case 'static':
        if ((this.statics.get(e.name) ?? e) !== e) throw new Error(`two pieces of memory are called ${e.name}`);
        this.statics.set(e.name, e);
        a.lea(r.ax, mem(e.name));
        break;
      case 'local':
        a.mov(r.ax, this.place(e));
        break;
      case 'load':
        this.evaluate(e.address);
        this.load(e.width);
        break;
      case 'arithmetic':
        this.operands(e.left, e.right);
        if (e.operator === 'mul') a.imul(r.ax, r.cx);
        else if (e.operator === 'shl' || e.operator === 'shr') a[e.operator](r.ax, cl);
        else if (e.operator === 'div' || e.operator === 'rem') {
          a.xor(edx, edx).div(r.cx);
          if (e.operator === 'rem') a.mov(r.ax, r.dx);
        } else a[e.operator](r.ax, r.cx);
        break;
      case 'comparison':
      case 'all':
      case 'any': {
        const [no, end] = [this.unique('no'), this.unique('end')];
        this.branchUnless(e, no);
        a.mov(eax, 1).jmp(end).label(no).xor(eax, eax).label(end);
        break;
      }
      case 'call':
        this.reach(e.routine);
        for (const argument of e.args) this.push(argument);
        a.call(e.routine.name);
        break;
      case 'system':
        for (const argument of e.args.toReversed()) this.push(argument);
        this.systems.enter(a, e.name, e.args.length);
        break;
    }
  }

  /** The left one into the accumulator, the right one into the counter. */
  private operands(left: Expression, right: Expression): void {
    const { a, r } = this;
    this.evaluate(left);
    if (right.kind === 'number') a.mov(r.cx, right.value);
    else if (right.kind === 'words') a.mov(ecx, right.count * this.wordBytes);
    else if (right.kind === 'local') a.mov(r.cx, this.place(right));
    else {
      a.push(r.ax);
      this.evaluate(right);
      a.mov(r.cx, r.ax).pop(r.ax);
    }
  }

  private push(e: Expression): void {
    if (e.kind === 'number' && BigInt.asIntN(32, BigInt(e.value)) === BigInt(e.value)) this.a.push(e.value);
    else if (e.kind === 'local') this.a.push(this.place(e));
    else {
      this.evaluate(e);
      this.a.push(this.r.ax);
    }
  }

  private branchUnless(condition: Expression, target: string): void {
    const { a, r } = this;
    if (condition.kind === 'all') {
      for (const part of condition.conditions) this.branchUnless(part, target);
    } else if (condition.kind === 'any') {
      const yes = this.unique('yes');
      for (const part of condition.conditions) this.branchIf(part, yes);
      a.jmp(target).label(yes);
    } else if (condition.kind === 'comparison') {
      this.compare(condition.left, condition.right);
      a[OPPOSITE_JUMPS[condition.operator]](target);
    } else if (condition.kind === 'number') {
      if (condition.value === 0) a.jmp(target);
    } else {
      this.evaluate(condition);
      a.test(r.ax, r.ax).je(target);
    }
  }

  private branchIf(condition: Expression, target: string): void {
    if (condition.kind === 'comparison') {
      this.compare(condition.left, condition.right);
      this.a[JUMPS[condition.operator as Comparison]](target);
      return;
    }
    const no = this.unique('no');
    this.branchUnless(condition, no);
    this.a.jmp(target).label(no);
  }

  private compare(left: Expression, right: Expression): void {
    this.operands(left, right);
    this.a.cmp(this.r.ax, this.r.cx);
  }

  private place({ slot }: Local): Memory {
    const { r, wordBytes } = this;
    // Above the frame: the caller's frame pointer, the return address, the last argument.
    const offset = slot < 0 ? slot : this.parameters + 1 - slot;
    const args = [r.bp, offset * wordBytes] as const;
    return wordBytes === 8 ? memory64(...args) : memory32(...args);
  }

  private load(width: Width): void {
    const { a, r } = this;
    if (width === 1) a.movzx(eax, memory8(r.ax));
    else if (width === 2) a.movzx(eax, memory16(r.ax));
    else a.mov(width === 4 ? eax : r.ax, mem(r.ax));
  }

  /** What is in the counter, where the accumulator points. */
  private store(width: Width): void {
    const { a, r } = this;
    const sources = { 1: cl, 2: cx, 4: ecx, word: r.cx };
    a.mov(mem(r.ax), sources[width]);
  }

  private unique(hint: string): string {
    return `.${this.a.unique(hint)}`;
  }
}
