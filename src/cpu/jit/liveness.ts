// Which blocks of a region need the flags that they are entered with: where something reads them, or may leave the region, before they are
// set anew. Elsewhere an operation's flags are never computed.
import type { RegionBlock } from './region.ts';
import { successors } from './structure.ts';

export function flagsLiveInto(order: readonly RegionBlock[]): Set<RegionBlock> {
  const live = new Set<RegionBlock>();
  const sets = new Set<RegionBlock>();
  for (const block of order) {
    const decided = decision(block);
    if (decided === 'live' || (decided === 'open' && leavesAtEnd(block))) live.add(block);
    if (decided === 'dead') sets.add(block);
  }
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of order) {
      if (live.has(block) || sets.has(block)) continue;
      if (successors(block).some(s => live.has(s))) {
        live.add(block);
        changed = true;
      }
    }
  }
  return live;
}

/** What the block itself says: it needs them, it sets them before it needs them, or it does neither. */
function decision(block: RegionBlock): 'live' | 'dead' | 'open' {
  for (const { means, effects } of block.steps) {
    if (means !== 'inline' || effects.readsFlags || effects.mayLeave) return 'live';
    if (effects.setsFlags) return 'dead';
  }
  return 'open';
}

/** One of the ways out of the block leaves the region. */
function leavesAtEnd(block: RegionBlock): boolean {
  if (block.ending === 'branch') return block.next === null || block.target === null;
  if (block.ending === null) return block.next === null;
  return block.ending === 'indirect' || block.target === null;
}
