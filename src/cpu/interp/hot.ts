// Which instruction variants the interpreter's main function handles itself: those that make up most of a kernel's and a program's time.
// The function must stay small (about 40 KB of code) for V8's compilers; profiles (bench/) say what belongs here.
import type { Row } from '../decode/row.ts';
import type { EncodingTable } from '../decode/table.ts';
import type { Width } from '../semantics/ops.ts';
import type { MemoryForm, Variant } from './variant.ts';

type Hot = [patterns: string[], widths: Width[], forms: MemoryForm[]];
const REG: MemoryForm[] = ['none'];
const SIMPLE: MemoryForm[] = ['none', 'simple'];
const ALL: MemoryForm[] = ['none', 'simple', 'indexed'];
const range = (from: number, to: number, suffix = '', prefix = '') =>
  Array.from(
    { length: to - from + 1 },
    (_, i) => `${prefix}${(from + i).toString(16).toUpperCase().padStart(2, '0')}${suffix}`,
  );

const HOT: Hot[] = [
  [['89 /r', '8B /r'], [32, 64], ALL],
  [['88 /r', '8A /r'], [8], ALL],
  [['C7 /0'], [32, 64], SIMPLE],
  [['C6 /0'], [8], SIMPLE],
  [['B8+r'], [32, 64], REG],
  [['8D /r'], [32, 64], ['simple', 'indexed']],
  [['63 /r'], [64], ALL],
  [['0F B6 /r'], [32], ALL],
  [['0F B7 /r'], [32], SIMPLE],
  [['0F BE /r'], [32], SIMPLE],
  [['01 /r', '03 /r', '29 /r', '2B /r', '31 /r', '33 /r', '21 /r', '23 /r', '09 /r', '0B /r'], [32, 64], REG],
  [['03 /r', '2B /r', '33 /r', '23 /r', '0B /r'], [32, 64], ['simple']],
  [['39 /r', '3B /r', '85 /r'], [32, 64], SIMPLE],
  [['38 /r', '3A /r', '84 /r'], [8], SIMPLE],
  [['83 /0', '83 /1', '83 /4', '83 /5', '83 /6'], [32, 64], REG],
  [['83 /7'], [32, 64], SIMPLE],
  [['81 /0', '81 /4', '81 /5'], [32, 64], REG],
  [['81 /7'], [32, 64], SIMPLE],
  [['80 /7', 'F6 /0'], [8], SIMPLE],
  [['05', '25', '3D', 'A9'], [32, 64], REG],
  [['3C', 'A8', '24'], [8], REG],
  [['F7 /0'], [32], REG],
  [['F7 /2', 'F7 /3'], [32, 64], REG],
  [['FF /0', 'FF /1'], [32, 64], SIMPLE],
  [['C1 /4', 'C1 /5', 'C1 /7', 'C1 /0', 'C1 /1', 'D1 /5', 'D1 /4', 'D3 /4', 'D3 /5'], [32, 64], REG],
  [['0F AF /r', '6B /r', '69 /r'], [32, 64], REG],
  [['0F BA /4'], [32, 64], REG],
  [['0F A3 /r'], [64], REG],
  [['98'], [64], REG],
  [['50+r', '58+r', 'FF /6'], [64], REG],
  [['C3', 'C9'], [64], REG],
  [['E8', 'E9', 'EB'], [64], REG],
  [['FF /2', 'FF /4'], [64], SIMPLE],
  [range(0x70, 0x7f), [64], REG],
  [range(0x80, 0x8f, '', '0F '), [64], REG],
  [range(0x40, 0x4f, ' /r', '0F '), [64], REG],
  [range(0x90, 0x9f, ' /r', '0F '), [8], REG],
  [
    ['90', '0F 1F /r', '0F 1E /r'],
    [32, 64],
    ['none', 'simple', 'indexed'],
  ],
];

/** The hot variants for 64-bit mode, in a fixed order. */
export function hotVariants(table: EncodingTable): { row: Row; variant: Variant }[] {
  const byPattern = new Map<string, Row[]>();
  for (const row of table.rows) {
    const list = byPattern.get(row.pattern);
    if (list) list.push(row);
    else byPattern.set(row.pattern, [row]);
  }
  const out: { row: Row; variant: Variant }[] = [];
  for (const [patterns, widths, forms] of HOT) {
    for (const pattern of patterns) {
      const rows = byPattern.get(pattern);
      if (!rows) throw new Error(`no row ${pattern}`);
      const row = rows.find(r => !r.no64)!;
      for (const width of widths) {
        for (const memory of forms) {
          out.push({ row, variant: { width, memory, addressWidth: 64, stackWidth: 64, long64: true, repeat: 'none' } });
        }
      }
    }
  }
  return out;
}
