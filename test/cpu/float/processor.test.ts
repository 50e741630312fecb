// Every x87 and SSE arithmetic instruction against answers that a processor gave (test/oracle/float): results and flags bit
// for bit under all rounding modes, precisions and masks; transcendental functions within 1 ulp.
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { replay } from './replay.ts';

function casesByInstruction(name: string): Map<string, string[]> {
  const file = new URL(`../../fixtures/float/${name}.txt.gz`, import.meta.url);
  const groups = new Map<string, string[]>();
  for (const line of gunzipSync(readFileSync(file)).toString().trimEnd().split('\n')) {
    // An immediate is part of the operands here, not of the instruction.
    const code = line.split(' ')[1].replace(/^((?:66|f2|f3)?0f(?:c2|3a..)c1)..$/, '$1');
    groups.set(code, [...(groups.get(code) ?? []), line]);
  }
  return groups;
}

for (const [name, least] of [
  ['x87', 120],
  ['sse', 70],
] as const) {
  describe(`${name} as the processor does it`, () => {
    const groups = casesByInstruction(name);
    it('covers its instructions', () => expect(groups.size).toBeGreaterThanOrEqual(least));
    for (const [code, lines] of groups) {
      it(`${code} in ${lines.length} cases`, () => {
        const wrong = lines.flatMap(line => {
          const difference = replay(line);
          return difference === undefined ? [] : [`${line}\n    ${difference}`];
        });
        expect(wrong).toEqual([]);
      });
    }
  });
}
