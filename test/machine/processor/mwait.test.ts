// A logical processor in MWAIT: what ends the wait.
import { describe, expect, it } from 'vitest';
import { Exit } from '../../../src/cpu/exits.ts';
import { S } from '../../../src/cpu/layout.ts';
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { cpuModel } from '../../../src/cpu/models/index.ts';
import { armMonitor } from '../../../src/cpu/monitor.ts';
import { PhysicalMap } from '../../../src/cpu/physical-map.ts';
import { createProcessor } from '../../../src/cpu/processor.ts';
import { PlatformBus } from '../../../src/machine/bus.ts';
import { LogicalProcessor } from '../../../src/machine/processor/logical-processor.ts';

const memory = new EngineMemory(1 << 20);
const processor = createProcessor(memory, cpuModel('skylake')!);
const LINE = memory.frameOffset(3);
const BREAK_ON_INTERRUPT = 1n;

/** One that has executed MWAIT, on the processor or off it; IF is 0. */
function waiting(extensions: bigint, onProcessor = false) {
  let vector = -1;
  const logical = new LogicalProcessor({
    id: 0,
    processor,
    map: new PhysicalMap(),
    bus: new PlatformBus(),
    registers: { rdmsr: () => 0n, wrmsr: () => {}, cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }) },
    interrupts: { pending: () => vector, acknowledge: () => vector, cr8: 0 },
    isBootProcessor: true,
    onShutdown: () => {},
    onFailure: () => {},
  });
  logical.load();
  armMonitor(memory, processor.live, LINE);
  processor.live.set(S.exitInfo, extensions);
  logical.handleExit(Exit.mwait);
  if (!onProcessor) logical.unload();
  const interrupt = (): void => {
    vector = 0x30;
    logical.inputsChanged();
  };
  return { logical, interrupt };
}

describe('a logical processor in MWAIT', () => {
  it('runs again when the line is stored to, and not for one beside it', () => {
    for (const onProcessor of [false, true]) {
      const { logical } = waiting(0n, onProcessor);
      memory.u8[LINE + 64]++;
      expect(logical.isRunnable).toBe(false);
      memory.u8[LINE + 63]++;
      expect(logical.isRunnable).toBe(true);
      if (onProcessor) logical.unload();
    }
  });
  it('runs again for an interrupt that it takes, or for any with the extension', () => {
    const masked = waiting(0n);
    masked.interrupt();
    expect(masked.logical.isRunnable).toBe(false);
    const any = waiting(BREAK_ON_INTERRUPT);
    any.interrupt();
    expect(any.logical.isRunnable).toBe(true);
  });
  it('does not wait longer after the next HLT', () => {
    const { logical } = waiting(BREAK_ON_INTERRUPT);
    memory.u8[LINE]++;
    expect(logical.isRunnable).toBe(true);
    logical.handleExit(Exit.halt);
    memory.u8[LINE]++;
    expect(logical.isRunnable).toBe(false);
  });
});
