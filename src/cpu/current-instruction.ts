// The instruction that runs now: where it stands, and how it is left by a fault or an exit.
import { Exit, GuestFault, RunAlone, Vector } from './exits.ts';
import { Rec } from './interp/record.ts';
import { ModeBit, S, SEG } from './layout.ts';
import type { EngineMemory } from './memory.ts';
import type { CpuState } from './state.ts';

export class CurrentInstruction {
  /** Set while an instruction runs outside of the interpreter (see eval/evaluator.ts), until it has been left. */
  evaluated: { rip: bigint; nextRip: bigint; segment: number } | null = null;
  private readonly state: CpuState;
  private readonly memory: EngineMemory;

  constructor(state: CpuState, memory: EngineMemory) {
    this.state = state;
    this.memory = memory;
  }

  get rip(): bigint {
    if (this.evaluated) return this.evaluated.rip;
    const { state } = this;
    const offset = this.memory.view.getUint16(state.get32(S.record) + Rec.offset, true);
    return BigInt.asUintN(64, state.get(S.ripBase) + BigInt(offset));
  }

  /** RIP of the instruction after it. */
  get nextRip(): bigint {
    if (this.evaluated) return this.evaluated.nextRip;
    const { state } = this;
    const length = this.memory.u8[state.get32(S.record) + Rec.length];
    const width = state.get32(S.mode) & ModeBit.long64 ? 64 : 32;
    return BigInt.asUintN(width, this.rip + BigInt(length));
  }

  /** What an address of its memory operand raises that is not canonical: #SS through the stack segment. */
  operandVector(): number {
    const segment = this.evaluated?.segment ?? this.memory.u8[this.state.get32(S.record) + Rec.segment];
    return segment === SEG.ss ? Vector.SS : Vector.GP;
  }

  /** See SystemCore.restartAt. */
  restartAt(rip: bigint): void {
    const { state } = this;
    state.rip = rip;
    if (this.evaluated) {
      const { nextRip } = this;
      this.evaluated = { ...this.evaluated, rip, nextRip: BigInt.asUintN(64, nextRip + rip - this.evaluated.rip) };
    } else {
      // leave() takes RIP from the record
      state.set(S.ripBase, BigInt.asUintN(64, state.get(S.ripBase) + rip - this.rip));
    }
  }

  /** Records an exception as why the instruction is left. */
  raise(fault: GuestFault): void {
    const { state } = this;
    state.set32(S.pending, 1);
    state.set32(S.exit, Exit.exception);
    state.set32(S.faultVector, fault.vector);
    state.set32(S.faultCode, fault.code ?? 0);
    state.set32(S.faultHasCode, fault.code === null ? 0 : 1);
    state.set(S.faultAddress, BigInt.asUintN(64, fault.address));
  }

  /** Records what was thrown as why the instruction is left. Throws it again if it is none of that. */
  leaveBy(thrown: unknown): void {
    if (thrown instanceof GuestFault) this.raise(thrown);
    else if (thrown instanceof RunAlone) this.exit(Exit.alone);
    else throw thrown;
  }

  /** Records an Exit as why the instruction is left. */
  exit(kind: number, info = 0n): void {
    this.state.set32(S.pending, 1);
    this.state.set32(S.exit, kind);
    this.state.set(S.exitInfo, info);
  }

  /** Sets S.rip and S.nextRip as the recorded exception or exit has them. */
  leave(): void {
    const { state } = this;
    state.set32(S.pending, 0);
    if (!this.evaluated && state.get32(S.block) === 0) {
      // the fetch has failed: there is no record
      state.set(S.nextRip, state.rip);
      return;
    }
    const { rip, nextRip } = this;
    this.evaluated = null;
    const exit = state.get32(S.exit);
    state.set(S.nextRip, nextRip);
    state.rip = exit === Exit.halt || exit === Exit.mwait ? nextRip : rip;
  }
}
