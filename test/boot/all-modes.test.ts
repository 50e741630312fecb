// `check` without --modes: one file in every mode, as `npm start` does it.
import { readFileSync } from 'node:fs';
import { describe, expect } from 'vitest';
import type { TestKernel } from '../../src/platform/node/debian/test-kernels.ts';
import type { Result } from '../../src/report/verdict.ts';
import { isDom0, MODES } from '../../src/toolstack/image/modes.ts';
import { domzero, scratchPath } from './domzero.ts';
import { EXHAUSTIVE, testWith } from './kernels.ts';

/** What `npm start` shows is the generic kernel with one processor; the rest takes minutes each. */
const SOME: ReadonlyArray<readonly [TestKernel, number]> = [['cloud', 4]];
const ALL: ReadonlyArray<readonly [TestKernel, number]> = [
  ['generic', 1],
  ['generic', 4],
  ['cloud', 1],
  ['cloud', 4],
];
const GUEST_TYPES: Record<string, string> = { dom0: 'PV', dom0pvh: 'PVH', pv: 'PV', pvh: 'PVH', pvhvm: 'HVM' };

describe('check in all modes', { timeout: 3_600_000 }, () => {
  for (const [which, cpus] of EXHAUSTIVE ? ALL : SOME) {
    testWith(which, `${cpus} CPUs`, async kernel => {
      const json = scratchPath('results.json');
      const { status, out } = await domzero(['check', ...kernel, '--cpus', String(cpus), '--json', json]);
      const { results } = JSON.parse(readFileSync(json, 'utf8')) as { results: Result[] };
      expect(results.map(({ mode }) => mode)).toEqual([...MODES]);
      for (const { mode, verdict, guest, version } of results) {
        // the cloud flavour has nothing of Dom0's: found in its configuration
        if (which === 'cloud' && isDom0(mode)) {
          expect(verdict, out).toBe('skip');
          continue;
        }
        expect([mode, verdict], out).toEqual([mode, 'pass']);
        expect(guest?.uname?.release).toBe(version);
        expect(guest?.hypervisor?.guestType ?? null).toBe(GUEST_TYPES[mode] ?? null);
        expect(guest?.cpus.online).toHaveLength(cpus);
        expect(guest?.alarms).toMatchObject({ count: 0 });
        if (mode !== 'native' && !isDom0(mode)) expect(guest?.clocksource).toBe('xen');
      }
      expect(status).toBe(0);
    });
  }
});
