// Ways into compiled regions: the jump cache, and enter(), by which a region calls others and gets control back where they return to.
import { pushU32 } from '../../wasm/encode.ts';
import { Op, Type } from '../../wasm/opcodes.ts';
import { SALT_PLACE_SHIFT } from '../jump-cache.ts';
import { JUMP_CACHE, JUMP_CACHE_ENTRIES, S, STATE } from '../layout.ts';
import { Emitter } from './emitter.ts';
import { Head } from './record.ts';

const { i32, i64 } = Type;

/** What a compiled region gives: a record at which the interpreter takes over in S.block, or one of these. */
export const RegionResult = {
  /** S.pending is set; S.record and S.block are the instruction's. */
  left: 0,
  /** S.rip is where it goes on. */
  jump: 1,
} as const;

/** Calls of regions by regions within each other: each takes of the host's stack. */
const MOST_CALLS = 64;

/** Leaves the truth on the stack of: the jump cache knows the address in local `rip`; its entry's address in local `entry`. */
export function emitProbe(e: Emitter, rip: number, entry: number): void {
  // index as in jump-cache.ts; entries are {tag i64, header u32, salt u32}
  e.get(rip);
  e.get(rip);
  e.op(Op.i64Const, 12, Op.i64ShrU, Op.i64Xor, Op.i32WrapI64);
  e.i32(0);
  e.memory(Op.i32Load, STATE + S.jumpSalt);
  e.i32(SALT_PLACE_SHIFT);
  e.op(Op.i32ShrU, Op.i32Xor);
  e.i32(4);
  e.op(Op.i32Shl);
  e.i32((JUMP_CACHE_ENTRIES - 1) << 4);
  e.op(Op.i32And);
  e.tee(entry);
  e.memory(Op.i64Load, JUMP_CACHE);
  e.get(rip);
  e.op(Op.i64Eq);
  e.get(entry);
  e.memory(Op.i32Load, JUMP_CACHE + 12);
  e.i32(0);
  e.memory(Op.i32Load, STATE + S.jumpSalt);
  e.op(Op.i32Eq, Op.i32And);
}

/** S.ripBase, where the block whose header is in local `header` begins at the address in local `rip`. */
export function emitRipBase(e: Emitter, rip: number, header: number): void {
  e.i32(0);
  // CS need not begin at a page's start
  e.get(rip);
  e.get(header);
  e.memory(Op.i64Load32U, Head.offset);
  e.op(Op.i64Sub);
  e.memory(Op.i64Store, STATE + S.ripBase);
}

/**
 * The body of enter(fuel, rip) -> RegionResult or record: runs compiled code from S.rip on until it comes to `rip`, is left for the
 * interpreter, or leads to what is not compiled or not known. S.fuel is set by the caller, and by whatever ran.
 * @param minFuel what a region wants
 */
export function emitEnter(regionType: number, minFuel: number): Emitter {
  const FUEL = 0;
  const UNTIL = 1;
  const e = new Emitter(2);
  const rip = e.local(i64);
  const at = e.local(i32);
  const result = e.local(i32);
  const depth = (change: number): void => {
    e.i32(0);
    e.i32(0);
    e.memory(Op.i32Load, STATE + S.regionCalls);
    e.i32(change);
    e.op(Op.i32Add);
    e.memory(Op.i32Store, STATE + S.regionCalls);
  };
  e.i32(0);
  e.memory(Op.i32Load, STATE + S.regionCalls);
  e.i32(MOST_CALLS);
  e.op(Op.i32GeU);
  e.open(Op.if);
  e.i32(RegionResult.jump);
  e.op(Op.return);
  e.end();
  e.open(Op.block);
  const nowhere = e.depth;
  e.open(Op.loop);
  const again = e.depth;
  e.get(FUEL);
  e.i32(minFuel);
  e.op(Op.i32LtS);
  e.br(nowhere, Op.brIf);
  e.i32(0);
  e.memory(Op.i64Load, STATE + S.rip);
  e.set(rip);
  emitProbe(e, rip, at);
  e.op(Op.i32Eqz);
  e.br(nowhere, Op.brIf);
  e.get(at);
  e.memory(Op.i32Load, JUMP_CACHE + 8);
  e.tee(at);
  e.memory(Op.i32Load, Head.heat);
  e.br(nowhere, Op.brIf);
  e.get(at);
  e.memory(Op.i32Load, Head.compiled);
  e.tee(result);
  e.op(Op.i32Eqz);
  e.br(nowhere, Op.brIf);
  emitRipBase(e, rip, at);
  depth(1);
  e.get(FUEL);
  e.get(result);
  e.code.push(Op.callIndirect);
  pushU32(e.code, regionType);
  e.code.push(0);
  e.set(result);
  depth(-1);
  e.get(result);
  e.i32(RegionResult.jump);
  e.op(Op.i32Ne);
  e.open(Op.if);
  e.get(result);
  e.op(Op.return);
  e.end();
  e.i32(0);
  e.memory(Op.i32Load, STATE + S.fuel);
  e.set(FUEL);
  e.i32(0);
  e.memory(Op.i64Load, STATE + S.rip);
  e.get(UNTIL);
  e.op(Op.i64Ne);
  e.br(again, Op.brIf);
  e.end();
  e.end();
  e.i32(RegionResult.jump);
  return e;
}
