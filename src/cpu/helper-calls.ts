// What generated code calls in TypeScript: functions whose guest faults are recorded, for the handler to leave by.
import type { CurrentInstruction } from './current-instruction.ts';
import type { SystemCore } from './helpers/core.ts';
import { helpers } from './helpers/index.ts';

const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);

/** The same function, for generated code: what is thrown to leave the instruction becomes S.pending. */
export function guarded<A extends unknown[]>(
  instruction: CurrentInstruction,
  // biome-ignore lint/suspicious/noConfusingVoidType: some give nothing
  body: (...args: A) => bigint | void,
): (...args: A) => bigint {
  return (...args) => {
    try {
      return body(...args) ?? 0n;
    } catch (error) {
      instruction.leaveBy(error);
      return 0n;
    }
  };
}

/** Runs a helper on unsigned arguments. Throws GuestFault, or Error for an unknown one. */
export function callHelper(core: SystemCore, name: string, args: readonly bigint[]): bigint {
  return helperNamed(name)(core, ...args) ?? 0n;
}

/** The function that generated code imports for a name: `helper:` and a helper's, or `segment`. Throws Error for an unknown one. */
export function bindHelper(core: SystemCore, instruction: CurrentInstruction, name: string): CallableFunction {
  if (name === 'segment') {
    // called for every memory operand outside 64-bit mode: small arguments come as numbers
    const segment = helperNamed(name);
    return guarded(
      instruction,
      (index: number, offset: bigint, sizeAndWrite: number) =>
        segment(core, BigInt(index), unsigned(offset), BigInt(sizeAndWrite)) ?? 0n,
    );
  }
  const helper = helperNamed(name.replace('helper:', ''));
  return guarded(instruction, (...args: bigint[]) => {
    for (let i = 0; i < args.length; i++) args[i] = unsigned(args[i]);
    return helper(core, ...args) ?? 0n;
  });
}

function helperNamed(name: string) {
  const helper = helpers[name];
  if (!helper) throw new Error(`the processor has no helper ${name}`);
  return helper;
}
