// In what two entries of traces that belong together differ.

import type { Pair } from './align.ts';
import type { Difference } from './known-differences.ts';
import type { Seen } from './seen.ts';
import { shapes } from './shapes.ts';

/** What entries are paired by. */
export function nameOf({ call, isLaterError }: Seen): string {
  return `${call}${isLaterError ? ' (later, failing)' : ''}`;
}

/** The first that differs; null where nothing does. */
export function difference({ theirs, ours, moved }: Pair<Seen>): Difference | null {
  if (theirs === null) return 'only ours';
  if (ours === null) return 'only theirs';
  if (theirs.result !== ours.result) return 'result';
  if (shapes(theirs).join() !== shapes(ours).join()) return 'arguments';
  return moved ? 'order' : null;
}
