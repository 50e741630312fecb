// The exact arithmetic in one import: formats, environment, taking numbers apart, operations, conversions.
export * from './arithmetic.ts';
export * from './compare.ts';
export * from './convert.ts';
export * from './float-env.ts';
export * from './format.ts';
export * from './nan.ts';
export * from './remainder.ts';
export * from './rounding.ts';
export * from './unpacked.ts';
