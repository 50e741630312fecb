// Which entries of two sequences belong together: a longest common subsequence, and those that both have in another place.

export interface Pair<T> {
  readonly theirs: T | null;
  readonly ours: T | null;
  /** Both have it, but not in the same order. */
  readonly moved: boolean;
}

/** Pairs in their order, with what only ours has where it comes in ours. `key` says what is the same. */
export function align<T>(theirs: readonly T[], ours: readonly T[], key: (entry: T) => string): Pair<T>[] {
  const [n, m] = [theirs.length, ours.length];
  const same = (i: number, j: number) => key(theirs[i]) === key(ours[j]);
  // length[i][j]: of the longest common subsequence of what comes from i and from j on.
  const length = Array.from({ length: n + 1 }, () => new Uint32Array(m + 1));
  for (let i = n - 1; i >= 0; i--) {
    for (let j = m - 1; j >= 0; j--) {
      length[i][j] = same(i, j) ? length[i + 1][j + 1] + 1 : Math.max(length[i + 1][j], length[i][j + 1]);
    }
  }
  const pairs: Pair<T>[] = [];
  let [i, j] = [0, 0];
  while (i < n || j < m) {
    if (i < n && j < m && same(i, j)) pairs.push({ theirs: theirs[i++], ours: ours[j++], moved: false });
    else if (j === m || (i < n && length[i + 1][j] >= length[i][j + 1]))
      pairs.push({ theirs: theirs[i++], ours: null, moved: false });
    else pairs.push({ theirs: null, ours: ours[j++], moved: false });
  }
  return joinMoved(pairs, key);
}

/** What stands alone on both sides is one entry, in their place. */
function joinMoved<T>(pairs: readonly Pair<T>[], key: (entry: T) => string): Pair<T>[] {
  const lonely = new Map<string, T[]>();
  for (const { theirs, ours } of pairs) {
    if (theirs === null && ours !== null) lonely.set(key(ours), [...(lonely.get(key(ours)) ?? []), ours]);
  }
  const taken = new Set<T>();
  const joined = pairs.map(pair => {
    if (pair.theirs === null || pair.ours !== null) return pair;
    const ours = lonely.get(key(pair.theirs))?.shift();
    if (ours === undefined) return pair;
    taken.add(ours);
    return { theirs: pair.theirs, ours, moved: true };
  });
  return joined.filter(({ theirs, ours }) => theirs !== null || ours === null || !taken.has(ours));
}
