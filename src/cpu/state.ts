// A vCPU's registers as an object: a view over a state block, wherever the block stands (live or stored away).
import { ARITHMETIC_FLAGS, arithmeticFlags, lazyFlags, RFLAGS_FIXED, RFLAGS_MASK } from './flags.ts';
import { S, SEG_FIELD, SEGMENT_SIZE, STATE_SIZE } from './layout.ts';

const GPR_COUNT = 16;

/** One segment register (or LDTR, TR, GDTR, IDTR): base, limit in bytes, attributes as in layout.ts, selector. */
export interface SegmentRegister {
  selector: number;
  base: bigint;
  limit: number;
  attributes: number;
}

/** Registers of one vCPU. All 64-bit registers are unsigned bigints. */
export class CpuState {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** rax rcx rdx rbx rsp rbp rsi rdi r8..r15, live. */
  readonly gpr: BigUint64Array;
  private readonly q: BigUint64Array;
  private readonly d: Uint32Array;

  constructor(buffer: ArrayBufferLike = new ArrayBuffer(STATE_SIZE), byteOffset = 0) {
    this.bytes = new Uint8Array(buffer, byteOffset, STATE_SIZE);
    this.view = new DataView(buffer, byteOffset, STATE_SIZE);
    this.q = new BigUint64Array(buffer, byteOffset, STATE_SIZE / 8);
    this.d = new Uint32Array(buffer, byteOffset, STATE_SIZE / 4);
    this.gpr = this.q.subarray(S.gpr / 8, S.gpr / 8 + GPR_COUNT);
  }

  /** A 64-bit field by its offset in S. */
  get(offset: number): bigint {
    return this.q[offset >> 3];
  }
  set(offset: number, value: bigint): void {
    this.q[offset >> 3] = value;
  }
  /** A 32-bit field by its offset in S. */
  get32(offset: number): number {
    return this.d[offset >> 2];
  }
  set32(offset: number, value: number): void {
    this.d[offset >> 2] = value;
  }

  get rip(): bigint {
    return this.q[S.rip >> 3];
  }
  set rip(value: bigint) {
    this.q[S.rip >> 3] = value;
  }

  /** The whole of RFLAGS, arithmetic flags included. */
  get rflags(): bigint {
    return BigInt(this.flags);
  }
  set rflags(value: bigint) {
    const { ccResult, ccAux } = lazyFlags(Number(value & BigInt(ARITHMETIC_FLAGS)));
    this.set(S.ccResult, ccResult);
    this.set(S.ccAux, ccAux);
    this.set(S.rflags, (value & RFLAGS_MASK & ~BigInt(ARITHMETIC_FLAGS)) | RFLAGS_FIXED);
  }

  /** RFLAGS as a number: its upper half is zero. */
  get flags(): number {
    const { d } = this;
    const result = S.ccResult >> 2;
    const aux = S.ccAux >> 2;
    const arithmetic = arithmeticFlags(d[result], d[result + 1], d[aux], d[aux + 1]);
    return (d[S.rflags >> 2] | Number(RFLAGS_FIXED) | arithmetic) >>> 0;
  }

  get cpl(): number {
    return this.d[S.cpl >> 2];
  }

  /** Writes the descriptor cache as it is; loading from a table with all checks is the processor's work. */
  writeSegment(index: number, segment: SegmentRegister): void {
    const at = S.segments + index * SEGMENT_SIZE;
    this.view.setUint16(at + SEG_FIELD.selector, segment.selector, true);
    this.set(at + SEG_FIELD.base, segment.base);
    this.set32(at + SEG_FIELD.limit, segment.limit);
    this.set32(at + SEG_FIELD.attributes, segment.attributes);
  }

  readSegment(index: number): SegmentRegister {
    const at = S.segments + index * SEGMENT_SIZE;
    return {
      selector: this.view.getUint16(at + SEG_FIELD.selector, true),
      base: this.get(at + SEG_FIELD.base),
      limit: this.get32(at + SEG_FIELD.limit),
      attributes: this.get32(at + SEG_FIELD.attributes),
    };
  }
}
