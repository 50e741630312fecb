// Differences between the decoder and iced-x86 counted by kind, and the comparer that all such tests use.
import { Decoder, type Instruction } from '../../../src/cpu/decode/decoder.ts';
import { createEncodingTable } from '../../../src/cpu/encodings/index.ts';
import { requiredEncodings } from '../generate/codes.ts';
import { Comparer } from './compare.ts';

/** Differences by kind, so that a hundred alike are one line. */
export class Differences {
  private readonly kinds = new Map<string, { count: number; example: string }>();
  compared = 0;

  add(name: string, difference: string | null, bytes: () => string): void {
    this.compared++;
    if (difference === null) return;
    const kind = `${name}: ${difference.replace(/\d{3,}/g, 'N')}`;
    const known = this.kinds.get(kind);
    if (known) known.count++;
    else this.kinds.set(kind, { count: 1, example: `${bytes()} ${difference}` });
  }

  /** At most 40 kinds, the most frequent first. */
  get lines(): string[] {
    const sorted = [...this.kinds.values()].sort((a, b) => b.count - a.count);
    return sorted.slice(0, 40).map(k => `${k.count} times, e.g. ${k.example}`);
  }
}

/** NOPs, hints and prefetches: which of their unused operands a table names does not matter. */
function isNop(i: Instruction): boolean {
  const { map, opcode } = i.row;
  return (map === 1 && (opcode === 0x0d || (opcode >= 0x18 && opcode <= 0x1f))) || (map === 0 && opcode === 0x90);
}

/** Everything that the processor must know is compared; what iced-x86 knows beyond may be #UD. */
export function strictComparer(): Comparer {
  const required = new Set(requiredEncodings().map(e => e.name));
  return new Comparer(new Decoder(createEncodingTable()), {
    mayLack: (name, legacy) => !legacy || !required.has(name),
    skipOperands: isNop,
  });
}

export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
