// SSE to SSE4.2 floating point in one import. An instruction: `beginSse(env, mxcsr)`, then one function of sse-packed.ts, or
// lane functions each followed by `endLane(env)`; then OR `raised(env)` into MXCSR, and raise #XM if `mustFault(env)`.
export * from './sse-approximate.ts';
export * from './sse-convert.ts';
export * from './sse-env.ts';
export * from './sse-lanes.ts';
export * from './sse-packed.ts';
