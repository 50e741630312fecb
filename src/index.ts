// The library's face: a Xen host with domains on it, their consoles as streams, and what they tell when they end.

export { CPU_MODELS, cpuModel } from './cpu/models/index.ts';
export type { CpuModel } from './cpu/models/model.ts';
export { type CrashRecord, type CrashRegister, crashDump } from './hypervisor/crash.ts';
export type { HypercallRecord } from './hypervisor/hypercalls/trace.ts';
export { BuildError } from './toolstack/builder/error.ts';
export { Dom0Machine, type Dom0Options } from './toolstack/dom0.ts';
export type { GuestConsole, OutputListener } from './toolstack/guest-console.ts';
export type { GuestDomain, ShutdownName } from './toolstack/guest-domain.ts';
export {
  type GuestOptions,
  Host,
  type HostOptions,
  ramForGuests,
} from './toolstack/host.ts';
export * from './toolstack/image/index.ts';
export { HostedDomain, type Machine } from './toolstack/machine.ts';
export { NativeMachine, type NativeMachineOptions } from './toolstack/native-machine.ts';
export type { RunEnd, RunOptions } from './toolstack/run-machine.ts';
export { PerfettoTrace } from './tracing/perfetto.ts';
export type { TraceRecord, TraceWriter } from './tracing/record.ts';
export { TraceRecorder } from './tracing/recorder.ts';
export { hypercallLine, TextTrace } from './tracing/text.ts';
