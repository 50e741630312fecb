// Every fixture case on every back end of the processor. A difference names the case, its bytes and what differs.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { readFixture } from './fixture-file.ts';
import { type BackEnd, CaseMachine, evaluatorBackEnd, interpreterBackEnd } from './replay.ts';

const FIXTURES = fileURLToPath(new URL('../fixtures/cpu/', import.meta.url));
const files = readdirSync(FIXTURES).filter(f => f.endsWith('.bin.gz') && !f.startsWith('ring0'));

/** The evaluator is slow, and compared with the interpreter case by case elsewhere: here it runs one case in so many. */
const BACK_ENDS: [string, () => BackEnd, every: number][] = [
  ['interpreter', interpreterBackEnd, 1],
  ['evaluator', evaluatorBackEnd, 2],
];

/** Lines shown of a long list of differences. */
const SHOWN = 40;

describe.each(BACK_ENDS)('%s agrees with a real processor', (_, make, every) => {
  const machine = new CaseMachine(make());
  it.each(files)('%s', file => {
    const failures: string[] = [];
    let count = 0;
    let failed = 0;
    let skipped = 0;
    for (const group of readFixture(readFileSync(join(FIXTURES, file)))) {
      let inGroup = 0;
      for (const c of group.cases) {
        if (++skipped < every) continue;
        skipped = 0;
        count++;
        const difference = machine.run(group, c);
        if (difference === null) continue;
        failed++;
        if (inGroup++ < 2)
          failures.push(
            `${group.name} ${c.input.mode}-bit ${Buffer.from(c.input.code).toString('hex')}: ${difference}`,
          );
      }
    }
    expect(count).toBeGreaterThan(0);
    const more = failures.length > SHOWN ? [`and ${failures.length - SHOWN} more encodings or forms`] : [];
    expect({ failed, of: count, failures: [...failures.slice(0, SHOWN), ...more] }).toEqual({
      failed: 0,
      of: count,
      failures: [],
    });
  });
});
