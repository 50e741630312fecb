// Ranges of a disk that a guest has discarded and not written to since: kept in order, apart from each other.

interface Range {
  readonly start: number;
  readonly end: number;
}

export class DiscardedRanges {
  private ranges: Range[] = [];

  /** Bytes in them. */
  get total(): number {
    return this.ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  get count(): number {
    return this.ranges.length;
  }

  add(offset: number, length: number): void {
    if (length <= 0) return;
    let start = offset;
    let end = offset + length;
    const first = this.firstReaching(start);
    let last = first;
    for (; last < this.ranges.length && this.ranges[last].start <= end; last++) {
      start = Math.min(start, this.ranges[last].start);
      end = Math.max(end, this.ranges[last].end);
    }
    this.ranges.splice(first, last - first, { start, end });
  }

  /** What is written is not discarded any more. */
  remove(offset: number, length: number): void {
    if (this.ranges.length === 0 || length === 0) return;
    const end = offset + length;
    const first = this.firstReaching(offset + 1);
    const rest: Range[] = [];
    let last = first;
    for (; last < this.ranges.length && this.ranges[last].start < end; last++) {
      const range = this.ranges[last];
      if (range.start < offset) rest.push({ start: range.start, end: offset });
      if (range.end > end) rest.push({ start: end, end: range.end });
    }
    if (last > first) this.ranges.splice(first, last - first, ...rest);
  }

  /** All of them, which are none from now on. */
  take(): { offset: number; length: number }[] {
    const taken = this.ranges.map(({ start, end }) => ({ offset: start, length: end - start }));
    this.ranges = [];
    return taken;
  }

  /** Index of the first range that ends at `at` or behind it. */
  private firstReaching(at: number): number {
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ranges[middle].end < at) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
