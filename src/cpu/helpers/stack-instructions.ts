// ENTER, PUSHA and POPA (SDM Vol. 2): several accesses to the stack that must all be possible before anything changes.
import { R } from '../layout.ts';
import type { SystemCore, SystemHelper } from './core.ts';
import { currentStack, mergePointer, movedPointer, peek, peekMany, prepareFrame } from './stack-frames.ts';

const MAX_LEVEL = 31n;
/** POPA skips the stored SP. */
const STORED_SP = 3;

const writeRegister = (old: bigint, width: number, value: bigint): bigint =>
  width === 16 ? (old & ~0xffffn) | value : BigInt.asUintN(width, value);

/** @param frameSize bytes of locals  @param level nesting, modulo 32 */
const enter: SystemHelper = (core: SystemCore, widthValue, frameSize, level) => {
  const { gpr } = core.state;
  const width = Number(widthValue);
  const size = width / 8;
  const stack = currentStack(core.state);
  const depth = Number(level & MAX_LEVEL);
  const values = [gpr[R.rbp]];
  const frameTemp = movedPointer(stack, -size);
  for (let i = 1; i < depth; i++)
    values.push(peek(core, { ...stack, pointer: gpr[R.rbp] - BigInt(i * size) }, 0, size));
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
