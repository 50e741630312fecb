// The x87 unit in one import. Every instruction is a function on an `X87State`; bits and integers come in and go out as numbers
// or BigInts, memory stays with the caller. Opcodes lead to them through x87-memory-forms.ts and x87-register-forms.ts.
// Before a waiting instruction the caller asks `pendingException` and raises #MF; the state is then untouched.
export * from './x87-arithmetic.ts';
export * from './x87-compare.ts';
export * from './x87-control.ts';
export * from './x87-images.ts';
export * from './x87-logarithm.ts';
export * from './x87-memory-forms.ts';
export * from './x87-register-forms.ts';
export {
  newX87State,
  pendingException,
  top,
  updateSummary,
  type X87State,
} from './x87-state.ts';
export * from './x87-transfer.ts';
export * from './x87-trigonometry.ts';
