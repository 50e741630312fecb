// The vector registers and the scratch area of a state block as arrays of lanes, lowest first.
import { S } from '../layout.ts';
import type { CpuState } from '../state.ts';

const REGISTERS = 16;
const STRIDE = 32;

export interface VectorRegisters {
  /** XMM0-15, each as four and as two lanes. */
  readonly lanes32: readonly Uint32Array[];
  readonly lanes64: readonly BigUint64Array[];
  readonly lanes8: readonly Uint8Array[];
  /** The first 16 bytes of the scratch area: a source operand. */
  readonly source32: Uint32Array;
  readonly source64: BigUint64Array;
  /** 32 bytes of the scratch area. */
  readonly scratch: Uint8Array;
}

const known = new WeakMap<CpuState, VectorRegisters>();

export function vectorsOf(state: CpuState): VectorRegisters {
  let vectors = known.get(state);
  if (!vectors) {
    const { buffer, byteOffset } = state.bytes;
    const at = (n: number) => byteOffset + S.xmm + n * STRIDE;
    const numbers = Array.from({ length: REGISTERS }, (_, n) => n);
    vectors = {
      lanes32: numbers.map(n => new Uint32Array(buffer, at(n), 4)),
      lanes64: numbers.map(n => new BigUint64Array(buffer, at(n), 2)),
      lanes8: numbers.map(n => new Uint8Array(buffer, at(n), 16)),
      source32: new Uint32Array(buffer, byteOffset + S.scratch, 4),
      source64: new BigUint64Array(buffer, byteOffset + S.scratch, 2),
      scratch: new Uint8Array(buffer, byteOffset + S.scratch, 32),
    };
    known.set(state, vectors);
  }
  return vectors;
}
