// The hypercall table: number, name, which kinds of guest have it, handler. Source: xen/include/public/xen.h, __HYPERVISOR_*.
import type { Handler } from './copy.ts';

export type GuestKind = 'pv32' | 'pv64' | 'hvm32' | 'hvm64';
const KINDS: readonly GuestKind[] = ['pv32', 'pv64', 'hvm32', 'hvm64'];

export interface HypercallRow {
  name: string;
  number: number;
  handler: Handler;
}

const HYPERCALLS = 64;
const tables: Record<GuestKind, (HypercallRow | undefined)[]> = {
  pv32: new Array(HYPERCALLS),
  pv64: new Array(HYPERCALLS),
  hvm32: new Array(HYPERCALLS),
  hvm64: new Array(HYPERCALLS),
};

/** A row: `kinds` has a mark for each of pv32 pv64 hvm32 hvm64, ✓ or -. */
function row(name: string, number: number, kinds: string, handler: Handler): void {
  const marks = kinds.trim().split(/\s+/);
  KINDS.forEach((kind, i) => {
    if (marks[i] === '✓') tables[kind][number] = { name, number, handler };
  });
}

/** The row of a number, or nothing where this kind of guest has no such hypercall (-ENOSYS). */
export function hypercallRow(kind: GuestKind, number: number): HypercallRow | undefined {
  return tables[kind][number];
}

// Each family registers its rows here, in the order of numbers.      pv32 pv64 hvm32 hvm64
void row;
