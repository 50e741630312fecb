// String instructions and their repetition (SDM Vol. 2: MOVS STOS LODS CMPS SCAS, REP). Restartable: registers follow every element.
// A repetition is done in steps of so many elements, between which time goes on and other things get their turn: no count in rCX keeps
// the processor.
import { Flag } from '../flags.ts';
import { S, SEG } from '../layout.ts';
import { subFlags } from './flag-updates.ts';
import type { Bool, Operand, Ops, Value, Width } from './ops.ts';

const RAX = 0;
const RCX = 1;
const RSI = 6;
const RDI = 7;
/** Elements of a step. */
const STEP = 16384;

/** +size or -size by RFLAGS.DF. */
function step(o: Ops, w: Width): Value {
  const down = o.cmp('ne', o.bin('and', o.state(S.rflags, 64), o.const(Flag.DF)), o.const(0));
  return o.let(o.select(down, o.const(-(w / 8)), o.const(w / 8)));
}

function advance(o: Ops, register: number, by: Value): void {
  const aw = o.addressWidth;
  o.setReg(register, aw, o.zext(aw, o.bin('add', o.reg(register, aw), by)));
}

/** Source element: at [segment:rSI], the segment being that of the row's implied memory operand. */
function source(o: Ops, w: Width, operand: Operand): Value {
  return o.load(o.bitAddress(operand, o.reg(RSI, o.addressWidth), w / 8, false), w);
}

function destination(o: Ops, w: Width, write: boolean): Value {
  return o.segmentAddress(SEG.es, o.reg(RDI, o.addressWidth), w / 8, write);
}

/**
 * Runs `element` once, or under REP until rCX is 0 or `stop` says so after an element.
 * @param bulk does as many elements as it can of those that it is given
 */
export function repeated(o: Ops, element: () => void, stop?: () => Bool, bulk?: (most: Value) => void): void {
  if (o.repeat === 'none') {
    element();
    return;
  }
  const aw = o.addressWidth;
  const count = o.reg(RCX, aw);
  // single-stepping stops after every element, and so does what reaches the platform
  const most = o.let(o.select(o.cmp('ne', o.state(S.alone, 32), o.const(0)), o.const(1), o.const(STEP)));
  const rest = o.let(o.select(o.cmp('gt_u', count, most), o.bin('sub', count, most), o.const(0)));
  bulk?.(o.let(o.bin('sub', count, rest)));
  const going = o.variable(o.const(1));
  o.while(
    () => o.and(o.cmp('ne', going, o.const(0)), o.cmp('ne', o.reg(RCX, aw), rest)),
    () => {
      element();
      o.setReg(RCX, aw, o.zext(aw, o.bin('sub', o.reg(RCX, aw), o.const(1))));
      if (stop) o.assign(going, o.fromBool(o.not(stop())));
    },
  );
  o.again(o.and(o.cmp('ne', going, o.const(0)), o.cmp('ne', rest, o.const(0))));
}

export function movs(o: Ops, w: Width, src: Operand): void {
  const by = step(o, w);
  const element = (): void => {
    const v = source(o, w, src);
    o.store(destination(o, w, true), w, v);
    advance(o, RSI, by);
    advance(o, RDI, by);
  };
  repeated(o, element, undefined, most => o.bulkMove(w, src, by, most));
}

export function stos(o: Ops, w: Width): void {
  const by = step(o, w);
  const v = o.reg(RAX, w);
  const element = (): void => {
    o.store(destination(o, w, true), w, v);
    advance(o, RDI, by);
  };
  repeated(o, element, undefined, most => o.bulkFill(w, v, by, most));
}

export function lods(o: Ops, w: Width, src: Operand): void {
  const by = step(o, w);
  repeated(o, () => {
    o.setReg(RAX, w, source(o, w, src));
    advance(o, RSI, by);
  });
}

/** CMPS and SCAS stop where ZF differs from what the prefix asks for. */
function stopRule(o: Ops): () => Bool {
  return () => (o.repeat === 'rep' ? o.not(o.zf()) : o.zf());
}

export function cmps(o: Ops, w: Width, src: Operand): void {
  const by = step(o, w);
  repeated(
    o,
    () => {
      const x = source(o, w, src);
      const y = o.load(destination(o, w, false), w);
      const z = o.let(o.bin('sub', x, y));
      o.setFlags(subFlags(o, w, x, y, z));
      advance(o, RSI, by);
      advance(o, RDI, by);
    },
    stopRule(o),
  );
}

export function scas(o: Ops, w: Width): void {
  const by = step(o, w);
  repeated(
    o,
    () => {
      const x = o.reg(RAX, w);
      const y = o.load(destination(o, w, false), w);
      const z = o.let(o.bin('sub', x, y));
      o.setFlags(subFlags(o, w, x, y, z));
      advance(o, RDI, by);
    },
    stopRule(o),
  );
}
