import { describe, expect, it } from 'vitest';
import { EngineMemory } from '../../src/cpu/memory.ts';
import { PhysicalMemory } from '../../src/machine/physical-memory.ts';

/** Guest frames 0, 1, 2 are machine frames 5, 6, 2; nothing else is RAM. */
function memory() {
  const engine = new EngineMemory(16 * 4096);
  const writes: string[] = [];
  const frames = [5, 6, 2];
  const map = { get: (gfn: number) => frames[gfn] ?? -1 };
  return {
    engine,
    writes,
    physical: new PhysicalMemory(engine, map, (mfn, offset, length) => writes.push(`${mfn}+${offset}:${length}`)),
  };
}

describe('PhysicalMemory', () => {
  it('reaches the frames that the map names, and tells of writes', () => {
    const { engine, physical, writes } = memory();
    expect(physical.write(0x1ffe, Uint8Array.of(1, 2, 3, 4))).toBe(true);
    expect([...engine.frame(6).subarray(4094)]).toEqual([1, 2]);
    expect([...engine.frame(2).subarray(0, 2)]).toEqual([3, 4]);
    expect(writes).toEqual(['6+4094:2', '2+0:2']);
    expect(physical.u32(0x1ffe)).toBe(0x04030201);
    physical.setU64(0x10, 0x8877665544332211n);
    expect(physical.u64(0x10)).toBe(0x8877665544332211n);
    expect(physical.u16(0x12)).toBe(0x4433);
  });

  it('has ones beyond RAM and loses what is written there', () => {
    const { engine, physical } = memory();
    const before = engine.u8.slice(engine.ramBase);
    const bytes = new Uint8Array(4);
    expect(physical.read(0x2ffe, bytes)).toBe(false);
    expect([...bytes]).toEqual([0, 0, 0xff, 0xff]);
    expect(physical.write(0x3000, Uint8Array.of(1))).toBe(false);
    expect(physical.fill(0x10_0000_0000_0000 - 4096, 4096, 1)).toBe(false);
    expect(engine.u8.subarray(engine.ramBase)).toEqual(before);
  });

  it('gives live views, joined where frames are neighbours', () => {
    const { engine, physical, writes } = memory();
    const views = physical.views(0x800, 0x2000)!;
    expect(views.map(view => view.length)).toEqual([0x1800, 0x800]);
    views[0][0] = 7;
    physical.wrote(0x800, 1);
    expect(engine.frame(5)[0x800]).toBe(7);
    expect(writes).toEqual(['5+2048:1']);
    expect(physical.views(0x2000, 0x1001)).toBeNull();
  });
});
