// Executes single instructions with the evaluating back end, on the same machine state as the interpreter: the second, slow way through
// every semantic function, for tests and lockstep comparisons.
import { Decoder, type Instruction, MAX_INSTRUCTION_LENGTH } from '../decode/decoder.ts';
import { createEncodingTable } from '../encodings/index.ts';
import { GuestFault, Vector } from '../exits.ts';
import { callHelper } from '../helper-calls.ts';
import { HINT_GENERAL, HINT_STACK } from '../interp/record.ts';
import { FRAME_SIZE, ModeBit, S, SEG, UnitTrap } from '../layout.ts';
import { hasFeature } from '../models/features.ts';
import type { InterpretingProcessor } from '../processor.ts';
import { type EvalMachine, EvalOps, InstructionEnd } from './eval-ops.ts';

const NO_SEGMENT = -1;
const ATTRIBUTE_DB = 1 << 14;
const hintOf = (stack: boolean): number => (stack ? HINT_STACK : HINT_GENERAL);

export class Evaluator {
  private readonly processor: InterpretingProcessor;
  private readonly decoder: Decoder;
  private readonly has: (feature: string) => boolean;
  private readonly machine: EvalMachine;

  /** @param processor whose memory, paging, helpers and live registers the instructions act on */
  constructor(processor: InterpretingProcessor) {
    this.processor = processor;
    this.decoder = new Decoder(createEncodingTable(), processor.model.vendor);
    this.has = name => hasFeature(processor.model, name);
    this.machine = {
      state: processor.live,
      load: (linear, bytes, stack) => processor.data.load(linear, bytes, hintOf(stack), false),
      loadForUpdate: (linear, bytes, stack) => processor.data.load(linear, bytes, hintOf(stack), true),
      store: (linear, bytes, value, stack) => processor.data.store(linear, value, bytes, hintOf(stack)),
      call: (name, args) => callHelper(processor, name, args),
    };
  }

  /** From now on the processor's run() evaluates every instruction. */
  install(): void {
    this.processor.loop.substitute = () => this.step();
  }

  /**
   * Executes the instruction at RIP and gives the Exit: Processor.run(1) on this back end.
   * Throws SemanticError where a semantic function breaks the builder's rules, else never.
   */
  evaluateOne(): number {
    const { processor } = this;
    const before = processor.loop.substitute;
    this.install();
    try {
      return processor.run(1);
    } finally {
      processor.loop.substitute = before;
    }
  }

  private step(): void {
    const { processor } = this;
    const { rip } = processor.live;
    try {
      processor.instruction.evaluated = { rip, nextRip: rip, segment: NO_SEGMENT };
      const instruction = this.fetch(rip);
      const long64 = (processor.live.get32(S.mode) & ModeBit.long64) !== 0;
      const nextRip = BigInt.asUintN(long64 ? 64 : 32, rip + BigInt(instruction.length));
      processor.instruction.evaluated = { rip, nextRip, segment: instruction.memory?.segment ?? NO_SEGMENT };
      this.execute(instruction, rip, nextRip);
    } catch (error) {
      const { evaluated } = processor.instruction;
      processor.instruction.evaluated = null;
      processor.instruction.leaveBy(error);
      processor.instruction.evaluated = evaluated;
    }
  }

  /** Decodes at RIP. Throws GuestFault: of the fetch, or for what may not be executed here. */
  private fetch(rip: bigint): Instruction {
    const { processor } = this;
    const { live } = processor;
    const mode = live.get32(S.mode);
    const linear = mode & ModeBit.long64 ? rip : this.codeAddress(rip);
    const room = FRAME_SIZE - Number(linear & 0xfffn);
    const first = processor.fetch(linear, Math.min(room, MAX_INSTRUCTION_LENGTH));
    let decoded = this.decoder.decode(first, 0, first.length, mode);
    if (decoded === 'more' && first.length < MAX_INSTRUCTION_LENGTH) {
      // only an instruction that goes on there faults on the next page
      const rest = processor.fetch(BigInt.asUintN(64, linear + BigInt(room)), MAX_INSTRUCTION_LENGTH - room);
      decoded = this.decoder.decode(Uint8Array.of(...first, ...rest), 0, MAX_INSTRUCTION_LENGTH, mode);
    }
    if (decoded === 'more') throw new GuestFault(Vector.GP, 0);
    if ('fault' in decoded) throw new GuestFault(decoded.fault, decoded.fault === Vector.GP ? 0 : null);
    const { row } = decoded;
    if (row.feature !== undefined && !this.has(row.feature)) throw new GuestFault(Vector.UD);
    if (row.cpl0 && mode & ModeBit.user) throw new GuestFault(Vector.GP, 0);
    return decoded;
  }

  /** Outside 64-bit mode: within the code segment. */
  private codeAddress(rip: bigint): bigint {
    const { base, limit } = this.processor.live.readSegment(SEG.cs);
    if (rip > BigInt(limit)) throw new GuestFault(Vector.GP, 0);
    return BigInt.asUintN(32, rip + base);
  }

  private execute(instruction: Instruction, rip: bigint, nextRip: bigint): void {
    const { live } = this.processor;
    const { row, width } = instruction;
    const long64 = (live.get32(S.mode) & ModeBit.long64) !== 0;
    const stackBig = live.readSegment(SEG.ss).attributes & ATTRIBUTE_DB;
    const stackWidth = long64 ? 64 : stackBig ? 32 : 16;
    const ops = new EvalOps(instruction, this.machine, { rip, nextRip, long64, stackWidth });
    try {
      if (row.unit && live.get32(S.unitTrap) & UnitTrap[row.unit]) ops.call('unitTrap', ops.const(UnitTrap[row.unit]));
      row.semantic(ops, width, ...ops.operands());
      live.rip = nextRip;
    } catch (error) {
      if (!(error instanceof InstructionEnd)) throw error;
    }
  }
}
