// Frames that far transfers and deliveries push and pop: everything is checked before the first byte is written
// (SDM Vol. 1, 6.3 and 6.4; Vol. 3A, 5.8.5 and 6.12).
import { GuestFault, Vector } from '../exits.ts';
import { R, SEG } from '../layout.ts';
import type { CpuState, SegmentRegister } from '../state.ts';
import type { SystemCore } from './core.ts';
import { Attr, inLong64, isCanonical } from './descriptors.ts';
import { withinLimit } from './segments.ts';

export interface Stack {
  /** Width of its pointer. */
  bits: 16 | 32 | 64;
  segment: Pick<SegmentRegister, 'base' | 'limit' | 'attributes'>;
  pointer: bigint;
  /** Ring whose rights its accesses have. */
  cpl: number;
  /** Error code of #SS where it is too small. */
  code: number;
}

export function stackBits(state: CpuState, attributes: number): 16 | 32 | 64 {
  if (inLong64(state)) return 64;
  return attributes & Attr.big ? 32 : 16;
}

export function currentStack(state: CpuState): Stack {
  const segment = state.readSegment(SEG.ss);
  return { bits: stackBits(state, segment.attributes), segment, pointer: state.gpr[R.rsp], cpl: state.cpl, code: 0 };
}

/** The offset in the segment. */
const offsetOf = (stack: Stack, pointer: bigint): bigint => BigInt.asUintN(stack.bits, pointer);

function linearOf(stack: Stack, offset: bigint, size: number): bigint {
  if (stack.bits === 64) {
    if (!isCanonical(offset) || !isCanonical(BigInt.asUintN(64, offset + BigInt(size - 1))))
      throw new GuestFault(Vector.SS, stack.code);
    return offset;
  }
  if (!withinLimit(stack.segment, Number(offset), size)) throw new GuestFault(Vector.SS, stack.code);
  return BigInt.asUintN(32, stack.segment.base + offset);
}

const bytes = new Uint8Array(8);
const view = new DataView(bytes.buffer);

/** Reads `size` bytes `depth` bytes above the top. */
export function peek(core: SystemCore, stack: Stack, depth: number, size: number): bigint {
  const linear = linearOf(stack, offsetOf(stack, stack.pointer + BigInt(depth)), size);
  view.setBigUint64(0, 0n, true);
  core.readLinear(linear, bytes.subarray(0, size), { write: false, user: stack.cpl === 3 });
  return view.getBigUint64(0, true);
}

/** Pops `count` values of `size` bytes: the first is the top. The stack pointer stays. */
export function peekMany(core: SystemCore, stack: Stack, size: number, count: number): bigint[] {
  return Array.from({ length: count }, (_, i) => peek(core, stack, i * size, size));
}

/** The pointer register moved by `by` bytes: bits beyond the stack's width stay. */
export function movedPointer(stack: Stack, by: number): bigint {
  return mergePointer(stack.bits, stack.pointer, stack.pointer + BigInt(by));
}

/** `pointer` in a register that held `old`: 16-bit stacks leave its upper bits. */
export function mergePointer(bits: 16 | 32 | 64, old: bigint, pointer: bigint): bigint {
  if (bits === 16) return (old & 0xffffffffffff0000n) | BigInt.asUintN(16, pointer);
  return BigInt.asUintN(bits, pointer);
}

/** A push that has been checked: `write` cannot fault. */
export interface Frame {
  pointer: bigint;
  write(): void;
}

/** Checks that values of `size` bytes can be pushed in order. Throws #SS or #PF. */
export function prepareFrame(core: SystemCore, stack: Stack, size: number, values: readonly bigint[]): Frame {
  const access = { write: true, user: stack.cpl === 3 };
  const places = values.map((_, i) => {
    const linear = linearOf(stack, offsetOf(stack, stack.pointer - BigInt((i + 1) * size)), size);
    core.translate(linear, access);
    if (Number(linear & 0xfffn) + size > 4096) core.translate(wrapLinear(stack, linear + BigInt(size - 1)), access);
    return linear;
  });
  return {
    pointer: movedPointer(stack, -size * values.length),
    write: () => {
      places.forEach((linear, i) => {
        view.setBigUint64(0, BigInt.asUintN(64, values[i]), true);
        core.writeLinear(linear, bytes.subarray(0, size), access);
      });
    },
  };
}

const wrapLinear = (stack: Stack, linear: bigint): bigint => BigInt.asUintN(stack.bits === 64 ? 64 : 32, linear);
