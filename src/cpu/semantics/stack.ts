// The stack and near control transfers (SDM Vol. 2: PUSH POP PUSHA POPA PUSHF POPF ENTER LEAVE CALL RET JMP Jcc LOOP JCXZ).
import { Vector as Exception } from '../exits.ts';
import { S, SEG, SEG_FIELD, SEGMENT_SIZE } from '../layout.ts';
import { condition } from './flag-updates.ts';
import type { Bool, Operand, Ops, Value, Width } from './ops.ts';

const RCX = 1;
const RSP = 4;
const RBP = 5;
const CODE_LIMIT = S.segments + SEG.cs * SEGMENT_SIZE + SEG_FIELD.limit;

/** Stores at the new top of the stack; SP is written by the caller-independent last step. */
export function pushValue(o: Ops, w: Width, v: Value): void {
  const sp = o.let(o.zext(o.stackWidth, o.bin('sub', o.reg(RSP, o.stackWidth), o.const(w / 8))));
  o.store(o.segmentAddress(SEG.ss, sp, w / 8, true), w, v);
  o.setReg(RSP, o.stackWidth, sp);
}

/** The value on the top of the stack; SP stays. */
export function topOfStack(o: Ops, w: Width): Value {
  return o.load(o.segmentAddress(SEG.ss, o.reg(RSP, o.stackWidth), w / 8, false), w);
}

export function adjustStack(o: Ops, bytes: Value): void {
  o.setReg(RSP, o.stackWidth, o.zext(o.stackWidth, o.bin('add', o.reg(RSP, o.stackWidth), bytes)));
}

export function push(o: Ops, w: Width, src: Operand): void {
  pushValue(o, w, o.read(src, w));
}

/** PUSH of a segment register: with a 32- or 64-bit operand the selector is zero-extended. */
export function pushSegment(o: Ops, w: Width, src: Operand): void {
  pushValue(o, w, o.read(src, 16));
}

export function pop(o: Ops, w: Width, dst: Operand): void {
  const v = topOfStack(o, w);
  if (dst.kind === 'reg') {
    adjustStack(o, o.const(w / 8));
    o.write(dst, w, v);
    return;
  }
  // an address that uses SP counts from SP as it is after the pop; SP itself moves only when nothing can fault any more
  const before = o.reg(RSP, o.stackWidth);
  const after = o.let(o.zext(o.stackWidth, o.bin('add', before, o.const(w / 8))));
  o.setReg(RSP, o.stackWidth, after);
  const offset = o.let(o.offset(dst));
  o.setReg(RSP, o.stackWidth, before);
  o.store(o.bitAddress(dst, offset, w / 8, true), w, v);
  o.setReg(RSP, o.stackWidth, after);
}

export function enter(o: Ops, w: Width, size: Operand, level: Operand): void {
  o.call('enter', o.const(w), o.read(size, 16), o.read(level, 8));
}

export function leave(o: Ops, w: Width): void {
  const bp = o.reg(RBP, o.stackWidth);
  const v = o.load(o.segmentAddress(SEG.ss, bp, w / 8, false), w);
  o.setReg(RSP, o.stackWidth, o.zext(o.stackWidth, o.bin('add', bp, o.const(w / 8))));
  o.setReg(RBP, w, v);
}

/** #GP(0) for a target that is not canonical, or outside 64-bit mode beyond the limit of the code segment. */
function checkTarget(o: Ops, target: Value): void {
  if (!o.long64) {
    o.faultIf(beyondLimit(o, target), Exception.GP, 0);
    return;
  }
  const top = o.bin('shr_s', target, o.const(47));
  o.faultIf(o.cmp('gt_u', o.bin('add', top, o.const(1)), o.const(1)), Exception.GP, 0);
}

const beyondLimit = (o: Ops, target: Value): Bool => o.cmp('gt_u', target, o.state(CODE_LIMIT, 32));

/** Outside 64-bit mode: the jump, if it is taken, stays within the limit. In 64-bit mode the fetch at a target that is not canonical faults. */
function checkRelative(o: Ops, w: Width, target: Operand, ...taken: readonly Bool[]): void {
  if (o.long64) return;
  const beyond = beyondLimit(o, o.relativeTarget(target, w));
  o.faultIf(
    taken.reduce((all, one) => o.and(all, one), beyond),
    Exception.GP,
    0,
  );
}

function jumpIf(o: Ops, w: Width, target: Operand, taken: Bool): void {
  checkRelative(o, w, target, taken);
  o.jumpRelative(target, w, taken);
}

export function callRelative(o: Ops, w: Width, target: Operand): void {
  const to = o.relativeTarget(target, w);
  checkTarget(o, to);
  pushValue(o, w, o.nextRip());
  o.jumpRelative(target, w, null);
}

export function callIndirect(o: Ops, w: Width, target: Operand): void {
  const to = o.let(o.read(target, w));
  checkTarget(o, to);
  pushValue(o, w, o.nextRip());
  o.jump(to);
}

export function jmpRelative(o: Ops, w: Width, target: Operand): void {
  checkRelative(o, w, target);
  o.jumpRelative(target, w, null);
}

export function jmpIndirect(o: Ops, w: Width, target: Operand): void {
  const to = o.let(o.read(target, w));
  checkTarget(o, to);
  o.jump(to);
}

export function jcc(cc: number) {
  return (o: Ops, w: Width, target: Operand): void => jumpIf(o, w, target, o.letBool(condition(o, cc)));
}

export function ret(o: Ops, w: Width): void {
  const to = topOfStack(o, w);
  checkTarget(o, to);
  adjustStack(o, o.const(w / 8));
  o.jump(to);
}

export function retPop(o: Ops, w: Width, bytes: Operand): void {
  const to = topOfStack(o, w);
  checkTarget(o, to);
  adjustStack(o, o.bin('add', o.read(bytes, 16), o.const(w / 8)));
  o.jump(to);
}

/** LOOP, LOOPE, LOOPNE: the count register has the address size. */
export function loop(kind: 'always' | 'e' | 'ne') {
  return (o: Ops, w: Width, target: Operand): void => {
    const count = o.let(o.zext(o.addressWidth, o.bin('sub', o.reg(RCX, o.addressWidth), o.const(1))));
    const nonzero = o.cmp('ne', count, o.const(0));
    const taken = o.letBool(kind === 'always' ? nonzero : o.and(nonzero, kind === 'e' ? o.zf() : o.not(o.zf())));
    checkRelative(o, w, target, taken);
    o.setReg(RCX, o.addressWidth, count);
    o.jumpRelative(target, w, taken);
  };
}

export function jcxz(o: Ops, w: Width, target: Operand): void {
  jumpIf(o, w, target, o.letBool(o.cmp('eq', o.reg(RCX, o.addressWidth), o.const(0))));
}
