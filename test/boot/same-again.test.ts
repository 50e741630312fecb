// A run on the virtual clock is the same run every time, to the instruction and to the byte.

import { describe, expect } from 'vitest';
import { check, type Machine, machineName } from './domzero.ts';
import { testWith } from './kernels.ts';

describe.concurrent('the same boot twice', { timeout: 1_800_000 }, () => {
  for (const machine of [{}, { cpus: 4, memory: '256M' }] satisfies Machine[]) {
    testWith('cloud', machineName(machine), async kernel => {
      const [first, second] = await Promise.all([check(kernel, 'pv', machine), check(kernel, 'pv', machine)]);
      expect(first.result.verdict, first.text).toBe('pass');
      expect(second.result.instructions).toBe(first.result.instructions);
      expect(Buffer.compare(second.console, first.console)).toBe(0);
      expect(first.console.length).toBeGreaterThan(10_000);
      expect(second.xenLog).toBe(first.xenLog);
      // All that the guest said of itself, uptime and counts of interrupts included.
      expect(second.result.guest).toEqual(first.result.guest);
      const instructionsAtStages = ({ result }: typeof first) => result.stages.map(s => [s.name, s.instructions]);
      expect(instructionsAtStages(second)).toEqual(instructionsAtStages(first));
    });
  }
});
