// run(): stretches of interpreted code up to the fuel given, and what comes between instructions: interrupt windows, single steps,
// instruction breakpoints and delivery (SDM Vol. 3B, 17.2 and 17.3; Vol. 3A, table 6-2 for their order).
import type { Breakpoints } from './breakpoints.ts';
import type { CurrentInstruction } from './current-instruction.ts';
import { Exit, GuestFault, Vector } from './exits.ts';
import { Flag } from './flags.ts';
import type { SystemCore } from './helpers/core.ts';
import { deliver, deliverRecorded } from './helpers/interrupts.ts';
import { Shadow } from './helpers/shadow.ts';
import type { CodeLookup } from './interp/code-lookup.ts';
import type { Core } from './interp/core.ts';
import { RunResult } from './interp/main.ts';
import { Head } from './interp/record.ts';
import { RECORD_SIZE, S } from './layout.ts';
import { codeBaseOf } from './mode.ts';
import type { CpuState } from './state.ts';

const DR6_BS = 1n << 14n;
const MAX_FUEL = 0x3fffffff;

export class RunLoop {
  /** Executes the instruction at RIP in the interpreter's place: see eval/evaluator.ts. It sets S.rip or S.pending. */
  substitute: (() => void) | null = null;
  /** The instruction did itself what RFLAGS.TF asks for after it. */
  stepTaken = false;

  private readonly processor: SystemCore;
  private readonly core: Core;
  private readonly state: CpuState;
  private readonly instruction: CurrentInstruction;
  private readonly code: CodeLookup;
  private readonly breakpoints: Breakpoints;
  /** Fuel given to the core's run() that is under way, 0 outside. */
  private budget = 0;
  /** One instruction runs by itself, or none: what it does to the platform is seen in order. */
  alone = true;

  constructor(
    processor: SystemCore,
    core: Core,
    instruction: CurrentInstruction,
    code: CodeLookup,
    breakpoints: Breakpoints,
  ) {
    this.processor = processor;
    this.core = core;
    this.state = processor.state;
    this.instruction = instruction;
    this.code = code;
    this.breakpoints = breakpoints;
  }

  /** See Processor.run. */
  run(fuel: number): number {
    const { state, breakpoints, code } = this;
    code.stopping = false;
    let alone = false;
    for (let left = Math.min(fuel, MAX_FUEL); left > 0; ) {
      if (code.stopping) return this.end(Exit.stopped);
      const native = state.get32(S.pv) === 0;
      const shadow = state.get32(S.shadow);
      if (native && !shadow) {
        if (code.nmiPending && !state.get32(S.nmiBlocked) && !this.deliversNmi()) return state.get32(S.exit);
        if (code.interruptPending && state.get32(S.rflags) & Flag.IF) return this.end(Exit.interruptWindow);
      }
      const hit = this.breakpointsHere(shadow);
      if (hit) {
        left -= this.retire(1);
        if (this.raiseDebug(hit, native)) continue;
        return state.get32(S.exit);
      }
      state.set32(S.shadow, 0);
      const resuming = breakpoints.watching && (state.get32(S.rflags) & Flag.RF) !== 0;
      const step = (state.get32(S.rflags) & Flag.TF) !== 0;
      const single = alone || step || shadow !== 0 || breakpoints.watching;
      const before = left;
      const result = this.execute(left, single);
      alone = result === RunResult.left && state.get32(S.pending) !== 0 && state.get32(S.exit) === Exit.alone;
      left -= this.retire(alone ? this.used - 1 : this.used);
      if (alone) {
        this.instruction.leave();
        continue;
      }
      if (result === RunResult.left) {
        // lookup() has handed over
        if (state.get32(S.pending) === 0) continue;
        // a fetch that faults costs an instruction as others do, so that a guest that only faults does not stop time
        if (!this.substitute && state.get32(S.block) === 0) left -= this.retire(1);
        this.instruction.leave();
        if (native && state.get32(S.exit) === Exit.exception && this.delivers()) continue;
        return state.get32(S.exit);
      }
      if (left === before || state.get32(S.shadow) === Shadow.traps) continue;
      // RF holds for one instruction
      if (resuming && !this.stepTaken) state.set32(S.rflags, state.get32(S.rflags) & ~Flag.RF);
      const debug = breakpoints.hits | (step && !this.stepTaken ? DR6_BS : 0n);
      breakpoints.hits = 0n;
      if (debug && !this.raiseDebug(debug, native)) return state.get32(S.exit);
    }
    return this.end(Exit.fuel);
  }

  /** Delivers an NMI at RIP; false: S.exit says that the processor has shut down. */
  private deliversNmi(): boolean {
    this.code.nmiPending = false;
    if (deliver(this.processor, Vector.NMI, { source: 'nmi' })) return true;
    this.end(Exit.shutdown);
    return false;
  }

  private end(exit: number): number {
    this.state.set32(S.exit, exit);
    return exit;
  }

  private retire(count: number): number {
    this.state.set(S.retired, this.state.get(S.retired) + BigInt(count));
    return count;
  }

  /** Instructions that the last execute() has executed. */
  private used = 0;

  /** Runs code until the fuel is used up or something has to be done; gives a RunResult. */
  private execute(fuel: number, single: boolean): number {
    const { code } = this;
    this.stepTaken = false;
    this.budget = single || this.substitute ? 1 : fuel;
    code.single = single;
    this.alone = single;
    this.state.set32(S.alone, single ? 1 : 0);
    let result = this.stretch(this.budget, single);
    // a block longer than what is left of the fuel
    if (result === RunResult.fuel && this.rest() > 0) result = this.stretch(this.rest(), true);
    code.exact = false;
    code.single = false;
    this.used = this.budget - this.rest();
    this.budget = 0;
    this.alone = true;
    return result;
  }

  private stretch(fuel: number, exact: boolean): number {
    this.code.exact = exact;
    this.code.syncSalt();
    this.state.set(S.fuel, BigInt(fuel));
    return this.substitute ? this.evaluate(this.substitute) : this.core.run(fuel);
  }

  private rest(): number {
    return Number(BigInt.asIntN(64, this.state.get(S.fuel)));
  }

  /** One instruction by the evaluating back end: leaves what the core's run(1) would leave. */
  private evaluate(step: () => void): number {
    this.state.set(S.fuel, 0n);
    step();
    if (this.state.get32(S.pending)) return RunResult.left;
    this.instruction.evaluated = null;
    return RunResult.fuel;
  }

  /** Instructions executed so far by the vCPU that is loaded, also in the middle of run(). */
  executed(): bigint {
    const { state } = this;
    if (this.alone || this.instruction.evaluated) return state.get(S.retired);
    const block = state.get32(S.block);
    const started = (state.get32(S.record) - block) / RECORD_SIZE - 1;
    const unpaid = this.processor.memory.u32[(block + Head.count) >> 2] - started;
    return state.get(S.retired) + BigInt(this.budget - unpaid - this.rest());
  }

  /** DR6 bits of the instruction breakpoints at RIP; none where RFLAGS.RF or MOV SS holds them off. */
  private breakpointsHere(shadow: number): bigint {
    const { breakpoints, state } = this;
    if (!breakpoints.watching && !breakpoints.armed) return 0n;
    breakpoints.watching = breakpoints.armed;
    if (breakpoints.refresh()) this.processor.flushAll();
    if (shadow === Shadow.traps) return 0n;
    breakpoints.hits = 0n;
    if (state.get32(S.rflags) & Flag.RF) return 0n;
    return breakpoints.atExecution(BigInt.asUintN(64, state.rip + codeBaseOf(state)));
  }

  /** Raises #DB at RIP with these DR6 bits; true where it has been delivered and run() may go on. */
  private raiseDebug(bits: bigint, native: boolean): boolean {
    const { state } = this;
    this.instruction.raise(new GuestFault(Vector.DB, null, bits));
    state.set32(S.pending, 0);
    state.set(S.nextRip, state.rip);
    return native && this.delivers();
  }

  /** Delivers the exception just recorded; false: S.exit says that the processor has shut down. */
  private delivers(): boolean {
    if (deliverRecorded(this.processor)) return true;
    this.end(Exit.shutdown);
    return false;
  }
}
