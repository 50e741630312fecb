import { expect, it } from 'vitest';
import { EngineMemory } from '../../../src/cpu/memory.ts';
import { AccessKind, Paging } from '../../../src/cpu/mmu/paging.ts';

it('page tables above 2 GiB of machine memory are walked like any others', () => {
  const memory = new EngineMemory(2.25 * 2 ** 30);
  const paging = new Paging(memory);
  const first = 0x8_0100;
  const tables = [first, first + 1, first + 2, first + 3, first + 4];
  for (let level = 0; level < 4; level++) {
    memory.view.setBigUint64(memory.frameOffset(tables[level]), (BigInt(tables[level + 1]) << 12n) | 7n, true);
  }
  Object.assign(paging.controls, { mode: 'long', root: first * 4096, wp: true, nxe: true, reservedHigh: 0xfff00 });
  expect(paging.walk(0x123, 0, AccessKind.write, true)).toBe(true);
  expect(paging.mfn).toBe(first + 4);
  expect(memory.view.getBigUint64(memory.frameOffset(first + 3), true) & 0x60n).toBe(0x60n);
});
