// Guest registers in a region's code: the sixteen general ones and the two words of the lazy flags, each in a local of its own from the
// region's entry to its exit.
import { Op, Type } from '../../wasm/opcodes.ts';
import { R, S, STATE } from '../layout.ts';
import { type Code, type Expr, Leaf } from './expressions.ts';

/** Registers 0-15 are the general ones. */
export const CC_RESULT = 16;
export const CC_AUX = 17;
export const REGISTERS = 18;
export const FLAG_WORDS = (1 << CC_RESULT) | (1 << CC_AUX);

const ADDRESSES: readonly number[] = [
  ...Array.from({ length: R.r15 + 1 }, (_, n) => STATE + S.gpr + n * 8),
  STATE + S.ccResult,
  STATE + S.ccAux,
];
export const addressOf = (register: number): number => ADDRESSES[register];

/** Which registers a region touches, as bit sets. */
export interface Touched {
  used: number;
  modified: number;
}

export class RegisterFile {
  readonly touched: Touched = { used: 0, modified: 0 };
  private readonly code: Code;
  private readonly homes: readonly number[];
  /** Leaves that may still be asked for. */
  private leaves: Leaf[] = [];
  /** Bits that a register's value may have. */
  private readonly bits = new Array<number>(REGISTERS).fill(64);

  /** @param homes the registers' locals */
  constructor(code: Code, homes: readonly number[]) {
    this.code = code;
    this.homes = homes;
  }

  /** Nothing is known of the registers: another block begins. */
  forget(): void {
    this.bits.fill(64);
    this.leaves = [];
  }

  read(n: number): Leaf {
    this.touched.used |= 1 << n;
    const leaf = new Leaf(n, this.homes[n], this.bits[n]);
    this.leaves.push(leaf);
    return leaf;
  }

  /** Sets a register's 64 bits. */
  write(n: number, value: Expr): void {
    this.touched.modified |= 1 << n;
    value.emit(this.code);
    this.freeze(n);
    this.code.set(this.homes[n]);
    this.bits[n] = value.bits;
  }

  /** Sets both words of the flags, either of which may be made from both. */
  writeFlags(result: Expr, aux: Expr): void {
    this.touched.modified |= FLAG_WORDS;
    result.emit(this.code);
    aux.emit(this.code);
    this.freeze(CC_RESULT);
    this.freeze(CC_AUX);
    this.code.set(this.homes[CC_AUX]);
    this.code.set(this.homes[CC_RESULT]);
  }

  /** As writeFlags, on a path that leaves: no tree on another path takes notice. */
  spillFlags(result: Expr, aux: Expr): void {
    this.touched.modified |= FLAG_WORDS;
    result.emit(this.code);
    aux.emit(this.code);
    this.code.set(this.homes[CC_AUX]);
    this.code.set(this.homes[CC_RESULT]);
  }

  /** Copies what trees still refer to, on top of what stands on the stack. */
  private freeze(n: number): void {
    let copy = -1;
    for (const leaf of this.leaves) {
      if (leaf.register !== n) continue;
      if (copy < 0) {
        copy = this.code.local(Type.i64);
        this.code.get(this.homes[n]);
        this.code.set(copy);
      }
      leaf.freeze(copy);
    }
    if (copy >= 0) this.leaves = this.leaves.filter(leaf => leaf.register !== n);
  }

  /** Control parts: a write on one of the paths must not be seen on the others. */
  freezeAll(): void {
    for (let n = 0; n < REGISTERS; n++) this.freeze(n);
  }

  /** Paths meet that may have written differently. */
  forgetBits(): void {
    this.bits.fill(64);
  }

  /** Only these leaves may still be asked for. */
  keep(kept: readonly Leaf[]): void {
    this.leaves = this.leaves.length > 0 && kept.length > 0 ? this.leaves.filter(leaf => kept.includes(leaf)) : [];
  }

  load(n: number): void {
    this.code.i32(0);
    this.code.memory(Op.i64Load, addressOf(n));
    this.code.set(this.homes[n]);
  }

  store(n: number): void {
    this.code.i32(0);
    this.code.get(this.homes[n]);
    this.code.memory(Op.i64Store, addressOf(n));
  }

  /** Every register of a set, from or to the state block. */
  loadAll(set: number): void {
    for (let n = 0; n < REGISTERS; n++) if ((set >> n) & 1) this.load(n);
  }
  storeAll(set: number): void {
    for (let n = 0; n < REGISTERS; n++) if ((set >> n) & 1) this.store(n);
  }
}
