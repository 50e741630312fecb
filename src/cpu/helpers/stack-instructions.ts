// ENTER, PUSHA and POPA (SDM Vol. 2): several accesses to the stack that must all be possible before anything changes.
import { R } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { currentStack, mergePointer, movedPointer, peek, peekMany, prepareFrame, type Stack } from './stack-frames.ts';

const MAX_LEVEL = 31n;
/** POPA skips the stored SP. */
const STORED_SP = 3;

const writeRegister = (old: bigint, width: number, value: bigint): bigint =>
  width === 16 ? (old & ~0xffffn) | value : BigInt.asUintN(width, value);

/** What a read sees of the pushes before it, which are kept back until all of them can be made: the frames may overlap. */
function pushedAt(stack: Stack, size: number, pushed: readonly bigint[], pointer: bigint, memory: bigint): bigint {
  let value = memory;
  for (let k = 0; k < size; k++) {
    const below = BigInt.asUintN(stack.bits, stack.pointer - pointer - BigInt(k));
    if (below === 0n || below > BigInt(pushed.length * size)) continue;
    const slot = Math.ceil(Number(below) / size) - 1;
    const byte = (pushed[slot] >> BigInt(((slot + 1) * size - Number(below)) * 8)) & 0xffn;
    value = (value & ~(0xffn << BigInt(k * 8))) | (byte << BigInt(k * 8));
  }
  return value;
}

/** @param frameSize bytes of locals  @param level nesting, modulo 32 */
const enter: SystemHelper = (core: SystemCore, widthValue, frameSize, level) => {
  const { gpr } = core.state;
  const width = Number(widthValue);
  const size = width / 8;
  const stack = currentStack(core.state);
  const depth = Number(level & MAX_LEVEL);
  const values = [gpr[R.rbp]];
  const frameTemp = movedPointer(stack, -size);
  for (let i = 1; i < depth; i++) {
    const pointer = gpr[R.rbp] - BigInt(i * size);
    values.push(pushedAt(stack, size, values, pointer, peek(core, { ...stack, pointer }, 0, size)));
  }
  if (depth > 0) values.push(frameTemp);
  const frame = prepareFrame(core, stack, size, values);
  const end = mergePointer(stack.bits, stack.pointer, frame.pointer - frameSize);
  // a write at the final top must be possible, though none is made
  prepareFrame(core, { ...stack, pointer: end + BigInt(size) }, size, [0n]);
  frame.write();
  gpr[R.rbp] = writeRegister(gpr[R.rbp], width, BigInt.asUintN(width, frameTemp));
  gpr[R.rsp] = end;
};

const pusha: SystemHelper = (core, widthValue) => {
  const { gpr } = core.state;
  const stack = currentStack(core.state);
  const frame = prepareFrame(core, stack, Number(widthValue) / 8, [...gpr.subarray(R.rax, R.rdi + 1)]);
  frame.write();
  gpr[R.rsp] = frame.pointer;
};

const popa: SystemHelper = (core, widthValue) => {
  const { gpr } = core.state;
  const width = Number(widthValue);
  const stack = currentStack(core.state);
  const values = peekMany(core, stack, width / 8, 8);
  gpr[R.rsp] = movedPointer(stack, width);
  values.forEach((value, i) => {
    if (i !== STORED_SP) gpr[R.rdi - i] = writeRegister(gpr[R.rdi - i], width, value);
  });
};

export const stackInstructionHelpers: Record<string, SystemHelper> = { enter, pusha, popa };
