// What --dump-jit shows of a compiled region.
import { expect, test } from 'vitest';
import { dumpRegion } from '../../../src/cpu/jit/dump.ts';
import { JIT_DEFAULTS } from '../../../src/cpu/jit/jit.ts';
import { CODE, Twins } from '../semantics/twins.ts';

test('guest code stands above its WebAssembly, and a loop is one', () => {
  const lines: string[] = [];
  const twins = new Twins({
    ...JIT_DEFAULTS,
    heat: 2,
    batch: 1,
    onCompile: (region, translated, memory) => lines.push(...dumpRegion(region, translated, memory)),
  });
  const state = twins.state('user64');
  state.gpr[1] = 1000n;
  // add rax, rcx; dec rcx; jnz back; ud2
  const code = Uint8Array.from([0x48, 0x01, 0xc8, 0x48, 0xff, 0xc9, 0x75, 0xf8, 0x0f, 0x0b]);
  expect(twins.start(state, [[twins.ramOffset(CODE)!, code]])).toBe(undefined);
  expect(twins.go(3001)).toBe(null);
  const text = lines.join('\n');
  expect(lines[0]).toMatch(/^region of \d+ blocks/);
  expect(text).toMatch(/48 01 c8 +01 \/r +inline\n( +\w.*\n)+/);
  expect(text).toContain('loop');
  // no flag of ADD is computed: its code is one addition
  const [, add] = /48 01 c8.*\n((?: {8}.*\n)+)/.exec(text)!;
  expect(add.match(/i64Add/g)).toHaveLength(1);
  expect(add).not.toContain('i64And');
});
