// The system cases on the interpreter, exceptions delivered by the processor itself. See generate.ts for what they were made with.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { readSystemFixture } from './fixture.ts';
import { SystemMachine } from './replay.ts';

const FIXTURE = fileURLToPath(new URL('../../fixtures/cpu/ring0.bin.gz', import.meta.url));

it('system instructions, delivery and paging agree with the fixture', () => {
  const machine = new SystemMachine();
  const results = readSystemFixture(readFileSync(FIXTURE));
  expect(results.length).toBeGreaterThan(500);
  const failures = results.flatMap(r => {
    const difference = machine.run(r);
    return difference === null ? [] : [`${r.case.name}: ${difference}`];
  });
  expect({ failed: failures.length, failures: failures.slice(0, 40) }).toEqual({ failed: 0, failures: [] });
});
