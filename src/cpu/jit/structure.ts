// From a region's graph to WebAssembly's structured control: dominators, loops, and where each block's code stands (after N. Ramsey, "Beyond
// Relooper", ICFP 2022). An edge into the middle of a loop has no place in it: such edges leave the region.
import type { Region, RegionBlock } from './region.ts';

export interface Structure {
  /** Blocks in reverse postorder; a jump to an earlier one is a loop's. */
  order: RegionBlock[];
  position: Map<RegionBlock, number>;
  /** Blocks that more than one forward jump leads to, by the block that dominates them, those first in the order last. */
  merges: Map<RegionBlock, RegionBlock[]>;
  isMerge: Set<RegionBlock>;
  isLoop: Set<RegionBlock>;
}

export const successors = (b: RegionBlock): RegionBlock[] => [b.next, b.target].filter(s => s !== null);

export function structure(region: Region): Structure {
  for (;;) {
    const order = reversePostorder(region.entry);
    const position = new Map(order.map((b, i) => [b, i]));
    const dominators = dominatorsOf(order, position);
    if (cutIrreducible(order, position, dominators)) continue;
    return place(order, position, dominators);
  }
}

function reversePostorder(entry: RegionBlock): RegionBlock[] {
  const seen = new Set<RegionBlock>([entry]);
  const out: RegionBlock[] = [];
  const stack: { block: RegionBlock; next: RegionBlock[] }[] = [{ block: entry, next: successors(entry) }];
  while (stack.length > 0) {
    const top = stack[stack.length - 1];
    const next = top.next.pop();
    if (!next) {
      out.push(top.block);
      stack.pop();
    } else if (!seen.has(next)) {
      seen.add(next);
      stack.push({ block: next, next: successors(next) });
    }
  }
  return out.reverse();
}

/** Immediate dominators by position (Cooper, Harvey, Kennedy). */
function dominatorsOf(order: readonly RegionBlock[], position: ReadonlyMap<RegionBlock, number>): number[] {
  const predecessors: number[][] = order.map(() => []);
  order.forEach((b, i) => {
    for (const s of successors(b)) predecessors[position.get(s)!].push(i);
  });
  const idom = order.map(() => -1);
  idom[0] = 0;
  const meet = (a: number, b: number): number => {
    let [p, q] = [a, b];
    while (p !== q) {
      while (p > q) p = idom[p];
      while (q > p) q = idom[q];
    }
    return p;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = 1; i < order.length; i++) {
      let dominator = -1;
      for (const p of predecessors[i]) if (idom[p] !== -1) dominator = dominator === -1 ? p : meet(p, dominator);
      if (dominator !== idom[i]) {
        idom[i] = dominator;
        changed = true;
      }
    }
  }
  return idom;
}

const dominates = (idom: readonly number[], a: number, b: number): boolean => {
  let at = b;
  while (at > a) at = idom[at];
  return at === a;
};

function cutIrreducible(
  order: readonly RegionBlock[],
  position: ReadonlyMap<RegionBlock, number>,
  idom: readonly number[],
): boolean {
  let cut = false;
  order.forEach((b, i) => {
    const bad = (s: RegionBlock | null): boolean =>
      s !== null && position.get(s)! <= i && !dominates(idom, position.get(s)!, i);
    if (bad(b.next)) {
      b.next = null;
      cut = true;
    }
    if (bad(b.target)) {
      b.target = null;
      cut = true;
    }
  });
  return cut;
}

function place(order: RegionBlock[], position: Map<RegionBlock, number>, idom: readonly number[]): Structure {
  const forward = order.map(() => 0);
  const isLoop = new Set<RegionBlock>();
  order.forEach((b, i) => {
    for (const s of successors(b)) {
      if (position.get(s)! <= i) isLoop.add(s);
      else forward[position.get(s)!]++;
    }
  });
  const isMerge = new Set(order.filter((_, i) => forward[i] > 1));
  const merges = new Map<RegionBlock, RegionBlock[]>();
  for (let i = order.length - 1; i > 0; i--) {
    if (!isMerge.has(order[i])) continue;
    const dominator = order[idom[i]];
    const list = merges.get(dominator);
    if (list) list.push(order[i]);
    else merges.set(dominator, [order[i]]);
  }
  return { order, position, merges, isMerge, isLoop };
}
