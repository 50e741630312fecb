// Model-specific registers that only keep what is written to them, or are constants: a row each.
import type { Saveable } from '../chip.ts';

export interface MsrRow {
  index: number;
  /** After reset. */
  reset: bigint;
  /** Bits that can be written; none makes writing #GP. */
  writable?: bigint;
  /** What happens to a write that would change other bits: #GP (the default), or they stay as they are. */
  others?: 'fault' | 'keep';
  /** A command: what is written is not kept. */
  command?: boolean;
}

export const ALL_BITS = (1n << 64n) - 1n;

/** A part of a processor's MSRs. */
export interface MsrPart {
  /** Null: not one of these. */
  read(index: number): bigint | null;
  /** False: not one of these, or not a value for it. */
  write(index: number, value: bigint): boolean;
}

export class MsrTable implements MsrPart, Saveable<[index: number, value: bigint][]> {
  private readonly rows: ReadonlyMap<number, MsrRow>;
  private readonly values = new Map<number, bigint>();

  constructor(rows: readonly MsrRow[]) {
    this.rows = new Map(rows.map(row => [row.index, row]));
    this.reset();
  }

  reset(): void {
    for (const { index, reset } of this.rows.values()) this.values.set(index, reset);
  }

  read(index: number): bigint | null {
    return this.values.get(index) ?? null;
  }

  write(index: number, value: bigint): boolean {
    const row = this.rows.get(index);
    if (!row?.writable) return false;
    const { writable, others = 'fault', command = false } = row;
    const old = this.values.get(index)!;
    if (others === 'fault' && (value ^ old) & ~writable) return false;
    if (!command) this.values.set(index, (old & ~writable) | (value & writable));
    return true;
  }

  save(): [number, bigint][] {
    return [...this.values];
  }

  load(values: readonly [number, bigint][]): void {
    for (const [index, value] of values) if (this.rows.has(index)) this.values.set(index, value);
  }
}
