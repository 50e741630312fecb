// What MONITOR watches: a line of memory, which MWAIT waits for stores to (SDM Vol. 3A, 9.10.4). Stores are not followed one by one: a copy
// of the line shows whether it has changed.
import { S } from './layout.ts';
import type { EngineMemory } from './memory.ts';
import type { CpuState } from './state.ts';

/** Bytes of a line, as CPUID leaf 5 has it. */
export const MONITOR_LINE = 64;

/** @param host engine-memory address of the byte that MONITOR names; negative where there is no RAM, which is not watched */
export function armMonitor(memory: EngineMemory, state: CpuState, host: number): void {
  const line = host < 0 ? 0 : Math.floor(host / MONITOR_LINE) * MONITOR_LINE;
  state.set(S.monitorAddress, BigInt(line));
  if (line) state.bytes.set(memory.u8.subarray(line, line + MONITOR_LINE), S.monitorLine);
}

/** The wait is over: the line of a processor (running or not) has changed, or none is watched. */
export function monitorTriggered(memory: EngineMemory, state: CpuState): boolean {
  const line = Number(state.get(S.monitorAddress));
  if (line === 0) return true;
  for (let i = 0; i < MONITOR_LINE; i++) if (memory.u8[line + i] !== state.bytes[S.monitorLine + i]) return true;
  return false;
}
