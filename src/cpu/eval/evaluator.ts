// Executes single instructions with the evaluating back end, on the same machine state as the interpreter: the second, slow way through
// every semantic function, for tests and lockstep comparisons.
import { Decoder, type Instruction, MAX_INSTRUCTION_LENGTH } from '../decode/decoder.ts';
import { createEncodingTable } from '../encodings/index.ts';
import { Exit, GuestFault, Vector } from '../exits.ts';
import { Flag } from '../flags.ts';
import { FRAME_SIZE, ModeBit, S, SEG, SEG_FIELD, SEGMENT_SIZE, UnitTrap } from '../layout.ts';
import { hasFeature } from '../models/features.ts';
import type { InterpretingProcessor } from '../processor.ts';
import { type EvalMachine, EvalOps, InstructionEnd } from './eval-ops.ts';

const ATTRIBUTE_DB = 1 << 14;
const DR6_BS = 1n << 14n;

/** A decoded instruction and the RIPs around it. */
interface Fetched {
  instruction: Instruction;
  rip: bigint;
  nextRip: bigint;
}

export class Evaluator {
  private readonly processor: InterpretingProcessor;
  private readonly decoder = new Decoder(createEncodingTable());
  private readonly has: (feature: string) => boolean;
  private readonly machine: EvalMachine;

  /** @param processor whose memory, paging, helpers and live registers the instructions act on */
  constructor(processor: InterpretingProcessor) {
    this.processor = processor;
    this.has = hasFeature(processor.model);
    this.machine = {
      state: processor.live,
      load: (linear, bytes, stack) => processor.loadOperand(linear, bytes, stack),
      loadForUpdate: (linear, bytes, stack) => processor.loadOperandForUpdate(linear, bytes, stack),
      store: (linear, bytes, value, stack) => processor.storeOperand(linear, bytes, value, stack),
      call: (name, args) => processor.callHelper(name, args),
    };
  }

  /**
   * Executes the instruction at RIP and gives the Exit, leaving everything as Processor.run(1) does (S.retired has advanced by one).
   * Throws SemanticError where a semantic function breaks the builder's rules, else never.
   */
  evaluateOne(): number {
    const { processor } = this;
    const { live } = processor;
    const { rip } = live;
    const step = (live.get(S.rflags) & BigInt(Flag.TF)) !== 0n;
    live.set32(S.exit, Exit.fuel);
    let nextRip = rip;
    try {
      const fetched = this.fetch(rip);
      nextRip = fetched.nextRip;
      processor.evaluating = { rip, nextRip };
      this.execute(fetched);
      if (step && live.get32(S.pending) === 0) {
        processor.raise(new GuestFault(Vector.DB, null, DR6_BS));
        nextRip = live.rip;
      }
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      processor.raise(error);
      live.rip = rip;
    } finally {
      processor.evaluating = null;
      live.set(S.retired, live.get(S.retired) + 1n);
    }
    if (live.get32(S.pending) === 0) return Exit.fuel;
    live.set32(S.pending, 0);
    live.set(S.nextRip, nextRip);
    return live.get32(S.exit);
  }

  /** Decodes at RIP. Throws GuestFault: of the fetch, or for what may not be executed here. */
  private fetch(rip: bigint): Fetched {
    const { processor } = this;
    const { live } = processor;
    const mode = live.get32(S.mode);
    const long64 = (mode & ModeBit.long64) !== 0;
    const base = long64 ? 0n : live.get(S.segments + SEG.cs * SEGMENT_SIZE + SEG_FIELD.base);
    const linear = long64 ? rip : BigInt.asUintN(32, rip + base);
    const room = FRAME_SIZE - Number(linear & 0xfffn);
    const first = processor.fetch(linear, Math.min(room, MAX_INSTRUCTION_LENGTH));
    let decoded = this.decoder.decode(first, 0, first.length, mode);
    if (decoded === 'more' && first.length < MAX_INSTRUCTION_LENGTH) {
      // only an instruction that goes on there faults on the next page
      const rest = processor.fetch(linear + BigInt(room), MAX_INSTRUCTION_LENGTH - room);
      decoded = this.decoder.decode(Uint8Array.of(...first, ...rest), 0, MAX_INSTRUCTION_LENGTH, mode);
    }
    if (decoded === 'more') throw new GuestFault(Vector.GP, 0);
    if ('fault' in decoded) throw new GuestFault(decoded.fault, decoded.fault === Vector.GP ? 0 : null);
    const { row, length } = decoded;
    if (row.feature !== undefined && !this.has(row.feature)) throw new GuestFault(Vector.UD);
    if (row.cpl0 && mode & ModeBit.user) throw new GuestFault(Vector.GP, 0);
    return { instruction: decoded, rip, nextRip: BigInt.asUintN(long64 ? 64 : 32, rip + BigInt(length)) };
  }

  private execute({ instruction, rip, nextRip }: Fetched): void {
    const { live } = this.processor;
    const { row, width } = instruction;
    const long64 = (live.get32(S.mode) & ModeBit.long64) !== 0;
    const stackBig = live.get32(S.segments + SEG.ss * SEGMENT_SIZE + SEG_FIELD.attributes) & ATTRIBUTE_DB;
    const stackWidth = long64 ? 64 : stackBig ? 32 : 16;
    const ops = new EvalOps(instruction, this.machine, { rip, nextRip, long64, stackWidth });
    try {
      if (row.unit && live.get32(S.unitTrap) & UnitTrap[row.unit]) ops.call('unitTrap', ops.const(UnitTrap[row.unit]));
      row.semantic(ops, width, ...ops.operands());
      live.rip = nextRip;
    } catch (error) {
      if (!(error instanceof InstructionEnd)) throw error;
      // an exit leaves RIP at the instruction
      if (live.get32(S.pending)) live.rip = rip;
    }
  }
}
